"""In which order, and under which names, untrusted services are asked: it tells no rank and no caller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support import lying
from support.command import run_here
from support.photos import encoded, photo, small_photo
from support.relay import Call

import blindsight
from blindsight.client import Collection
from blindsight.rpc.storage.v1 import storage_pb2 as pb

CALLER = "canary-name-of-a-caller"
SCENES = ("astronaut", "coffee", "rocket", "chelsea", "camera", "coins")


@dataclass
class World(lying.World):
    """Services with a relay on every way to an untrusted one."""

    def mark(self) -> dict[tuple[str, str], int]:
        return {way: len(relay.calls) for way, relay in self.relays.items()}

    def since(self, mark: dict[tuple[str, str], int]) -> list[Call]:
        """What was asked since then, of whomever; renewals of the lease come whatever is asked."""
        called = [call for way, relay in self.relays.items() for call in relay.calls[mark[way] :]]
        return [call for call in called if not call.method.endswith("/RenewLease")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with lying.lying_services(tmp_path_factory.mktemp("order"), World) as services:
        yield services


@pytest.fixture(scope="module")
def album(world: World) -> Collection:
    made = world.vault.create_collection("album", embedder="pixels", dimension=64)
    assert made.ingest([(f"{number}.png", small_photo(number)) for number in range(12)]).stored == 12
    return made


def handles(calls: list[Call], method: str, request: type) -> list[list[bytes]]:
    """The handles of every call of a method."""
    asked = [message for call in calls if call.method.endswith(f"/{method}") for message in call.asked]
    read = map(request.FromString, asked)
    return [list(one.handles) if hasattr(one, "handles") else [one.handle] for one in read]


def test_every_call_has_a_random_name_of_its_own(world: World, album: Collection) -> None:
    before = world.mark()
    with blindsight.request_id(CALLER):
        album.ingest([("of a caller.png", small_photo(99))])
        (hits,) = album.search(small_photo(99), k=2).results
        album.get(hits[0].id)
        album.verify(hits[0].id, small_photo(98))
        world.vault.status()
    calls = world.since(before)
    named = [call for call in calls if not call.method.startswith("/grpc.health")]
    names = [dict(call.metadata).get("x-request-id", "") for call in named]
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    of_keyholder = [call for call in named if call in world.relays["keyholder", "storage"].calls]
    assert len({dict(call.metadata)["x-request-id"] for call in of_keyholder}) == len(of_keyholder) >= 5
    everything = b"".join(
        [*(part for call in calls for part in (*call.asked, *call.answered)), repr(calls).encode()]
    )
    assert CALLER.encode() not in everything


def test_a_search_looks_nothing_up(world: World, album: Collection) -> None:
    before = world.mark()
    for number in range(4):
        assert len(album.search(small_photo(number), k=8).results[0]) == 8
    assert handles(world.since(before), "GetItems", pb.GetItemsRequest) == []


def test_saved_matches_are_fetched_once_each_and_in_no_order_of_theirs(
    world: World, album: Collection, tmp_path: Path
) -> None:
    queries = tmp_path / "queries.npy"
    np.save(queries, np.random.default_rng(3).normal(size=(2, 64)))
    orders = []
    for run in range(3):
        before, target = world.mark(), tmp_path / str(run)
        command = ("search", "album", "--vectors", str(queries), "-k", "12", "--save", str(target))
        assert run_here(*command, address=world.services.address()).returncode == 0
        assert len(list(target.iterdir())) == 24
        fetched = handles(world.since(before), "ReadOriginal", pb.ReadOriginalRequest)
        orders.append([handle for (handle,) in fetched])
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len(set(orders[0])) == len(orders[0]) < 24
    assert len(set(map(tuple, orders))) > 1  # 12! orders


def test_photos_that_are_drawn_are_fetched_in_an_order_that_tells_no_rank(world: World) -> None:
    collection = world.vault.create_collection("recognised", embedder="sift")
    assert collection.ingest([(f"{name}.png", encoded(photo(name), "PNG")) for name in SCENES]).stored == 6
    for turned in (90, 180):
        before = world.mark()
        answer = collection.search(encoded(photo("coffee").rotate(turned, expand=True)), k=5, draw=True)
        assert [one.rank for one in answer.drawings] == list(range(6))
        calls = world.since(before)
        fetched = [one for (one,) in handles(calls, "ReadOriginal", pb.ReadOriginalRequest)]
        (candidates,) = handles(calls, "ReadAttachments", pb.ReadAttachmentsRequest)
        assert (fetched, candidates) == (sorted(fetched), sorted(candidates))
        assert len(fetched) == 5


def test_a_verification_against_an_item_names_no_item_and_looks_like_one_of_any_other(
    world: World, album: Collection
) -> None:
    items = album.ingest([(f"{number}.png", small_photo(number)) for number in range(12)]).items
    album.search(small_photo(50), k=1)
    stored = set()
    before = world.mark()
    for item in items:
        album.get(item.id)
    for (handle,) in handles(world.since(before), "ReadOriginal", pb.ReadOriginalRequest):
        stored.add(handle)
    assert len(stored) == 12
    seen = []
    for item in items[:2]:
        before = world.mark()
        album.verify(item.id, small_photo(50))
        calls = world.since(before)
        assert [call.method.rpartition("/")[2] for call in calls] == ["Score"]
        told = b"".join(part for call in calls for part in (*call.asked, *call.answered))
        assert not [handle for handle in stored if handle in told]
        seen.append([(call.method, list(map(len, call.asked))) for call in calls])
    assert seen[0] == seen[1]
