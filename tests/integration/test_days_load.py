"""A day's load: many clients at once, each of whose answers is compared with that of a plaintext twin.

Every client has items of its own in two collections that all of them share, and knows them all in the clear:
it stores, replaces, filters, lists, searches and deletes them while the others do, and while the collections
are repacked.  BLINDSIGHT_TEST_SECONDS sets how long, BLINDSIGHT_TEST_CLIENTS how many.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
import pytest
from support.metadata import SOME_KEYS, drawn
from support.photos import small_photo
from support.services import Services
from support.twin import passes

import blindsight
from blindsight.client import Collection, Photo, Vault
from blindsight.client.where import parse

SECONDS = float(os.environ.get("BLINDSIGHT_TEST_SECONDS", "20"))
CLIENTS = int(os.environ.get("BLINDSIGHT_TEST_CLIENTS", "20"))
DIMENSION = 32
SERVICES = ("keyholder", "evaluator", "storage")
FILTERS = (
    "year >= 1",
    'place = "Rome" or place = "Paris"',
    "not has(tags) and year < 2021.25",
    'place match "ro"',
    "within(-90, -180, 45, 1)",
    "has(latitude) or has(longitude)",
)
# Of a service, from the middle of a run to its end: a batch in flight, and what allocators keep.
MOST_GROWTH_BYTES = 96 << 20


@dataclass
class Client:
    """One client with its twin.

    Attributes:
        rows: vector and metadata by id, of its items in the collection of vectors.
        photos: file and metadata by id, of its items in the collection of photos.
        done: how often each operation was done.
    """

    number: int
    table: Collection
    album: Collection
    rows: dict[str, tuple[np.ndarray, dict[str, Any]]] = field(default_factory=dict)
    photos: dict[str, tuple[bytes, dict[str, Any]]] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.number)
        self.owner = f"client {self.number}"
        self.mine = f'owner = "{self.owner}"'
        self.next = 0

    def run(self, ends: float) -> None:
        """Does one thing after the other, by chance, until the time has come."""
        operations = self.operations()
        self.ingest_vectors()
        self.ingest_photos()
        while time.monotonic() < ends:
            one = operations[self.random.integers(len(operations))]
            one()
            self.done[one.__name__] += 1

    def operations(self) -> list[Callable[[], None]]:
        often = [self.ingest_vectors, self.search_vectors, self.search_vectors, self.upsert_vectors]
        often += [self.say, self.list, self.delete, self.search_like, self.ingest_photos, self.search_photos]
        return [*often, self.upsert_photo, self.get, self.delete_where, *([self.repack] * (self.number == 0))]

    def said(self, count: int) -> list[dict[str, Any]]:
        seed = int(self.random.integers(1 << 30))
        return [{**one, "owner": self.owner} for one in drawn(count, seed)]

    def names(self, count: int) -> list[str]:
        self.next += count
        return [f"c{self.number} {number}" for number in range(self.next - count, self.next)]

    def some(self, known: dict[str, Any], most: int) -> list[str]:
        """Some of the ids that there are, in any order."""
        return [str(one) for one in self.random.permutation(list(known))[: self.random.integers(1, most + 1)]]

    def ingest_vectors(self) -> None:
        ids = self.names(int(self.random.integers(1, 30)))
        vectors, said = self.random.normal(size=(len(ids), DIMENSION)), self.said(len(ids))
        assert self.table.ingest_vectors(vectors, ids, metadata=said).stored == len(ids)
        self.rows |= dict(zip(ids, zip(vectors, said, strict=True), strict=True))

    def upsert_vectors(self) -> None:
        ids = [*self.some(self.rows, 5), *self.names(1)]
        vectors, said = self.random.normal(size=(len(ids), DIMENSION)), self.said(len(ids))
        assert self.table.ingest_vectors(vectors, ids, metadata=said, upsert=True).stored == len(ids)
        self.rows |= dict(zip(ids, zip(vectors, said, strict=True), strict=True))

    def ranked(self, query: np.ndarray, where: str, but: str = "") -> list[tuple[str, float]]:
        wanted = parse(where)
        scores = {
            one: float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query))
            for one, (vector, said) in self.rows.items()
            if one != but and passes(wanted, said)
        }
        return sorted(scores.items(), key=lambda pair: -pair[1])

    def compare(self, hits: list[Any], ranked: list[tuple[str, float]], offset: int, k: int) -> None:
        """Compares hits with the twin's: the same scores, and ids whose scores these are."""
        wanted = ranked[offset : offset + k]
        assert len(hits) == len(wanted)
        np.testing.assert_allclose(
            [hit.score for hit in hits], [score for _, score in wanted], atol=1e-3, rtol=0
        )
        scores = dict(ranked)
        for hit in hits:
            assert abs(scores[hit.id] - hit.score) < 1e-3
            assert hit.metadata == self.rows[hit.id][1]

    def search_vectors(self) -> None:
        where = f"{self.mine} and ({self.random.choice(FILTERS)})"
        queries = self.random.normal(size=(int(self.random.integers(1, 4)), DIMENSION))
        k, offset = int(self.random.integers(1, 12)), int(self.random.integers(0, 4))
        answer = self.table.search_vectors(queries, k, where=where, offset=offset)
        for query, hits in zip(queries, answer.results, strict=True):
            self.compare(hits, self.ranked(query, where), offset, k)

    def search_like(self) -> None:
        (one,) = self.some(self.rows, 1)
        (hits,) = self.table.search_like(one, 5, where=self.mine).results
        self.compare(hits, self.ranked(self.rows[one][0], self.mine, one), 0, 5)
        unit = self.rows[one][0] / np.linalg.norm(self.rows[one][0])
        np.testing.assert_allclose(self.table.vector(one).values, unit, atol=1e-3)

    def say(self) -> None:
        ids, year = self.some(self.rows, 8), int(self.random.integers(3000))
        done = self.table.update([*ids, "nobody"], set={"year": year}, remove=["place"])
        assert (done.updated, done.unknown_ids) == (len(ids), ("nobody",))
        for one in ids:
            vector, said = self.rows[one]
            self.rows[one] = (
                vector,
                {
                    **{key: value for key, value in said.items() if key != "place"},
                    "year": year,
                },
            )

    def list(self) -> None:
        where = f"{self.mine} and ({self.random.choice(FILTERS)})"
        wanted = {one: said for one, (_, said) in self.rows.items() if passes(parse(where), said)}
        assert self.table.count(where) == len(wanted)
        found = {item.id: item.metadata for item in self.table.items(where, page_size=7)}
        assert found == wanted
        (one,) = self.some(self.rows, 1)
        assert self.table.item(one).metadata == self.rows[one][1]

    def delete(self) -> None:
        ids = self.some(self.rows, 6)[: len(self.rows) - 1]
        done = self.table.delete([*ids, "nobody"])
        assert (done.deleted, done.unknown_ids) == (len(ids), ("nobody",))
        for one in ids:
            del self.rows[one]
            assert not self.table.exists(one)

    def delete_where(self) -> None:
        where = f"{self.mine} and {self.random.choice(SOME_KEYS[:2])} = {self.random.choice(['2020', '1'])}"
        gone = [one for one, (_, said) in self.rows.items() if passes(parse(where), said)]
        if len(gone) < len(self.rows):
            assert self.table.delete(where=where).deleted == len(gone)
            for one in gone:
                del self.rows[one]

    def ingest_photos(self) -> None:
        ids = self.names(int(self.random.integers(1, 4)))
        said = self.said(len(ids))
        files = [small_photo(1000 * self.number + self.next + place) for place in range(len(ids))]
        photos = [Photo(*one) for one in zip(files, ids, said, strict=True)]
        assert self.album.ingest(photos).stored == len(ids)
        assert self.album.ingest(photos[:1]).duplicates == 1
        self.photos |= dict(zip(ids, zip(files, said, strict=True), strict=True))

    def upsert_photo(self) -> None:
        (one,), (said,) = self.some(self.photos, 1), self.said(1)
        file = small_photo(int(self.random.integers(1 << 20)))
        assert self.album.ingest([Photo(file, one, said)], upsert=True).stored == 1
        self.photos[one] = file, said

    def search_photos(self) -> None:
        (one,) = self.some(self.photos, 1)
        file = self.photos[one][0]
        (hits,) = self.album.search(file, 3, where=self.mine).results
        best = next(hit for hit in hits if self.photos[hit.id][0] == file)
        assert best.score > 1 - 1e-3
        assert best.metadata == self.photos[best.id][1]
        assert len(hits) == min(3, len(self.photos))

    def get(self) -> None:
        (one,) = self.some(self.photos, 1)
        assert self.album.get(one).data == self.photos[one][0]

    def repack(self) -> None:
        (self.table, self.album)[self.random.integers(2)].repack()


def memory_bytes(services: Services) -> dict[str, int]:
    found = {}
    for name in SERVICES:
        process = psutil.Process(services[name].popen.pid)
        every = [process, *process.children(recursive=True)]
        found[name] = sum(one.memory_full_info().pss for one in every)
    return found


@pytest.mark.timeout(SECONDS + 300)
def test_every_answer_to_many_clients_is_that_of_a_plaintext_twin(own_services: Services) -> None:
    vaults: list[Vault] = [blindsight.connect(own_services.address()) for _ in range(CLIENTS)]
    try:
        vaults[0].create_collection("table", embedder="none", dimension=DIMENSION)
        vaults[0].create_collection("album", embedder="pixels", dimension=64)
        clients = [
            Client(number, vault.collection("table"), vault.collection("album"))
            for number, vault in enumerate(vaults)
        ]
        begun = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as threads:
            running = [threads.submit(client.run, begun + SECONDS) for client in clients]
            time.sleep(SECONDS / 2)
            middle = memory_bytes(own_services)
            for one in running:
                one.result()
        end = memory_bytes(own_services)
        table, album = clients[0].table, clients[0].album
        assert {item.id for item in table.items()} == {one for client in clients for one in client.rows}
        assert {item.id for item in album.items()} == {one for client in clients for one in client.photos}
        assert table.check().damaged == album.check().damaged == 0
        assert vaults[0].status().alarms == ()
        grown = {name: end[name] - middle[name] for name in SERVICES}
        assert max(grown.values()) < MOST_GROWTH_BYTES, grown
        every = sum((client.done for client in clients), Counter())
        print(f"{sum(every.values()):,} operations of {CLIENTS} clients: {dict(every)}; grown: {grown}")
    finally:
        for vault in vaults:
            vault.close()
