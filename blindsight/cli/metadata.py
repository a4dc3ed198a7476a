"""Metadata on the command line: `--set KEY=VALUE`, and files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import arrays
from blindsight.errors import InvalidArgument
from blindsight.runtime.printable import rfc3339

if TYPE_CHECKING:
    from blindsight.client.sources import Source
    from blindsight.wire.vectors import PhotoVector

# Files of lines of JSON.
LINES = ".jsonl"
_FORMS = {
    "metadata": '"metadata": {...}',
    "vectors": '"vectors": [{"values": [...], "name": ..., "box": [left, top, width, height]}]',
}
# Converts and checks what a line says of an item.
_Read = Callable[[Any], Any]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="What is said of the items; a number, true, false, a time, a JSON list of texts, or a text.",
        show_default=False,
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--metadata",
        metavar="FILE.jsonl",
        help='What is said of each, a line of JSON: {"path": or "id": ..., "metadata": {...}}.',
        show_default=False,
    ),
]


def parse(pairs: Iterable[str] | None) -> dict[str, Any]:
    """Returns the values of `--set`.

    Raises:
        InvalidArgument: if one has no key, or a key stands there twice.
    """
    from blindsight.wire.metadata import from_json

    values: dict[str, Any] = {}
    for pair in pairs or ():
        key, sign, text = pair.partition("=")
        if not sign:
            raise InvalidArgument(f"--set {pair}, want KEY=VALUE")
        if key in values:
            raise InvalidArgument(f"--set {key} stands there twice, want it once")
        values[key] = _value(text)
    return from_json(values)


def _value(text: str) -> object:
    """Returns a number, a truth value or a list if the text is one in JSON, else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | list | str) else text


def shown(value: object) -> str:
    """Returns a value for people."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


def told(sources: Iterable[Source], path: Path) -> list[Source]:
    """Returns photos with what the lines of a file say of them; one with path and id gives the id, too.

    Raises:
        InvalidArgument: if a line is none, or names a photo that is not there; says which.
    """
    found = list(sources)
    for place, line in _of_photos(found, path, "metadata", _values):
        source = found[place]
        values = {**source.metadata, **line["metadata"]}
        found[place] = replace(source, id=line.get("id", source.id), metadata=values)
    return found


def with_vectors(sources: Iterable[Source], path: Path) -> list[Source]:
    """Returns photos with the vectors that the lines of a file give them; one with path and id gives the id.

    Raises:
        InvalidArgument: if a line is none, or names a photo that is not there; says which.
    """
    found = list(sources)
    for place, line in _of_photos(found, path, "vectors", _vectors):
        source = found[place]
        found[place] = replace(source, id=line.get("id", source.id), vectors=line["vectors"])
    return found


def _of_photos(
    found: Sequence[Source], path: Path, what: str, read: _Read
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the lines of a file with the places of the photos that they name."""
    by_path = {name: place for place, source in enumerate(found) for name in _names(source)}
    by_id = {source.id: place for place, source in enumerate(found) if source.id}
    for number, line in lines(path, what, read):
        if "path" in line:
            place = by_path.get(line["path"], by_path.get(_absolute(line["path"])))
        else:
            place = by_id.get(line["id"])
        if place is None:
            named = line.get("path", line.get("id"))
            raise InvalidArgument(f"{path}, line {number}: no photo {named!r} is ingested")
        yield place, line


def _names(source: Source) -> Iterator[str]:
    """Yields the names by which a line may mean a photo: inside its folder, as it was given, as a whole."""
    yield from (source.name, source.label)
    if source.on_disk:
        yield _absolute(source.label)


def _absolute(path: str) -> str:
    return str(Path.cwd() / path)


def of_rows(ids: list[str] | None, rows: int, path: Path) -> list[Mapping[str, Any]]:
    """Returns what the lines of a file say of rows, by id, or by number if there are no ids.

    Raises:
        InvalidArgument: if a line is none, or names a row that is not there; says which.
    """
    places = {item_id: row for row, item_id in enumerate(ids or map(str, range(rows)))}
    found: list[Mapping[str, Any]] = [{} for _ in range(rows)]
    for number, line in lines(path, "metadata", _values):
        if line.get("id") not in places:
            raise InvalidArgument(f"{path}, line {number}: no row {line.get('id')!r} is ingested")
        found[places[line["id"]]] = line["metadata"]
    return found


def lines(path: Path, what: str, read: _Read) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yields the lines of a file with their numbers.

    Args:
        what: the key of what a line says of an item.
        read: converts and checks it.

    Raises:
        InvalidArgument: if the file cannot be read, or a line is none; says which.
    """
    for number, written in enumerate(arrays.load_text(path).split("\n"), 1):
        if not written.strip():
            continue
        try:
            line = json.loads(written)
            named = line.get("path", line.get("id"))
            line["id"] = str(line["id"]) if "id" in line else None
            if line["id"] is None:
                del line["id"]
            if not isinstance(named, str | int):
                raise ValueError("no name")
            line[what] = read(line.get(what))
        except InvalidArgument as error:
            raise InvalidArgument(f"{path}, line {number}: {error.message}") from None
        except (ValueError, TypeError, AttributeError, RecursionError):
            want = '{"path" or "id": ..., ' + _FORMS[what] + "}"
            raise InvalidArgument(f"{path}, line {number}: want {want}") from None
        yield number, line


def _values(said: Any) -> Mapping[str, Any]:
    from blindsight.wire.metadata import from_json

    if not isinstance(said, dict | None):
        raise TypeError("no metadata")
    return from_json(said or {})


def _vectors(said: Any) -> tuple[PhotoVector, ...]:
    from blindsight.client import vectors
    from blindsight.wire.vectors import Box, PhotoVector

    made = []
    for one in said:
        box = Box(*map(float, one["box"])) if one.get("box") is not None else None
        made.append(PhotoVector(one["values"], one.get("name") or "", box))
    return vectors.of_photo(made)
