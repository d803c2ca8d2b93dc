"""Read MakeHuman's whole body as a function of phenotype, local sliders and expression, with numpy alone.

The files are those of ``hand_asset.makehuman``: sparse vertex offsets, each for one corner of a box of phenotypes.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from hand_asset.makehuman import _TO_METRES, AGES_READ, ANCHORS, PHENOTYPES, _corner_shares, _triangulate

CUPS = ("mincup", "averagecup", "maxcup")

# Bones that a pose moves. All others (fingers, toes, face, tongue, breasts) move with their nearest kept ancestor.
_SIDED = (
    "clavicle", "shoulder01", "upperarm01", "upperarm02", "lowerarm01", "lowerarm02", "wrist",
    "pelvis", "upperleg01", "upperleg02", "lowerleg01", "lowerleg02", "foot", "eye",
)  # fmt: skip
KEPT_BONES = (
    "root", "spine05", "spine04", "spine03", "spine02", "spine01", "neck01", "neck02", "neck03", "head",
    *(f"{bone}.{side}" for side in "LR" for bone in _SIDED),
)  # fmt: skip

# Meshes that are drawn. The other helpers carry clothes alone: their vertices are kept, their faces not.
DRAWN_GROUPS = ("body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth")

# (folder, stem, ways, standard deviation): sliders beside the phenotypes; "*" stands for both sides.
LOCAL_TARGETS = (
    ("head", "head-scale-horiz", "incr decr", 0.3), ("head", "head-scale-depth", "incr decr", 0.3),
    ("head", "head-scale-vert", "incr decr", 0.3), ("head", "head-fat", "incr decr", 0.3),
    ("head", "head-age", "incr decr", 0.3),
    ("forehead", "forehead-scale-vert", "incr decr", 0.3), ("forehead", "forehead-trans", "forward backward", 0.3),
    ("nose", "nose-scale-horiz", "incr decr", 0.4), ("nose", "nose-scale-vert", "incr decr", 0.3),
    ("nose", "nose-scale-depth", "incr decr", 0.35), ("nose", "nose-hump", "incr decr", 0.35),
    ("nose", "nose-point", "up down", 0.35), ("nose", "nose-flaring", "incr decr", 0.35),
    ("mouth", "mouth-scale-horiz", "incr decr", 0.35), ("mouth", "mouth-upperlip-volume", "incr decr", 0.35),
    ("mouth", "mouth-lowerlip-volume", "incr decr", 0.35), ("mouth", "mouth-trans", "up down", 0.3),
    ("chin", "chin-width", "incr decr", 0.35), ("chin", "chin-height", "incr decr", 0.35),
    ("chin", "chin-prominent", "incr decr", 0.35), ("cheek", "*-cheek-bones", "incr decr", 0.35),
    ("cheek", "*-cheek-volume", "incr decr", 0.35), ("ears", "*-ear-scale", "incr decr", 0.35),
    ("ears", "*-ear-wing", "incr decr", 0.35), ("eyes", "*-eye-scale", "incr decr", 0.3),
    ("eyes", "*-eye-trans", "in out", 0.3), ("neck", "neck-scale-horiz", "incr decr", 0.25),
    ("neck", "measure-neck-height", "incr decr", 0.25), ("torso", "measure-shoulder-dist", "incr decr", 0.25),
    ("torso", "torso-vshape", "incr decr", 0.25), ("stomach", "stomach-tone", "incr decr", 0.3),
    ("hip", "hip-scale-horiz", "incr decr", 0.2), ("arms", "measure-upperarm-length", "incr decr", 0.2),
    ("arms", "measure-lowerarm-length", "incr decr", 0.2), ("arms", "*-upperarm-fat", "incr decr", 0.25),
    ("arms", "*-lowerarm-muscle", "incr decr", 0.25),
)  # fmt: skip

# Expressions as sums of MakeHuman's units.
EXPRESSIONS = {
    "mouth open": ("mouth-open",),
    "smile": ("mouth-corner-puller",),
    "corners down": ("mouth-depression",),
    "pursed": ("mouth-pursing",),
    "eyes closed": ("eye-left-closure", "eye-right-closure"),
    "brows up": ("eyebrows-left-up", "eyebrows-right-up"),
    "brows down": ("eyebrows-left-down", "eyebrows-right-down"),
}


class MakeHumanBody:
    """The whole base mesh without the cubes that mark joints.

    Attributes:
        base_index: (V,) each kept vertex's number in the base mesh.
        template: (V, 3) metres, z up, and template_heads (J, 3).
        triangles, triangle_uv: (F, 3) corners over kept vertices and over ``uv`` (T, 2), body first.
        group_counts: triangles of each of DRAWN_GROUPS.
        mirror: (V,) the vertex on the other side of each.
        weights: (V, J) skinning weights over KEPT_BONES; parents: (J,).
        files: every file read, relative to ``root``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: set[str] = set()
        vertices, groups, uv, uv_groups = _read_obj(self._file("3dobjs/base.obj"))
        count = len(vertices)
        marks = np.zeros(count, dtype=bool)
        for name, polygons in groups.items():
            if name.startswith("joint-"):
                marks[np.unique(polygons)] = True
        self.base_index = np.flatnonzero(~marks)
        self._count = count
        number = np.full(count, -1)
        number[self.base_index] = np.arange(len(self.base_index))
        self.uv = uv

        triangles, triangle_uv, self.group_counts = [], [], []
        for name in DRAWN_GROUPS:
            corners, corner_uv = np.array(groups[name]), np.array(uv_groups[name])
            cut = _triangulate(np.stack([np.arange(4)] * len(corners)) + 4 * np.arange(len(corners))[:, None],
                               vertices[corners].reshape(-1, 3))  # fmt: skip
            triangles.append(number[corners.reshape(-1)[cut]])
            triangle_uv.append(corner_uv.reshape(-1)[cut])
            self.group_counts.append(len(cut))
        self.triangles, self.triangle_uv = np.concatenate(triangles), np.concatenate(triangle_uv)
        mirror = np.arange(count)
        for line in self._file("mesh_metadata/hm08.mirror").read_text().splitlines():
            if line.strip():
                a, b = line.split()[:2]
                mirror[int(a)] = int(b)
        self.mirror = number[mirror[self.base_index]]

        rig = json.loads(self._file("rigs/standard/rig.default.json").read_text())
        rig = rig.get("bones", rig)
        self.parents = np.array([self._kept(rig, rig[bone]["parent"]) for bone in KEPT_BONES])
        self._head_vertices = [self._head(groups, rig[bone]["head"]) for bone in KEPT_BONES]
        self.weights = self._weights(rig, number)
        self._base = vertices
        self.template, self.template_heads = self._points(np.zeros((count, 3), np.float32))
        self._read_targets()

    def person(
        self, phenotype: dict[str, float], local: dict[tuple[str, str], float] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rest vertices (V, 3) and bone heads (J, 3), metres, z up.

        Args:
            phenotype: each slider of PHENOTYPES but race in 0..1, ``cupsize``, and one share per race.
            local: LOCAL_TARGETS by (folder, stem), in -1..1.
        """
        shares = {name: phenotype[name] for name in PHENOTYPES["race"]}
        for slider in PHENOTYPES:
            if slider != "race":
                shares.update(_corner_shares(phenotype[slider], ANCHORS[slider], PHENOTYPES[slider]))
        shares.update(_corner_shares(phenotype["cupsize"], np.linspace(0, 1, 3), CUPS))
        mix = np.array([np.prod([shares[name] for name in corner]) for corner in self._corners], dtype=np.float32)
        used = np.flatnonzero(mix)
        offsets = np.tensordot(mix[used], self._targets[used], axes=1)
        for key, value in (local or {}).items():
            offsets = offsets + abs(value) * self._local[key][value < 0]
        return self._points(offsets)

    def expression(self, name: str) -> np.ndarray:
        """(V, 3) offsets of one of EXPRESSIONS."""
        units = (self._target(f"targets/expression/units/caucasian/{unit}.target.gz") for unit in EXPRESSIONS[name])
        return np.asarray(sum(units))[self.base_index]

    def file_hashes(self) -> dict[str, str]:
        return {name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in sorted(self.files)}

    def _points(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = self._base + offsets
        return points[self.base_index], np.stack([points[ids].mean(0) for ids in self._head_vertices])

    def _file(self, name: str) -> Path:
        self.files.add(name)
        return self.root / name

    def _target(self, name: str) -> np.ndarray:
        """(base vertices, 3) offsets in metres."""
        with gzip.open(self._file(name), "rt") as stream:
            rows = np.array(stream.read().split(), dtype=np.float64).reshape(-1, 4)
        offsets = np.zeros((self._count, 3), dtype=np.float32)
        offsets[rows[:, 0].astype(int)] = rows[:, 1:] @ _TO_METRES.T
        return offsets

    def _read_targets(self) -> None:
        p, names = PHENOTYPES, []
        corners: list[tuple[str, ...]] = []
        for gender, age in itertools.product(p["gender"], AGES_READ):
            for race in p["race"]:
                corners.append((race, gender, age))
                names.append(f"macrodetails/{race}-{gender}-{age}")
            for muscle, weight in itertools.product(p["muscle"], p["weight"]):
                corner = (gender, age, muscle, weight)
                corners.append(corner)
                names.append("macrodetails/universal-" + "-".join(corner))
                for folder, extras in (("height", p["height"]), ("proportions", p["proportions"])):
                    for extra in extras:
                        corners.append((*corner, extra))
                        names.append(f"macrodetails/{folder}/" + "-".join((*corner, extra)))
                if gender == "female":
                    for cup in ("mincup", "maxcup"):
                        corners.append((*corner, cup))
                        names.append("breast/" + "-".join((*corner, cup, "averagefirmness")))
        self._corners = corners
        self._targets = np.stack([self._target(f"targets/{name}.target.gz") for name in names])
        self._local = {}
        for folder, stem, ways, _ in LOCAL_TARGETS:
            stems = [stem.replace("*", side) for side in "lr"] if "*" in stem else [stem]
            self._local[folder, stem] = [
                sum(self._target(f"targets/{folder}/{one}-{way}.target.gz") for one in stems) for way in ways.split()
            ]

    @staticmethod
    def _kept(rig: dict[str, Any], bone: str) -> int:
        """The row of the nearest kept bone at or above a bone; -1 for none."""
        while bone and bone not in KEPT_BONES:
            bone = rig[bone]["parent"]
        return KEPT_BONES.index(bone) if bone else -1

    def _weights(self, rig: dict[str, Any], number: np.ndarray) -> np.ndarray:
        weights = np.zeros((len(self.base_index), len(KEPT_BONES)))
        listed = json.loads(self._file("rigs/standard/weights.default.json").read_text())["weights"]
        for bone, rows in listed.items():
            if rows:
                table = np.array(rows, dtype=float)
                mine = number[table[:, 0].astype(int)]
                np.add.at(weights, (mine[mine >= 0], self._kept(rig, bone)), table[mine >= 0, 1])
        lost = weights.sum(1) == 0
        weights[lost, KEPT_BONES.index("head")] = 1
        return weights / weights.sum(1, keepdims=True)

    @staticmethod
    def _head(groups: dict[str, list[list[int]]], end: dict[str, Any]) -> np.ndarray:
        if end["strategy"] == "CUBE":
            return np.unique(groups[end["cube_name"]])
        return np.atleast_1d(end["vertex_indices"] if "vertex_indices" in end else end["vertex_index"])


def _read_obj(path: Path) -> tuple[np.ndarray, dict[str, list[list[int]]], np.ndarray, dict[str, list[list[int]]]]:
    """Vertices in metres, polygons by group, texture coordinates, and the polygons' corners among those."""
    vertices, uv = [], []
    groups: dict[str, list[list[int]]] = {}
    uv_groups: dict[str, list[list[int]]] = {}
    name = ""
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()])
        elif kind == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            name = rest.strip()
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            groups.setdefault(name, []).append([int(c[0]) - 1 for c in corners])
            uv_groups.setdefault(name, []).append([int(c[1]) - 1 if len(c) > 1 and c[1] else 0 for c in corners])
    return np.array(vertices) @ _TO_METRES.T, groups, np.array(uv), uv_groups
