"""Metadata on the command line: `--set KEY=VALUE`, and files of JSON lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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

_FORMS = {
    "metadata": '"metadata": {...}',
    "vectors": '"vectors": [{"values": [...], "name": ..., "box": [left, top, width, height]}]',
}
_OF_A_VECTOR = {"values", "name", "box"}
_SIDES = 4
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
    from blindsight.client.arguments import text as checked
    from blindsight.wire.metadata import from_json

    values: dict[str, Any] = {}
    for pair in pairs or ():
        key, sign, text = checked("--set", pair).partition("=")
        if not sign:
            raise InvalidArgument(f"--set {pair}, want KEY=VALUE")
        if key in values:
            raise InvalidArgument(f"--set {key} stands there twice, want it once")
        values[key] = _value(text)
    return from_json(values)


def _value(text: str) -> object:
    """Returns a number, a truth value or a list if the text is one in JSON, else the text."""
    from blindsight.wire.metadata import loads

    try:
        value = loads(text)
    except (ValueError, RecursionError):
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


def with_vectors(sources: Iterable[Source], path: Path, text: str) -> list[Source]:
    """Returns photos with the vectors that the lines of a file give them; one with path and id gives the id.

    Args:
        sources: the photos.
        path: of the file, for errors.
        text: what is in it.

    Raises:
        InvalidArgument: if a line is none, or names a photo that is not there; says which.
    """
    found = list(sources)
    for place, line in _of_photos(found, path, "vectors", _vectors, text):
        source = found[place]
        found[place] = replace(source, id=line.get("id", source.id), vectors=line["vectors"])
    return found


def _of_photos(
    found: Sequence[Source], path: Path, what: str, read: _Read, text: str | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the lines of a file with the places of the photos that they name."""
    by_path = {name: place for place, source in enumerate(found) for name in _names(source)}
    by_id = {source.id: place for place, source in enumerate(found) if source.id}
    said: dict[int, int] = {}
    for number, line in lines(path, what, read, text):
        if "path" in line:
            place = by_path.get(line["path"], by_path.get(_absolute(line["path"])))
        else:
            place = by_id.get(line["id"])
        if place is None:
            named = line.get("path", line.get("id"))
            raise InvalidArgument(f"{path}, line {number}: no photo {named!r} is ingested")
        _require_first(path, number, said.setdefault(place, number), found[place].label)
        yield place, line


def _require_first(path: Path, number: int, first: int, named: str) -> None:
    if first != number:
        raise InvalidArgument(f"{path}, lines {first} and {number} are both of {named!r}, want one")


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
    said: dict[str, int] = {}
    for number, line in lines(path, "metadata", _values):
        if line.get("id") not in places:
            raise InvalidArgument(f"{path}, line {number}: no row {line.get('id')!r} is ingested")
        _require_first(path, number, said.setdefault(line["id"], number), line["id"])
        found[places[line["id"]]] = line["metadata"]
    return found


def lines(
    path: Path, what: str, read: _Read, text: str | None = None
) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yields the lines of a file with their numbers.

    Args:
        what: the key of what a line says of an item.
        read: converts and checks it.
        text: what is in the file; None: it is read.

    Raises:
        InvalidArgument: if the file cannot be read, or a line is none; says which.
    """
    from blindsight.wire.metadata import loads

    for number, written in enumerate((arrays.load_text(path) if text is None else text).split("\n"), 1):
        if not written.strip():
            continue
        try:
            line = _named(loads(written), what)
            line[what] = read(line.get(what))
        except InvalidArgument as error:
            raise InvalidArgument(f"{path}, line {number}: {error.message}") from None
        except (ValueError, RecursionError):
            raise InvalidArgument(f"{path}, line {number}: no JSON, want {_form(what)}") from None
        yield number, line


def _form(what: str) -> str:
    return '{"path" or "id": ..., ' + _FORMS[what] + "}"


def _named(line: Any, what: str) -> dict[str, Any]:
    """Returns a line that says by path or id of what it is; an id that is a number becomes a text."""
    if not isinstance(line, dict) or not line.keys() & {"path", "id"}:
        raise InvalidArgument(f"want {_form(what)}")
    unknown = line.keys() - {"path", "id", *_FORMS}
    if what not in line and unknown:  # a key that is misspelt would be lost without a word
        raise InvalidArgument(f"unknown key {min(unknown)!r:.80}, want {_form(what)}")
    made = dict(line)
    if "id" in line and isinstance(line["id"], int) and not isinstance(line["id"], bool):
        made["id"] = str(line["id"])
    for key in ("path", "id"):
        if key in made and not (isinstance(made[key], str) and made[key]):
            raise InvalidArgument(f"{key} {line[key]!r:.80}, want a text that is not empty")
    return made


def _values(said: Any) -> Mapping[str, Any]:
    from blindsight.wire.metadata import from_json

    if not isinstance(said, dict | None):
        raise InvalidArgument(f"metadata {said!r:.80}, want {_FORMS['metadata']}")
    return from_json(said or {})


def _vectors(said: Any) -> tuple[PhotoVector, ...]:
    from blindsight.client import vectors

    if not isinstance(said, list):
        raise InvalidArgument(f"vectors {said!r:.80}, want {_FORMS['vectors']}")
    return vectors.of_photo([_vector(index, one) for index, one in enumerate(said)])


def _vector(index: int, one: Any) -> PhotoVector:
    from blindsight.wire.vectors import Box, PhotoVector

    if not isinstance(one, dict) or "values" not in one:
        raise InvalidArgument(f"vector {index} has no values, want {_FORMS['vectors']}")
    if unknown := one.keys() - _OF_A_VECTOR:
        raise InvalidArgument(f"vector {index}: unknown key {min(unknown)!r}, want {_FORMS['vectors']}")
    name, box = one.get("name"), one.get("box")
    if not isinstance(name, str | None):
        raise InvalidArgument(f"vector {index}: name {name!r:.80}, want a text")
    values = _numbers(f"vector {index}: values", one["values"])
    if box is not None and len(_numbers(f"vector {index}: box", box)) != _SIDES:
        raise InvalidArgument(f"vector {index}: box of {len(box)} numbers, want left, top, width and height")
    made: Any = values  # `vectors.of_photo` makes an array of them
    return PhotoVector(made, name or "", Box(*map(float, box)) if box is not None else None)


def _numbers(what: str, given: Any) -> list[float]:
    if not isinstance(given, list) or not given:
        raise InvalidArgument(f"{what} {given!r:.80}, want a list of numbers")
    for one in given:
        if isinstance(one, bool) or not isinstance(one, int | float):
            raise InvalidArgument(f"{what} have {one!r:.80}, want a list of numbers")
    with suppress(OverflowError):
        numbers = [float(one) for one in given]
        if math.inf not in map(abs, numbers):
            return numbers
    raise InvalidArgument(f"{what} have a number that is too large, want a list of numbers")
