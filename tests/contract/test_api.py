"""The contract says what everything in it means, and docs/api.md is made of that."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

ROOT = Path(__file__).parents[2]
CONTRACTS = sorted(
    path.relative_to(ROOT / "protos").as_posix() for path in (ROOT / "protos").rglob("*.proto")
)


@cache
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api", ROOT / "tools" / "api.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@cache
def contracts() -> dict[str, FileDescriptorProto]:
    return {one.name: one for one in tool().contracts()}


def parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> FileDescriptorProto:
    """A contract of the test's."""
    (tmp_path / "made.proto").write_text(f'syntax = "proto3";\npackage made.v1;\n{text}')
    monkeypatch.setattr(tool(), "PROTOS", tmp_path)
    (made,) = tool().contracts()
    return made


@pytest.mark.parametrize("name", CONTRACTS)
def test_everything_in_a_contract_has_a_comment(name: str) -> None:
    everything = list(tool().described(contracts()[name]))
    assert everything
    assert [one.name for one in everything if not one.comment] == []


@pytest.mark.parametrize("name", CONTRACTS)
def test_nothing_is_nested_where_no_comment_is_looked_for(name: str) -> None:
    for message in contracts()[name].message_type:
        assert not message.enum_type
        assert all(one.options.map_entry for one in message.nested_type)
    assert not contracts()[name].extension


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("message M {}", ["made.v1.M"]),
        ("// It.\nmessage M {\n  int32 a = 1; // one\n  int32 b = 2;\n}", ["made.v1.M.b"]),
        ("// It.\nmessage M {\n  oneof c {\n    int32 a = 1;\n  }\n}", ["made.v1.M.a"]),
        ("// It.\nenum E {\n  E_UNSPECIFIED = 0;\n}", ["made.v1.E.E_UNSPECIFIED"]),
        ("enum E {\n  E_UNSPECIFIED = 0; // none\n}", ["made.v1.E"]),
        ("// It.\nmessage M {}\nservice S {\n  // Does.\n  rpc R(M) returns (M);\n}", ["made.v1.S"]),
        ("// It.\nmessage M {}\n// It.\nservice S {\n  rpc R(M) returns (M);\n}", ["made.v1.S.R"]),
    ],
)
def test_what_has_no_comment_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, lacking: list[str]
) -> None:
    contract = parsed(tmp_path, monkeypatch, text)
    assert [one.name for one in tool().described(contract) if not one.comment] == lacking


def test_the_reference_is_that_of_the_contracts() -> None:
    wanted = tool().page(list(contracts().values()))
    assert tool().PAGE.read_text() == wanted, "docs/api.md is older than protos: run tools/api.py"


def test_the_reference_links_to_what_it_has() -> None:
    import re

    page = tool().PAGE.read_text()
    heads = {line.lower() for line in re.findall(r"^#+ ([\w.]+)$", page, re.MULTILINE)}
    links = set(re.findall(r"\]\(#([\w.-]+)\)", page))
    assert links
    assert links <= heads
