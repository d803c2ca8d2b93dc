"""Time the hand layer beside smplx's MANO layer on the same file, in one run, on the CPU.

    pip install --no-deps smplx==0.1.28
    python benchmarks/hand_layer.py                      # a synthetic file of MANO's size
    python benchmarks/hand_layer.py --mano MANO_RIGHT.pkl
    python benchmarks/hand_layer.py --threads 2 --json hand_layer.json

The two are called in turn. The fastest call of each is shown, which other programs disturb least. smplx always
computes the mesh, also for joints alone.
"""

from __future__ import annotations

import argparse
import json
import pickle
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graphhand.devices import interleaved
from graphhand.hand_model import HandModel
from graphhand.hand_model.files import default_arrays

MANO_VERTICES = 778


def synthetic_mano(folder: Path) -> Path:
    """A pickle in MANO's layout and of MANO's size: part of the shipped hand, with random pose offsets."""
    arrays = default_arrays()
    rng = np.random.default_rng(0)
    few = slice(0, MANO_VERTICES)
    parents = np.array([2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
    contents = {
        "v_template": arrays.v_template[few],
        "shapedirs": arrays.shapedirs[few],
        "posedirs": rng.normal(0, 1e-3, (MANO_VERTICES, 3, 135)),
        "J_regressor": arrays.joint_regressor[:, few],
        "weights": arrays.weights[few],
        "f": arrays.faces[(arrays.faces < MANO_VERTICES).all(1)].astype(np.uint32),
        "kintree_table": np.stack((parents, np.arange(16))),
        "hands_components": np.eye(45),
        "hands_mean": np.zeros(45),
    }
    path = folder / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(contents, protocol=2))
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mano", type=Path, help="a MANO_RIGHT.pkl; without one a synthetic file of its size")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64, 256])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    try:
        import smplx
    except ImportError:
        parser.error("smplx is not installed: pip install --no-deps smplx==0.1.28")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = options.mano or synthetic_mano(Path(folder))
        hand = HandModel.load(path)
        rows = []
        for batch in options.batches:
            reference = smplx.create(
                str(path), "mano", is_rhand=True, use_pca=False, flat_hand_mean=True, batch_size=batch
            )
            rows.append(compare(hand, reference, batch, options.repeats))
    machine = f"{platform.machine()}, torch {torch.__version__}, {options.threads} thread(s)"
    print(f"\n{machine}, {hand.num_vertices} vertices, best of many calls")
    print(f"{'':>6} |{'joints only, ms':^30}|{'joints and mesh, ms':^30}| largest")
    print(f"{'batch':>6} |{'smplx':>9}{'ours':>10}{'ratio':>9}  |{'smplx':>9}{'ours':>10}{'ratio':>9}  | difference, m")
    for row in rows:
        joints = f"{row['smplx_joints_ms']:9.3f}{row['joints_ms']:10.3f}{row['joints_ratio']:9.1f}"
        mesh = f"{row['smplx_mesh_ms']:9.3f}{row['mesh_ms']:10.3f}{row['mesh_ratio']:9.2f}"
        print(f"{row['batch']:>6.0f} |{joints}  |{mesh}  | {row['difference_m']:.1e}")
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "threads": options.threads, "rows": rows}))
    return 0


@torch.no_grad()
def compare(hand: HandModel, reference: torch.nn.Module, batch: int, repeats: int) -> dict[str, float]:
    pose, shape = 0.5 * torch.randn(batch, 16, 3), torch.randn(batch, 10)

    def theirs(mesh: bool) -> tuple[Tensor, Tensor]:
        out = reference(betas=shape, global_orient=pose[:, 0], hand_pose=pose[:, 1:].flatten(1), return_verts=mesh)
        return out.joints, out.vertices

    seconds = interleaved(
        {
            "smplx_joints_ms": lambda: theirs(False),
            "joints_ms": lambda: hand(pose, shape),
            "smplx_mesh_ms": lambda: theirs(True),
            "mesh_ms": lambda: hand(pose, shape, return_vertices=True),
        },
        repeats,
        torch.device("cpu"),
        warm_up=3,
    )
    times = {name: 1e3 * min(values) for name, values in seconds.items()}
    difference = (theirs(True)[1] - hand(pose, shape, return_vertices=True).vertices_m).abs().max().item()
    return {
        "batch": batch,
        **times,
        "joints_ratio": times["smplx_joints_ms"] / times["joints_ms"],
        "mesh_ratio": times["smplx_mesh_ms"] / times["mesh_ms"],
        "difference_m": difference,
    }


if __name__ == "__main__":
    sys.exit(main())
