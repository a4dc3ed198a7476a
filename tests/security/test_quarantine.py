"""Damaged batches and records: told, repaired from originals, or quarantined by their owner."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import lying
from support.command import run_here
from support.damage import FLIPPED, change_database, forget_copies
from support.lying import SERVICE
from support.photos import encoded, photo

import blindsight
from blindsight.client import Collection, SearchAnswer
from blindsight.errors import BlindsightError, DataLoss, NotFound
from blindsight.rpc.storage.v1 import storage_pb2 as pb

DIMENSION = 8
VECTORS = np.random.default_rng(3).normal(size=(60, DIMENSION)).astype(np.float32)
MOTIFS = ("coffee", "astronaut", "chelsea")
HALF = encoded(photo("coins"))[:3000]


@dataclass
class World(lying.World):
    """Services, of which storage can lie to the keyholder, or be damaged."""

    def damage(self, *statements: str, catalog: bool = True) -> None:
        """Changes what storage has; `catalog` says whether the keyholder loses what it knows of items."""
        change_database(self.services, *statements)
        forget_copies(self.services, catalog=catalog)

    def damage_batches(self, *sequences: int) -> None:
        numbers = ", ".join(map(str, sequences))
        self.damage(
            f"UPDATE blobs SET bytes = {FLIPPED} WHERE number IN "
            f"(SELECT block FROM batches WHERE sequence IN ({numbers}))"
        )

    def checked(self, *options: str) -> tuple[int, dict[str, Any]]:
        """The exit code of `check`, and what it tells of the only collection."""
        code, told = super().checked(*options)
        (one,) = told["collections"].values()
        assert (told["damaged"], told["quarantined"]) == (one["damaged"], one["quarantined"])
        return code, one

    def stored(self, query: str) -> Any:
        with closing(sqlite3.connect(self.services.folder / "storage" / "storage.sqlite3")) as db:
            return db.execute(query).fetchone()[0]


@pytest.fixture(scope="module")
def services_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with lying.lying_services(tmp_path_factory.mktemp("quarantine"), World) as services:
        yield services


@pytest.fixture
def world(services_of_all: World) -> Iterator[World]:
    """The services, which tell the truth again at the end, without the collections of the test."""
    yield services_of_all
    services_of_all.start_anew()


@pytest.fixture
def photos(world: World) -> Collection:
    """Three photos, each in a batch of its own, in one segment."""
    made = world.vault.create_collection("photos")
    for motif in MOTIFS:
        made.ingest([(motif, picture(motif))])
    return made


def picture(motif: str) -> bytes:
    return encoded(photo(motif, 96))


def vectors(world: World, scheme: str = "ckks") -> Collection:
    """Sixty vectors in three batches."""
    made = world.vault.create_collection("vectors", scheme=scheme, embedder="none", dimension=DIMENSION)
    for start in (0, 20, 40):
        made.ingest_vectors(VECTORS[start : start + 20])
    return made


def search(collection: Collection, row: int, k: int = 1) -> SearchAnswer:
    visible = collection.describe().query_visible_to_server
    return collection.search_vectors(VECTORS[row], k=k, query_visible_to_server=visible)


def ids(answer: SearchAnswer) -> list[str]:
    return [hit.id for hit in answer.results[0]]


# --- batches ----------------------------------------------------------------------------------------------


def test_photos_of_damaged_batches_are_made_anew_from_their_originals(
    world: World, photos: Collection
) -> None:
    before = {motif: photos.search(picture(motif), k=3).results[0] for motif in MOTIFS}
    world.damage_batches(1, 2)
    with pytest.raises(DataLoss):
        photos.search(picture("coffee"))
    sequence = world.stored("SELECT sequence FROM collections")
    code, told = world.checked()
    assert (code, told["damaged"], told["rebuildable"], told["losing"]) == (3, 1, 2, 0)
    assert world.stored("SELECT sequence FROM collections") == sequence
    code, told = world.checked("--repair")
    assert (code, told["damaged"], told["rebuilt"], told["quarantined"]) == (0, 0, 2, 0)
    for motif in MOTIFS:
        answer = photos.search(picture(motif), k=3)
        assert not answer.warnings("photos")
        for got, was in zip(answer.results[0], before[motif], strict=True):
            assert (got.id, got.name) == (was.id, was.name)
            assert got.score == pytest.approx(was.score, abs=1e-4)
        assert photos.get(answer.results[0][0].id).data == picture(motif)
    assert world.checked()[0] == 0


@pytest.mark.parametrize("scheme", ["ckks", "bfv", "paillier"])
def test_vectors_of_a_damaged_batch_are_quarantined_and_the_others_are_found(
    world: World, scheme: str
) -> None:
    collection = vectors(world, scheme)
    collection.delete(["25"])
    world.damage_batches(2)
    with pytest.raises(DataLoss):
        search(collection, 0)
    code, told = world.checked()
    assert (code, told["rebuildable"], told["losing"], told["quarantined"]) == (3, 0, 19, 0)
    lost = {str(row) for row in range(20, 40)} - {"25"}
    assert set(told["lost_ids"]) == lost
    code, told = world.checked("--repair")
    assert (code, told["damaged"], told["losing"], told["quarantined"]) == (3, 0, 0, 19)
    assert set(told["lost_ids"]) == lost
    answer = search(collection, 50, k=60)
    assert ids(answer)[0] == "50"
    assert set(ids(answer)) == {str(row) for row in range(60)} - lost - {"25"}
    assert answer.quarantined_items == 19
    assert answer.warnings("vectors") == [
        "not ranked: 19 items of vectors, which are quarantined; see blindsight check"
    ]
    about = collection.describe()
    assert (about.items, about.quarantined_items) == (59, 19)
    # Once more it finds nothing to do; a repack keeps them; they can be deleted, and stored again.
    sequence = world.stored("SELECT sequence FROM collections")
    assert world.checked("--repair")[1]["quarantined"] == 19
    assert world.stored("SELECT sequence FROM collections") == sequence
    collection.delete(["0"])
    collection.repack()
    assert search(collection, 50, k=60).quarantined_items == 19
    assert collection.delete(sorted(lost)).deleted == 19
    answer = search(collection, 30, k=60)
    assert not answer.warnings("vectors")
    collection.ingest_vectors(VECTORS[30:31], ["30"])
    assert ids(search(collection, 30)) == ["30"]


def test_photos_that_nothing_describes_are_repaired_and_stay_out_of_searches(world: World) -> None:
    files = {"coffee": picture("coffee"), "flat.png": encoded(Image.new("L", (64, 64)), "PNG"), "half": HALF}
    kept = world.vault.create_collection("photos", embedder="sift")
    items = {item.path: item.id for item in kept.ingest(list(files.items())).items}

    def sound() -> None:
        about = kept.describe()
        assert (about.items, about.undescribed_items, about.quarantined_items) == (3, 2, 0)
        assert [hit.name for hit in kept.search(picture("coffee"), k=3).results[0]] == ["coffee"]
        assert all(kept.get(items[name]).data == data for name, data in files.items())

    sound()
    world.damage_batches(1)
    code, told = world.checked("--repair")
    assert (code, told["damaged"], told["rebuilt"], told["quarantined"]) == (0, 0, 3, 0)
    sound()
    world.damage(NO_NAME)
    code, told = world.checked("--repair")
    assert (code, told["damaged"], told["rebuilt"], told["quarantined"]) == (0, 0, 1, 0)
    sound()


def test_the_command_tells_of_quarantined_items_and_of_what_a_repair_would_do(world: World) -> None:
    vectors(world)
    world.damage_batches(3)
    address = ("--address", world.services.address())
    np.save(path := world.services.folder / "query.npy", VECTORS[:1])
    refused = run_here("search", "vectors", "--vectors", str(path), *address)
    assert refused.returncode == 3
    assert refused.stderr.endswith("; blindsight check tells what is damaged\n")
    said = run_here("check", *address).stdout
    assert "--repair would quarantine 20 items: kept, and in no search." in said
    assert "Lost from searches: 40, 41, 42, 43, 44 ..." in said
    assert "20 items quarantined: kept" in run_here("check", "--repair", *address).stdout
    done = run_here("search", "vectors", "--vectors", str(path), *address)
    assert done.returncode == 0
    warning = "not ranked: 20 items of vectors, which are quarantined; see blindsight check"
    assert warning in done.stderr
    told = json.loads(run_here("search", "vectors", "--vectors", str(path), "--json", *address).stdout)
    assert (told["warnings"], told["quarantined_items"]) == ([warning], 20)


def test_a_quarantined_item_is_not_verified(world: World) -> None:
    collection = vectors(world)
    world.damage_batches(1)
    collection.check(repair=True)
    with pytest.raises(NotFound, match="item '3' of collection 'vectors' is quarantined"):
        collection.verify("3", VECTORS[3])
    assert collection.verify("33", VECTORS[33]).verified


def test_a_damaged_batch_of_deleted_items_stops_nothing_once_it_is_repaired(world: World) -> None:
    collection = vectors(world)
    collection.delete([str(row) for row in range(20)])
    world.damage_batches(1)
    assert world.checked("--repair")[0] == 0
    assert ids(search(collection, 33)) == ["33"]


def test_a_repair_that_kill_9_ends_goes_on_where_it_was(world: World, photos: Collection) -> None:
    """It dies when storage has taken the first of two segments, before it knows that."""
    more = [(f"{number}", encoded(photo("coffee", 40 + number))) for number in range(40)]
    photos.ingest(more)
    assert world.stored("SELECT count(*) FROM segments") > 1
    world.damage("DELETE FROM blobs WHERE number IN (SELECT block FROM batches)")
    taken, dead = threading.Event(), threading.Event()

    def lets_it_die(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
        for answer in answers:
            if method == SERVICE + "Append":
                taken.set()
                dead.wait()
            yield answer

    world.relay.change = lets_it_die
    with (
        ThreadPoolExecutor() as pool,
        blindsight.connect(world.services.address(), retry_seconds=0) as vault,
    ):
        repairing = pool.submit(vault.collection("photos").check, repair=True)
        assert taken.wait(30)
        world.services["keyholder"].kill()
        dead.set()
        assert isinstance(repairing.exception(), BlindsightError)
    world.tell_the_truth()
    world.services["keyholder"].start()
    assert world.stored("SELECT count(*) FROM segments WHERE retired_sequence IS NULL") > 1
    told = photos.check(repair=True)
    assert (told.damaged, told.quarantined) == (0, 0)
    assert 0 < told.rebuilt < 43
    assert photos.describe().items == 43
    for name, data in [*more[:3], ("chelsea", picture("chelsea"))]:
        assert photos.search(data).results[0][0].name == name


def test_storage_cannot_quarantine_an_item_itself(world: World) -> None:
    vectors(world)

    def marks(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
        for data in answers:
            page = pb.ReadSlotsResponse.FromString(data) if method == SERVICE + "ReadSlots" else None
            for run in page.runs if page is not None else ():
                run.versions = (bytes(7) + b"\x80") * (len(run.handles) // 16)
            yield data if page is None else page.SerializeToString()

    world.relay.change = marks
    forget_copies(world.services)
    with pytest.raises(DataLoss, match="not those that were written"):
        search(world.vault.collection("vectors"), 0)


def test_what_a_storage_that_lies_takes_out_of_searches_is_told(world: World) -> None:
    """It changes sound batches on their way to a repair."""
    collection = vectors(world)

    def changes(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
        for data in answers:
            part = pb.ReadBatchesResponse.FromString(data) if method == SERVICE + "ReadBatches" else None
            if part is not None and part.chunk:
                part.chunk = bytes(len(part.chunk))
            yield data if part is None else part.SerializeToString()

    world.relay.change = changes
    told = collection.check(repair=True)
    assert (told.quarantined, len(told.lost_ids)) == (60, 60)
    world.tell_the_truth()
    answer = search(collection, 0)
    assert (ids(answer), answer.quarantined_items) == ([], 60)


# --- records ----------------------------------------------------------------------------------------------

NO_NAME = "UPDATE contents SET metadata = x'00' WHERE number = (SELECT max(number) FROM contents)"
NO_RECORD = "DELETE FROM contents WHERE number = (SELECT max(number) FROM contents)"


@pytest.mark.parametrize("change", [NO_NAME, NO_RECORD])
def test_a_match_whose_record_is_damaged_is_told_beside_the_others(
    world: World, photos: Collection, change: str
) -> None:
    world.damage(change)
    alarm = world.vault.status().services[0].alarm
    answer = photos.search(picture("chelsea"), k=3)
    best, *others = answer.results[0]
    assert (best.id, best.name) == ("", "")
    assert best.damage
    assert {hit.name for hit in others} == {"coffee", "astronaut"}
    assert not any(hit.damage for hit in others)
    assert answer.warnings("photos")[0].startswith("1 match cannot be told in full: item")
    assert world.vault.status().services[0].alarm != alarm
    assert photos.ingest([("new", picture("rocket"))]).stored == 1


def test_a_photo_whose_record_is_damaged_has_its_id_again_but_no_name(
    world: World, photos: Collection
) -> None:
    item_id = photos.search(picture("chelsea"), k=1).results[0][0].id
    world.damage(NO_NAME)
    code, told = world.checked()
    assert (code, told["damaged"], told["rebuildable"], told["losing"]) == (3, 1, 1, 0)
    assert [told["damages"][0][key] for key in ("part", "name")] == ["item", item_id]
    assert "its file name is lost" in told["damages"][0]["message"]
    code, told = world.checked("--repair")
    assert (code, told["damaged"], told["rebuilt"], told["quarantined"]) == (0, 0, 1, 0)
    best = photos.search(picture("chelsea"), k=1).results[0][0]
    assert (best.id, best.name) == (item_id, "")
    assert photos.get(item_id).data == picture("chelsea")
    assert photos.get(item_id).media_type == "image/jpeg"


def test_a_record_that_storage_lost_is_made_anew_from_the_catalog(world: World, photos: Collection) -> None:
    item_id = photos.search(picture("chelsea"), k=1).results[0][0].id
    photos.update(item_id, set={"animal": "cat"})
    before = photos.item(item_id)
    world.damage(NO_NAME, catalog=False)
    best = photos.search(picture("chelsea"), k=1).results[0][0]
    assert (best.id, best.name, best.damage, best.metadata) == (item_id, "chelsea", "", {"animal": "cat"})
    code, told = world.checked()
    assert (code, told["damaged"], told["rebuildable"], told["losing"]) == (3, 1, 1, 0)
    assert "the keyholder still has what was in it" in told["damages"][0]["message"]
    code, told = world.checked("--repair")
    assert (code, told["damaged"], told["rebuilt"], told["quarantined"]) == (0, 0, 1, 0)
    forget_copies(world.services)
    assert photos.item(item_id) == before
    assert photos.get(item_id).data == picture("chelsea")


def test_an_item_without_id_and_name_is_quarantined_until_its_record_is_itself_again(world: World) -> None:
    """The id of a vector that is too long for a handle stands in its record alone."""
    collection = world.vault.create_collection("vectors", embedder="none", dimension=DIMENSION)
    collection.ingest_vectors(VECTORS[:3], [f"{'long ' * 20}{row}" for row in range(3)])
    sealed = world.stored("SELECT hex(metadata) FROM contents ORDER BY number DESC")
    world.damage(NO_NAME)
    assert world.checked()[1]["losing"] == 1
    code, told = world.checked("--repair")
    assert (code, told["damaged"], told["quarantined"]) == (3, 1, 1)
    answer = search(collection, 2, k=3)
    assert (len(answer.results[0]), answer.quarantined_items) == (2, 1)
    world.damage(NO_NAME.replace("x'00'", f"x'{sealed}'"))
    code, told = world.checked("--repair")
    assert (code, told["rebuilt"], told["quarantined"]) == (0, 1, 0)
    assert ids(search(collection, 2))[0].endswith("2")


def test_an_original_that_is_damaged_stops_no_search_and_is_not_quarantined(
    world: World, photos: Collection
) -> None:
    world.damage(f"UPDATE blobs SET bytes = {FLIPPED} WHERE number = (SELECT max(original) FROM contents)")
    code, told = world.checked("--repair")
    assert (code, told["damaged"], told["quarantined"]) == (3, 1, 0)
    answer = photos.search(picture("chelsea"), k=1)
    assert answer.results[0][0].name == "chelsea"
    assert not answer.warnings("photos")


def test_keypoints_that_are_damaged_are_told_beside_the_other_matches(world: World) -> None:
    forms = world.vault.create_collection("forms", embedder="sift")
    forms.ingest([(motif, encoded(photo(motif, 200))) for motif in ("coffee", "astronaut")])
    world.damage(f"UPDATE blobs SET bytes = {FLIPPED} WHERE number = (SELECT max(blob) FROM attachments)")
    answer = forms.search(encoded(photo("coffee", 200)), draw=True)
    best, other = answer.results[0]
    assert (best.name, best.keypoints.verified) == ("coffee", True)
    assert (other.name, other.keypoints) == ("astronaut", None)
    assert other.damage.startswith("not compared: ")
    assert [one.rank for one in answer.drawings] == [0, 1]


RECORDS = [
    "sealed_config = x'00'",
    "name_tag = zeroblob(16)",
    "key_id = zeroblob(16)",
    "parameter_set = 'nonsense'",
    "fields = 'x'",
    "stride = 'x'",
    "dimension = -1",
    "sequence = 5000",
    "chain = x'00'",
    "created_unix_seconds = 'x'",
    "items = -1",
    "collection_id = randomblob(16)",
]


def test_damaged_records_of_collections_stop_no_other(world: World) -> None:
    for name in ("right", *map(str, range(len(RECORDS)))):
        world.vault.create_collection(name, embedder="none", dimension=DIMENSION).ingest_vectors(VECTORS[:9])
    first = world.stored("SELECT min(number) FROM collections")
    world.damage(
        *(
            f"UPDATE collections SET {change} WHERE number = {first + 1 + number}"
            for number, change in enumerate(RECORDS)
        )
    )
    right = world.vault.collection("right")
    assert ids(search(right, 3)) == ["3"]
    right.ingest_vectors(VECTORS[9:10])
    assert right.check().damaged == 0
    state = world.vault.status()
    damage = {one.name: one.damage for one in state.collections}
    assert not damage.pop("right")
    assert {name for name in damage if not damage[name]} | set(state.lost)
    for number, change in enumerate(RECORDS):
        with pytest.raises(BlindsightError) as caught:
            search(world.vault.collection(str(number)), 0)
        assert caught.value.reason in ("DATA_LOSS", "NOT_FOUND"), change


def test_a_log_that_no_keyholder_could_follow_is_told_and_repaired(world: World) -> None:
    collection = vectors(world, "ckks")
    newest = "SET {} WHERE sequence = (SELECT MAX(sequence) FROM links)"
    # What state and head tell of a link does no harm where it is damaged; what they do not tell is found.
    world.damage("UPDATE links " + newest.format("root = zeroblob(32), chain = zeroblob(32)"))
    world.restart_keyholder()
    assert ids(search(collection, 0)) == ["0"]
    change_database(world.services, "UPDATE links " + newest.format("previous = zeroblob(32)"))
    code, told = world.checked()
    assert (code, told["damaged"]) == (3, 1)
    assert "another history" in told["damages"][0]["message"]
    code, told = world.checked("--repair")
    assert (code, told["damaged"]) == (0, 0)
    world.restart_keyholder()
    assert ids(search(collection, 0)) == ["0"]
    assert world.checked()[0] == 0


def test_a_check_without_storage_is_no_clean_one(world: World) -> None:
    vectors(world)
    world.services["storage"].stop()
    try:
        done = run_here("check", "--address", world.services.address())
    finally:
        world.services["storage"].start()
    assert (done.returncode, done.stdout) == (1, "")
    assert "storage does not answer" in done.stderr


def test_who_ingests_a_quarantined_photo_again_is_told(world: World, photos: Collection) -> None:
    world.damage_batches(1)
    world.damage(f"UPDATE blobs SET bytes = {FLIPPED} WHERE number IN (SELECT original FROM contents)")
    world.checked("--repair")
    quarantined = photos.describe().quarantined_items
    assert quarantined
    again = photos.ingest([(f"{motif}.png", picture(motif)) for motif in MOTIFS])
    told = [item for item in again.items if "quarantined" in item.remark]
    assert (len(told), again.duplicates) == (quarantined, len(MOTIFS))
