"""Tokens of users as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from blindsight.rpc.keyholder.v1 import tokens_pb2 as pb
from blindsight.wire.records import Record

# A key in the metadata of a call, and what stands before the token in its value.
METADATA_KEY, SCHEME = "authorization", "Bearer "


class TokenRole(IntEnum):
    """What the bearer of a token may do."""

    OWNER = 1
    EDITOR = 2
    UPLOADER = 3
    SEARCHER = 4
    AUDITOR = 5


class Reveal(IntEnum):
    """What a search tells a searcher; each tells more than the one before."""

    DECISIONS = 1
    RANKS = 2
    ROUNDED = 3
    SCORES = 4


@dataclass(frozen=True, slots=True)
class Token(Record[pb.Token]):
    """A token, without what proves it.

    Attributes:
        id: 12 hex digits.
        role: what its bearer may do.
        collections: for which alone it holds, by the names they have now; none: for all.
        label: what its owner called it; may be empty.
        created, expires: when; None: never.
        reveal: what searches tell its bearer.
        requests_per_second: calls in the long run; None: any number.
        burst: calls at once; None: those of a second, and at least 1.
        queries_per_day: of searches and verifications, in a day of UTC; None: any number.
        threshold: of decisions: the worst score that passes; None: they are told more.
        queries_today: that were asked since midnight in UTC.
    """

    id: str
    role: TokenRole
    collections: tuple[str, ...]
    label: str
    created: datetime
    expires: datetime | None
    reveal: Reveal
    requests_per_second: float | None = None
    burst: int | None = None
    queries_per_day: int | None = None
    threshold: float | None = None
    queries_today: int = 0


@dataclass(frozen=True, slots=True)
class TokenRequest(Record[pb.CreateTokenRequest]):
    """What a new token is to be; see `Token`."""

    role: TokenRole
    collections: tuple[str, ...] = ()
    label: str = ""
    expires: datetime | None = None
    reveal: Reveal | None = None
    requests_per_second: float | None = None
    burst: int | None = None
    queries_per_day: int | None = None
    threshold: float | None = None
