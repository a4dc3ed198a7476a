"""Writes docs/api.md, the reference of the keyholder's services, when it is run; a test compares the file.

It is made of the contract's descriptors and comments.  No maintained generator comes as a Python package.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from blindsight import errors
from blindsight.runtime.status import CODES

ROOT = Path(__file__).parents[1]
PROTOS = ROOT / "protos"
PAGE = ROOT / "docs" / "api.md"
PACKAGE = "blindsight.keyholder.v1"
# In the order of the page.
FILES = ("keyholder", "imaging", "imports", "tokens", "tenants", "audit", "keys", "workers", "common")
HEAD = """# API reference

<!-- Written by tools/api.py from protos/blindsight/keyholder/v1: change the comments there, and run it. -->

The gRPC services of a keyholder, package `blindsight.keyholder.v1`, for clients in any language. Their
contract is in `protos/blindsight/keyholder/v1`. A keyholder also serves `grpc.health.v1.Health` and
`grpc.reflection.v1.ServerReflection`, so that `grpcurl` and others need no file.
[examples/node](../examples/node/README.md) is a client in JavaScript, and
[examples/java](../examples/java/README.md) one in Java; from Python use the SDK.

- A message to a keyholder has at most 4 MiB. Its answers have at most 64 MiB; many clients take 4 MiB unless
  they are told to take more.
- A failed call has `google.rpc.ErrorInfo` with a `reason` in its status details, and one line for people.
- What a field's 0, empty text or `UNSPECIFIED` means stands beside it.
"""
_SCALARS = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}


class Described(NamedTuple):
    """Something of the contract and what its comment says.

    Attributes:
        kind: "service", "rpc", "message", "field", "enum" or "value".
        name: full name, such as blindsight.keyholder.v1.Hit.score.
        comment: the lines above it and behind it, as one text; empty if there are none.
    """

    kind: str
    name: str
    comment: str


def contracts() -> list[FileDescriptorProto]:
    """Returns the descriptors of all contracts, with where what stands in them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "contracts"
        paths = sorted(map(str, PROTOS.rglob("*.proto")))
        known = files("grpc_tools") / "_proto"
        options = [f"-I{PROTOS}", f"-I{known}", "--include_source_info", f"--descriptor_set_out={out}"]
        if protoc.main(["protoc", *options, *paths]) != 0:
            raise SystemExit("protoc refused the contract; see its message above")
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


class Comments:
    """The comments of a contract, by the path of what they are about."""

    def __init__(self, contract: FileDescriptorProto) -> None:
        self._texts = {
            tuple(one.path): _flat(one.leading_comments, one.trailing_comments)
            for one in contract.source_code_info.location
        }

    def of(self, *path: int) -> str:
        """Returns what is said of something; empty: nothing."""
        return self._texts.get(path, "")


def _flat(*comments: str) -> str:
    """Returns comments as one text, with its paragraphs kept."""
    paragraphs = re.split(r"\n\s*\n", "\n\n".join(comments))
    return "\n\n".join(text for one in paragraphs if (text := re.sub(r"\s+", " ", one).strip()))


def described(contract: FileDescriptorProto) -> Iterator[Described]:
    """Yields everything in a contract that should have a comment."""
    comments, package = Comments(contract), contract.package
    for place, service in enumerate(contract.service):
        yield Described("service", f"{package}.{service.name}", comments.of(6, place))
        for row, rpc in enumerate(service.method):
            yield Described("rpc", f"{package}.{service.name}.{rpc.name}", comments.of(6, place, 2, row))
    for place, message in enumerate(contract.message_type):
        yield Described("message", f"{package}.{message.name}", comments.of(4, place))
        for row, field in enumerate(message.field):
            yield Described("field", f"{package}.{message.name}.{field.name}", comments.of(4, place, 2, row))
    for place, enum in enumerate(contract.enum_type):
        yield Described("enum", f"{package}.{enum.name}", comments.of(5, place))
        for row, value in enumerate(enum.value):
            yield Described("value", f"{package}.{enum.name}.{value.name}", comments.of(5, place, 2, row))


def page(all_contracts: Sequence[FileDescriptorProto]) -> str:
    """Returns the reference, in Markdown."""
    by_name = {Path(one.name).stem: one for one in all_contracts if one.package == PACKAGE}
    if by_name.keys() != set(FILES):
        raise SystemExit(f"contracts {sorted(by_name)}, want {sorted(FILES)}")
    parts = [HEAD, *_reasons()]
    for name in FILES:
        contract, comments = by_name[name], Comments(by_name[name])
        for place, service in enumerate(contract.service):
            parts += _service(service, place, comments)
        title = "Shared enums" if name == "common" else f"Messages of `{name}.proto`"
        parts.append(f"## {title}\n")
        for place, message in enumerate(contract.message_type):
            parts += _message(message, place, comments)
        for place, enum in enumerate(contract.enum_type):
            parts += _enum(enum, place, comments)
    return "\n".join(parts)


def _reasons() -> Iterator[str]:
    """Yields the reasons of failed calls, with what the tree of errors says of them."""
    told = dict(re.findall(r"── (\w+) +(\S.*)$", errors.__doc__ or "", re.MULTILINE))
    told[errors.BlindsightError.__name__] = "a fault of the service, whose log has more"
    yield "## Reasons of failed calls\n\n| reason | gRPC code | |\n| --- | --- | --- |"
    for error, code in CODES.items():
        yield f"| `{error.reason}` | {code.name} | {told[error.__name__]} |"
    yield ""


def _service(service: ServiceDescriptorProto, place: int, comments: Comments) -> Iterator[str]:
    yield f"## {service.name}\n\n{comments.of(6, place)}\n"
    for row, rpc in enumerate(service.method):
        asked, answered = _short(rpc.input_type), _short(rpc.output_type)
        asked = f"stream of {_link(asked)}" if rpc.client_streaming else _link(asked)
        answered = f"stream of {_link(answered)}" if rpc.server_streaming else _link(answered)
        told = comments.of(6, place, 2, row).replace(" Reasons: ", "\n\nReasons: ")
        yield f"### {service.name}.{rpc.name}\n\n{asked} to {answered}\n\n{told}\n"


def _message(message: DescriptorProto, place: int, comments: Comments) -> Iterator[str]:
    yield f"### {message.name}\n\n{comments.of(4, place)}\n"
    if message.field:
        yield "| number | field | type | |\n| --- | --- | --- | --- |"
        for row, field in enumerate(message.field):
            told = _cell(comments.of(4, place, 2, row))
            yield f"| {field.number} | `{field.name}` | {_type(message, field)} | {told} |"
        yield ""


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    """Returns a field's type with what is special of it: repeated, optional, one of several, or a map."""
    kinds = {one.name: one for one in message.nested_type if one.options.map_entry}
    if (entry := kinds.get(_short(field.type_name))) is not None:
        key, value = (_of_type(one) for one in entry.field)
        return f"map of {key} to {value}"
    named = _of_type(field)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {named}"
    if field.proto3_optional:
        return f"optional {named}"
    if field.HasField("oneof_index"):
        return f"{named} (one of `{message.oneof_decl[field.oneof_index].name}`)"
    return named


def _of_type(field: FieldDescriptorProto) -> str:
    if not field.type_name:
        return _SCALARS[field.type]
    return _link(_short(field.type_name)) if PACKAGE in field.type_name else field.type_name.removeprefix(".")


def _enum(enum: EnumDescriptorProto, place: int, comments: Comments) -> Iterator[str]:
    yield f"### {enum.name}\n\n{comments.of(5, place)}\n\n| number | value | |\n| --- | --- | --- |"
    for row, value in enumerate(enum.value):
        yield f"| {value.number} | `{value.name}` | {_cell(comments.of(5, place, 2, row))} |"
    yield ""


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _cell(text: str) -> str:
    return text.replace("\n\n", " ").replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(contracts()))
