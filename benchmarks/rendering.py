"""Images a second of the renderer on one core, beside other ways to render the same hands.

    python benchmarks/rendering.py                 # the engine alone
    pip install trimesh embreex pyvista            # for the comparison; absent ones are named and left out
    python benchmarks/rendering.py --size 224 --json bench.json

All methods get the same posed meshes, the same cameras and the same number of samples per pixel (2 x 2), in one run on
one thread. Two rows of ours stand apart: "geometry" draws depth, faces and Lambert shading, which is what the others
do; "images" is the whole engine with skin, lights, shadows, background, sensor and labels, which they do not. Times
are wall clock, the best of several rounds; run on an idle machine. Exit code 1 if an installed method fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads OpenMP
os.environ.setdefault("LP_NUM_THREADS", "1")  # and Mesa

import numpy as np
import torch

from graphhand.geometry import project_perspective
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.rasterizer import interpolate, rasterize, resolve, shaded_samples
from graphhand.synthesis.scene import Scene

ANTIALIASING = 2


def best_ms(work: Callable[[], object], images: int, rounds: int) -> float:
    """Milliseconds of processor time per image: the best of several rounds, after one to warm up."""
    work()
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return 1e3 * best / images


def ours_geometry(engine: RenderEngine, scene: Scene, size: int) -> Callable[[], np.ndarray]:
    """Z-buffer at all samples; normals and Lambert shading once per pixel and surface, as the engine shades."""
    faces, samples = engine.mesh.faces, size * ANTIALIASING
    count = len(engine.mesh.rest_vertices_m)

    def draw() -> np.ndarray:
        images = []
        for rows in torch.arange(len(scene.joints_cam_m)).split(8):
            points = scene.vertices_cam_m[rows, :count]
            at = (project_perspective(points, scene.view.K[rows]) + 0.5) * ANTIALIASING
            at = torch.cat([at, points[..., 2:]], 2)
            surface = shaded_samples(rasterize(at, faces, len(rows), samples, samples), ANTIALIASING)
            fragments = resolve(surface.identity, surface.column, surface.row, at, faces)
            normal = interpolate(fragments, faces, scene.normals_cam[rows, :count])
            light = torch.zeros(len(rows) * size * size)
            light.index_add_(0, surface.pixel, (-normal[:, 2]).clamp(0, 1) * surface.share)
            images.append(light.view(len(rows), size, size))
        return torch.cat(images).numpy()

    return draw


def embree(scene: Scene, faces: np.ndarray, vertices: np.ndarray, size: int) -> Callable[[], np.ndarray]:
    """Ray casting with trimesh on Embree: one ray per sample, Lambert shading from interpolated normals."""
    import trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    samples = size * ANTIALIASING
    line = (np.arange(samples) + 0.5) / ANTIALIASING - 0.5
    u, v = np.meshgrid(line, line)
    K, normals = scene.view.K.numpy(), scene.normals_cam.numpy()

    def draw() -> np.ndarray:
        images = []
        for i, points in enumerate(vertices):
            mesh = trimesh.Trimesh(points, faces, process=False)
            caster = RayMeshIntersector(mesh)
            rays = np.stack([(u - K[i, 0, 2]) / K[i, 0, 0], (v - K[i, 1, 2]) / K[i, 1, 1], np.ones_like(u)], -1)
            rays = rays.reshape(-1, 3)
            where, ray, face = caster.intersects_location(np.zeros_like(rays), rays, multiple_hits=False)
            corner = points[faces[face]]
            weights = trimesh.triangles.points_to_barycentric(corner, where)
            normal = (weights[..., None] * normals[i][faces[face]]).sum(1)
            light = np.zeros(samples * samples)
            light[ray] = np.clip(-normal[:, 2], 0, 1)
            grid = light.reshape(size, ANTIALIASING, size, ANTIALIASING)
            images.append(grid.mean((1, 3)))
        return np.stack(images)

    return draw


def vtk(scene: Scene, faces: np.ndarray, vertices: np.ndarray, size: int) -> Callable[[], np.ndarray]:
    """OpenGL off screen through PyVista (Mesa's software renderer where there is no GPU), multisampled."""
    import pyvista

    samples = size * ANTIALIASING
    plotter = pyvista.Plotter(off_screen=True, window_size=(samples, samples), lighting="none")
    cells = np.hstack([np.full((len(faces), 1), 3), faces]).ravel()
    mesh = pyvista.PolyData(vertices[0].copy(), cells)
    plotter.add_mesh(mesh, color="white", smooth_shading=True)
    plotter.add_light(pyvista.Light(position=(0, 0, -1), focal_point=(0, 0, 1), light_type="scene light"))
    plotter.set_background("black")
    K = scene.view.K.numpy()

    def draw() -> np.ndarray:
        images = []
        for i, points in enumerate(vertices):
            mesh.points[:] = points
            camera = plotter.camera
            camera.position, camera.focal_point, camera.up = (0, 0, 0), (0, 0, 1), (0, -1, 0)
            camera.view_angle = np.degrees(2 * np.arctan(size / 2 / K[i, 1, 1]))
            camera.clipping_range = (0.02, 4.0)
            plotter.render()
            shot = plotter.screenshot(return_img=True)[..., 0] / 255.0
            images.append(shot.reshape(size, ANTIALIASING, size, ANTIALIASING).mean((1, 3)))
        return np.stack(images)

    return draw


def main() -> int:
    """Measure, print and maybe write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="side of the images, pixels")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write the figures here too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    engine = RenderEngine(RenderConfig(image_size=args.size, antialiasing=ANTIALIASING))
    photographic = RenderEngine(RenderConfig(image_size=args.size, antialiasing=ANTIALIASING, skin="photographic"))
    with torch.no_grad():
        scene = engine.composer(CounterRandom(0, torch.arange(args.images)))
    faces = engine.mesh.faces.numpy()
    vertices = scene.vertices_cam_m[:, : len(engine.mesh.rest_vertices_m)].contiguous().numpy()

    def geometry() -> Callable[[], np.ndarray]:
        return ours_geometry(engine, scene, args.size)

    methods: list[tuple[str, Callable[[], Callable[[], object]]]] = [
        ("graphhand, geometry", geometry),
        ("trimesh + embreex", lambda: embree(scene, faces, vertices, args.size)),
        ("PyVista / VTK", lambda: vtk(scene, faces, vertices, args.size)),
        ("graphhand, images and labels", lambda: lambda: engine.render(range(args.images))),
        ("the same, photographed skin", lambda: lambda: photographic.render(range(args.images))),
    ]
    rows: list[dict[str, object]] = []
    reference: np.ndarray | None = None
    first = 0.0
    failed = False
    for name, make in methods:
        try:
            draw = make()
        except ImportError as error:
            print(f"{name:32} not installed ({error.name or error})")
            continue
        except Exception as error:
            failed = True
            print(f"{name:32} does not run here: {str(error).splitlines()[0][:80]}")
            continue
        result = draw()
        row: dict[str, object] = {"method": name}
        if isinstance(result, np.ndarray):
            if reference is None:
                reference = result
            # the same image, or the comparison is worth nothing
            row["mean_difference"] = float(np.abs(result - reference).mean())
        ms = best_ms(draw, args.images, args.rounds)
        first = first or ms
        row |= {"ms_per_image": ms, "images_per_s": 1e3 / ms, "times_ours": ms / first}
        rows.append(row)
        same = f"   differs by {row['mean_difference']:.4f}" if "mean_difference" in row else ""
        print(f"{name:32} {ms:7.2f} ms   {1e3 / ms:7.1f} images/s   {ms / first:5.2f} x geometry{same}")
    if args.json:
        text = json.dumps({"size": args.size, "images": args.images, "rows": rows}, indent=2)
        with open(args.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text + "\n")
    return int(failed)


if __name__ == "__main__":
    with torch.no_grad():
        sys.exit(main())
