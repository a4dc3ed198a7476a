"""Writes the JSON schema of what the command prints, and its table in docs/json.md; a test compares both.

The types are in `blindsight/cli/answers.py`; what a field means is read from the docstrings of these and of
the records in them.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from blindsight.cli import answers

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "blindsight" / "cli" / "answers.schema.json"
DOCUMENT = ROOT / "docs" / "json.md"
BEGIN = "<!-- Written by tools/json_schema.py. -->\n"
_PLAIN = {str: "string", float: "number", bool: "boolean", int: "integer", type(None): "null"}
_ANSWERS = "answers"

Json = dict[str, Any]


def document() -> Json:
    """Returns the whole schema: a definition for each kind of object, and the answers by command."""
    definitions: dict[str, Json] = {}
    by_command = {command: _schema(kind, definitions) for command, kind in answers.ANSWERS.items()}
    error = _schema(answers.Error, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What blindsight prints with --json",
        "version": answers.VERSION,
        "error": error,
        _ANSWERS: by_command,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema(kind: Any, definitions: dict[str, Json]) -> Json:
    origin, of = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if kind is Any:
        return {}
    if kind is datetime:
        return {"type": "string", "format": "date-time"}
    if origin is Literal:
        return {"enum": list(of)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(one, definitions) for one in of]}
    if origin is list or (origin is tuple and of[1:] == (...,)):
        return {"type": "array", "items": _schema(of[0], definitions)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(of[1], definitions)}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [one.value for one in kind]}
    if is_typeddict(kind) or is_dataclass(kind):
        return _reference(kind, definitions)
    raise TypeError(f"no schema of {kind}")


def _reference(kind: Any, definitions: dict[str, Json]) -> Json:
    name = kind.__name__.removesuffix("Document")
    if name not in definitions:
        definitions[name] = {}  # so that one that is in itself ends
        definitions[name] = _object(kind, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _object(kind: Any, definitions: dict[str, Json]) -> Json:
    hints = get_type_hints(kind, include_extras=False)
    order = [one.name for one in fields(kind)] if is_dataclass(kind) else list(hints)
    meaning: dict[str, str] = {}
    for base in (*reversed(_bases(kind)), kind):
        meaning |= _attributes(base)
    marked = get_type_hints(kind, include_extras=True)
    # `asdict` prints every field of a record, also those with a default.
    required = [name for name in order if get_origin(marked[name]) is not NotRequired]
    properties = {}
    for name in order:
        properties[name] = _schema(hints[name], definitions)
        if name in meaning:
            properties[name] = {"description": meaning[name], **properties[name]}
    return {
        "description": cleandoc(kind.__doc__).partition("\n\n")[0].replace("\n", " "),
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _bases(kind: Any) -> list[Any]:
    return [
        base for base in getattr(kind, "__orig_bases__", kind.__bases__) if getattr(base, "__doc__", None)
    ]


def _attributes(kind: Any) -> dict[str, str]:
    """Returns what a docstring says of attributes; a line may be of several."""
    found: dict[str, str] = {}
    section = cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n(?=    \w)", section):
        names, sign, told = entry.partition(":")
        if sign:
            found |= dict.fromkeys(map(str.strip, names.split(",")), " ".join(told.split()))
    return found


def tables(schema: Json) -> str:
    """Returns the tables of docs/json.md: commands, then every object with its fields."""
    lines = ["| command | prints |", "| --- | --- |"]
    lines += [f"| `{command}` | {_shown(one)} |" for command, one in schema[_ANSWERS].items()]
    for name, one in schema["$defs"].items():
        lines += ["", f"### {name}", "", one["description"], ""]
        lines += ["| field | value | |", "| --- | --- | --- |"]
        for field, value in one["properties"].items():
            optional = "" if field in one["required"] else "not always there; "
            meaning = f"{optional}{value.get('description', '')}".removesuffix("; ")
            lines.append(f"| `{field}` | {_shown(value)} | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _shown(value: Json) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return " or ".join(map(_shown, value["anyOf"]))
    if "enum" in value:
        return " or ".join(f"`{one}`" for one in value["enum"])
    kind = value.get("type", "any value")
    if kind == "array":
        return f"list of {_shown(value['items'])}"
    if kind == "object":
        return f"{_shown(value['additionalProperties'])} by name"
    return "time" if "format" in value else str(kind)


def written() -> dict[Path, str]:
    """Returns the contents of both files."""
    schema = document()
    head = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[0]
    return {SCHEMA: json.dumps(schema, indent=1) + "\n", DOCUMENT: head + BEGIN + "\n" + tables(schema)}


if __name__ == "__main__":
    for path, content in written().items():
        path.write_text(content, encoding="utf-8")
