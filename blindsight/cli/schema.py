"""`blindsight schema`: the JSON schema of what commands print with --json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Annotated, Any

import typer

from blindsight.cli import output
from blindsight.errors import InvalidArgument

FILE_NAME = "answers.schema.json"
_REFERENCE = "$ref"
_DEFINITIONS = "$defs"

Command = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[COMMAND]...", help="A command, such as collection list; none: all.", show_default=False
    ),
]


def schema(command: Command = None) -> None:
    """Print the JSON schema of what a command prints with --json, or of all answers.

    Fields may be added to answers without another version of the schema; docs/json.md has them in words.
    """
    document = read()
    output.document(of_command(document, " ".join(command)) if command else document)


def read() -> dict[str, Any]:
    """Returns the whole schema: `answers` by command, `error`, and `version`."""
    text = resources.files("blindsight.cli").joinpath(FILE_NAME).read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def of_command(document: dict[str, Any], command: str) -> dict[str, Any]:
    """Returns the schema of one command's answer, with the definitions that it needs.

    Raises:
        InvalidArgument: if the command has no --json.
    """
    answers = document["answers"]
    if command not in answers:
        raise InvalidArgument(f"no --json of {command!r}, want one of {', '.join(answers)}")
    return standing_alone(document, answers[command])


def standing_alone(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Returns a part of the whole schema as a schema of its own."""
    wanted: set[str] = set()
    waiting = [part]
    while waiting:
        for name in _named(waiting.pop()):
            if name not in wanted:
                wanted.add(name)
                waiting.append(document[_DEFINITIONS][name])
    about = {name: document[name] for name in ("$schema", "title", "version")}
    kept = {name: one for name, one in document[_DEFINITIONS].items() if name in wanted}
    return {**about, **part, _DEFINITIONS: kept}


def _named(part: object) -> Iterator[str]:
    """Yields the names of the definitions that a part refers to."""
    if isinstance(part, dict):
        if _REFERENCE in part:
            yield str(part[_REFERENCE]).rpartition("/")[2]
        for below in part.values():
            yield from _named(below)
    elif isinstance(part, list):
        for below in part:
            yield from _named(below)
