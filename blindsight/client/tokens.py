"""Tokens of the SDK: found for a connection, made, listed, revoked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TypeVar

from blindsight.client.calls import Connection
from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import tokens_pb2 as pb
from blindsight.runtime.addresses import is_loopback
from blindsight.runtime.owner_notes import token_file_of
from blindsight.wire.tokens import Reveal, Token, TokenRequest, TokenRole

Member = TypeVar("Member", bound=IntEnum)

FILE_VARIABLE = "BLINDSIGHT_TOKEN_FILE"
# A token of OIDC is longer than one of the vault's own.
_MOST_BYTES = 8 << 10


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made.

    Attributes:
        token: the secret that its bearer shows; nobody can tell it again.
        about: what it is for.
    """

    token: str = field(repr=False)
    about: Token


def token_for(address: str, file: Path | None, *, encrypted: bool) -> str | None:
    """Returns the token to show a keyholder: of a file, else the owner's, where `blindsight up` noted it.

    Raises:
        InvalidArgument: if the file holds none, or the token would be sent over a network unencrypted.
    """
    path = file or token_file_of(address)
    if path is None:
        return None
    if not encrypted and not is_loopback(address):
        raise InvalidArgument(f"a token would go unencrypted to {address}, want TLS: BLINDSIGHT_TLS=FOLDER")
    try:
        with path.open("rb") as opened:
            text = opened.read(_MOST_BYTES + 2).decode("ascii").strip()
    except OSError as error:
        if file is None:  # one that this user may not read: the keyholder says what it wants
            return None
        raise InvalidArgument(f"cannot read the token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text or " " in text or len(text) > _MOST_BYTES:
        raise InvalidArgument(f"{path} holds no token, want one line: bs1_ID_SECRET, or a JWT")
    return text


def create(
    connection: Connection,
    role: str,
    collections: Sequence[str] | None,
    label: str,
    expires: datetime | None,
    reveal: str | None,
    requests_per_second: float | None,
    burst: int | None,
    queries_per_day: int | None,
    threshold: float | None,
) -> NewToken:
    """Makes a token."""
    if collections is not None and not collections:
        raise InvalidArgument("a token for no collections, want some, or None for all")
    until = expires.astimezone(UTC) if expires is not None else None
    told = _member(Reveal, "reveal", reveal) if reveal is not None else None
    asked = TokenRequest(
        _member(TokenRole, "role", role),
        tuple(collections or ()),
        label,
        until,
        told,
        requests_per_second,
        burst,
        queries_per_day,
        threshold,
    )
    request = asked.to_message()
    answer = connection.repeat(lambda: connection.tokens.CreateToken(request), safe=False)
    return NewToken(answer.token, Token.from_message(answer.created))


def _member(kind: type[Member], what: str, name: str) -> Member:
    members = {one.name.lower(): one for one in kind}
    if name not in members:
        raise InvalidArgument(f"{what} {name!r}, want one of {', '.join(members)}")
    return members[name]


def all_tokens(connection: Connection) -> list[Token]:
    """Returns all tokens, the oldest first."""
    answer = connection.repeat(lambda: connection.tokens.ListTokens(pb.ListTokensRequest()))
    return list(map(Token.from_message, answer.tokens))


def revoke(connection: Connection, token_id: str) -> None:
    """Revokes a token."""
    request = pb.RevokeTokenRequest(id=token_id)
    connection.repeat(lambda: connection.tokens.RevokeToken(request), safe=False)
