"""Build the atlas of photographed hand skins, `skin_atlas.npz`, and the note on its origin from MakeHuman's CC0 data.

    python research/skin_atlas/build.py MAKEHUMAN [--sheet sheet.jpg]

MAKEHUMAN holds `base/base.obj` and `skins/textures/*_diffuse*.jpg` (2048 x 2048) of makehumancommunity/makehuman and
makehuman-assets. It takes about 10 s. Skins that are another one in another tone are left out: tones are exchanged when
a hand is rendered. The files read are checked against research/skin_atlas/sources.sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np

from graphhand.hand_model import HandModel
from graphhand.io.images import read_image
from graphhand.synthesis.mesh import RenderMesh

sys.path.insert(0, str(Path(__file__).parents[1]))
from skin_atlas import detail as separation
from skin_atlas.layout import HEIGHT, WIDTH, Layout

ASSETS = Path(__file__).parents[2] / "src/graphhand/synthesis/assets"
SOURCES = Path(__file__).parent / "sources.sha256"
# The others differ from one of these in tone alone (correlation of the detail above 0.975).
SKINS = (
    "middleage_darkskinned_male_diffuse",
    "old_darkskinned_male_diffuse",
    "young_darkskinned_male_diffuse",
    "middleage_lightskinned_female_diffuse2",
    "young_lightskinned_female_diffuse2",
    "middleage_lightskinned_male_diffuse",
    "young_lightskinned_male_diffuse",
    "young_lightskinned_male_diffuse2",
)
LUMA_STEP, CHROMA_STEP = 1 / 100, 1 / 160  # of the stored bytes, in log reflectance

PROVENANCE = """\
skin_atlas.npz: photographed skin of hands
==========================================

Licence: CC0 1.0 Universal (public domain dedication), https://creativecommons.org/publicdomain/zero/1.0/

Origin: hands and forearms cut from skin textures of MakeHuman (makehumancommunity/makehuman-assets) and laid out by the
texture coordinates of its base mesh (makehumancommunity/makehuman), both released as CC0 in September 2020. Textures
were reduced to 2048 x 2048 pixels. Their two tones (back, palm) and part of the light in them are removed.

    skins          {skins}
    files read     {count}, each with its SHA-256 in research/skin_atlas/sources.sha256
      sha256       {sources_sha256}  (of that list)
    command        python research/skin_atlas/build.py MAKEHUMAN
    skin_atlas.npz
      sha256       {asset_sha256}

How it was made and how it is used: docs/photographed_skin.md.
"""


def build(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the atlas, as `graphhand.synthesis.skin_atlas` reads them."""
    hand = HandModel.default().float()
    mesh = RenderMesh(hand)
    faces, normals = mesh.faces.numpy(), mesh.rest_normals.numpy()
    with np.load(ASSETS.parents[1] / "hand_model/assets/hand_cc0.npz") as stored:
        base_vertex = stored["makehuman_vertex"]
    layout = Layout(folder / "base/base.obj", base_vertex, hand.faces.numpy())
    skins = {name: _log_skin(folder, name, layout) for name in SKINS}

    on_hand, on_arm = layout.chart_mask(False), layout.chart_mask(True)
    up = normals[faces][..., 1].mean(1)
    palm, back = layout.mask((up < -0.75) & ~layout.on_arm), layout.mask((up > 0.75) & ~layout.on_arm)
    dark = [skin for name, skin in skins.items() if "dark" in name]
    share = separation.palm_share(dark, on_hand, palm, back)
    share = layout.paint(_smoothed(faces, _at_vertices(share, layout, faces))[faces])
    seam, inside = layout.seams(faces), on_hand | on_arm
    share = separation.close_seams(share[..., None], inside, *seam)[..., 0].clip(0, 1)

    luma, chroma = [], []
    for skin in skins.values():
        detail = separation.separate(skin, share, on_hand, on_arm)
        detail = separation.close_seams(detail.astype(np.float32), inside, *seam)
        bright, colour = separation.luma_chroma(_faded(detail, inside))
        luma.append(_bytes(bright, LUMA_STEP))
        chroma.append(_bytes(colour, CHROMA_STEP))
    return {
        "corners_px": layout.atlas_px.astype(np.float32),
        "hand_faces": hand.faces.numpy().astype(np.uint16),
        "palm": np.round(share * 255).astype(np.uint8),
        "luma": np.stack(luma),
        "chroma": np.stack(chroma),
        "luma_step": np.array(LUMA_STEP, np.float32),
        "chroma_step": np.array(CHROMA_STEP, np.float32),
        "names": np.array(SKINS),
    }


def _log_skin(folder: Path, name: str, layout: Layout) -> np.ndarray:
    return separation.log_linear(layout.cut(read_image(folder / "skins/textures" / f"{name}.jpg")))


def _at_vertices(image: np.ndarray, layout: Layout, faces: np.ndarray) -> np.ndarray:
    """Mean of an image over the places of each vertex, on all sides of a seam."""
    place = layout.atlas_px.astype(np.float32)
    corner = cv2.remap(image, place[..., 0], place[..., 1], cv2.INTER_LINEAR)
    total, count = np.zeros(faces.max() + 1), np.zeros(faces.max() + 1)
    np.add.at(total, faces, corner)
    np.add.at(count, faces, 1)
    return total / np.maximum(count, 1)


def _smoothed(faces: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of vertices, averaged twice with their neighbours'."""
    for _ in range(2):
        total, count = np.zeros_like(values), np.zeros_like(values)
        np.add.at(total, faces, values[faces].mean(1, keepdims=True))
        np.add.at(count, faces, 1)
        values = total / np.maximum(count, 1)
    return values


def _faded(detail: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Nothing further than 12 pixels outside, which packs better. So far, filters reach."""
    near = cv2.dilate(inside.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))) > 0
    return detail * near[..., None]


def _bytes(values: np.ndarray, step: float) -> np.ndarray:
    return (np.round(values / step) + 128).clip(0, 255).astype(np.uint8)


def write_sheet(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The atlases in a medium tone, to look at."""
    tiles = []
    for luma, chroma in zip(arrays["luma"], arrays["chroma"]):
        y = (luma.astype(np.float32) - 128) * LUMA_STEP
        c = cv2.resize((chroma.astype(np.float32) - 128) * CHROMA_STEP, (WIDTH, HEIGHT))
        green = y - (0.3 * c[..., 0] + 0.15 * c[..., 1]) / 0.55
        colour = np.exp(np.stack([y + c[..., 1], green, y + c[..., 0]], -1)) * [0.2, 0.27, 0.47]
        tiles.append(np.clip(colour, 0, 1) ** (1 / 2.2) * 255)
    rows = [np.concatenate(tiles[i : i + 4], 1) for i in range(0, len(tiles), 4)]
    cv2.imwrite(str(path), np.concatenate(rows).astype(np.uint8))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("makehuman", type=Path, help="folder with base/ and skins/")
    parser.add_argument("--out", type=Path, default=ASSETS / "skin_atlas.npz", help="file to write")
    parser.add_argument("--sheet", type=Path, help="also write a picture of all skins")
    parser.add_argument("--record-sources", action="store_true", help="write sources.sha256 instead of checking it")
    options = parser.parse_args()
    names = ["base/base.obj", *(f"skins/textures/{name}.jpg" for name in SKINS)]
    for name in names:
        if not (options.makehuman / name).is_file():
            parser.error(f"{options.makehuman / name} is missing")
    listing = "".join(f"{hashlib.sha256((options.makehuman / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    if options.record_sources:
        SOURCES.write_text(listing)
    elif listing != SOURCES.read_text():
        parser.error(f"the files under {options.makehuman} differ from {SOURCES}")
    arrays = build(options.makehuman)
    options.out.parent.mkdir(exist_ok=True)
    np.savez_compressed(options.out, **arrays)  # type: ignore[arg-type]
    note = PROVENANCE.format(
        skins=len(SKINS),
        count=len(names),
        sources_sha256=hashlib.sha256(listing.encode()).hexdigest(),
        asset_sha256=hashlib.sha256(options.out.read_bytes()).hexdigest(),
    )
    options.out.with_suffix(".txt").write_text(note)
    print(f"{options.out}: {options.out.stat().st_size / 1e3:.0f} kB")
    if options.sheet:
        write_sheet(options.sheet, arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main())
