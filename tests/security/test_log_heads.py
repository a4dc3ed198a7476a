"""Storage that is set back, or says something else of a collection than what was written, is refused.

Real services, with a relay between keyholder and storage that changes what storage says.  Every lie leaves an
alarm, and when storage is itself again, or its owner accepts what it has, everything works as before.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import lying
from support.command import run_here
from support.damage import FLIPPED, change_database, forget_copies
from support.lying import SERVICE
from support.photos import encoded, photo
from support.services import wait_until

import blindsight
from blindsight.client import Collection
from blindsight.errors import BlindsightError, DataLoss, NotFound
from blindsight.rpc.storage.v1 import storage_pb2 as pb

DIMENSION = 8
VECTORS = np.random.default_rng(12).normal(size=(200, DIMENSION)).astype(np.float32)


@dataclass
class World(lying.World):
    """Services, of which storage can lie to the keyholder, or be set back."""

    def show_slots(self, change: Callable[[pb.ReadSlotsResponse], None]) -> None:
        """Changes every page of slots, which a keyholder reads that has just been started."""

        def changed(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
            for data in answers:
                if method == SERVICE + "ReadSlots":
                    page = pb.ReadSlotsResponse.FromString(data)
                    change(page)
                    yield page.SerializeToString()
                else:
                    yield data

        self.relay.change = changed
        self.restart_keyholder()

    @property
    def heads(self) -> Path:
        return self.services.folder / "keyholder" / "heads.db"

    def saved(self, name: str, *, of: str = "storage") -> Path:
        """A copy of a service's folder as it is now."""
        copy = self.services.folder / f"{of} {name}"
        self.services[of].stop()
        shutil.copytree(self.services.folder / of, copy)
        self.services[of].start()
        return copy

    def restore(self, copy: Path, *, of: str = "storage") -> None:
        """Gives a service the folder of an earlier time."""
        self.services[of].stop()
        shutil.rmtree(self.services.folder / of)
        shutil.copytree(copy, self.services.folder / of)
        self.services[of].start()

    def new(self, name: str, rows: int = 20) -> Collection:
        made = self.vault.create_collection(name, embedder="none", dimension=DIMENSION)
        made.ingest_vectors(VECTORS[:rows])
        return made


@pytest.fixture(scope="module")
def services_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with lying.lying_services(tmp_path_factory.mktemp("heads"), World) as services:
        yield services


@pytest.fixture
def world(services_of_all: World) -> Iterator[World]:
    """The services, which tell the truth again at the end, without the collections of the test."""
    yield services_of_all
    services_of_all.start_anew()


def best(collection: Collection, row: int = 0) -> list[str]:
    answer = collection.search_vectors(VECTORS[row : row + 1], k=1)
    return [hit.id for hit in answer.results[0]]


def refused(world: World, ask: Callable[[], object], why: str) -> None:
    alarm = world.alarm()
    with pytest.raises(DataLoss, match=why) as caught:
        ask()
    assert len(str(caught.value).splitlines()) == 1
    assert world.alarm() != alarm


# --- slots ------------------------------------------------------------------------------------------------


def rotated(page: pb.ReadSlotsResponse) -> None:
    for run in page.runs:
        run.handles = run.handles[16:] + run.handles[:16]


def an_item_hidden(page: pb.ReadSlotsResponse) -> None:
    page.runs[0].handles = bytes(16) + page.runs[0].handles[16:]


def a_batch_left_out(page: pb.ReadSlotsResponse) -> None:
    batch = page.runs[0].batches.pop()
    page.runs[0].handles = page.runs[0].handles[: -16 * batch.count]


def another_block(page: pb.ReadSlotsResponse) -> None:
    page.runs[0].batches[0].sha256 = bytes(32)


def ids_to_be_given_out_again(page: pb.ReadSlotsResponse) -> None:
    page.items_added -= 5


def an_index_to_be_used_again(page: pb.ReadSlotsResponse) -> None:
    page.next_tail_index += 1


def no_links(page: pb.ReadSlotsResponse) -> None:
    del page.links[:]


def a_root_of_its_own(page: pb.ReadSlotsResponse) -> None:
    page.links[-1].root = bytes(32)


def a_chain_of_its_own(page: pb.ReadSlotsResponse) -> None:
    page.links[-1].chain = bytes(32)


def a_past_of_its_own(page: pb.ReadSlotsResponse) -> None:
    page.links[-1].previous = bytes(32)


def another_epoch(page: pb.ReadSlotsResponse) -> None:
    page.epoch += 1


LIES = [
    rotated,
    an_item_hidden,
    a_batch_left_out,
    another_block,
    ids_to_be_given_out_again,
    an_index_to_be_used_again,
    no_links,
    a_past_of_its_own,
    another_epoch,
]


@pytest.mark.parametrize("lie", LIES)
def test_slots_that_were_not_written_are_refused(
    world: World, lie: Callable[[pb.ReadSlotsResponse], None]
) -> None:
    collection = world.new("lied about")
    collection.ingest_vectors(VECTORS[20:30])
    world.show_slots(lie)
    for ask in (
        lambda: best(collection),
        lambda: collection.ingest_vectors(VECTORS[30:31]),
        lambda: collection.delete(["3"]),
        collection.repack,
    ):
        refused(world, ask, "not those that were written|another history")
    world.tell_the_truth()
    assert best(collection, 29) == ["29"]
    collection.ingest_vectors(VECTORS[30:31])
    assert best(collection, 30) == ["30"]


@pytest.mark.parametrize("lie", [a_root_of_its_own, a_chain_of_its_own])
def test_what_the_state_and_its_head_tell_of_a_link_is_not_asked_of_storage(
    world: World, lie: Callable[[pb.ReadSlotsResponse], None]
) -> None:
    collection = world.new("told already")
    world.show_slots(lie)
    assert best(collection, 3) == ["3"]


def test_slots_of_an_earlier_time_are_refused_also_under_the_newest_sequence(world: World) -> None:
    collection = world.new("replayed")
    world.restart_keyholder()
    assert best(collection, 3) == ["3"]
    read = [call for call in world.relay.calls if call.method == SERVICE + "ReadSlots"][-1]
    early = [pb.ReadSlotsResponse.FromString(data) for data in read.answered]
    collection.delete(["3"])
    newest = {"sequence": 0}

    def replay(page: pb.ReadSlotsResponse) -> None:
        newest["sequence"] = page.sequence
        page.CopyFrom(early[0])

    world.show_slots(replay)
    refused(world, lambda: best(collection, 3), "had 2: it was set back")

    def renumbered(page: pb.ReadSlotsResponse) -> None:
        links = list(page.links)
        page.CopyFrom(early[0])
        page.sequence = newest["sequence"]
        del page.links[:]
        page.links.extend(links)

    world.show_slots(renumbered)
    refused(world, lambda: best(collection, 3), "not those that were written")
    world.tell_the_truth()
    assert best(collection, 3) != ["3"]


def test_a_repack_of_a_tail_of_which_storage_hides_a_batch_is_refused(world: World) -> None:
    """It had moved what was left, and reported success."""
    collection = world.new("to be repacked")
    collection.ingest_vectors(VECTORS[20:30])
    collection.delete(["0"])
    left_out: list[int] = []

    def changed(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
        for data in answers:
            if method == SERVICE + "ReadSlots":
                page = pb.ReadSlotsResponse.FromString(data)
                left_out.append(page.runs[0].batches[-1].count)
                a_batch_left_out(page)
                yield page.SerializeToString()
            elif method == SERVICE + "ReadBatches":
                part = pb.ReadBatchesResponse.FromString(data)
                if part.WhichOneof("part") == "log":
                    part.log.batches -= 1
                if part.WhichOneof("part") == "batch" and part.batch.sequence == 2:
                    return
                yield part.SerializeToString()
            elif method == SERVICE + "GetCollection":
                got = pb.GetCollectionResponse.FromString(data)
                got.collection.items -= 10
                yield got.SerializeToString()
            else:
                yield data

    world.relay.change = changed
    world.restart_keyholder()
    refused(world, collection.repack, "not those that were written")
    assert left_out
    world.tell_the_truth()
    collection.repack()
    assert best(collection, 29) == ["29"]


# --- history ----------------------------------------------------------------------------------------------


def test_a_storage_that_was_set_back_is_noticed_without_any_cache(world: World) -> None:
    collection = world.new("set back")
    before = world.saved("before")
    collection.ingest_vectors(VECTORS[20:40])
    newest = world.saved("newest")
    world.restore(before)
    world.restart_keyholder(forgetful=True)
    refused(
        world, lambda: best(collection), "storage has 1 writes of the collection, and had 2: it was set back"
    )
    world.restore(newest)
    assert best(collection, 39) == ["39"]


def test_a_storage_that_was_set_back_and_written_to_since_is_noticed(world: World) -> None:
    collection = world.new("two histories")
    before, forgotten = world.saved("at the fork"), world.saved("at the fork", of="keyholder")
    collection.ingest_vectors(VECTORS[20:40])
    right, knowing = world.saved("right"), world.saved("knowing", of="keyholder")
    world.restore(before)
    world.restore(forgotten, of="keyholder")
    collection.ingest_vectors(VECTORS[40:60])
    collection.ingest_vectors(VECTORS[60:80])
    world.restore(knowing, of="keyholder")
    refused(world, lambda: best(collection), "another history")
    refused(world, lambda: collection.ingest_vectors(VECTORS[80:81]), "another history")
    world.restore(right)
    assert best(collection, 39) == ["39"]


def test_a_deleted_collection_that_comes_back_is_refused(world: World) -> None:
    collection = world.new("deleted")
    before = world.saved("before the deletion")
    world.vault.delete_collection("deleted")
    world.restore(before)
    refused(world, lambda: best(collection), "brought back collection 'deleted', which was deleted")
    assert [one.damage for one in world.vault.collections()] == [
        "storage has brought back collection 'deleted', which was deleted"
    ]
    world.restart_keyholder()
    refused(world, lambda: best(collection), "which was deleted")
    world.vault.delete_collection("deleted")
    assert world.vault.collections() == []
    world.new("deleted")
    assert best(collection) == ["0"]


def test_a_deleted_collection_comes_back_if_its_owner_wants_it(world: World) -> None:
    collection = world.new("deleted by mistake")
    before = world.saved("before the mistake")
    world.vault.delete_collection("deleted by mistake")
    world.restore(before)
    accepted = world.vault.accept_rollback("deleted by mistake")
    assert (accepted.writes, accepted.items, accepted.set_back) == (1, 20, True)
    assert best(collection, 19) == ["19"]


def test_a_collection_that_storage_has_lost_is_told_until_its_owner_gives_it_up(world: World) -> None:
    before = world.saved("before the creation")
    collection = world.new("lost")
    world.restore(before)
    world.restart_keyholder()
    refused(world, lambda: best(collection), "storage has lost collection 'lost'")
    assert "lost collection lost" in world.alarm()
    with pytest.raises(DataLoss, match="storage has lost"):
        world.vault.accept_rollback("lost")
    world.vault.delete_collection("lost")
    assert "lost collection lost" not in world.alarm()
    with pytest.raises(NotFound):
        best(collection)


def test_a_lost_collection_is_not_told_to_whose_token_is_for_another(world: World, tmp_path: Path) -> None:
    world.new("theirs")
    before = world.saved("before what is lost")
    world.new("lost too")
    token = world.vault.create_token("editor", collections=["theirs"]).token
    (tmp_path / "token").write_text(token)
    world.restore(before)
    world.restart_keyholder()
    with blindsight.connect(world.services.address(), token_file=tmp_path / "token") as vault:
        for name in ("lost too", "never there"):
            with pytest.raises(NotFound, match=f"no collection '{name}'; it has 'theirs'"):
                vault.collection(name).count()
        assert vault.collection("theirs").count() == 20
    refused(world, world.vault.collection("lost too").count, "storage has lost collection 'lost too'")


def test_an_alarm_stands_over_restarts_until_its_owner_has_acknowledged_it(world: World) -> None:
    collection = world.new("lied about")
    world.restart_keyholder()
    world.show_slots(rotated)
    for _ in range(2):
        refused(world, lambda: best(collection), "not those that were written")
    world.tell_the_truth()
    assert best(collection) == ["0"]
    world.restart_keyholder(kill=True)
    code, told = shown(world)
    (alarm,) = told["alarms"]
    assert (code, alarm["collection"], alarm["count"]) == (3, "lied about", 2)
    assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ", alarm["first"])
    assert alarm["first"] <= alarm["last"]
    assert "not those that were written" in alarm["message"]
    seen = world.vault.status()
    world.restart_keyholder()
    world.show_slots(rotated)
    refused(world, lambda: best(collection), "not those that were written")
    assert world.vault.acknowledge_alarms(seen) == 0  # it was raised again
    world.tell_the_truth()
    code, told = shown(world, "--acknowledge")
    assert (code, told["acknowledged"], told["alarms"][0]["count"]) == (0, 1, 3)
    world.restart_keyholder()
    code, told = shown(world)
    assert (code, told["alarms"]) == (0, [])


def shown(world: World, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `status`."""
    done = run_here("status", "--json", *options, "--address", world.services.address())
    return done.returncode, json.loads(done.stdout)


def test_a_collection_that_cannot_be_opened_can_be_deleted(world: World) -> None:
    world.new("damaged")
    world.show_slots(rotated)
    address = ("--address", world.services.address())
    told = run_here("collection", "delete", "damaged", "--yes", "--json", *address)
    assert (told.returncode, told.stdout.strip()) == (0, '{"deleted": "damaged", "items": null}')
    assert world.vault.collections() == []


# --- what an owner accepts --------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluator_is_away", [False, True])
def test_a_restored_backup_is_accepted_and_everything_works(world: World, evaluator_is_away: bool) -> None:
    collection = world.new("restored", 40)
    before = world.saved(f"backup {evaluator_is_away}")
    collection.ingest_vectors(VECTORS[40:60])
    collection.ingest_vectors(VECTORS[60:80])
    assert best(collection, 79) == ["79"]  # the evaluator has it all
    world.restore(before)
    world.restart_keyholder()
    refused(world, lambda: best(collection), "set back")
    if evaluator_is_away:
        world.services["evaluator"].stop()
    address = ("--address", world.services.address())
    told = run_here("collection", "accept-rollback", "restored", "--yes", *address)
    if evaluator_is_away:
        world.services["evaluator"].start()
    assert told.returncode == 0
    assert told.stdout.strip() == (
        "restored has 40 items after 1 write now; before, the newest write that was seen was number 3."
    )
    assert best(collection, 39) == ["39"]
    assert best(collection, 79) != ["79"]
    collection.ingest_vectors(VECTORS[100:120])
    assert best(collection, 119) == ["59"]
    world.restart_keyholder()
    assert best(collection, 119) == ["59"]
    assert collection.describe().items == 60
    for _ in range(2):
        told = run_here("collection", "accept-rollback", "restored", "--yes", *address)
        assert told.stdout.strip() == "restored was not set back, so nothing changed: it has 60 items."


def test_nothing_is_accepted_that_was_never_written(world: World) -> None:
    world.new("forged")
    world.show_slots(rotated)
    with pytest.raises(DataLoss, match="not those that were written"):
        world.vault.accept_rollback("forged")
    with pytest.raises(NotFound):
        world.vault.accept_rollback("unknown")


def test_an_evaluator_whose_cache_is_of_another_history_makes_it_anew(world: World) -> None:
    """Storage and keyholder come from one backup; the evaluator's cache is further on the old way."""
    collection = world.new("another way", 40)
    storage, keyholder = world.saved("both"), world.saved("both", of="keyholder")
    for start in (40, 60):
        collection.ingest_vectors(VECTORS[start : start + 20])
    assert best(collection, 79) == ["79"]
    world.restore(storage)
    world.restore(keyholder, of="keyholder")
    for start in (100, 120):
        rows = range(start, start + 20)
        collection.ingest_vectors(VECTORS[rows])
        found = collection.search_vectors(VECTORS[rows], k=1).results
        assert [hits[0].id for hits in found] == [str(row - 60) for row in rows]
    assert world.alarm() == ""


# --- names ------------------------------------------------------------------------------------------------


def show_records(world: World, records: dict[bytes, pb.Collection], *fields: str) -> None:
    """Says of these collections what it said before, wherever storage tells of them."""

    def put(record: pb.Collection) -> None:
        for name in fields:
            if record.collection_id in records:
                setattr(record, name, getattr(records[record.collection_id], name))

    def changed(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
        for data in answers:
            if method == SERVICE + "ListCollections":
                listed = pb.ListCollectionsResponse.FromString(data)
                for one in listed.collections:
                    put(one)
                yield listed.SerializeToString()
            elif method == SERVICE + "GetCollection":
                got = pb.GetCollectionResponse.FromString(data)
                put(got.collection)
                yield got.SerializeToString()
            else:
                yield data

    world.relay.change = changed


def records(world: World) -> dict[bytes, pb.Collection]:
    """What storage says of its collections."""
    world.vault.collections()
    calls = [call for call in world.relay.calls if call.method == SERVICE + "ListCollections"]
    listed = pb.ListCollectionsResponse.FromString(calls[-1].answered[0]).collections
    return {one.collection_id: one for one in listed}


NAMED = ("name_tag", "sealed_config")


@pytest.mark.parametrize("restarted", [False, True])
def test_the_old_name_of_a_renamed_collection_is_refused_whatever_storage_says(
    world: World, restarted: bool
) -> None:
    collection = world.new("old")
    old = records(world)
    collection.rename("new")
    show_records(world, old, *NAMED)
    if restarted:
        world.restart_keyholder()
        refused(world, lambda: best(collection), "not those that were written")
        refused(world, lambda: best(world.vault.collection("old")), "not those that were written")
    else:
        assert best(collection) == ["0"]  # it needs nothing of storage
        with pytest.raises(DataLoss):
            best(world.vault.collection("old"))
    world.tell_the_truth()
    assert best(collection) == ["0"]
    with pytest.raises(NotFound):
        best(world.vault.collection("old"))


def test_a_name_that_never_had_a_write_is_authentic_too(world: World) -> None:
    collection = world.vault.create_collection("bare", embedder="none", dimension=DIMENSION)
    old = records(world)
    collection.rename("barer")
    show_records(world, old, *NAMED)
    world.restart_keyholder()
    refused(world, collection.describe, "not those that were written")
    world.tell_the_truth()
    assert collection.describe().items == 0


@pytest.mark.parametrize("hidden", ["the new collection's record", "both records"])
def test_an_alias_that_was_moved_means_the_new_collection_whatever_storage_says(
    world: World, hidden: str
) -> None:
    """An owner who searches a collection that was replaced would not see it."""
    first, second = world.new("first"), world.new("second", 30)
    world.vault.set_alias("current", first)
    old = records(world)
    world.vault.set_alias("current", second)
    current = world.vault.collection("current")
    assert best(current, 29) == ["29"]
    seconds = max(old.values(), key=lambda one: one.items)
    show_records(world, old if hidden == "both records" else {seconds.collection_id: seconds}, *NAMED)
    world.restart_keyholder()
    refused(world, lambda: best(current), "not those that were written")
    world.tell_the_truth()
    assert best(current, 29) == ["29"]


def test_names_that_storage_exchanges_are_refused(world: World) -> None:
    left, right = world.new("left"), world.new("right")
    left.rename("west")
    told = records(world)
    one, other = told.values()
    swapped = {
        one.collection_id: pb.Collection(name_tag=other.name_tag, sealed_config=other.sealed_config),
        other.collection_id: pb.Collection(name_tag=one.name_tag, sealed_config=one.sealed_config),
    }
    for fields, why in ((NAMED, "lost|changed|settings"), (NAMED[:1], "changed the record")):
        show_records(world, swapped, *fields)
        world.restart_keyholder()
        refused(world, lambda: best(left), why)
        refused(world, lambda: best(right), why)
    world.tell_the_truth()
    assert (best(left), best(right)) == (["0"], ["0"])


@pytest.mark.parametrize("by", ["before", "after"])
def test_a_backup_from_before_a_rename_is_accepted_by_either_name(world: World, by: str) -> None:
    collection = world.new("before")
    copy = world.saved(f"named {by}")
    collection.rename("after")
    world.vault.set_alias("alias", collection)
    world.restore(copy)
    world.restart_keyholder()
    for name in ("before", "after", "alias"):
        refused(world, lambda name=name: best(world.vault.collection(name)), "set back")
    told = world.vault.accept_rollback(by)
    assert (told.set_back, told.writes_before, told.writes, told.items) == (True, 3, 1, 20)
    assert best(world.vault.collection("before")) == ["0"]
    for name in ("after", "alias"):
        with pytest.raises(NotFound):
            best(world.vault.collection(name))
    (left,) = world.vault.collections()
    assert (left.name, left.aliases, left.damage) == ("before", (), "")


def test_an_alarm_and_a_loss_are_told_under_the_new_name(world: World) -> None:
    before = world.saved("before there was any")
    collection = world.new("suspect")
    world.show_slots(rotated)
    refused(world, lambda: best(collection), "not those that were written")
    world.tell_the_truth()
    collection.rename("renamed suspect")
    (alarm,) = world.vault.status().alarms
    assert alarm.collection == "renamed suspect"
    world.restart_keyholder()
    assert [one.collection for one in world.vault.status().alarms] == ["renamed suspect"]
    world.restore(before)
    world.restart_keyholder()
    wait_until(lambda: world.vault.status().services[-1].reachable)  # again by the way between them
    assert world.vault.status().lost == ("renamed suspect",)
    world.vault.delete_collection("renamed suspect")
    assert world.vault.status().lost == ()


@pytest.mark.parametrize("dies", ["keyholder", "storage"])
def test_kill_9_around_a_change_of_names_leaves_the_old_or_the_new_one(world: World, dies: str) -> None:
    world.restart_keyholder()
    one, other = world.new("name 0"), world.new("other", 30)
    world.vault.set_alias("current", other)
    current, seen = world.vault.collection("current"), set[object]()
    for number in range(1, 9):
        process, committed = world.services[dies].popen, bool(number % 2)

        def killed(
            method: str, answers: Iterable[bytes], process: Any = process, committed: bool = committed
        ) -> Iterable[bytes]:
            if method == SERVICE + "ReplaceConfig":
                answers = list(answers) if committed else answers
                process.kill()
            yield from answers

        was = world.vault.collection(one.name).describe().aliases
        names = {one.name, f"name {number}"}
        world.relay.change = killed
        renames = number % 4 < 2
        meant = other if was else one

        def change(number: int = number, renames: bool = renames, meant: Collection = meant) -> None:
            with suppress(BlindsightError):
                if renames:
                    one.rename(f"name {number}")  # noqa: B023 - until then it is the same
                else:
                    world.vault.set_alias("current", meant)

        with ThreadPoolExecutor(1) as threads:
            changing = threads.submit(change)
            world.services[dies].wait()
            world.services[dies].start()
            changing.result()
        world.tell_the_truth()
        found = {told.name: told.aliases for told in world.vault.collections()}
        assert len(found) == 2
        (name,) = found.keys() - {"other"}
        assert name in names
        for gone in names - {name}:
            with pytest.raises(NotFound):
                best(world.vault.collection(gone))
        one = world.vault.collection(name)
        assert best(one, 7) == ["7"]
        assert sorted(found.values()) == [(), ("current",)]
        assert len(current.search_vectors(VECTORS[:1], k=100).results[0]) == (20 if found[name] else 30)
        assert world.alarm() == ""
        seen.add((renames, name == f"name {number}" if renames else found[name] != was))
    assert (True, True) in seen
    assert (False, True) in seen


# --- crashes ----------------------------------------------------------------------------------------------


def test_a_keyholder_that_dies_before_it_notes_what_storage_took_raises_no_alarm(world: World) -> None:
    collection = world.new("cut off")
    world.services["keyholder"].stop()
    noted, before = world.heads.read_bytes(), sequences(world)
    world.services["keyholder"].start()
    collection.ingest_vectors(VECTORS[20:40])
    collection.delete(["5"])
    world.services["keyholder"].kill()
    world.heads.write_bytes(noted)
    for suffix in ("-wal", "-shm"):
        world.heads.with_name(world.heads.name + suffix).unlink(missing_ok=True)
    world.services["keyholder"].start()
    assert best(collection, 39) == ["39"]
    assert best(collection, 5) != ["5"]
    assert world.alarm() == ""
    assert [sequence for _, sequence in sequences(world) - before] == [3]


def sequences(world: World) -> set[tuple[bytes, int]]:
    """The newest writes that the keyholder remembers, by collection id."""
    with closing(sqlite3.connect(world.heads)) as db:
        return set(db.execute("SELECT collection, sequence FROM heads"))


def test_kill_9_at_any_time_raises_no_alarm(world: World) -> None:
    world.restart_keyholder()
    collection = world.new("killed", 1)
    for number in range(1, 9):
        feed = world.relay.calls
        done = len(feed)

        def killed(method: str, answers: Iterable[bytes], number: int = number) -> Iterable[bytes]:
            if method == SERVICE + "Append":
                answers = list(answers)  # storage has committed
                if number % 2:
                    world.services["keyholder"].popen.kill()  # type: ignore[union-attr]
            yield from answers

        world.relay.change = killed
        with suppress(BlindsightError):
            collection.ingest_vectors(VECTORS[number : number + 1], [f"item {number}"])
        world.tell_the_truth()
        assert len(feed) > done
        if number % 2:
            world.services["keyholder"].wait()
            world.services["keyholder"].start()
        assert best(collection, number) == [f"item {number}"]
        assert world.alarm() == ""


# --- items ------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(world: World) -> Collection:
    return world.vault.create_collection("photos")


def stored(collection: Collection, motif: str, name: str = "") -> str:
    """Stores a photo under a name; returns its id, which is the same whenever it is stored."""
    (result,) = collection.ingest([(name or motif, encoded(photo(motif, 96)))]).items
    assert result.outcome == "stored"
    return result.id


def replaying(world: World, *methods: str) -> None:
    """Has storage answer these methods with what it answered the first time."""
    first: dict[str, list[bytes]] = {}
    for call in world.relay.calls:
        name = call.method.removeprefix(SERVICE)
        if name in methods and call.answered:
            first.setdefault(name, call.answered)
    assert first.keys() == set(methods)

    def changed(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
        return first.get(method.removeprefix(SERVICE), answers)

    world.relay.change = changed


@pytest.mark.parametrize("methods", [("ReadOriginal",), ("GetItems",), ("GetItems", "ReadOriginal")])
def test_an_item_that_is_stored_again_cannot_be_given_what_it_was_before(
    world: World, photos: Collection, methods: tuple[str, ...]
) -> None:
    one = stored(photos, "coffee", "before")
    world.relay.calls.clear()
    photos.get(one)
    photos.delete([one])
    assert stored(photos, "coffee", "after") == one
    assert photos.get(one).name == "after"
    replaying(world, *methods)
    refused(world, lambda: photos.get(one), "damaged, or belong to another place")
    world.tell_the_truth()
    assert photos.get(one).name == "after"


def test_a_deleted_item_is_not_a_duplicate_whatever_storage_says(world: World, photos: Collection) -> None:
    """Its owner would have been told that the photo is stored."""
    one = stored(photos, "coffee")
    world.relay.calls.clear()
    photos.get(one)
    photos.delete([one])
    replaying(world, "GetItems")
    assert stored(photos, "coffee") == one  # storage is not asked
    world.tell_the_truth()
    assert photos.get(one).data == encoded(photo("coffee", 96))


def test_an_item_that_storage_hides_is_missed(world: World, photos: Collection) -> None:
    one = stored(photos, "coffee")
    world.relay.calls.clear()
    with pytest.raises(NotFound):
        photos.get("another")
    replaying(world, "GetItems")
    refused(world, lambda: photos.get(one), "storage hides items")
    (hit,) = photos.search(encoded(photo("coffee", 96))).results[0]
    assert (hit.id, hit.damage) == (one, "")  # the keyholder knows it
    forget_copies(world.services)
    alarm = world.alarm()
    (hit,) = photos.search(encoded(photo("coffee", 96))).results[0]
    assert (hit.id, hit.name) == ("", "")
    assert "storage hides items" in hit.damage
    assert world.alarm() != alarm


def test_what_an_item_has_moves_with_it(world: World, photos: Collection) -> None:
    kept = {motif: stored(photos, motif) for motif in ("coffee", "astronaut")}
    photos.delete([stored(photos, "chelsea")])
    photos.repack()
    world.restart_keyholder()
    for motif, item_id in kept.items():
        assert photos.get(item_id).data == encoded(photo(motif, 96))
    assert photos.search(encoded(photo("coffee", 96))).results[0][0].name == "coffee"


# --- a walk over all of it --------------------------------------------------------------------------------


DAMAGES = {
    "nothing": ("", []),
    "a batch": (
        f"UPDATE blobs SET bytes = {FLIPPED} WHERE number IN (SELECT block FROM batches)",
        ["segment"],
    ),
    "an original": (
        f"UPDATE blobs SET bytes = {FLIPPED} WHERE number = (SELECT max(original) FROM contents)",
        ["item"],
    ),
    "a lost original": (
        "UPDATE contents SET original = NULL WHERE original = (SELECT max(original) FROM contents)",
        ["item"],
    ),
    "a name": (
        "UPDATE contents SET metadata = x'00' WHERE number = (SELECT max(number) FROM contents)",
        ["item"],
    ),
    "slots": ("UPDATE batches SET handles = zeroblob(length(handles))", ["collection"]),
    "a count": ("UPDATE collections SET items_added = items_added + 1", ["collection"]),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_check_says_what_is_damaged_and_where(world: World, photos: Collection, what: str) -> None:
    change, found = DAMAGES[what]
    photos.ingest([(motif, encoded(photo(motif, 96))) for motif in ("coffee", "astronaut", "chelsea")])
    photos.delete([photos.search(encoded(photo("chelsea", 96)), k=1).results[0][0].id])
    if change:
        change_database(world.services, change)
    world.restart_keyholder()
    code, told = world.checked()
    (one,) = told["collections"].values()
    assert code == (3 if found else 0)
    assert told["damaged"] == one["damaged"] == len(found)
    assert [damage["part"].split()[-1] for damage in one["damages"]] == found
    if found != ["collection"]:
        assert (one["segments_done"], one["items_done"]) == (1, 2)


def test_a_check_finds_what_is_lost_and_reads_what_others_write_meanwhile(world: World) -> None:
    before = world.saved("before all")
    world.new("lost")
    world.restore(before)
    kept = world.new("kept")
    code, told = world.checked()
    assert code == 3
    assert told["collections"]["lost"]["damages"] == [
        {"part": "collection", "name": "", "message": "storage has lost collection 'lost'"}
    ]
    assert told["collections"]["kept"]["damaged"] == 0
    kept.ingest_vectors(VECTORS[20:40])
    assert kept.check().damaged == 0
    world.vault.delete_collection("lost")
    assert world.checked()[0] == 0
    with pytest.raises(NotFound):
        world.vault.collection("unknown").check()


def test_a_genuine_batch_of_another_history_is_not_made_an_answer_key(world: World) -> None:
    """It has the right place and the owner's tag, and came back after storage had been set back."""
    collection = world.new("forked")
    storage, keyholder = world.saved("fork"), world.saved("fork", of="keyholder")
    collection.ingest_vectors(VECTORS[20:40])
    world.restart_keyholder(forgetful=True)
    assert best(collection, 39) == ["39"]
    read = [call for call in world.relay.calls if call.method == SERVICE + "ReadBatches"][-1]
    of_the_other_history = list(read.answered)
    world.restore(storage)
    world.restore(keyholder, of="keyholder")
    collection.ingest_vectors(VECTORS[40:60])
    world.relay.change = lambda method, answers: (
        of_the_other_history if method == SERVICE + "ReadBatches" else answers
    )
    world.restart_keyholder(forgetful=True)
    refused(world, lambda: best(collection, 59), "a batch of segment TAIL 0 is not the one that was written")
    world.tell_the_truth()
    assert best(collection, 59) == ["39"]
