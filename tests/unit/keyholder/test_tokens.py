"""Tokens: what they are for, the owner's own, and what their store notices."""

from __future__ import annotations

import hmac
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.keysets import shared_key_set

from blindsight.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted, Unauthenticated
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.wire.tokens import Reveal, TokenRole
from services.keyholder.tokens import tokens as module
from services.keyholder.tokens.store import FILE_NAME
from services.keyholder.tokens.tokens import Tokens

HOLIDAY = frozenset({b"holiday collection"[:16]})
NOW = 1_800_000_000


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(folder: Path, clock: Clock) -> Tokens:
    return Tokens(folder, Sealer(shared_key_set().subkey("tokens")), clock)


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> Iterator[Tokens]:
    with closing(opened(tmp_path, clock)) as made:
        yield made


def shown(tokens: Tokens, *arguments: object) -> str:
    return tokens.create(*arguments)[1].reveal_secret().decode()  # type: ignore[arg-type]


def owners(folder: Path) -> str:
    return (folder / OWNER_TOKEN_FILE).read_text().strip()


def test_a_token_is_for_what_it_was_made_for_also_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    with closing(opened(tmp_path, clock)) as tokens:
        made = shown(tokens, TokenRole.SEARCHER, HOLIDAY, "tablet", NOW + 60)
    with closing(opened(tmp_path, clock)) as tokens:
        grant = tokens.bearer(made)
        assert (grant.role, grant.collections, grant.label) == (TokenRole.SEARCHER, HOLIDAY, "tablet")
        assert (grant.created, grant.expires) == (NOW, NOW + 60)
        assert grant in tokens.all()


def test_a_token_ends_at_its_time_and_one_that_is_revoked_at_once(tokens: Tokens, clock: Clock) -> None:
    brief = shown(tokens, TokenRole.EDITOR, None, "", NOW + 60)
    lasting = shown(tokens, TokenRole.EDITOR, None, "", None)
    clock.now = NOW + 59.9
    tokens.bearer(brief)
    clock.now = NOW + 60.0
    with pytest.raises(Unauthenticated, match="has expired"):
        tokens.bearer(brief)
    tokens.revoke(tokens.bearer(lasting).token_id)
    with pytest.raises(Unauthenticated, match="not known here, or was revoked"):
        tokens.bearer(lasting)
    with pytest.raises(NotFound, match="no token"):
        tokens.revoke("0123456789ab")


def test_what_was_revoked_stays_so_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    with closing(opened(tmp_path, clock)) as tokens:
        made = shown(tokens, TokenRole.EDITOR, None, "", None)
        tokens.revoke(tokens.bearer(made).token_id)
    with closing(opened(tmp_path, clock)) as tokens, pytest.raises(Unauthenticated):
        tokens.bearer(made)


@pytest.mark.parametrize(
    "altered",
    [
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token.replace("bs1_", "bs2_"),
        lambda token: token[:-1],
        lambda token: f"{token}0",
        lambda token: token.upper(),
        lambda token: token[:-10],
        lambda _: "",
        lambda _: "bs1_" + 12 * "0" + "_" + 64 * "0",
    ],
)
def test_a_token_that_is_not_exactly_right_is_refused_and_not_repeated(tokens: Tokens, altered) -> None:
    wrong = altered(shown(tokens, TokenRole.OWNER, None, "", None))
    with pytest.raises(Unauthenticated) as refused:
        tokens.bearer(wrong)
    secret = wrong.rpartition("_")[2]
    assert not secret or secret not in refused.value.message


def test_the_owners_token_is_in_a_file_for_them_alone_and_stays(tmp_path: Path, clock: Clock) -> None:
    for _ in range(2):
        with closing(opened(tmp_path, clock)) as tokens:
            before = owners(tmp_path)
            assert tokens.bearer(before).role is TokenRole.OWNER
            assert len(tokens.all()) == 1
            assert stat.S_IMODE((tmp_path / OWNER_TOKEN_FILE).stat().st_mode) == 0o600
    assert owners(tmp_path) == before


@pytest.mark.parametrize("lost", ["deleted", "damaged", "revoked", "another's", "seen"])
def test_an_owners_token_that_is_lost_is_replaced_and_holds_no_more(
    tmp_path: Path, clock: Clock, lost: str
) -> None:
    with closing(opened(tmp_path, clock)) as tokens:
        before = owners(tmp_path)
        if lost == "revoked":
            tokens.revoke(tokens.bearer(before).token_id)
        elif lost == "another's":
            (tmp_path / OWNER_TOKEN_FILE).write_text(shown(tokens, TokenRole.SEARCHER, None, "", None))
    if lost == "deleted":
        (tmp_path / OWNER_TOKEN_FILE).unlink()
    elif lost == "damaged":
        (tmp_path / OWNER_TOKEN_FILE).write_bytes(b"\xff\x00")
    elif lost == "seen":
        (tmp_path / OWNER_TOKEN_FILE).chmod(0o604)
    with closing(opened(tmp_path, clock)) as tokens:
        assert owners(tmp_path) != before
        assert tokens.bearer(owners(tmp_path)).role is TokenRole.OWNER
        with pytest.raises(Unauthenticated):
            tokens.bearer(before)


def test_the_disk_has_no_secret_and_does_not_say_what_a_token_is_for(tmp_path: Path, clock: Clock) -> None:
    with closing(opened(tmp_path, clock)) as tokens:
        made = shown(tokens, TokenRole.SEARCHER, HOLIDAY, "grandmother", None)
    held = (tmp_path / FILE_NAME).read_bytes()
    for private in (made.rpartition("_")[2], owners(tmp_path).rpartition("_")[2], "grandmother", "searcher"):
        assert private.encode() not in held
    (collection,) = HOLIDAY
    assert collection not in held
    assert collection.hex().encode() not in held


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tokens SET expires = NULL WHERE expires IS NOT NULL",
        "UPDATE tokens SET digest = (SELECT digest FROM tokens WHERE expires IS NULL)",
        "UPDATE tokens SET sealed = (SELECT sealed FROM tokens WHERE expires IS NULL)",
        "UPDATE tokens SET sealed = zeroblob(64)",
    ],
    ids=["a later end", "another's proof", "another's role", "damage"],
)
def test_a_row_that_was_altered_is_noticed(tmp_path: Path, clock: Clock, change: str) -> None:
    with closing(opened(tmp_path, clock)) as tokens:
        shown(tokens, TokenRole.SEARCHER, HOLIDAY, "", NOW + 60)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute(change)
        db.commit()
    with pytest.raises(DataLoss, match=re.escape(FILE_NAME)):
        opened(tmp_path, clock)


def test_what_cannot_be_made_is_said(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, said in [
        ((TokenRole.EDITOR, None, "", NOW), "has expired already"),
        ((TokenRole.EDITOR, None, "x" * 129, None), "label of 129 characters, want at most 128"),
        ((TokenRole.EDITOR, None, "a\nb", None), "label of 3 characters"),
        ((TokenRole.EDITOR, None, OWNER_TOKEN_FILE, None), "want another"),
        ((TokenRole.OWNER, HOLIDAY, "", None), "want none: it is for all"),
        ((TokenRole.EDITOR, None, "", None, Reveal.RANKS), "others than searchers see scores"),
    ]:
        with pytest.raises(InvalidArgument, match=said):
            tokens.create(*arguments)
    monkeypatch.setattr(module, "MOST_TOKENS", 1)
    with pytest.raises(ResourceExhausted, match="1 tokens, want fewer"):
        tokens.create(TokenRole.EDITOR, None, "", None)
    assert len(tokens.all()) == 1


@pytest.mark.parametrize("right", [0, 1, 32, 63, 64], ids="{} digits right".format)
@pytest.mark.parametrize("known", [True, False], ids=["known id", "unknown id"])
def test_a_secret_is_compared_as_a_digest_in_constant_time_however_much_of_it_is_right(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch, right: int, known: bool
) -> None:
    made = shown(tokens, TokenRole.SEARCHER, None, "", None)
    _, token_id, secret = made.split("_")
    other = "".join("1" if digit == "0" else "0" for digit in secret)
    tried = f"bs1_{token_id if known else 12 * '0'}_{secret[:right]}{other[right:]}"
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(module, "hmac", SimpleNamespace(compare_digest=compare))
    if known and right == 64:
        tokens.bearer(tried)
    else:
        with pytest.raises(Unauthenticated, match="not known here, or was revoked"):
            tokens.bearer(tried)
    # Nothing else of the secret is looked at: it is gone into the digest before anything is compared.
    ((ours, theirs),) = compared
    assert ours == sha256(tried.rpartition("_")[2].encode()).digest()
    assert theirs == (sha256(secret.encode()).digest() if known else bytes(32))
