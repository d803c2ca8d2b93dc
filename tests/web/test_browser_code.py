"""The exported page's code beside the Python that it repeats: options, EXIF, rounding. Skipped without Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import cv2
import numpy as np
import pytest

from exif_files import app1, encoded, jpeg, png, riff, segment, tiff, webp
from graphhand.errors import InputError
from graphhand.export import site as sites
from graphhand.inference import options
from graphhand.inference.detector import letterbox
from graphhand.inference.option_rules import RULES
from graphhand.inference.options import PredictOptions
from graphhand.io import decode_photo
from graphhand.web import _fps

WEB = Path(sites.__file__).parents[1] / "web"
Run = Callable[[str, Any], Any]


@pytest.fixture(autouse=True)
def default_min_score() -> float:
    """The shipped networks' own: it is in the page."""
    return options.MIN_SCORE


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the body of a function of `given` and `rules` beside the browser's modules; gives what it returns."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("the browser's code is tested in Node")
    folder = tmp_path_factory.mktemp("browser")
    for file in (*WEB.glob("static/*.js"), *WEB.glob("browser/*.js")):  # as the export lays one over the other
        shutil.copy(file, folder)
    (folder / "package.json").write_text('{"type": "module"}')

    def call(body: str, given: Any) -> Any:
        script = f"""import {{ readFileSync }} from "node:fs";
            const [given, rules] = JSON.parse(readFileSync(0, "utf-8"));
            const answer = await (async () => {{ {body} }})();
            console.log(JSON.stringify(answer));"""
        (folder / "test.js").write_text(script, "utf-8")
        text = json.dumps([given, sites.rules()])
        done = subprocess.run([node, "test.js"], cwd=folder, input=text, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


ACCEPTED = ["", "side=left&max_hands=1", "side=auto&max_hands=50&fov=179.99", "fov=3.15&min_score=0", "min_score=1"]
ACCEPTED += ["whole_image=true&min_score=.5", "whole_image=No&max_hands=+7", "whole_image=1", "fov=%206.5e1%20"]
REFUSED = ["fov=200", "fov=-60", "fov=0", "fov=2", "fov=1.05", "fov=3.14159", "fov=1e-5", "fov=1e999", "fov=nan"]
REFUSED += ["fov=", "fov=wide", "fov=0x20", "max_hands=0", "max_hands=-1", "max_hands=51", "max_hands=2.0"]
REFUSED += ["max_hands=", "min_score=-0.1", "min_score=1.5", "min_score=inf", "side=both", "side=", "whole_image=maybe"]
REFUSED += ["max_hands=2&whole_image=1", "sde=left", "constructor=1", "min_score=2&fov=200"]


LACKING = ["focal", "box", "smooth", "keep_score", "fps"]
TWICE = ["side=left&side=left", "fov=50&fov=60"]
RATES = ["25", "0.5", "1000"]
NO_RATES = ["0", "-1", "1001", "nan", "", "fast"]


def pairs_of(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


@pytest.fixture(scope="module")
def page_options(run: Run) -> dict[str, Any]:
    """What the page makes of each query: its options, or a message."""
    queries = [*ACCEPTED, *REFUSED, *TWICE, *(f"{name}=1" for name in LACKING)]
    answers = run(
        """const { Options } = await import("./options.js");
        return given.map((one) => {
            try { return new Options(one, rules); } catch (error) { return error.message; }
        });""",
        [pairs_of(query) for query in queries],
    )
    return dict(zip(queries, answers))


@pytest.fixture(scope="module")
def page_rates(run: Run) -> dict[str, Any]:
    answers = run(
        """const { splitFps } = await import("./options.js");
        return given.map((fps) => {
            try { return splitFps([["side", "left"], ["fps", fps]], rules); } catch (error) { return error.message; }
        });""",
        RATES + NO_RATES,
    )
    return dict(zip(RATES + NO_RATES, answers))


@pytest.mark.parametrize("query", [*ACCEPTED, *REFUSED])
def test_options_are_those_of_python(page_options: dict[str, Any], query: str) -> None:
    said = page_options[query]
    if query in REFUSED:
        with pytest.raises(InputError) as caught:
            PredictOptions.of_texts(dict(pairs_of(query)))
        # Of the options that there are, the page lists its own.
        assert said.partition("; known are ")[0] == str(caught.value).partition("; known are ")[0]
        return
    expected = PredictOptions.of_texts(dict(pairs_of(query)))
    assert (said["side"], said["wholeImage"], said["fovDeg"]) == (expected.side, expected.whole_image, expected.fov_deg)
    assert said["sides"] == list(expected.sides)
    assert said["handLimit"] == expected.hand_limit
    assert said["scoreLimit"] == expected.score_limit(not expected.whole_image)


@pytest.mark.parametrize("name", LACKING)
def test_options_that_the_page_lacks_are_refused(page_options: dict[str, Any], name: str) -> None:
    said = page_options[f"{name}=1"]
    assert said.startswith(f"{name}: extra inputs are not permitted; known are side, whole_image, ")


@pytest.mark.parametrize("query", TWICE)
def test_an_option_that_is_given_twice_is_refused(page_options: dict[str, Any], query: str) -> None:
    assert page_options[query] == f"{query.partition('=')[0]}: is given more than once; give it once"


@pytest.mark.parametrize("text", [*RATES, *NO_RATES])
def test_the_rate_of_a_video_is_that_of_python(page_rates: dict[str, Any], text: str) -> None:
    if text in RATES:
        assert page_rates[text] == {"fps": _fps(text), "others": [["side", "left"]]}
        return
    with pytest.raises(InputError) as caught:
        _fps(text)
    assert page_rates[text] == str(caught.value)


@pytest.mark.parametrize("name", RULES)
def test_the_limits_of_a_rule_are_those_that_it_applies(name: str) -> None:
    rule = RULES[name]
    for choice in rule.choices or ():
        assert rule.parse(choice) == choice
    for limit, outward in zip(rule.limits or (), (-1, 1)):
        if (name, outward) != ("fov_deg", -1):  # these are taken for radians
            assert rule.parse(limit) == limit
        with pytest.raises(ValueError, match="input should be "):
            rule.parse(limit + outward)


def between_scans() -> bytes:
    data = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    place = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    return data[:place] + app1(26) + data[place:]


PX_A_MM = 50 / np.hypot(36, 24)  # of a 40 x 30 image
FILES: dict[str, tuple[bytes, int | None]] = {
    "jpeg": (jpeg(app1(26)), 26),
    "jpeg, big endian": (jpeg(app1(26, ">")), 26),
    "jpeg without": (jpeg(), None),
    "jpeg, fill bytes": (jpeg(b"\xff\xff", app1(26)), 26),
    "jpeg, stray bytes": (jpeg(segment(b"", 0xFE), b"\0\xff\0\xff\xd0", app1(26)), 26),
    "jpeg of two": (jpeg(app1(26), app1(52)), 26),
    "jpeg, a damaged one first": (jpeg(segment(b"Exif\0\0nothing"), app1(52)), None),
    "jpeg, after XMP": (jpeg(segment(b"http://ns.adobe.com/xap/1.0/\0<x/>"), app1(26)), 26),
    "jpeg, after much": (jpeg(*[segment(bytes(65_000), 0xE2)] * 5, app1(26)), 26),
    "jpeg, inside a comment": (jpeg(segment(app1(52), 0xFE), app1(26)), 26),
    "jpeg, between scans": (between_scans(), 26),
    "jpeg, after its end": (jpeg() + app1(26), None),
    "png": (png(tiff(26)), 26),
    "png, after the pixels": (png(tiff(26), at_end=True), 26),
    "png of two": (png(tiff(26), tiff(52)), 26),
    "png without": (png(), None),
    "webp": (webp((b"EXIF", tiff(26))), 26),
    "webp, named": (webp((b"EXIF", b"Exif\0\0" + tiff(26, ">"))), 26),
    "webp, after an odd chunk": (webp((b"XMP ", b"<x>"), (b"EXIF", tiff(26))), 26),
    "webp of two": (webp((b"EXIF", tiff(26)), (b"EXIF", tiff(52))), 26),
    "webp without": (webp(), None),
    "webp, after its end": (webp() + riff(b"EXIF", tiff(26)), None),
    "bmp": (encoded(".bmp"), None),
}


@pytest.fixture(scope="module")
def page_focals(run: Run) -> dict[str, float | None]:
    return dict(zip(FILES, exif_focals(run, [data for data, _ in FILES.values()])))


@pytest.mark.parametrize("name", FILES)
def test_the_focal_length_of_exif_is_the_same_in_both(page_focals: dict[str, float | None], name: str) -> None:
    data, focal_35mm = FILES[name]
    expected = None if focal_35mm is None else pytest.approx(focal_35mm * PX_A_MM)
    assert decode_photo(data).focal_px == expected
    assert page_focals[name] == expected


def test_truncated_exif_tells_the_same_in_both(run: Run) -> None:
    whole = tiff(26)
    files = [jpeg(segment(b"Exif\0\0" + whole[:end])) for end in range(len(whole) + 1)]
    expected = [decode_photo(data).focal_px for data in files]
    assert expected[0] is None
    assert expected[-1] is not None
    assert exif_focals(run, files) == [one if one is None else pytest.approx(one) for one in expected]


def exif_focals(run: Run, files: list[bytes]) -> list[float | None]:
    found: list[float | None] = run(
        """const { exifFocalPx } = await import("./exif.js");
        const blobs = given.map((text) => new Blob([Buffer.from(text, "base64")]));
        return Promise.all(blobs.map((blob) => exifFocalPx(blob, 40, 30)));""",
        [b64encode(data).decode() for data in files],
    )
    return found


@pytest.mark.parametrize("size", [256, 384, 512])
def test_a_detector_sees_images_of_the_size_that_it_sees_in_python(run: Run, size: int) -> None:
    """Half of the sizes shrink to exact halves of a pixel, which Python rounds to even numbers."""
    shorter = np.random.default_rng(size).integers(1, size, 6).tolist()
    sizes = [(2 * size, 2 * side + 1) for side in (*shorter, 0, 1)] + [
        (3 * side + 700, 2 * side + 1) for side in shorter
    ]
    sizes += [(height, width) for width, height in sizes[:4]] + [(2 * size, size + 65)]
    found = run(
        """const { detect } = await import("./detection.js");
        const answers = [];
        for (const [width, height] of given.sizes) {
            const network = { size: given.size, stride: 8, async run({ width, height, data }) {
                const isImage = (x, y) => data[4 * (y * width + x)] === 0;
                const count = (length, is) => Array.from({ length }, (_, k) => is(k)).filter(Boolean).length;
                answers.push([width, height, count(width, (x) => isImage(x, 0)), count(height, (y) => isImage(0, y))]);
                return { data: new Float32Array(6), width: 1, height: 1 };
            } };
            await detect(network, { width, height, data: new Uint8ClampedArray(4 * width * height) }, rules);
        }
        return answers;""",
        {"size": size, "sizes": sizes},
    )
    expected = []
    for width, height in sizes:
        canvas, _ = letterbox(np.zeros((height, width, 3), np.uint8), size)
        seen = canvas[:, :, 0] == 0
        expected.append([canvas.shape[1], canvas.shape[0], int(seen[0].sum()), int(seen[:, 0].sum())])
    assert found == expected


def test_halves_are_rounded_as_in_python(run: Run) -> None:
    values = [k / 4 for k in range(-20, 21)] + np.random.default_rng(4).uniform(0, 5000, 200).tolist()
    values += [0.49999999999999994, 4503599627370495.5]
    found = run(
        """const { roundedToEven } = await import("./geometry.js");
        return given.map(roundedToEven);""",
        values,
    )
    assert found == [round(value) for value in values]
