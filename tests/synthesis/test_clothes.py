"""Garments follow the body; their files' faults are one line each."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from graphhand.errors import InputError
from graphhand.synthesis.body import BodyModel, Rest, Skeleton
from graphhand.synthesis.clothes import Wardrobe, read_garment

# a square patch in front of the chest: vertices of the base mesh hm08
BASE = (1524, 1525, 1526, 1527)
OBJ = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3 4/4\n"
MHCLO = """\
# comment
basemesh hm08
obj_file patch.obj
x_scale 5399 11998 1.4
z_scale 962 5320 2.0
y_scale 791 881 2.4
verts 0
{rows}

delete_verts
1524 - 1526 1530
"""


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel()


def make(folder, rows=None, obj=OBJ, picture=True, name="patch"):
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows or [f"{v} {v} {v} 1.0 0.0 0.0 0.0 0.0 0.0" for v in BASE]
    (folder / f"{name}.mhclo").write_text(MHCLO.format(rows="\n".join(rows)))
    (folder / "patch.obj").write_text(obj)
    if picture:
        cv2.imwrite(str(folder / f"{name}_diffuse.png"), np.full((8, 8, 3), 90, np.uint8))
    return folder / f"{name}.mhclo"


def rows_of(body, numbers):
    return torch.cat([(body.makehuman_vertex == n).nonzero()[0] for n in numbers])


def test_a_garment_without_offset_lies_on_its_vertices(tmp_path, body):
    garment = read_garment(make(tmp_path / "patch"), body)
    rest = body.rest(body.people[3:4]).vertices_m[0]
    assert torch.allclose(garment.fit(rest), rest[rows_of(body, BASE)], atol=1e-6)
    assert garment.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert garment.picture.shape == (1, 8, 8, 3)
    assert set(body.makehuman_vertex[garment.covered].tolist()) == {1524, 1525, 1526, 1530}


def test_offsets_turn_from_makehumans_axes_and_grow_with_the_body(tmp_path, body):
    # up (MakeHuman's y, our z) by the height on which the offsets are based
    rows = [f"{v} {v} {v} 1.0 0.0 0.0 0.0 2.4 0.0" for v in BASE]
    garment = read_garment(make(tmp_path / "patch", rows), body)
    rest = body.rest(body.people[3:4]).vertices_m[0]
    moved = garment.fit(rest) - rest[rows_of(body, BASE)]
    height = (rest[rows_of(body, [791])] - rest[rows_of(body, [881])])[0, 2].abs()
    assert torch.allclose(moved[:, :2], torch.zeros(4, 2), atol=1e-6)
    assert torch.allclose(moved[:, 2], height.expand(4), atol=1e-5)


def test_a_garment_moves_with_the_bones_under_it(tmp_path, body):
    garment = read_garment(make(tmp_path / "patch"), body)
    rest = body.rest(body.people[:1])
    local = torch.eye(3).expand(1, len(body.bones), 3, 3).clone()
    angle = torch.tensor(0.5)
    local[0, body.bone("spine02")] = torch.tensor(
        [[1, 0, 0], [0, angle.cos(), -angle.sin()], [0, angle.sin(), angle.cos()]]
    )
    rotations, heads = body.forward_kinematics(rest.heads_m, local, rest.heads_m[:, 0])
    skeleton = Skeleton(rotations, heads, torch.zeros(1, 2, 2))
    posed = body.skin(Rest(garment.fit(rest.vertices_m[0])[None], rest.heads_m), skeleton, garment.binding)
    assert torch.allclose(posed[0], body.skin(rest, skeleton)[0, rows_of(body, BASE)], atol=1e-5)


def test_a_garment_without_a_picture_has_none(tmp_path, body):
    assert read_garment(make(tmp_path / "patch", picture=False), body).picture is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"rows": ["999999 1 1 1 0 0 0 0 0"] * 4}, "does not have"),
        ({"rows": ["13800 1 1 1 0 0 0 0 0"] * 4}, "does not have"),
        ({"rows": ["1 2 3 a b c 0 0 0"] * 4}, "malformed line"),
        ({"obj": OBJ.replace("v 0 1 0\n", "", 1).replace("3/3 4/4", "3/3")}, "4 vertices, its .obj 3"),
        ({"obj": OBJ.replace("4/4", "9/4")}, "does not have"),
        ({"obj": "v 0 0\nf x\n"}, "malformed line"),
    ],
)
def test_faulty_garments_are_one_line(tmp_path, body, change, fault):
    path = make(tmp_path / "patch", **change)
    with pytest.raises(InputError, match=fault) as error:
        read_garment(path, body)
    assert "\n" not in str(error.value)
    assert "patch" in str(error.value)


def test_an_unreadable_picture_is_one_line(tmp_path, body):
    path = make(tmp_path / "patch", picture=False)
    (path.parent / "patch_diffuse.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"patch_diffuse\.png") as error:
        read_garment(path, body)
    assert "\n" not in str(error.value)


def test_a_missing_mesh_is_one_line(tmp_path, body):
    path = make(tmp_path / "patch")
    (path.parent / "patch.obj").unlink()
    with pytest.raises(InputError, match=r"patch\.obj"):
        read_garment(path, body)


def test_a_missing_folder_and_an_empty_one_are_one_line(tmp_path, body):
    with pytest.raises(InputError, match="no such folder"):
        Wardrobe(tmp_path / "none", body)
    with pytest.raises(InputError, match="holds no clothes"):
        Wardrobe(tmp_path, body)


def test_a_wardrobe_sorts_what_it_finds(tmp_path, body):
    for name in ("male_casualsuit01", "female_sportsuit01", "shoes01", "fedora01"):
        make(tmp_path / "clothes" / name, name=name)
    make(tmp_path / "hair" / "short01", name="short01")
    make(tmp_path / "hair" / "long01", name="long01", picture=False)
    wardrobe = Wardrobe(tmp_path, body)
    assert wardrobe.suits == {"female": ["female_sportsuit01"], "male": ["male_casualsuit01"]}
    assert (wardrobe.shoes, wardrobe.hats) == (["shoes01"], ["fedora01"])
    assert wardrobe.hair == ["short01"]  # hair without a picture cannot be drawn
    first = wardrobe.fingerprint()
    (tmp_path / "hair" / "short01" / "patch.obj").write_text(OBJ + "# changed\n")
    assert wardrobe.fingerprint() != first


def test_people_are_dressed_from_a_folder(tmp_path):
    from graphhand.synthesis.config import SceneConfig
    from graphhand.synthesis.scene_engine import SceneEngine

    for name in ("male_casualsuit01", "female_sportsuit01"):
        make(tmp_path / "clothes" / name, name=name)
    make(tmp_path / "hair" / "short01", name="short01")
    options = {"width": 64, "height": 48, "seed": 2, "antialiasing": 1, "room": 0, "street": 0, "close": 0}
    engine = SceneEngine(SceneConfig(**options, assets=str(tmp_path)))
    (dressed,) = engine.render([1])
    engine.dresser = None
    (without,) = engine.render([1])
    assert torch.allclose(without.hands.joints_cam_m, dressed.hands.joints_cam_m)
    assert (without.image - dressed.image).abs().mean() > 1e-3
    assert torch.isfinite(dressed.image).all()
