"""Records of the audit log as lines of JSON, each chained to the one before by a keyed hash.

The chain of a record is HMAC-SHA256, by a key of the vault's own, of its line without the chain; the line
holds the chain of the record before.  So each record proves by itself that the keyholder wrote it, under
which number, and after which other.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import asdict, dataclass, fields
from hashlib import sha256

from blindsight.trusted.secrets import Secret

CHAIN_BYTES = sha256().digest_size
NO_CHAIN = bytes(CHAIN_BYTES)  # after which the first record of a log stands
_SEPARATOR, _END = b',"chain":"', b'"}'
_TAIL_BYTES = len(_SEPARATOR) + 2 * CHAIN_BYTES + len(_END)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a record says.

    Attributes:
        event: "begun" or "ended" for a call that changes or reveals something; "counted" for calls of one
            kind, outcome and caller that are counted; "retired" for records that were deleted for their age,
            or for room.
        milliseconds: since 1970.
        call: 12 hex digits that the beginning and the end of one call have in common; else empty.
        token: id of the token that was shown; empty: none was, or none that holds.
        role: of the caller: a token's, "owner" without a token, "worker"; "none" for who was not let in.
        rpc: SERVICE/RPC.
        collections: ids in hex of those that the call was about.
        outcome: name of the status; empty for a beginning.
        items, queries: how many the answer told of, or changed, and how many were asked.
        calls: how many were counted.
        first: of the records that are left, for "retired".
        tenant: whose the token is; empty: the operator's.
    """

    event: str
    milliseconds: int
    call: str = ""
    token: str = ""
    role: str = ""
    rpc: str = ""
    collections: tuple[str, ...] = ()
    outcome: str = ""
    items: int = 0
    queries: int = 0
    calls: int = 1
    first: int = 0
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the log: after record `number`, whose chain is `chain`."""

    number: int = 0
    chain: bytes = NO_CHAIN


BEGINNING = Point()


@dataclass(frozen=True, slots=True)
class Record:
    """A record that the keyholder wrote.

    Attributes:
        point: its number and chain.
        after: the chain of the record before.
        entry: what it says.
    """

    point: Point
    after: bytes
    entry: Entry


_USUAL = {field.name: field.default for field in fields(Entry)}


def line(entry: Entry, before: Point, key: Secret) -> tuple[bytes, Point]:
    """Returns the line of the record that follows another, and its place."""
    number = before.number + 1
    said = {name: value for name, value in asdict(entry).items() if value != _USUAL[name]}
    body = json.dumps({"number": number, **said, "after": before.chain.hex()}, separators=(",", ":")).encode()
    body = body.removesuffix(b"}")
    chain = _chain(body, key)
    return body + _SEPARATOR + chain.hex().encode() + _END + b"\n", Point(number, chain)


def parsed(text: bytes, key: Secret) -> Record | None:
    """Returns the record of a line without its end; None if it is none that the keyholder wrote."""
    body, tail = text[:-_TAIL_BYTES], text[-_TAIL_BYTES:]
    chain = _chain(body, key)
    if not hmac.compare_digest(tail, _SEPARATOR + chain.hex().encode() + _END):
        return None
    said = json.loads(body + b"}")
    number, after = said.pop("number"), bytes.fromhex(said.pop("after"))
    said["collections"] = tuple(said.get("collections", ()))
    known = {name: value for name, value in said.items() if name in _USUAL}
    return Record(Point(number, chain), after, Entry(**known))


def _chain(body: bytes, key: Secret) -> bytes:
    return hmac.digest(key.reveal_secret(), body, "sha256")
