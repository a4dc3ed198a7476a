"""The tokens on the disk, in one SQLite file of the keyholder's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from blindsight.errors import DataLoss
from blindsight.runtime.sqlite import Schema, Store
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.wire.tokens import Reveal, TokenRole
from services.keyholder.limits.limits import NONE, Limits

FILE_NAME = "tokens.db"
SCHEMA = Schema(__package__, "a database of tokens", version=1, application_id=0x4253544B)  # "BSTK"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is for, and what proves it.

    Attributes:
        token_id: 12 hex digits.
        digest: SHA-256 of the token's secret part.
        role: what its bearer may do.
        collections: ids of those for which alone it holds; None: for all.
        label: what its owner called it.
        created, expires: seconds since 1970; None: never.
        reveal: what searches tell its bearer.
        limits: how often they may call, and how much they may ask.
        threshold: of the decisions that they are told, the worst score that passes; None: they see more.
        tenant: whose it is; "" for the vault's own.
    """

    token_id: str
    digest: bytes
    role: TokenRole
    collections: frozenset[bytes] | None
    label: str
    created: int
    expires: int | None
    reveal: Reveal
    limits: Limits = NONE
    threshold: float | None = None
    tenant: str = ""


class TokenStore(Store):
    """A store of grants.

    Args:
        path: of the file; created if it does not exist.
        sealer: seals what a token is for.
    """

    schema = SCHEMA

    def __init__(self, path: Path, sealer: Sealer) -> None:
        super().__init__(path)
        self._sealer = sealer

    def load(self) -> list[Grant]:
        """Returns all grants, the oldest first.

        Raises:
            DataLoss: if one is damaged.
        """
        rows = "SELECT id, digest, created, expires, sealed FROM tokens ORDER BY created, rowid"
        with self._transaction() as db:
            return [self._grant(*row) for row in db.execute(rows)]

    def add(self, grant: Grant, instead_of: Sequence[str] = ()) -> None:
        """Adds a grant in place of others; it is on the disk when this returns."""
        sealed = self._sealer.seal(_packed(grant), _place(grant.token_id, grant.digest, grant.expires))
        row = grant.token_id, grant.digest, grant.created, grant.expires, sealed
        with self._transaction() as db:
            db.executemany("DELETE FROM tokens WHERE id = ?", [(one,) for one in instead_of])
            db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?)", row)

    def remove(self, *token_ids: str) -> None:
        """Removes grants."""
        with self._transaction() as db:
            db.executemany("DELETE FROM tokens WHERE id = ?", [(one,) for one in token_ids])

    def _grant(self, token_id: str, digest: bytes, created: int, expires: int | None, sealed: bytes) -> Grant:
        try:
            told = json.loads(self._sealer.open(sealed, _place(token_id, digest, expires)))
            named = told["collections"]
            collections = None if named is None else frozenset(map(bytes.fromhex, named))
            role, reveal = TokenRole(told["role"]), Reveal(told["reveal"])
            label, limits, threshold = (
                str(told["label"]),
                Limits(**told.get("limits", {})),
                told.get("threshold"),
            )
            return Grant(
                token_id,
                digest,
                role,
                collections,
                label,
                created,
                expires,
                reveal,
                limits,
                threshold,
                str(told.get("tenant", "")),
            )
        except (DataLoss, ValueError, TypeError, KeyError):
            raise DataLoss(
                f"a token of the keyholder is damaged: remove {FILE_NAME}, or restore it"
            ) from None


def _packed(grant: Grant) -> bytes:
    collections = None if grant.collections is None else sorted(one.hex() for one in grant.collections)
    told = {
        "role": grant.role,
        "collections": collections,
        "label": grant.label,
        "reveal": grant.reveal,
        "limits": asdict(grant.limits),
        "threshold": grant.threshold,
    }
    told |= {"tenant": grant.tenant} if grant.tenant else {}
    return json.dumps(told).encode()


def _place(token_id: str, digest: bytes, expires: int | None) -> bytes:
    """Binds what a token is for to what proves it, and to its end."""
    return f"token {token_id} {digest.hex()} {expires}".encode()
