"""Where commands write: folders, file names that do not collide, JSON whole or in lines.

The progress bar of long commands: on stderr, and only where that is a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from graphhand.errors import InputError
from graphhand.io.files import write_text_atomically

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar() -> Progress:
    """A bar with counts and the time left; it disappears when its work is done."""
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


def make_folder(folder: Path) -> None:
    """Make a folder, if there is none.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"cannot be made a folder ({error.strerror})", "choose another --out") from error


def require_writable(folder: Path | None, option: str = "--out") -> None:
    """Refuse a folder that could not be made or written into after long work.

    Args:
        folder: the folder, which need not exist; None is none.
        option: which option names it.

    Raises:
        InputError: it, or what of its path there is, is no folder or cannot be written to.
    """
    if folder is None:
        return
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(part))
    if not there.is_dir():
        raise InputError(there, "is not a folder", f"choose another {option}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(there, "cannot be written to", f"choose another {option}")


def resolved(path: str | Path) -> Path:
    """The absolute path without links; of one that cannot be looked up, as it is written."""
    try:
        return Path(path).resolve()
    except (OSError, ValueError, RuntimeError):  # no permission or too long, a NUL, a loop of links
        return Path(path).absolute()


def distinct_names(
    paths: Sequence[Path], spoken_for: Callable[[int, str], bool] = lambda place, name: False
) -> list[str]:
    """A name for each file, after it: its stem, and where need be its folder, suffix and a number.

    Args:
        paths: the files.
        spoken_for: whether the file of a place in the list must not have a name.
    """
    spellings: list[Callable[[Path], str]] = [
        lambda path: path.stem,
        lambda path: f"{resolved(path).parent.name}_{path.stem}",
        lambda path: f"{resolved(path).parent.name}_{path.stem}_{path.suffix[1:]}",
    ]
    spelt = {path: spellings[0](path) for path in paths}  # the same file twice differs by its number alone
    for spelling in spellings[1:]:
        counts = Counter(name.lower() for name in spelt.values())  # some file systems fold case
        spelt = {path: spelling(path) if counts[name.lower()] > 1 else name for path, name in spelt.items()}
    names: list[str] = []
    taken: set[str] = set()
    for place, path in enumerate(paths):
        number, candidate = 1, spelt[path]
        while candidate.lower() in taken or spoken_for(place, candidate):
            number += 1
            candidate = f"{spelt[path]}_{number}"
        taken.add(candidate.lower())
        names.append(candidate)
    return names


def refuse_inputs(target: str | Path, option: str, inputs: Iterable[Path]) -> None:
    """Refuse to write over what a command reads.

    Args:
        target: the file that would be written.
        option: which option names it.
        inputs: files that the command reads.

    Raises:
        InputError: it is one of the inputs, under whatever name.
    """
    if resolved(target) in {resolved(path) for path in inputs}:
        raise InputError(target, "is one of the inputs", f"choose another {option}")


def require_folder_of(target: Path | None, option: str = "--json") -> None:
    """Refuse a file that could not be written after long work.

    Args:
        target: the file that will be written; None, and with ``--json`` ``-``, are no file.
        option: which option names it.

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
    """Turn what the system says against writing into one line.

    Args:
        target: the file or folder that is written; errors may name a temporary file instead.
        option: which option names it.

    Raises:
        InputError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(target, f"cannot be written ({reason})", f"mend that, or choose another {option}") from None


def write_json(target: Path | None, content: object) -> bool:
    """JSON for ``--json``: into a file, or for ``-`` on standard output.

    Returns:
        Whether standard output is taken, so that nothing else may be printed there.

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
    target: str | None, option: str = "--json", inputs: Iterable[Path] = ()
) -> Iterator[Callable[[str], None]]:
    """A function that writes a line at once, so that an interrupted run keeps what it has.

    Args:
        target: what the option was given: a file, ``-`` for standard output, or None for nowhere.
        option: its name.
        inputs: files that the command reads, which are not written over.

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
            except BrokenPipeError:  # whoever read standard output has enough: typer ends quietly
                raise
            except OSError as error:
                raise refused(error) from error

        return write

    if target is None:
        yield lambda line: None
    elif target == "-":
        yield to(sys.stdout)
    else:
        refuse_inputs(target, option, inputs)
        try:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            # Not every file's name is UTF-8.
            stream = Path(target).open("w", encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115
        except OSError as error:
            raise refused(error) from error
        try:
            yield to(stream)
        except BaseException:
            with suppress(OSError):  # the first error tells
                stream.close()
            raise
        try:
            stream.close()
        except OSError as error:
            raise refused(error) from error
