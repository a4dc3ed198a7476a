"""Photos on a disk: files, what is in folders, and what a glob matches.

Photos are read one at a time, just before they are sent: a folder of a hundred thousand needs no more
memory than its largest file.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from blindsight.client import sidecars
from blindsight.errors import InvalidArgument, InvalidImage, ResourceExhausted
from blindsight.runtime import paths
from blindsight.runtime.transfer import MAX_PHOTO_BYTES

if TYPE_CHECKING:
    from blindsight.wire.vectors import PhotoVector

# The keyholder accepts no longer ones.
MAX_NAME_BYTES = 1024
_CUT = "…/"
_EVERYTHING_BELOW = "**"
_LINKED = "a link to a folder, which is left out; name it to take what is in it"


@dataclass(frozen=True, slots=True)
class Source:
    """One photo to send.

    Attributes:
        label: its name in reports: the path as it was given or found.
        name: for display, stored with the photo: the path inside the given folder, or the file's name.
        load: reads or encodes the photo; raises InvalidImage or ResourceExhausted.
        on_disk: whether the label is the path of a file.
        id: of the item; empty: the keyholder makes it of the content.
        metadata: what its owner says of it.
        found: whether it was found in a folder or by a glob, and not named.
        hidden: whether it is a hidden file or folder in one that was named: counted, and left out.
        vectors: of its owner's.
        sidecar: the file beside it that says more of it; None: none.
    """

    label: str
    name: str
    load: Callable[[], bytes]
    on_disk: bool = False
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    found: bool = False
    hidden: bool = False
    vectors: tuple[PhotoVector, ...] = field(default=(), compare=False)
    sidecar: Path | None = None

    def said(self) -> Mapping[str, Any]:
        """Returns the metadata of the photo together with those of its sidecar file, which it goes before.

        Raises:
            InvalidArgument: if the sidecar file holds none, or it is too much in all.
        """
        if self.sidecar is None:
            return self.metadata
        from blindsight.wire.metadata import joined  # imported late: most photos come without

        return joined(sidecars.read(self.sidecar), self.metadata)


# A path that was found, and why it is left out; empty if it is not.
_Found = tuple[Path, str]


def one(given: str) -> Source:
    """Returns the photo of a path; a pipe, and `-` or /dev/stdin, is read when it is sent.

    Raises:
        InvalidArgument: if the path is empty or does not exist, or is a folder or a glob.
    """
    _require_path(given)
    path = Path(paths.at_home(given))
    kind = _kind(path)
    if kind == "folder":
        raise InvalidArgument(f"{given} is a folder, want a photo")
    if kind == "nothing":
        raise InvalidArgument(f"no such file: {given}")
    return _named(path, kind)


def found(given: str) -> Iterator[Source]:
    """Yields the photos of a file, a pipe, a folder or a glob; hidden ones of a folder only to be counted.

    A folder below that cannot be listed, or is a link, is yielded too: what it says when it is loaded is told
    with the photos that are rejected.

    Raises:
        InvalidArgument: if the path is empty, does not exist or cannot be listed, or a glob matches nothing.
    """
    _require_path(given)
    given = paths.at_home(given)
    path = Path(given)
    kind = _kind(path)
    if kind == "folder":
        yield from _folder(path)
    elif kind != "nothing":
        yield _named(path, kind)
    elif glob.has_magic(given):
        yield from _matches(given)
    else:
        raise InvalidArgument(f"no such file or folder: {given}")


def _require_path(given: str) -> None:
    if not given:  # as of a variable of a shell that is not set; pathlib would take this folder
        raise InvalidArgument("an empty path, want a file, a folder or a glob")


def text(name: str) -> str:
    """Returns a name as it can be sent: those on disk may be no valid UTF-8, but protobuf needs it."""
    return os.fsencode(name).decode("utf-8", "replace")


def limited(data: bytes | bytearray | memoryview) -> bytes:
    """Returns the data of a photo.

    Raises:
        ResourceExhausted: if it is too large to be sent.
    """
    if memoryview(data).nbytes > MAX_PHOTO_BYTES:
        raise _too_large(memoryview(data).nbytes)
    return bytes(data)


def _kind(path: Path) -> Literal["folder", "file", "pipe", "nothing"]:
    try:
        if paths.is_pipe(path):
            return "pipe"
        if path.is_dir():
            return "folder"
        return "file" if path.exists() or path.is_symlink() else "nothing"
    except OSError as error:  # a parent folder without permission, or a name that is too long
        raise InvalidArgument(f"cannot use {path}: {error.strerror}") from None


def _named(path: Path, kind: str) -> Source:
    if kind == "pipe":  # once: what a call sends it may have to send again
        return Source(str(path), path.name, cache(partial(_read_pipe, path)))
    return _file(path, path.name)


def _matches(pattern: str) -> Iterator[Source]:
    # Names are relative to the part before the first wildcard, as those of a folder are to the folder.
    parts = Path(pattern).parts
    fixed = next(count for count, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    taken = False
    for path, why in sorted(set(_matching(root, parts[fixed:]))):
        if why or not path.is_dir():
            taken = True
            yield _source(path, root, why)
        elif _EVERYTHING_BELOW not in parts:  # it finds what is inside by itself
            taken = True
            yield from _folder(path)
    if not taken:
        raise InvalidArgument(f"no file matches {pattern}")


def _matching(folder: Path, parts: Sequence[str]) -> Iterator[_Found]:
    """Yields what matches below a folder; unlike `glob` it follows no links below `**`: they may be rings."""
    if not parts:
        yield folder, ""
        return
    first, rest = parts[0], parts[1:]
    if not folder.is_dir():
        return
    if first == _EVERYTHING_BELOW:
        for below, names, _, why in _tree(folder):
            if why:
                yield below, why
            elif rest:
                yield from _matching(below, rest)
            else:
                yield from ((below / name, "") for name in names)
    elif not glob.has_magic(first):
        if os.path.lexists(folder / first):
            yield from _matching(folder / first, rest)
    else:
        yield from _children(folder, first, rest)


def _children(folder: Path, pattern: str, rest: Sequence[str]) -> Iterator[_Found]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names, not paths
    except OSError as error:
        yield folder, _cannot_list(error)
        return
    for name in fnmatch.filter(names, pattern):
        if not name.startswith(".") or pattern.startswith("."):
            yield from _matching(folder / name, rest)


def _folder(root: Path) -> Iterator[Source]:
    for folder, names, hidden, why in _tree(root):
        if why and folder == root:
            raise InvalidArgument(f"{root}: {why}")
        if why:
            yield _source(folder, root, why)
        for name in names:
            yield _source(folder / name, root)
        for name in hidden:
            yield replace(_source(folder / name, root), hidden=True)


def _tree(root: Path) -> Iterator[tuple[Path, list[str], list[str], str]]:
    """Yields a folder and those below it, each with the names of its files, and of what is hidden in it.

    Instead of both it may say why the folder is left out.
    """
    left = [root]
    while left:
        folder = left.pop()
        if folder != root and os.path.islink(folder):  # noqa: PTH114 - never raises
            yield folder, [], [], _LINKED
            continue
        try:
            every = sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
        except OSError as error:
            yield folder, [], [], _cannot_list(error)
            continue
        hidden = [name for name in every if name.startswith(".")]
        names = [name for name in every if not name.startswith(".")]
        folders = {name for name in names if os.path.isdir(folder / name)}  # noqa: PTH112 - never raises
        yield folder, [name for name in names if name not in folders], hidden, ""
        left += (folder / name for name in reversed(names) if name in folders)


def _cannot_list(error: OSError) -> str:
    return f"cannot list the folder: {error.strerror}"


def _source(path: Path, root: Path, why: str = "") -> Source:
    name = str(path.relative_to(root))
    if why:
        return Source(str(path), text(name), partial(_refuse, why), on_disk=True)
    return _file(path, name, found=True)


def _refuse(why: str) -> bytes:
    raise InvalidImage(why)


def _file(path: Path, name: str, *, found: bool = False) -> Source:
    return Source(str(path), _short(text(name)), partial(_read, path), on_disk=True, found=found)


def _short(name: str) -> str:
    """Returns a name that the keyholder takes: of a longer path its end."""
    parts = name.split("/")
    while len(parts) > 1 and len(name.encode()) > MAX_NAME_BYTES:
        parts = parts[1:]
        name = _CUT + "/".join(parts)
    return name


def _read(path: Path) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InvalidImage("not a regular file")  # opening a pipe could block for ever
        if about.st_size > MAX_PHOTO_BYTES:
            raise _too_large(about.st_size)
        with path.open("rb") as file:
            data = file.read(about.st_size + 1)  # not the limit: `read` allocates all that it is asked for
            if len(data) > about.st_size:
                data += file.read(MAX_PHOTO_BYTES)  # the file has grown
            return limited(data)
    except OSError as error:
        raise _unreadable(error) from None


def _read_pipe(path: Path) -> bytes:
    try:
        with paths.opened(path) as pipe:
            return limited(_up_to(pipe, MAX_PHOTO_BYTES + 1))
    except OSError as error:
        raise _unreadable(error) from None


def _up_to(pipe: BinaryIO, most_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < most_bytes and (part := pipe.read(min(1 << 20, most_bytes - len(data)))):
        data += part
    return bytes(data)


def _unreadable(error: OSError) -> InvalidImage:
    return InvalidImage(f"cannot be read: {error.strerror}")


def _too_large(size: int) -> ResourceExhausted:
    return ResourceExhausted(f"photo of {size} bytes, want at most {MAX_PHOTO_BYTES}")
