"""Where images and videos lie: folders, Parquet tables, WebDataset archives, on disks or in object stores (fsspec).

A :class:`Shard` is a piece of work that one worker does whole. Its items are read here, a few ahead of their use.
"""

from __future__ import annotations

import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from graphhand.errors import InputError
from graphhand.io import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Photo
from graphhand.io.images import decode_photo

Kind = Literal["images", "table", "archive", "video"]

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_TABLES = (".parquet",)
_VIDEOS = tuple(VIDEO_SUFFIXES)
_READERS = 4  # threads that read and decode ahead of the network
_AHEAD = 8  # items
_ROWS = 64  # of a table in memory at a time
_LARGEST_MEMBER = 2**30
_WAITS_S = (0.5, 2.0)  # before a store is asked again
_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError)

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Shard(NamedTuple):
    """A piece of work: some images, some row groups of a table, an archive, or a video.

    Attributes:
        number: from 0; the name of its results.
        kind: what ``paths`` are.
        paths: the files; one unless they are images.
        first, stop: the row groups of a table; else 0.
    """

    number: int
    kind: Kind
    paths: tuple[str, ...]
    first: int = 0
    stop: int = 0


class Item(NamedTuple):
    """An image that was read, or why it was not."""

    name: str
    photo: Photo | InputError


def list_shards(sources: Sequence[str], images_per_shard: int) -> list[Shard]:
    """Divide what lies under some paths.

    Args:
        sources: files, folders (searched to their ends) or patterns with ``*``; paths or URLs that fsspec knows.
        images_per_shard: how many images, or rows of a table, are one piece of work. A row group is not divided.

    Raises:
        InputError: a source cannot be listed, or holds nothing that is read.
    """
    work: list[tuple[Kind, tuple[str, ...], int, int]] = []
    files = sorted({path for source in sources for path in _files(source)})
    images = [path for path in files if _has(path, IMAGE_SUFFIXES)]
    for start in range(0, len(images), images_per_shard):
        work.append(("images", tuple(images[start : start + images_per_shard]), 0, 0))
    for path in files:
        if _has(path, _TABLES):
            work += [("table", (path,), first, stop) for first, stop in _row_groups(path, images_per_shard)]
        elif _has(path, _ARCHIVES):
            work.append(("archive", (path,), 0, 0))
        elif _has(path, _VIDEOS):
            work.append(("video", (path,), 0, 0))
    return [Shard(number, *piece) for number, piece in enumerate(work)]


def read_items(shard: Shard, column: str) -> Iterator[Item]:
    """The images of a shard, in order: each is read, or says why not.

    Args:
        shard: of images, a table or an archive.
        column: of a table, which holds the images' files: binary, or a struct with ``bytes``.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        if shard.kind == "images":
            yield from _ahead(pool, lambda path: _item(path, lambda: _bytes(path)), shard.paths)
        else:
            members = _rows(shard, column) if shard.kind == "table" else _members(shard.paths[0])
            yield from _ahead(pool, lambda member: _item(member[0], lambda: _given(member[1])), members)


def _files(source: str) -> list[str]:
    """Files behind one source, as absolute paths or URLs."""
    try:
        store, path = url_to_fs(source)
        if "*" in path:
            found = [name for name in store.glob(path) if store.isfile(name)]
        elif store.isdir(path):
            found = store.find(path)
        else:
            found = [path] if store.exists(path) else []
    except Exception as error:  # every store has its own
        raise InputError(source, f"cannot be listed ({_line(error)})", "check the address and its package") from None
    is_local = "file" in ((store.protocol,) if isinstance(store.protocol, str) else store.protocol)
    read = [
        name
        for name in found
        if _has(name, (*IMAGE_SUFFIXES, *_TABLES, *_ARCHIVES, *_VIDEOS))
        and not any(part.startswith((".", "_")) for part in name.removeprefix(path).split("/"))
    ]
    if not read:
        raise InputError(source, "holds no images, tables, archives or videos", "check the path")
    return read if is_local else [store.unstrip_protocol(name) for name in read]


def _has(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().endswith(suffixes)


def _row_groups(path: str, rows: int) -> list[tuple[int, int]]:
    """Ranges of row groups of about so many rows; one empty range where the table cannot be read."""
    try:
        with fsspec.open(path, "rb") as file:
            metadata = pq.ParquetFile(file).metadata
            counts = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    except Exception:  # found again, and reported, by whoever does the shard
        return [(0, 0)]
    ranges, first, held = [], 0, 0
    for group, count in enumerate(counts):
        if held and held + count > rows:
            ranges.append((first, group))
            first, held = group, 0
        held += count
    return [*ranges, (first, len(counts))] if counts else []


def _rows(shard: Shard, column: str) -> Iterator[tuple[str, bytes | InputError]]:
    """Name and bytes of each row; at the end the error, if not all could be read."""
    (path,) = shard.paths
    try:
        with fsspec.open(path, "rb") as file:
            table = pq.ParquetFile(file)
            if shard.first == shard.stop:
                raise InputError(path, "could not be read when the job was planned", "plan another job with it")
            if column not in table.schema_arrow.names:
                names = ", ".join(table.schema_arrow.names)
                raise InputError(path, f"has no column {column!r} (it has {names})", "name it with column=")
            kind = table.schema_arrow.field(column).type
            row = sum(table.metadata.row_group(k).num_rows for k in range(shard.first))
            groups = list(range(shard.first, shard.stop))
            for batch in table.iter_batches(_ROWS, row_groups=groups, columns=[column]):
                values = batch.column(0)
                if pa.types.is_struct(kind):  # Hugging Face's images
                    values = values.field("bytes")
                for value in values.to_pylist():
                    yield f"{path}#{row}", _as_bytes(value, f"{path}#{row}")
                    row += 1
    except InputError as error:
        yield path, error
    except Exception as error:  # pyarrow's and every store's
        yield path, InputError(path, f"cannot be read as Parquet ({_line(error)})", "write it again")


def _as_bytes(value: Any, name: str) -> bytes | InputError:
    if isinstance(value, bytes):
        return value
    return InputError(name, "holds no bytes of an image file", "give the column of encoded images")


def _members(path: str) -> Iterator[tuple[str, bytes | InputError]]:
    """Name and bytes of each image in an archive; at the end the error, if not all could be read."""
    try:
        with fsspec.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                if not member.isfile() or not _has(member.name, IMAGE_SUFFIXES):
                    continue
                name = f"{path}#{member.name}"
                if member.size > _LARGEST_MEMBER:
                    yield name, InputError(name, "is larger than 1 GiB", "shrink the image first")
                    continue
                stream = archive.extractfile(member)
                yield name, b"" if stream is None else stream.read()
    except Exception as error:  # tarfile's, a decompressor's, every store's
        yield path, InputError(path, f"cannot be read to its end ({_line(error)})", "write it again")


def _given(data: bytes | InputError) -> bytes:
    if isinstance(data, InputError):
        raise data
    return data


def _item(name: str, read: Callable[[], bytes]) -> Item:
    try:
        return Item(name, decode_photo(read(), name))
    except InputError as error:
        return Item(name, error)


def _bytes(path: str) -> bytes:
    """A file's bytes; a store that fails is asked again twice."""
    for wait_s in (*_WAITS_S, None):
        try:
            with fsspec.open(path, "rb") as file:
                data: bytes = file.read()
            return data
        except Exception as error:  # every store has its own
            if wait_s is None or isinstance(error, _PERMANENT):
                raise InputError(path, f"cannot be read ({_line(error)})", "check the file") from None
        time.sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _ahead(pool: ThreadPoolExecutor, call: Callable[[_In], _Out], values: Iterable[_In]) -> Iterator[_Out]:
    """The calls' results in order; a few are computed ahead."""
    waiting: deque[Future[_Out]] = deque()
    for value in values:
        waiting.append(pool.submit(call, value))
        if len(waiting) >= _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
