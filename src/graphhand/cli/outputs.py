"""Shared by commands: options, checks before long work, file names that do not collide, JSON, CSV, the progress bar."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from graphhand.errors import InputError
from graphhand.io.files import CARD_FILE, GRAPH_FILE, WEIGHTS_FILE, find_weights, write_text_atomically
from graphhand.skeleton import JOINT_NAMES
from graphhand.types import Prediction

if TYPE_CHECKING:
    from rich.progress import Progress


DeviceOption = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, tensorrt, coreml, directml, openvino: what the engine is built for.  "
        "\\[default: cuda if it can, else cpu]",
    ),
]
DetectorOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Folder of a detector's weights, or of photos a file of boxes: COCO's .json, scenes.jsonl.  "
        "\\[default: the bundled detector]",
    ),
]
EngineOption = Annotated[
    Literal["onnx", "torch"] | None,
    typer.Option(help="onnx: ONNX Runtime. torch: needs the extra 'train'.  \\[default: onnx where there is a graph]"),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads of the CPU.  \\[default: one a core, at most 4]"),
]


def limit_opencv_threads(threads: int | None) -> None:
    """Let OpenCV use as many threads as the network: they never run at the same time."""
    import cv2

    from graphhand.inference.runtime import default_threads

    cv2.setNumThreads(default_threads() if threads is None else threads)


NO_HAND = "no hand (--min-score 0 shows doubtful ones)"

CSV_COLUMNS = (
    *("image", "frame", "time_s", "track", "side", "score"),
    *(f"wrist_cam_{axis}_m" for axis in "xyz"),
    *(f"{joint}_{axis}" for joint in JOINT_NAMES for axis in ("u_px", "v_px", "x_m", "y_m", "z_m")),
)
"""``u_px``, ``v_px``: pixels of the image. ``x_m``, ``y_m``, ``z_m``: metres from the wrist, camera axes. The
wrist's position, metres from the camera, is empty where it is unknown, as are frame, time and track of a photo."""


def csv_header() -> str:
    """The first line of a CSV file, without its line end."""
    return _line(CSV_COLUMNS)


def csv_rows(prediction: Prediction) -> list[str]:
    """A line for each hand of an image, without its line end; none for an image without hands or unreadable."""
    rows = []
    for hand in prediction.to_json().get("hands", ()):
        place = [""] * 3 if hand["joints_cam_m"] is None else hand["joints_cam_m"][0]
        joints = [value for px, m in zip(hand["joints_px"], hand["joints_rel_m"]) for value in (*px, *m)]
        of_image = (prediction.image, prediction.frame, prediction.time_s, hand.get("track"))
        rows.append(_line((*of_image, hand["side"], hand["score"], *place, *joints)))
    return rows


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # a cell that holds one of its characters is quoted
    return text.getvalue().removesuffix("\r\n")


def progress_bar() -> Progress:
    """A bar with counts and the time left, on stderr where that is a terminal; it disappears when its work is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def parse_shard(text: str) -> tuple[int, int]:
    """The numbers I and N of ``--shard I/N``, 1 <= I <= N.

    Raises:
        InputError: the text is not that.
    """
    number, slash, shards = text.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise InputError("--shard", f"{text!r} is not a shard", "write for example 2/8")
    return int(number), int(shards)


def make_folder(folder: Path) -> None:
    """Make a folder if it does not exist.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"cannot be made a folder ({error.strerror})", "choose another --out") from error


def require_writable(folder: Path | None, option: str = "--out") -> None:
    """Refuse, before long work, a folder that cannot be made or written to.

    Args:
        folder: need not exist; None is accepted.
        option: the option that names it.

    Raises:
        InputError: the folder, or the part of its path that exists, is not a folder or cannot be written to.
    """
    if folder is None:
        return
    existing = next(part for part in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(part))
    if not existing.is_dir():
        raise InputError(existing, "is not a folder", f"choose another {option}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(existing, "cannot be written to", f"choose another {option}")


def resolved(path: str | Path) -> Path:
    """The absolute path without links; as it is written where it cannot be looked up."""
    try:
        return Path(path).resolve()
    except (OSError, ValueError, RuntimeError):  # no permission or too long, a NUL, a loop of links
        return Path(path).absolute()


def distinct_names(
    paths: Sequence[Path], is_taken: Callable[[int, str], bool] = lambda place, name: False
) -> list[str]:
    """A different name for each file: its stem, where needed with its folder, suffix and a number.

    Args:
        paths: the files.
        is_taken: called with a position in the list and a name; True where that file must not have that name, else it
            gets it.
    """
    spellings: list[Callable[[Path], str]] = [
        lambda path: path.stem,
        lambda path: f"{resolved(path).parent.name}_{path.stem}",
        lambda path: f"{resolved(path).parent.name}_{path.stem}_{path.suffix[1:]}",
    ]
    spelt = {path: spellings[0](path) for path in paths}  # a repeated file differs by its number alone
    for spelling in spellings[1:]:
        counts = Counter(name.lower() for name in spelt.values())  # some file systems fold case
        spelt = {path: spelling(path) if counts[name.lower()] > 1 else name for path, name in spelt.items()}
    names: list[str] = []
    taken: set[str] = set()
    for place, path in enumerate(paths):
        number, candidate = 1, spelt[path]
        while candidate.lower() in taken or is_taken(place, candidate):
            number += 1
            candidate = f"{spelt[path]}_{number}"
        taken.add(candidate.lower())
        names.append(candidate)
    return names


def refuse_inputs(target: str | Path | None, option: str, inputs: Iterable[Path | None]) -> None:
    """Refuse to overwrite what a command reads.

    Args:
        target: the file that would be written; None, and ``-`` with ``--json`` and ``--csv``, are accepted.
        option: the option that names it.
        inputs: files that the command reads; None is passed over.

    Raises:
        InputError: the target is one of the inputs, perhaps by another path.
    """
    if target is None or (option in ("--json", "--csv") and str(target) == "-"):
        return
    place, number = resolved(target), _file_number(target)
    for path in (path for path in inputs if path is not None):
        if resolved(path) == place or (number is not None and _file_number(path) == number):
            raise InputError(target, "is one of the inputs", f"choose another {option}")


def _file_number(path: str | Path) -> tuple[int, int] | None:
    """What all names of a file have in common; None where there is no such file."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def model_files(*weights: str | Path | None, hand_model: str | None = None) -> list[Path]:
    """Files that weights (folders, files or names) and a hand model are read from, for :func:`refuse_inputs`."""
    files: list[Path] = []
    for given in (one for one in weights if one is not None):  # as text: ./fast is no bundled name
        files.append(Path(given))
        with suppress(InputError, OSError, ValueError):  # whoever reads them says what is wrong
            files += [find_weights(given) / name for name in (WEIGHTS_FILE, CARD_FILE, GRAPH_FILE)]
    if hand_model not in (None, "default"):
        from graphhand.hand_model.files import find_hand_file

        with suppress(InputError, OSError, ValueError):
            files.append(find_hand_file(hand_model))
    return files


def require_folder_of(target: Path | None, option: str = "--json") -> None:
    """Refuse, before long work, a file that cannot be written.

    Args:
        target: the file; None, and ``-`` with ``--json``, are accepted.
        option: the option that names it.

    Raises:
        InputError: its folder does not exist or cannot be written to, or it is a folder itself.
    """
    if target is None or (option == "--json" and str(target) == "-"):
        return
    folder = target.absolute().parent
    if not folder.is_dir():
        raise InputError(target, f"there is no folder {folder}", f"make it, or choose another {option}")
    if target.is_dir():
        raise InputError(target, "is a folder", f"choose another {option}")
    if not os.access(folder, os.W_OK):
        raise InputError(target, "its folder cannot be written to", f"choose another {option}")


@contextmanager
def writing(target: str | Path, option: str) -> Iterator[None]:
    """Turn the system's errors of writing into one line.

    Args:
        target: the file or folder that is written; the system's error may name a temporary file instead.
        option: the option that names it.

    Raises:
        InputError: the target cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(target, f"cannot be written ({reason})", f"correct that, or choose another {option}") from None


def write_json(target: Path | None, content: object) -> bool:
    """Write JSON for ``--json``: to a file, or to standard output for ``-``.

    Returns:
        Whether it went to standard output, where nothing else may be printed then.

    Raises:
        InputError: the file cannot be written.
        ValueError: the content holds a number that JSON does not have.
    """
    if target is None:
        return False
    text = json.dumps(content, indent=1, allow_nan=False)
    if str(target) == "-":
        typer.echo(text)
        return True
    with writing(target, "--json"):
        write_text_atomically(target, text + "\n")
    return False


@contextmanager
def text_lines(
    target: str | None, option: str = "--json", inputs: Iterable[Path] = (), append: bool = False
) -> Iterator[Callable[[str], None]]:
    """A function that writes a line at once, so that an interrupted run keeps what it has.

    Args:
        target: the option's value: a file, ``-`` for standard output, or None, which discards lines.
        option: the option's name.
        inputs: files that the command reads, which are not overwritten.
        append: after what the file holds.

    Raises:
        InputError: the file cannot be written, or is one of the inputs; also when a line cannot be written.
    """

    def refused(error: OSError) -> InputError:
        name = "standard output" if target is None or target == "-" else target
        return InputError(name, f"cannot be written ({error.strerror or error})", f"choose another {option}")

    def to(stream: TextIO) -> Callable[[str], None]:
        def write(line: str) -> None:
            try:
                stream.write(line + "\n")
                stream.flush()
            except BrokenPipeError:  # the reader of standard output has closed it: typer ends quietly
                raise
            except OSError as error:
                raise refused(error) from error

        return write

    if target is None:
        yield lambda line: None
    elif target == "-":
        if sys.stdout is None:
            raise InputError("standard output", "is closed", f"choose another {option}")
        yield to(sys.stdout)
    else:
        refuse_inputs(target, option, inputs)
        try:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            # Not every file name is UTF-8.
            stream = Path(target).open(  # noqa: SIM115
                "a" if append else "w", encoding="utf-8", errors="backslashreplace", newline="\n"
            )
        except OSError as error:
            raise refused(error) from error
        try:
            yield to(stream)
        except BaseException:
            with suppress(OSError):  # the first error is raised
                stream.close()
            raise
        try:
            stream.close()
        except OSError as error:
            raise refused(error) from error
