"""Metadata on the command line: `--set KEY=VALUE`, and files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
    by_path = {name: place for place, source in enumerate(found) for name in _names(source)}
    by_id = {source.id: place for place, source in enumerate(found) if source.id}
    for number, line in lines(path):
        if "path" in line:
            place = by_path.get(line["path"], by_path.get(_absolute(line["path"])))
        else:
            place = by_id.get(line["id"])
        if place is None:
            named = line.get("path", line.get("id"))
            raise InvalidArgument(f"{path}, line {number}: no photo {named!r} is ingested")
        source = found[place]
        values = {**source.metadata, **line["metadata"]}
        found[place] = replace(source, id=line.get("id", source.id), metadata=values)
    return found


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
    for number, line in lines(path):
        if line.get("id") not in places:
            raise InvalidArgument(f"{path}, line {number}: no row {line.get('id')!r} is ingested")
        found[places[line["id"]]] = line["metadata"]
    return found


def lines(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yields the lines of a file with their numbers; their metadata are checked.

    Raises:
        InvalidArgument: if the file cannot be read, or a line is none; says which.
    """
    from blindsight.wire.metadata import from_json

    for number, written in enumerate(arrays.load_text(path).split("\n"), 1):
        if not written.strip():
            continue
        try:
            line = json.loads(written)
            named = line.get("path", line.get("id"))
            line["id"] = str(line["id"]) if "id" in line else None
            if line["id"] is None:
                del line["id"]
            if not isinstance(named, str | int) or not isinstance(line.get("metadata", {}), dict):
                raise ValueError("no name")
            line["metadata"] = from_json(line.get("metadata", {}))
        except InvalidArgument as error:
            raise InvalidArgument(f"{path}, line {number}: {error.message}") from None
        except (ValueError, AttributeError, RecursionError):
            raise InvalidArgument(
                f'{path}, line {number}: want {{"path" or "id": ..., "metadata": {{...}}}}'
            ) from None
        yield number, line
