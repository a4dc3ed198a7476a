"""Compares what a command printed with --json with the published schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from blindsight.cli import schema

# Commands that have commands.
GROUPS = ("audit", "certificates", "collection", "items", "jobs", "keys", "profiles", "tenants", "tokens")


def command_of(arguments: Sequence[str]) -> str:
    """The words of the command, as in `collection list`."""
    return " ".join(arguments[: 2 if arguments[0] in GROUPS else 1])


def check(arguments: Sequence[str], answer: str, errors: str, code: int) -> None:
    """Fails if an answer or an error is something else than the schema says, or has more fields."""
    if "--json" not in arguments:
        return
    if answer:
        _validator(command_of(arguments)).validate(json.loads(answer))
    if code > 0 and not answer:
        assert errors.startswith("{") or "\n{" in errors, errors
    for line in errors.splitlines():
        if line.startswith("{"):
            _validator(None).validate(json.loads(line))


@cache
def _validator(command: str | None) -> Draft202012Validator:
    """Of a command's answer; None: of errors."""
    whole = schema.read()
    part = (
        schema.of_command(whole, command)
        if command is not None
        else schema.standing_alone(whole, whole["error"])
    )
    Draft202012Validator.check_schema(part)
    return Draft202012Validator(_closed(part), format_checker=FormatChecker())


def _closed(part: Any) -> Any:
    """The schema lets readers meet fields that it does not know; here there are none."""
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(one) for name, one in part.items()}
    return {**closed, "additionalProperties": False} if isinstance(part.get("properties"), dict) else closed
