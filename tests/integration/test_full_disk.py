"""Changes of names, metadata and whole collections on a full disk: one clear line, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.disk import Disk, disk
from support.services import Services

import blindsight
from blindsight.client import Vault
from blindsight.errors import ResourceExhausted

DISK_BYTES = 40 << 20
ROWS = np.random.default_rng(3).standard_normal((300, 4))
IDS = [f"item {number}" for number in range(300)]
# More than finds room between what is there.
LARGE = {"text": "x" * 12_000}
# What goes where storage keeps a reserve.
FREEING = {"delete", "truncate", "collection delete"}


def names(vault: Vault) -> list[str]:
    return [one.name for one in vault.collections()]


def aliases(vault: Vault) -> list[str]:
    return [alias for one in vault.collections() for alias in one.aliases]


def said(vault: Vault, item_id: str) -> Any:
    return vault.collection("album").item(item_id).metadata


# A change, and whether it was made.
CHANGES: Mapping[str, tuple[Callable[[Vault], Any], Callable[[Vault], bool]]] = {
    "alias": (lambda vault: vault.set_alias("photos", "album"), lambda vault: "photos" in aliases(vault)),
    "unalias": (
        lambda vault: vault.remove_alias("known as"),
        lambda vault: "known as" not in aliases(vault),
    ),
    "rename": (
        lambda vault: vault.collection("album").rename("pictures"),
        lambda vault: names(vault) == ["pictures"],
    ),
    "rename again": (
        lambda vault: vault.collection("pictures").rename("album"),
        lambda vault: names(vault) == ["album"],
    ),
    "items set": (
        lambda vault: vault.collection("album").update(IDS[:200], set=LARGE),
        lambda vault: said(vault, IDS[0]) == {**LARGE, "year": 0},
    ),
    "items set by a filter": (
        lambda vault: vault.collection("album").update(where="year >= 200", set=LARGE),
        lambda vault: said(vault, IDS[299]) == {**LARGE, "year": 299},
    ),
    "upsert": (
        lambda vault: vault.collection("album").ingest_vectors(ROWS, IDS, metadata=LARGE, upsert=True),
        lambda vault: said(vault, IDS[0]) == LARGE,
    ),
    "delete": (
        lambda vault: vault.collection("album").delete(IDS[0]),
        lambda vault: not vault.collection("album").exists(IDS[0]),
    ),
    "truncate": (
        lambda vault: vault.collection("album").truncate(),
        lambda vault: vault.collection("album").count() == 0,
    ),
    "collection delete": (lambda vault: vault.delete_collection("album"), lambda vault: names(vault) == []),
}


@contextmanager
def on_a_disk(folder: Path, name: str, **settings: str) -> Iterator[tuple[Services, Disk, Vault]]:
    """Services, of which one is on a disk of its own, and their vault, which has an album."""
    with disk(folder / name, DISK_BYTES) as made:
        running = Services(
            folder, within={name: made.within}, own_keys=name == "keyholder", settings={name: settings}
        )
        try:
            with blindsight.connect(running.start().address()) as vault:
                fill(vault)
                yield running, made, vault
        finally:
            running.stop()


def fill(vault: Vault) -> None:
    album = vault.create_collection("album", embedder="none", dimension=4)
    album.ingest_vectors(ROWS, IDS, metadata=[{"year": number} for number in range(300)])
    vault.set_alias("known as", "album")
    assert album.count("year < 10") == 10


def state(vault: Vault) -> Any:
    return {
        one.name: (one.aliases, [(item.id, item.metadata) for item in vault.collection(one.name).items()])
        for one in vault.collections()
    }


@pytest.mark.timeout(120)
@pytest.mark.parametrize("reserve_bytes", [0, 8 << 20])
def test_what_finds_no_room_at_storage_is_one_line_and_changes_nothing(tmp_path, reserve_bytes):
    with on_a_disk(tmp_path, "storage", reserve_bytes=str(reserve_bytes)) as (_, made, vault):
        for what, (change, is_made) in CHANGES.items():
            assert not is_made(vault), what
            before = state(vault)
            made.fill()
            if reserve_bytes and what in FREEING:
                change(vault)
            else:
                with pytest.raises(ResourceExhausted, match="storage's disk is full") as caught:
                    change(vault)
                assert "\n" not in caught.value.message
                assert len(caught.value.message) < 300
                assert state(vault) == before, what
                made.clear()
                assert state(vault) == before, what
                change(vault)
            made.clear()
            assert is_made(vault), what


@pytest.mark.timeout(120)
def test_a_full_disk_of_the_keyholder_stops_no_change_and_shows_nothing_old(tmp_path):
    with on_a_disk(tmp_path, "keyholder") as (services, made, vault):
        for what, (change, is_made) in CHANGES.items():
            assert not is_made(vault), what
            made.fill()
            change(vault)
            assert is_made(vault), what
            try:
                full = state(vault)
            except ResourceExhausted as error:
                assert "the keyholder's disk is full" in error.message  # noqa: PT017 - it may be raised
                full = None
            made.clear()
            assert is_made(vault), what
            clear = state(vault)
            assert full in (None, clear), what
            if what in ("upsert", "delete"):  # with what the file has of before
                services["keyholder"].stop()
                services["keyholder"].start()
                assert state(vault) == clear, what


@pytest.mark.timeout(120)
def test_filters_and_searches_are_right_while_the_keyholders_disk_is_full(tmp_path):
    with on_a_disk(tmp_path, "keyholder") as (_, made, vault):
        album = vault.collection("album")
        made.fill()
        album.update(IDS[:200], set={**LARGE, "new": True})
        album.ingest_vectors(-ROWS[:50], [f"more {number}" for number in range(50)], metadata=LARGE)
        assert album.count("new = true") == 200
        assert album.count("has(text)") == 250
        (hits,) = album.search_vectors(-ROWS[3], k=1, where="has(text)").results
        assert (hits[0].id, hits[0].metadata) == ("more 3", LARGE)
        (hits,) = album.search_vectors(ROWS[3], k=1).results
        assert (hits[0].id, hits[0].metadata) == ("item 3", {**LARGE, "new": True, "year": 3})
        with pytest.raises(ResourceExhausted, match="items are not in their order yet"):
            album.page()
        made.clear()
        assert len(list(album.items("has(text)"))) == 250
