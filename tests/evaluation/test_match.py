"""Predictions from files: each format gives the same records, and bad files are refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

from graphhand.data.datasets.rhd import RHD
from graphhand.data.sample import HandSample, SampleLabels
from graphhand.errors import InputError, NoHandError
from graphhand.evaluation import PoseRecords, preset, score
from graphhand.evaluation.match import detect_format, read_json_lines, read_predictions
from graphhand.evaluation.records import JointConvention
from graphhand.evaluation.submissions import CONVENTIONS, write_submission
from graphhand.skeleton import JOINT_ORDERS, from_graphhand_order

HUGE_HAND = json.dumps(
    {"image": "a", "hands": [{"side": "left", "joints_rel_m": [[10**400] * 3] * 21, "joints_px": [[1, 1]] * 21}]}
).encode()


@pytest.fixture
def labels(records):
    return [
        SampleLabels(i, name, "left" if i % 2 else "right", records.truth_m[i], records.truth_px[i], records.visible[i])
        for i, name in enumerate(records.names)
    ]


class Samples:
    """A data set with the labels of ``records``; ``without_hand`` are extra frames that it leaves out itself."""

    def __init__(self, records, without_hand=(), name="toy"):
        self.records, self.without_hand = records, set(without_hand)
        self.protocol = {"dataset": name}
        self.frames = [i for i in range(len(records) + len(self.without_hand)) if i not in self.without_hand]

    def __len__(self):
        return len(self.records) + len(self.without_hand)

    def __getitem__(self, index):
        if index in self.without_hand:
            raise NoHandError("frames", f"frame {index} shows no hand", "nothing to do")
        k = self.frames.index(index)
        return HandSample(
            image=np.zeros((128, 128, 3), np.uint8),
            joints_px=self.records.truth_px[k],
            visible=self.records.visible[k],
            side="right",
            name=str(index),
            joints_cam_m=self.records.truth_m[k],
        )


def line(records, i, *, side=None, name=None, absolute=True, shift_px=0.0):
    pose = records.predicted_m[i]
    return {
        "image": name or f"/somewhere/{records.names[i]}",
        "width": 128,
        "height": 128,
        "hands": [
            {
                "side": side or ("left" if i % 2 else "right"),
                "score": 0.9,
                "joints_px": (records.predicted_px[i] + shift_px).tolist(),
                "joints_rel_m": (pose - pose[0]).tolist(),
                "joints_cam_m": pose.tolist() if absolute else None,
            }
        ],
        "model": "m",
    }


def write_lines(path, lines):
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def read(path, labels):
    """By whichever reader the file asks for."""
    kind = detect_format(path)
    return read_json_lines(path, labels) if kind == "json lines" else read_predictions(path, [])


def test_npz_round_trip(records, tmp_path):
    records.save(tmp_path / "p.npz")
    again = PoseRecords.load(tmp_path / "p.npz")
    for name in type(records).__dataclass_fields__:
        np.testing.assert_array_equal(getattr(records, name), getattr(again, name))


@pytest.mark.parametrize(("unit", "factor"), [("m", 1), ("cm", 100), ("mm", 1000)])
def test_npz_and_mat_in_any_unit(records, tmp_path, unit, factor):
    np.savez(tmp_path / "p.npz", predicted_m=records.predicted_m * factor, truth_m=records.truth_m * factor)
    scipy.io.savemat(
        tmp_path / "p.mat", {"est_pose_xyz": records.predicted_m * factor, "gt_pose_xyz": records.truth_m * factor}
    )
    expected = score(records, preset("root")).mean_mm
    for file in ("p.npz", "p.mat"):
        assert detect_format(tmp_path / file) == "arrays"
        got = score(PoseRecords.load(tmp_path / file, JointConvention(unit=unit)), preset("root")).mean_mm
        assert got == pytest.approx(expected)


def test_a_wrong_unit_is_refused(records, tmp_path):
    np.savez(tmp_path / "p.npz", predicted_m=records.predicted_m * 1000, truth_m=records.truth_m * 1000)
    with pytest.raises(InputError, match="unit=mm"):
        read_predictions(tmp_path / "p.npz")


def in_convention(joints_m, order, axes, unit):
    """Joints as a file of another convention holds them."""
    factor = {"m": 1, "cm": 100, "mm": 1000}[unit] * np.array([1, -1, -1] if axes == "opengl" else [1, 1, 1])
    return from_graphhand_order(joints_m * factor, order)


@pytest.mark.parametrize("order", [order for order in JOINT_ORDERS if order != "stb"])
@pytest.mark.parametrize("axes", ["camera", "opengl"])
@pytest.mark.parametrize("said_by", ["file", "option"])
def test_arrays_of_any_joint_order_and_axes_score_the_same(records, tmp_path, order, axes, said_by):
    expected = [score(records, preset(name)).mean_mm for name in ("root", "procrustes", "freihand-unaligned")]
    pair = (in_convention(joints, order, axes, "mm") for joints in (records.predicted_m, records.truth_m))
    others = {"visible": from_graphhand_order(records.visible[..., None], order)[..., 0], "absolute": records.absolute}
    said = {"joint_order": order, "axes": axes, "unit": "mm"}
    keys, stored = (said, None) if said_by == "file" else ({}, JointConvention(**said))
    np.savez(tmp_path / "p.npz", **dict(zip(("predicted_m", "truth_m"), pair)), **others, **keys)
    again = read_predictions(tmp_path / "p.npz", stored=stored).records
    np.testing.assert_array_equal(again.visible, records.visible)
    found = [score(again, preset(name)).mean_mm for name in ("root", "procrustes", "freihand-unaligned")]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_mat_file_says_its_joint_order_axes_and_unit(records, tmp_path):
    est, gt = (in_convention(joints, "mano", "opengl", "cm") for joints in (records.predicted_m, records.truth_m))
    said = {"joint_order": "mano", "axes": "opengl", "unit": "cm"}
    scipy.io.savemat(tmp_path / "p.mat", {"est": est, "gt": gt, **said})
    again = read_predictions(tmp_path / "p.mat").records
    np.testing.assert_allclose(again.predicted_m, records.predicted_m, atol=1e-12)


def test_a_convention_that_is_unknown_or_contradicted_is_refused(records, tmp_path):
    arrays = {"predicted_m": records.predicted_m, "truth_m": records.truth_m}
    np.savez(tmp_path / "a.npz", **arrays, joint_order="smplx")
    with pytest.raises(InputError, match="joint_order is 'smplx'; store one of graphhand"):
        read_predictions(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **arrays, unit="m")
    with pytest.raises(InputError, match="says unit m; omit unit=mm"):
        read_predictions(tmp_path / "b.npz", stored=JointConvention(unit="mm"))


@pytest.mark.parametrize("dataset", ["freihand", "ho3d", "dexycb"])
@pytest.mark.parametrize("kind", ["freihand", "ho3d", "dexycb"])
def test_every_submission_reads_back_to_the_score_of_its_run(records, tmp_path, kind, dataset):
    path = tmp_path / ("s.txt" if kind == "dexycb" else "s.json")
    write_submission(path, records, kind)
    again = read_predictions(path, Samples(records, name=dataset))
    assert again.source["format"] == f"{kind} ({CONVENTIONS[kind].describe()})"
    for name in ("root", "root-scale", "procrustes", "freihand-unaligned", "ho3d-root-scale"):
        assert score(again.records, preset(name)).mean_mm == pytest.approx(
            score(records, preset(name)).mean_mm, abs=1e-3
        )


def test_a_perfect_ho3d_file_scores_zero(records, tmp_path):
    """The challenge's own format: MANO's joint order with the fingertips at the end, y up, z backwards."""
    mano = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
    path = tmp_path / "pred.json"
    path.write_text(json.dumps([(records.truth_m * [1, -1, -1])[:, mano].tolist(), []]))
    found = read_predictions(path, Samples(records, name="ho3d")).records
    assert score(found, preset("ho3d-unaligned")).mean_mm < 1e-3


def test_joints_relative_to_a_root_are_ho3ds_on_ho3d_alone(records, tmp_path):
    path = tmp_path / "pred.json"
    centred = records.predicted_m - records.predicted_m.mean(axis=1, keepdims=True)
    for name, stored in (("ho3d", CONVENTIONS["ho3d"]), ("freihand", CONVENTIONS["freihand"])):
        held = in_convention(centred, stored.joint_order, stored.axes, "m")
        path.write_text(json.dumps([held.tolist(), []]))
        found = read_predictions(path, Samples(records, name=name)).records
        np.testing.assert_allclose(found.predicted_m, centred, atol=1e-9)


@pytest.mark.parametrize("limit", [None, 20])
@pytest.mark.parametrize("rows", ["all samples", "those with a hand", "first", "first with a hand"])
def test_rows_of_samples_without_a_hand_may_be_there_or_not(records, tmp_path, rows, limit):
    samples = Samples(records, without_hand=(3, 7, 25))
    full = np.zeros((33, 21, 3))
    full[samples.frames] = records.predicted_m
    count = 33 if limit is None else limit
    with_hand = [i for i in samples.frames if i < count]
    held = {
        "all samples": full,
        "those with a hand": records.predicted_m,
        "first": full[:count],
        "first with a hand": full[with_hand],
    }[rows]
    path = tmp_path / "p.json"
    path.write_text(json.dumps([held.tolist(), []]))
    found = read_predictions(path, samples, limit=limit)
    assert found.records.index.tolist() == with_hand
    np.testing.assert_allclose(found.records.predicted_m, full[with_hand])
    of = "sample with a hand" if "with a hand" in rows else "sample"
    assert found.notes == [f"the file has a row for each {of}; {count - len(with_hand)} without a hand are not scored"]


def test_a_number_of_rows_that_fits_nothing_or_twice_is_refused(records, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps([records.predicted_m.tolist(), []]))
    with pytest.raises(InputError, match="30 hands for a data set of 29; use the split"):
        read_predictions(path, Samples(records.select(slice(29))))
    with pytest.raises(InputError, match="30 hands for a data set of 31, 29 with a hand; use the split"):
        read_predictions(path, Samples(records.select(slice(29)), without_hand=(1, 2)))
    with pytest.raises(InputError, match="and --limit 30: either may be meant; omit --limit"):
        read_predictions(path, Samples(records, without_hand=(3, 7)), limit=30)


def test_lines_with_numbers_are_matched_by_them(records, tmp_path):
    path = tmp_path / "p.txt"
    write_submission(path, records, "dexycb")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[20:] + lines[:5]) + "\n")
    found = read_predictions(path, Samples(records))
    assert found.records.index.tolist() == [*range(5), *range(20, 30)]
    assert len(found.skipped) == 15
    assert "15 samples have no prediction and do not count: this flatters the numbers" in found.notes
    with pytest.raises(InputError, match="has sample 20 of 10"):
        read_predictions(path, Samples(records.select(slice(10))))


def test_a_missing_image_does_not_keep_labels_from_being_scored(tmp_path):
    from graphhand import cli

    render = ["render", "--layout", "rhd", "--split", "test", "--count", "2", "--out", str(tmp_path / "rhd")]
    assert CliRunner().invoke(cli.app, render).exit_code == 0
    truth = [RHD(tmp_path / "rhd", "evaluation")[k].joints_cam_m.tolist() for k in range(2)]
    (tmp_path / "p.json").write_text(json.dumps([truth, []]))
    (tmp_path / "rhd" / "evaluation" / "color" / "00001.png").unlink()
    found = read_predictions(tmp_path / "p.json", RHD(tmp_path / "rhd", "evaluation"))
    assert not found.skipped
    assert score(found.records, preset("freihand-unaligned")).mean_mm < 1e-3


def test_json_lines_are_matched_by_image_in_any_order(records, labels, tmp_path):
    path = write_lines(tmp_path / "p.jsonl", [line(records, i) for i in reversed(range(30))])
    assert detect_format(path) == "json lines"
    again, skipped, counts = read_json_lines(path, labels)
    assert not skipped
    assert counts == {"wrong_side": 0, "error_lines": 0}
    np.testing.assert_allclose(again.predicted_m, records.predicted_m)
    np.testing.assert_allclose(again.predicted_px, records.predicted_px)
    assert again.absolute.all()


def test_missed_images_failed_lines_and_wrong_sides_are_counted(records, labels, tmp_path):
    lines = [line(records, i) for i in range(1, 28)]
    lines[0] = line(records, 1, side="right", absolute=False)
    lines += [
        {"image": f"x/{records.names[28]}", "error": "unreadable"},
        {"image": f"x/{records.names[29]}", "hands": []},
    ]
    again, skipped, counts = read_json_lines(write_lines(tmp_path / "p.jsonl", lines), labels)
    assert len(again) == 27
    assert [(s.index, s.reason) for s in skipped] == [
        (0, "no line for its image"),
        (28, "no hand was found in its image"),
        (29, "no hand was found in its image"),
    ]
    assert counts == {"wrong_side": 1, "error_lines": 1}
    assert not again.absolute[0]
    assert again.absolute[1:].all()
    np.testing.assert_allclose(again.predicted_m[0, 0], 0)


def test_of_several_hands_the_nearest_of_the_right_side_is_taken(records, labels, tmp_path):
    one = line(records, 0)
    one["hands"] += line(records, 0, side="left")["hands"]  # exact, but another side
    one["hands"] += line(records, 0, shift_px=40)["hands"]
    one["hands"][0]["joints_px"] = (records.predicted_px[0] + 5).tolist()
    again, _, counts = read_json_lines(write_lines(tmp_path / "p.jsonl", [one]), labels[:1])
    np.testing.assert_allclose(again.predicted_px[0], records.predicted_px[0] + 5)
    assert counts["wrong_side"] == 0


@pytest.mark.parametrize(
    ("sample", "image", "same"),
    [
        ("images/00001.png", "/data/images/00001.png", True),
        ("images/00001.png#left", "images/00001.png", True),
        ("evaluation/00000001", "FreiHAND/evaluation/00000001.jpg", True),
        ("a/1.png", "a\\1.png", True),
        ("evaluation/rgb/00000001", "00000001.jpg", True),  # predict was run inside the folder
        ("evaluation/rgb/00000001", "other/00000001.jpg", False),
        ("my#1.png#left", "dir/my#1.png", True),
        ("my#1.png", "my#2.png", False),
        ("1.png", "dir/11.png", False),
        ("b/1.png", "a/1.png", False),
    ],
)
def test_images_match_by_the_end_of_their_path(records, labels, tmp_path, sample, image, same):
    renamed = SampleLabels(0, sample, "right", labels[0].joints_m, labels[0].joints_px, labels[0].visible)
    other = SampleLabels(1, "other", "right", labels[1].joints_m, labels[1].joints_px, labels[1].visible)
    lines = [line(records, 0, name=image), line(records, 1, name="other.png")]
    got, skipped, _ = read_json_lines(write_lines(tmp_path / "p.jsonl", lines), [renamed, other])
    assert len(got) == (2 if same else 1)
    assert len(skipped) == (0 if same else 1)


def test_an_ambiguous_image_name_matches_nothing(records, labels, tmp_path):
    lines = [line(records, 0, name=f"{d}/1.png") for d in "ab"] + [line(records, 1, name="other.png")]
    samples = [
        SampleLabels(0, "1.png", "right", *(getattr(labels[0], n) for n in ("joints_m", "joints_px", "visible"))),
        SampleLabels(1, "other", "right", *(getattr(labels[1], n) for n in ("joints_m", "joints_px", "visible"))),
    ]
    _, skipped, _ = read_json_lines(write_lines(tmp_path / "p.jsonl", lines), samples)
    assert [s.index for s in skipped] == [0]


def test_a_line_that_fits_two_folders_matches_neither(records, labels, tmp_path):
    """SK_color_0.png says no more than that, and two sequences have one."""
    samples = [replace(labels[k], name=name, image_path="") for k, name in enumerate(("a/1", "b/1", "b/2"))]
    lines = [line(records, 0, name="1.png"), line(records, 2, name="2.png")]
    _, skipped, _ = read_json_lines(write_lines(tmp_path / "p.jsonl", lines), samples)
    assert [s.index for s in skipped] == [0, 1]


def test_a_sample_is_matched_by_its_image_whatever_its_name(records, labels, tmp_path):
    samples = [replace(labels[0], name="Anna, 3rd try", image_path="images/0003.jpg")]
    path = write_lines(tmp_path / "p.jsonl", [line(records, 0, name="/data/images/0003.jpg")])
    got, skipped, _ = read_json_lines(path, samples)
    assert not skipped
    assert got.names.tolist() == ["Anna, 3rd try"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("p.jsonl", b"{", "not JSON"),
        ("p.jsonl", b'{"hands": []}', "no 'image'"),
        ("p.jsonl", b'{"image": "a", "hands": null}', "'hands' is no list"),
        ("p.jsonl", HUGE_HAND, "a hand is not as expected"),
        ("p.json", b"[[[[1" + b"0" * 400 + b", 1, 1]]], []]", "21x3"),
        ("p.jsonl", b'{"image": "a", "hands": [{"side": "left"}]}', "a hand is not as expected"),
        ("p.jsonl", b'{"image": "a", "hands": [{"side":"left","joints_rel_m":[[1]],"joints_px":[[1]]}]}', "21 joints"),
        ("p.jsonl", b'{"image": "elsewhere", "hands": []}', "no line names an image"),
        ("p.json", b"[[[1, 2]]]", "21x3"),
        ("p.json", b"[", "not JSON"),
        ("p.json", b"[" * 100_000, "not JSON"),
        ("p.json", b"7", "not a predictions file"),
        ("p.xyz", b"", "not a predictions file"),
        ("p.txt", b"0,1,2\n", "2 coordinates, not 63"),
        ("p.txt", b"0,x\n", "not numbers separated by commas"),
        ("p.txt", b"0" + b",1" * 63 + b"\n0" + b",1" * 63, "sample 0 has more than one line"),
        ("p.jsonl", '{"image": "a", "hands": []}\n'.encode("utf-16"), "not text in UTF-8"),
        ("p.json", "[[], []]".encode("utf-16"), "not text in UTF-8"),
        ("p.jsonl", b'{"image": "a", "hands": []}\n{"image": "\xe9"}', "not text in UTF-8"),
        ("p.json", b'[["\xe9"], []]', "not text in UTF-8"),
        ("p.npz", b"PK\x03\x04 cut short", "not readable as .npz"),
        ("p.npz", b"", "not readable as .npz"),
        ("p.mat", b"MATLAB 5.0 but not really", "not readable as a MATLAB file"),
    ],
)
def test_bad_files_are_refused_in_one_line(labels, tmp_path, name, content, problem):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read(path, labels)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_npz_is_refused_in_one_line_or_read(records, tmp_path, seed):
    """Wherever the damage is: in the archive's own tables, in compressed data, in an array's header."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "p.npz"
    records.save(path)
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), 20) if seed % 2 else rng.integers(0, 300, 4):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    errors = []
    try:
        read(path, [])
    except InputError as error:
        errors.append(str(error))
    assert all(line.startswith(str(path)) and "\n" not in line for line in errors)


def test_missing_arrays_and_wrong_shapes_are_named(records, tmp_path):
    np.savez(tmp_path / "a.npz", predicted_m=records.predicted_m)
    with pytest.raises(InputError, match="truth_m"):
        PoseRecords.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", predicted_m=records.predicted_m[:, :5], truth_m=records.truth_m)
    with pytest.raises(InputError, match="predicted_m must have shape"):
        PoseRecords.load(tmp_path / "b.npz")
    scipy.io.savemat(tmp_path / "c.mat", {"something": records.truth_m})
    with pytest.raises(InputError, match="among something"):
        PoseRecords.load(tmp_path / "c.mat")


@pytest.mark.parametrize("values", [np.array(["a", "b"]), np.zeros((2, 21, 3), complex), np.zeros((2, 21, 3), bool)])
def test_arrays_of_anything_but_numbers_are_refused(records, tmp_path, values):
    np.savez(tmp_path / "p.npz", predicted_m=values, truth_m=records.truth_m)
    with pytest.raises(InputError, match="predicted_m is not numbers"):
        PoseRecords.load(tmp_path / "p.npz")


def test_a_matlab_struct_is_refused(records, tmp_path):
    scipy.io.savemat(tmp_path / "p.mat", {"est": {"poses": records.predicted_m}, "gt": records.truth_m})
    with pytest.raises(InputError, match="est is not numbers"):
        PoseRecords.load(tmp_path / "p.mat")


def test_a_pickled_npz_is_not_executed(tmp_path):
    np.savez(tmp_path / "p.npz", predicted_m=np.array([print], dtype=object), truth_m=np.zeros(1))
    with pytest.raises(InputError, match="not readable as"):
        PoseRecords.load(tmp_path / "p.npz")
