"""A vault that has been lived in, and what it has acknowledged: for tests of bad days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from blindsight.client import Collection, Vault
from blindsight.errors import NotFound
from support.photos import small_photo

ROWS = np.random.default_rng(5).normal(size=(900, 16)).astype(np.float32)


@dataclass(frozen=True)
class Held:
    """What a vault has acknowledged."""

    photos: dict[int, str] = field(default_factory=dict)  # number -> id
    deleted: frozenset[str] = frozenset()
    rows: int = 0

    def check(self, vault: Vault) -> None:
        """All that was acknowledged is there and found, what was deleted is not, and the vault goes on."""
        photos, rows = vault.collection("photos"), vault.collection("rows")
        for number, name in self.photos.items():
            if name in self.deleted:
                assert is_gone(photos, name)
            else:
                assert photos.get(name).data == small_photo(number)
                assert found_as(photos, number) == name
        looked_for = range(0, self.rows, 97)
        if looked_for:
            best = [hits[0].id for hits in rows.search_vectors(ROWS[looked_for], k=1).results]
            assert best == [f"row{number}" for number in looked_for]
        photos.ingest([("new.png", small_photo(99))])
        assert photos.get(found_as(photos, 99)).data == small_photo(99)

    def without(self, names: frozenset[str]) -> Held:
        """The same, but for photos of which nothing is known."""
        return replace(
            self, photos={number: name for number, name in self.photos.items() if name not in names}
        )


def is_gone(photos: Collection, name: str) -> bool:
    try:
        photos.get(name)
    except NotFound:
        return True
    return False


def found_as(photos: Collection, number: int) -> str:
    return str(photos.search(small_photo(number), k=1).results[0][0].id)


def live(vault: Vault, note: Callable[[Held], None]) -> None:
    """Photos come and go, vectors come, all is repacked; what is acknowledged is noted at once."""
    photos = vault.create_collection("photos", scheme="bfv", parameter_set="bfv-4096")
    rows = vault.create_collection("rows", scheme="ckks", embedder="none", dimension=16, expected_size=900)
    held = Held()
    note(held)
    for first in (0, 4, 8):
        numbers = range(first, first + 4)
        photos.ingest([(f"{number}.png", small_photo(number)) for number in numbers])
        found = {number: found_as(photos, number) for number in numbers}
        held = replace(held, photos={**held.photos, **found})
        note(held)
        more = range(held.rows, held.rows + 300)
        rows.ingest_vectors(ROWS[more.start : more.stop], [f"row{number}" for number in more])
        held = replace(held, rows=more.stop)
        note(held)
        photos.delete(held.photos[first])
        held = replace(held, deleted=held.deleted | {held.photos[first]})
        note(held)
    photos.repack()
    note(held)
    photos.ingest([("20.png", small_photo(20))])
    note(replace(held, photos={**held.photos, 20: found_as(photos, 20)}))
