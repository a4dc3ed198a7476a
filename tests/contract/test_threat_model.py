"""Every promise of docs/threat-model.md is shown by tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


PROMISES = rows("What is promised")


@cache
def collected(path: str) -> set[str]:
    """The tests that pytest would collect from a file."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (one for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
    return {one.name for one in functions if one.name.startswith("test_")}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda row: row[1][:40])
def test_a_promise_is_shown_by_tests_that_exist(promise: list[str]) -> None:
    shown = NODE.findall(promise[2])
    assert shown
    assert not NODE.sub("", promise[2]).strip()
    assert not [f"{path}::{name}" for path, name in shown if name not in collected(path)]


def test_every_attacker_has_a_promise_or_is_told_that_there_is_none() -> None:
    attackers = {row[0] for row in rows("Who")}
    named = {one for row in (*PROMISES, *rows("What is not promised")) for one in row[0].split(", ")}
    assert attackers == named - {"all"}
    assert len(attackers) >= 9
    assert all(len(row) == 3 and all(row) for row in rows("What is not promised"))
