"""Written glTF files, read by the standard's rules, contain the fitted hand; clips of predictions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from factories import clips_of, posed_hand, posed_prediction
from gltf_reader import Glb
from graphhand.errors import InputError
from graphhand.export.bones import BoneNames, bone_names, skeleton
from graphhand.export.clips import HandClip, rotations_json
from graphhand.export.gltf import write_glb
from graphhand.hand_model import HandModel
from graphhand.skeleton import FINGERS, JOINT_NAMES, TIPS
from graphhand.types import Camera

RIGHT = HandModel.default()
TO_GLTF = np.diag([1.0, -1.0, -1.0])


def written(clip: HandClip | None, tmp_path: Path) -> tuple[HandClip, Glb]:
    assert clip is not None
    write_glb(tmp_path / "hand.glb", clip)
    return clip, Glb(tmp_path / "hand.glb")


def vertices(clip: HandClip, row: int) -> np.ndarray:
    shape = clip.fitted.shape
    mesh = (
        clip.model.vertices(clip.fitted.pose[row], shape) - clip.model.rest_joints(shape)[0] + clip.fitted.wrist_m[row]
    )
    return np.asarray(mesh[: clip.model.hand_vertex_count].numpy() @ TO_GLTF)


def same_mesh(found: np.ndarray, clip: HandClip, row: int) -> None:
    """Of vertices that more than four joints move, the file keeps the four strongest."""
    count = clip.model.hand_vertex_count
    assert len(found) >= count + 1  # one closes the wrist; copies along the texture's seams follow
    found = found[:count]
    away = np.linalg.norm(found - vertices(clip, row), axis=1)
    left_out = np.sort(clip.model.arrays.weights[: len(found)], axis=1)[:, :-4].sum(1)
    assert (left_out < 1e-7).mean() > 0.1
    assert away[left_out < 1e-7].max() < 1e-5
    assert away.mean() < 3e-4
    assert away.max() < 6e-3  # where a finger joins the palm


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("placed", [True, False])
def test_the_mesh_of_an_image_is_posed_as_fitted(tmp_path: Path, side: str, placed: bool) -> None:
    ((name, clip),) = clips_of([posed_prediction(side=side, placed=placed)], RIGHT)
    clip, glb = written(clip, tmp_path)
    assert name == "photo.jpg"
    assert clip.model.side == side
    assert float(clip.fitted.error_m[0]) < 2e-3
    same_mesh(glb.skinned(), clip, 0)
    worlds = glb.worlds()
    joints = clip.fitted.joints_m[0].numpy() @ TO_GLTF
    for name, number in {"wrist": 0, "index_mcp": 5, "little_dip": 19, "thumb_ip": 3}.items():
        np.testing.assert_allclose(worlds[f"{side}_{name}"][:3, 3], joints[number], atol=1e-5)
    assert ("cameras" in glb.json) == placed
    assert "animations" not in glb.json


def test_the_wrist_is_closed(tmp_path: Path) -> None:
    ((_, clip),) = clips_of([posed_prediction()], RIGHT)
    _, glb = written(clip, tmp_path)
    (primitive,) = glb.json["meshes"][0]["primitives"]
    _, welded = np.unique(glb.array(primitive["attributes"]["POSITION"]), axis=0, return_inverse=True)
    faces = welded.reshape(-1)[glb.array(primitive["indices"]).reshape(-1, 3).astype(int)]
    edges = {(a, b) for face in faces.tolist() for a, b in zip(face, face[1:] + face[:1])}
    assert len(edges) == 3 * len(faces)
    assert all((b, a) in edges for a, b in edges)
    assert "doubleSided" not in glb.json["materials"][0]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("names", get_args(BoneNames))
def test_bones_lie_along_the_fingers_and_bend_about_x(tmp_path: Path, side: str, names: str) -> None:
    ((_, clip),) = clips_of([posed_prediction(side=side, seed=3)], RIGHT)
    write_glb(tmp_path / "hand.glb", clip, names)
    glb = Glb(tmp_path / "hand.glb")
    worlds = glb.worlds()
    known = bone_names(names, side)
    ours = dict(zip(bone_names("graphhand", side), known))
    assert len(set(known)) == 21
    assert [glb.json["nodes"][number]["name"] for number in glb.json["skins"][0]["joints"]] == list(known)
    for chain in FINGERS.values():
        bones = [worlds[ours[f"{side}_{JOINT_NAMES[joint]}"]] for joint in chain]
        for bone, after in pairwise(bones):
            along = after[:3, 3] - bone[:3, 3]
            np.testing.assert_allclose(bone[:3, 1], along / np.linalg.norm(along), atol=1e-4)
            assert np.linalg.det(bone[:3, :3]) == pytest.approx(1, abs=1e-4)
    # From rest, turning each bone of a finger by +x brings its tip towards the palm.
    bones = skeleton(clip.model, clip.fitted.shape)
    palm = bones.joints_m[[0, 1, 4, 7, 10]].mean(0)
    fist = np.array(Rotation.from_euler("x", 40, degrees=True).as_matrix())
    pose = np.tile(np.eye(3), (1, 16, 1, 1))
    pose[0, 1:] = bones.axes[1:16] @ fist @ bones.axes[1:16].transpose(0, 2, 1)
    closed_hand = clip.model(torch.from_numpy(pose).float(), clip.fitted.shape)[0].numpy()
    open_hand = clip.model(torch.eye(3).expand(16, 3, 3), clip.fitted.shape).numpy()
    for tip in TIPS:
        assert np.linalg.norm(closed_hand[tip] - palm) < 0.85 * np.linalg.norm(open_hand[tip] - palm)


def test_bones_may_keep_the_models_axes(tmp_path: Path) -> None:
    ((_, clip),) = clips_of([posed_prediction(seed=2)], RIGHT)
    write_glb(tmp_path / "hand.glb", clip, axes="model")
    glb = Glb(tmp_path / "hand.glb")
    same_mesh(glb.skinned(), clip, 0)
    (line,) = rotations_json(clip)
    nodes = {node["name"]: node for node in glb.json["nodes"]}
    for name, rotation in list(zip(line["joints"], line["local"]))[1:]:
        turn = Rotation.from_quat(nodes[f"right_{name}"]["rotation"]).inv() * Rotation.from_quat(rotation)
        assert turn.magnitude() < 1e-4


def test_nodes_of_a_video_stand_in_the_rest_pose(tmp_path: Path) -> None:
    frames = [posed_prediction("clip.mp4", frame=k, seed=k) for k in range(3)]
    ((_, clip),) = clips_of(frames, RIGHT)
    clip, glb = written(clip, tmp_path)
    at_rest = clip.model(torch.eye(3).expand(16, 3, 3), clip.fitted.shape).double().numpy()
    worlds = glb.worlds()
    shown = np.stack([worlds[f"right_{name}"][:3, 3] for name in JOINT_NAMES])
    np.testing.assert_allclose(shown - shown[0], at_rest - at_rest[0], atol=1e-5)
    np.testing.assert_allclose(shown[0], clip.fitted.wrist_m[0].numpy() @ TO_GLTF, atol=1e-6)


def test_a_file_holds_both_hands_and_one_camera(tmp_path: Path) -> None:
    photo = replace(posed_prediction(), hands=(posed_hand(0), posed_hand(1, side="left"), posed_hand(2)))
    clips = [clip for _, clip in clips_of([photo], RIGHT) if clip is not None]
    write_glb(tmp_path / "hand.glb", clips)
    glb = Glb(tmp_path / "hand.glb")
    names = [node["name"] for node in glb.json["nodes"]]
    assert len(set(names)) == len(names) == 3 * 22 + 1
    assert {"right_hand.0", "left_hand", "right_hand.2", "camera"} <= set(names)
    assert (len(glb.json["skins"]), len(glb.json["meshes"]), len(glb.json["cameras"])) == (3, 3, 1)
    worlds = glb.worlds()
    for clip, wrist in zip(clips, ("right_wrist.0", "left_wrist", "right_wrist.2")):
        np.testing.assert_allclose(worlds[wrist][:3, 3], clip.fitted.wrist_m[0].numpy() @ TO_GLTF, atol=1e-6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_triangles_face_outwards(tmp_path: Path, side: str) -> None:
    """Faces turn anticlockwise: the volume that they enclose, but for the wrist's hole, is positive."""
    ((_, clip),) = clips_of([posed_prediction(side=side)], RIGHT)
    _, glb = written(clip, tmp_path)
    (primitive,) = glb.json["meshes"][0]["primitives"]
    points = glb.skinned() - glb.skinned().mean(0)
    a, b, c = points[glb.array(primitive["indices"]).reshape(-1, 3)].transpose(1, 0, 2)
    volume_litres = 1e3 * (np.cross(a, b) * c).sum() / 6
    assert 0.15 < volume_litres < 0.6


def test_a_video_is_animated(tmp_path: Path) -> None:
    frames = [posed_prediction("clip.mp4", frame=k, seed=k) for k in range(6)]
    ((_, clip),) = clips_of(frames, RIGHT)
    clip, glb = written(clip, tmp_path)
    (animation,) = glb.json["animations"]
    np.testing.assert_allclose(glb.array(animation["samplers"][0]["input"])[:, 0], np.arange(6) / 25, atol=1e-6)
    for row in range(6):
        same_mesh(glb.skinned(row), clip, row)
    for sampler in animation["samplers"]:
        values = glb.array(sampler["output"])
        if values.shape[1] == 4:
            assert ((values[1:] * values[:-1]).sum(1) >= 0).all()


def test_the_camera_projects_joints_to_their_pixels(tmp_path: Path) -> None:
    prediction = posed_prediction()
    ((_, clip),) = clips_of([prediction], RIGHT)
    clip, glb = written(clip, tmp_path)
    lens = glb.json["cameras"][0]["perspective"]
    node = next(node for node in glb.json["nodes"] if "camera" in node)
    assert not {"rotation", "translation", "scale", "matrix"} & set(node)
    joints = clip.fitted.joints_m[0].double().numpy() @ TO_GLTF
    up = 1 / np.tan(lens["yfov"] / 2)
    seen = joints[:, :2] / -joints[:, 2:] * [up / lens["aspectRatio"], up]  # -1 to 1 across the image, y up
    px = (seen * [1, -1] + 1) / 2 * [320, 240] - 0.5
    fitted_px = clip.fitted.joints_m[0].double().numpy() @ clip.camera.K.T
    np.testing.assert_allclose(px, fitted_px[:, :2] / fitted_px[:, 2:], atol=0.05)
    assert np.linalg.norm(px - prediction.hands[0].joints_px, axis=1).mean() < 2


def test_an_off_centre_camera_is_omitted(tmp_path: Path) -> None:
    ((_, clip),) = clips_of([posed_prediction(camera=Camera(300.0, 300.0, 100.0, 119.5, assumed=False))], RIGHT)
    assert "cameras" not in written(clip, tmp_path)[1].json


def test_an_unwritable_path_is_a_one_line_error(tmp_path: Path) -> None:
    ((_, clip),) = clips_of([posed_prediction()], RIGHT)
    assert clip is not None
    with pytest.raises(InputError, match="cannot be written"):
        write_glb(tmp_path / "missing" / "hand.glb", clip)


def test_without_absolute_joints_the_wrist_is_at_the_origin() -> None:
    ((_, clip),) = clips_of([posed_prediction(placed=False)], RIGHT)
    assert clip is not None
    torch.testing.assert_close(clip.fitted.wrist_m, torch.zeros(1, 3), atol=3e-3, rtol=0)


@pytest.mark.parametrize("missing", [(0,), (2,), (5,), (0, 2, 3, 5)], ids=str)
def test_frames_without_place_are_interpolated_and_say_so(tmp_path: Path, missing: tuple[int, ...]) -> None:
    """The wrist moves 2 cm a frame; the frames in ``missing`` have no absolute joints."""
    expected = np.array([0.1, 0.0, 0.5]) + np.arange(6)[:, None] * [0.02, 0.0, 0.0]
    frames = []
    for k, wrist_m in enumerate(expected):
        hand = posed_hand(1)
        placed = None if k in missing else hand.joints_rel_m + wrist_m
        frames.append(replace(posed_prediction("clip.mp4", k), hands=(replace(hand, joints_cam_m=placed),)))
    ((_, clip),) = clips_of(frames, RIGHT)
    assert clip is not None
    lines = list(rotations_json(clip))
    assert [line["placed"] for line in lines] == [k not in missing for k in range(6)]
    assert [line["wrist_m"] is None for line in lines] == [k in missing for k in range(6)]
    offset = clip.fitted.wrist_m.double().numpy() - expected  # of the fit, the same in all frames
    inside = [k for k in range(6) if min(set(range(6)) - set(missing)) <= k <= max(set(range(6)) - set(missing))]
    assert np.abs(offset[inside]).max() < 3e-3
    assert np.abs(offset).max() < 3e-3 + 0.02  # held before the first and after the last
    _, glb = written(clip, tmp_path)
    shown = np.stack([glb.worlds(row)["right_wrist"][:3, 3] for row in range(6)])
    np.testing.assert_allclose(shown @ TO_GLTF, clip.fitted.wrist_m.numpy(), atol=1e-6)
    assert "cameras" in glb.json


def test_quaternions_of_consecutive_frames_are_close() -> None:
    """A hand that turns once around: the sign of w changes in between."""
    hand = posed_hand(3)
    frames = []
    for k, angle in enumerate(np.linspace(0, 2 * np.pi, 40)):
        turn = Rotation.from_rotvec([0.0, 0.3 * angle, angle]).as_matrix()
        joints = hand.joints_rel_m @ turn.T
        turned = replace(hand, joints_rel_m=joints, joints_cam_m=np.add(joints, [0.0, 0.0, 0.5]))
        frames.append(replace(posed_prediction("clip.mp4", k), hands=(turned,)))
    ((_, clip),) = clips_of(frames, RIGHT)
    assert clip is not None
    lines = list(rotations_json(clip))
    for key in ("local", "camera"):
        quaternions = np.array([line[key] for line in lines])
        assert (quaternions[1:] * quaternions[:-1]).sum(-1).min() > 0.8, key
        np.testing.assert_allclose(np.linalg.norm(quaternions, axis=-1), 1, atol=1e-5)


def test_a_video_has_the_side_of_most_frames() -> None:
    frames = [posed_prediction("clip.mp4", frame=k, side="right" if k == 3 else "left", empty=k == 5) for k in range(8)]
    ((_, clip),) = clips_of(frames, RIGHT)
    assert clip is not None
    assert clip.model.side == "left"
    assert clip.frames == (0, 1, 2, 4, 6, 7)
    assert clip.total == 8


def test_lines_of_two_runs_are_two_videos() -> None:
    """glTF asks for times that rise."""
    run = [posed_prediction("clip.mp4", frame) for frame in range(4)]
    clips = [clip for _, clip in clips_of([*run, *run], RIGHT)]
    assert [clip.frames for clip in clips if clip is not None] == [(0, 1, 2, 3)] * 2


def test_without_tracks_each_frame_has_its_most_likely_hand() -> None:
    likely, other = posed_hand(1), replace(posed_hand(2), score=0.1)
    seen = [replace(posed_prediction("clip.mp4", frame), hands=(other, likely, other)) for frame in range(3)]
    ((_, clip),) = clips_of(seen, RIGHT)
    assert clip is not None
    assert clip.frames == (0, 1, 2)
    assert all(hand is likely for hand in clip.hands)


def test_an_image_named_twice_is_two_hands() -> None:
    assert len(list(clips_of([posed_prediction(), posed_prediction(seed=1)], RIGHT))) == 2


@pytest.mark.parametrize("side", ["right", "left"])
def test_rotations_pose_the_hand_model(side: str) -> None:
    prediction = posed_prediction(side=side)
    ((_, clip),) = clips_of([prediction], RIGHT)
    assert clip is not None
    (line,) = rotations_json(clip)
    assert (line["side"], line["placed"], len(line["joints"])) == (side, True, 16)
    pose = torch.from_numpy(Rotation.from_quat(line["local"]).as_matrix()).float()
    joints = clip.model(pose, torch.tensor(line["shape"])).double().numpy()
    joints += np.array(line["wrist_m"]) - joints[0]
    away = np.linalg.norm(joints - prediction.hands[0].joints_cam_m, axis=1)
    np.testing.assert_allclose(away.mean(), line["fit_error_m"], atol=1e-4)
    assert away.mean() < 2e-3
    # a chain of local rotations is the last one's as the camera sees it
    turns = dict(zip(line["joints"], Rotation.from_quat(line["local"])))
    seen = dict(zip(line["joints"], Rotation.from_quat(line["camera"])))
    chained = turns["wrist"] * turns["ring_mcp"] * turns["ring_pip"] * turns["ring_dip"]
    assert (chained.inv() * seen["ring_dip"]).magnitude() < 1e-4
