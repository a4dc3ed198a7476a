"""docs/leakage.md is what a tap sees: no field, no count and no size passes that does not stand there."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import leakage
from support.keysets import shared_key_set
from support.leakage import Row
from support.photos import encoded, photo, small_photo
from support.relay import Call, Relay
from support.services import Services

import blindsight
from blindsight.client import Collection, Photo, StoredPhoto, Vault
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.clients.fencing import Fence
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.ingest.envelope import Envelopes, QueuedPhoto
from blindsight.trusted.keyring.padding import padded_size
from blindsight.trusted.queue import open_queue
from blindsight.trusted.queue.settings import QueueSettings
from blindsight.trusted.vault.vault import Vault as OwnVault
from blindsight.trusted.vault.writer import Writer
from services.keyholder.metrics import CRYPTO

VECTORS = np.random.default_rng(4).normal(size=(5, 8)).astype(np.float32)
QUERIES = np.random.default_rng(5).normal(size=(2, 8)).astype(np.float32)
PICTURE = np.asarray(photo("coffee", 64).convert("L"))
OTHER = PICTURE[::-1].copy()
# The row of what happens beside any action: the evaluator is told to follow, the keyholder follows itself.
BESIDE = "beside any of these"


@dataclass
class Session:
    """Everything that an owner does, and what the untrusted services were told of it."""

    folder: Path
    vault: Vault
    relays: dict[tuple[str, str], Relay]
    services: Services
    seen: dict[str, list[Call]]

    def note(self, what: str, act: Callable[[], Any]) -> Any:
        """Does something, and keeps what was asked for because of it, or beside it."""
        before = {way: len(relay.calls) for way, relay in self.relays.items()}
        done = act()
        self.seen[what] = [
            call
            for way, relay in self.relays.items()
            for call in relay.calls[before[way] :]
            if way[0] == "keyholder" and call.method in leakage.METHODS
        ]
        return done

    @property
    def calls(self) -> list[Call]:
        """All calls of all ways, those in between and of the evaluator too."""
        found = [call for relay in self.relays.values() for call in relay.calls]
        return [call for call in found if call.method in leakage.METHODS]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    relays: dict[tuple[str, str], Relay] = {}

    def way(client: str, server: str, address: str) -> str:
        relays[client, server] = Relay(address)
        return relays[client, server].address

    # So short that it is renewed while somebody looks.
    storage = {"lease_seconds": "3"}
    services = Services(tmp_path_factory.mktemp("leaks"), way=way, settings={"storage": storage})
    try:
        services.start()
        with blindsight.connect(services.address()) as vault:
            made = Session(services.folder, vault, relays, services, {})
            _photos(made)
            _vectors(made)
            _keypoints(made)
            _several(made)
            _pictures(made)
            _writers(made)
            yield made
    finally:
        for relay in relays.values():
            relay.close()
        services.stop()


def _photos(session: Session) -> None:
    vault, note = session.vault, session.note
    album = note(
        "create a collection", lambda: vault.create_collection("album", embedder="pixels", dimension=64)
    )
    files = [(f"{number}.png", small_photo(number)) for number in range(3)]
    items = note("ingest three photos", lambda: album.ingest(files)).items
    note("ingest a photo that is there", lambda: album.ingest(files[:1]))
    note(
        "ingest a photo with planes",
        lambda: album.ingest([("p.png", small_photo(9))], planes=True, plane_halo=1),
    )
    note("search by a photo, k = 2", lambda: album.search(small_photo(7), k=2))
    note(
        "search by a photo, k = 2, none of which passes",
        lambda: album.search(small_photo(7), k=2, threshold=1.0),
    )
    note(
        "say something of two items", lambda: album.update([one.id for one in items[:2]], set={"year": 2020})
    )
    note(
        "search by a photo among those that a filter passes",
        lambda: album.search(small_photo(7), k=2, where="year = 2020"),
    )
    note("search for what is like an item, k = 2", lambda: album.search_like(items[0].id, k=2))
    note("search by two photos, k = 2", lambda: album.search([small_photo(7), small_photo(8)], k=2))
    note("get a vector", lambda: album.vector(items[1].id))
    newer = Photo(small_photo(5), id=items[1].id)
    note("store a photo in the place of another", lambda: album.ingest([newer], upsert=True))
    note("list the items", lambda: list(album.items()))
    note("verify a photo against an item", lambda: album.verify(items[0].id, small_photo(7)))
    note("get an original", lambda: album.get(items[1].id))
    note("delete two items", lambda: album.delete([items[0].id, items[1].id]))
    note("repack", album.repack)
    note("check a collection", album.check)
    note("search after a repack, k = 1", lambda: album.search(small_photo(7), k=1))
    note("describe a collection", album.describe)
    note("give a collection an alias", lambda: vault.set_alias("the album", album))
    note("search by an alias, k = 1", lambda: vault.collection("the album").search(small_photo(7), k=1))
    note("rename a collection", lambda: album.rename("pictures"))
    note("take an alias away", lambda: vault.remove_alias("the album"))
    album.rename("album")
    note("list the collections", vault.collections)
    note("status", vault.status)
    note("accept that storage was set back", lambda: vault.accept_rollback("album"))
    note("verify a pair of photos", lambda: vault.verify(small_photo(1), small_photo(2), embedder="pixels"))


def _writers(session: Session) -> None:
    ours, note = session.vault.create_collection("ours", embedder="pixels", dimension=64), session.note
    (item,) = ours.ingest([("f.png", small_photo(11))]).items
    _delete_beside(session, "ours", item.id)
    note("ingest a photo after another writer wrote", lambda: ours.ingest([("o.png", small_photo(12))]))
    note("ingest a photo after that", lambda: ours.ingest([("s.png", small_photo(13))]))


def _delete_beside(session: Session, collection: str, item_id: str) -> None:
    """Deletes an item as a worker of the same keyholder could, on a way of its own."""
    fence = Fence()
    with closing(sqlite3.connect(session.folder / "storage" / "storage.sqlite3")) as db:
        ((fence.newest,),) = db.execute("SELECT fencing_token FROM leases")

    async def delete() -> None:
        storage = StorageClient(session.services.address("storage"), fence=fence)
        evaluator = EvaluatorClient(session.services.address("evaluator"))
        crypto = Crypto(shared_key_set(), 1, CRYPTO)
        try:
            vault = OwnVault(shared_key_set(), storage, evaluator)
            opened = await vault.get(collection)
            assert await Writer(vault, storage, crypto).delete(opened, [opened.handle(item_id)])
        finally:
            crypto.close()
            await storage.close()
            await evaluator.close()

    asyncio.run(delete())


def _vectors(session: Session) -> None:
    vault, note = session.vault, session.note
    table = vault.create_collection("table", embedder="none", dimension=8, metric="euclidean")
    ids = ["short", *(f"an id of some length, {number}" for number in range(4))]
    note("ingest five vectors", lambda: table.ingest_vectors(VECTORS, ids))
    note("search by two vectors, k = 3", lambda: table.search_vectors(QUERIES, k=3))
    shown = vault.create_collection("shown", embedder="none", dimension=8, scheme="paillier")
    shown.ingest_vectors(VECTORS)
    note(
        "search with the query in the clear, k = 1",
        lambda: shown.search_vectors(QUERIES[:1], k=1, query_visible_to_server=True),
    )
    vault.create_collection("coloured", embedder="pixels", channels="rgb", size=8)
    note("truncate a collection", table.truncate)
    session.services["keyholder"].stop()
    session.services["keyholder"].start()
    note("describe a collection after a restart", shown.describe)
    note("delete a collection", lambda: vault.delete_collection("shown"))


def _keypoints(session: Session) -> None:
    vault, note = session.vault, session.note
    recognised = vault.create_collection("recognised", embedder="sift")
    files = [(f"{name}.png", encoded(photo(name, 160), "PNG")) for name in ("coffee", "rocket")]
    files.append(("blank.png", encoded(Image.new("L", (160, 90)), "PNG")))  # in no search, which is not told
    note("ingest three photos with keypoints", lambda: recognised.ingest(files))
    note(
        "search by keypoints among three photos, k = 2, drawn",
        lambda: recognised.search(encoded(photo("coffee", 160).rotate(90), "PNG"), k=2, draw=True),
    )


def _several(session: Session) -> None:
    vault, note = session.vault, session.note
    faces = vault.create_collection("faces", embedder="external", dimension=4)
    two = [
        Photo(small_photo(1), "one", vectors=np.eye(4)[:3]),
        Photo(small_photo(2), "two", vectors=np.eye(4)[2:]),
    ]
    note("ingest two photos with five vectors", lambda: faces.ingest(two))
    note(
        "search by a vector among photos with several, k = 1",
        lambda: faces.search_vectors(np.eye(4)[:1], k=1),
    )
    fewer = Photo(small_photo(3), "one", vectors=np.eye(4)[:2])
    note(
        "store a photo with two vectors in the place of one with three",
        lambda: faces.ingest([fewer], upsert=True),
    )
    note("delete a photo with two vectors", lambda: faces.delete("two"))


def _pictures(session: Session) -> None:
    vault, note = session.vault, session.note
    (item,) = vault.collection("album").ingest([("q.png", small_photo(10))], planes=True, plane_halo=3).items
    (wide,) = vault.create_collection("wide").ingest([("w.png", PICTURE)], planes=True, plane_halo=9).items
    stored, scaled = StoredPhoto("album", item.id), StoredPhoto("wide", wide.id)
    note("get planes", lambda: vault.collection("album").planes(item.id))
    note("combine two pictures", lambda: vault.combine([PICTURE, OTHER], weights=[1, -1], key_bits=2048))
    note("filter a picture", lambda: vault.filter(PICTURE, "box", scheme="ckks"))
    note(
        "filter a picture under paillier",
        lambda: vault.filter(PICTURE[:16, :16], "box", scheme="paillier", key_bits=2048),
    )
    note("filter a stored photo", lambda: vault.filter(stored, "box"))
    note("subtract two pictures", lambda: vault.diff(PICTURE, OTHER, scheme="ckks"))
    note("subtract a picture from a stored photo", lambda: vault.diff(scaled, PICTURE))
    note("keypoints of a picture", lambda: vault.keypoints(PICTURE, octaves=1))
    note("keypoints of a stored photo", lambda: vault.keypoints(scaled, octaves=1))
    note(
        "match two pictures under encryption", lambda: vault.match(PICTURE, OTHER, encrypted=True, octaves=1)
    )


# --- what passes -----------------------------------------------------------------------------------

ROWS = {**leakage.rows("Fields of calls to the evaluator"), **leakage.rows("Fields of calls to storage")}
# What takes more than a test has: a thousand collections, hundreds of segments; another library's keys.
UNSEEN = {
    "storage.ListCollectionsRequest.page_token",
    "storage.ListCollectionsResponse.next_page_token",
    "storage.SlotRun.first_slot",
    "evaluator.ScoreResult.first_query",
    "evaluator.CompareAllResult.first_query",
    "evaluator.CompareAllResult.first_row",
    "evaluator.PlaneResult.first",
    "evaluator.PlaneKernel.offset",
    "evaluator.CombineHeader.insecure_small_keys",
}


def test_every_field_of_the_contracts_stands_on_the_page_and_no_other() -> None:
    assert ROWS.keys() == leakage.all_fields()


def test_what_a_tap_saw_is_of_the_kind_and_the_size_that_the_page_says(session: Session) -> None:
    wrong, seen = set(), set()
    for call in session.calls:
        for _, message in leakage.messages(call):
            for field in leakage.fields_of(message):
                seen.add(field.name)
                try:
                    leakage.check(ROWS[field.name], field.value)
                except (AssertionError, KeyError) as error:
                    wrong.add((field.name, repr(error)[:100]))
    assert wrong == set()
    assert seen == ROWS.keys() - UNSEEN


def test_no_message_has_anything_but_fields_of_its_contract(session: Session) -> None:
    for call in session.calls:
        for _, message in leakage.messages(call):
            again = type(message)()
            again.ParseFromString(message.SerializeToString())
            again.DiscardUnknownFields()
            assert again.ByteSize() == message.ByteSize()


def test_a_call_has_a_random_name_and_no_other_metadata(session: Session) -> None:
    named = [
        call.metadata for call in session.calls if call.metadata
    ]  # the evaluator's own at its start has none
    for ((key, name),) in named:
        assert key == "x-request-id"
        assert re.fullmatch("[0-9a-f]{32}", name)
    assert len(session.calls) - len(named) <= 1


ACTIONS = leakage.actions("What an owner's actions send")


def test_every_action_is_on_the_page(session: Session) -> None:
    assert session.seen.keys() == ACTIONS.keys() - {BESIDE}


@pytest.mark.parametrize("what", sorted(ACTIONS.keys() - {BESIDE}))
def test_an_action_makes_the_calls_that_the_page_says_and_tells_as_many_things(
    session: Session, what: str
) -> None:
    told = [leakage.counts(call) for call in session.seen[what]]
    for wanted in ACTIONS[what]:
        found = [one for one in told if wanted.matches(one)]
        assert (len(found) >= 1) if wanted.repeated else (len(found) == wanted.times), (wanted, told)
        told = [one for one in told if one not in found]
    rest = [one for one in told if not any(one_beside.matches(one) for one_beside in ACTIONS[BESIDE])]
    assert rest == []


# --- that nothing else tells two contents apart ------------------------------------------------------


def of_one_padded_size(count: int) -> list[bytes]:
    """Different photos of different sizes, which are one size when they are padded."""
    groups: dict[int, dict[int, bytes]] = {}
    for seed in range(100, 200):
        made = small_photo(seed)
        groups.setdefault(padded_size(len(made)), {})[len(made)] = made
    return list(max(groups.values(), key=len).values())[:count]


def without_others(calls: list[Call]) -> list[Call]:
    """Calls in an order of their own, without what happens beside an action."""
    kept = [call for call in calls if not any(one.matches(leakage.counts(call)) for one in ACTIONS[BESIDE])]
    return sorted(kept, key=lambda call: call.method)


def both(
    session: Session,
    what: str,
    first: Callable[[], Any],
    second: Callable[[], Any],
    between: Callable[[], Any] = lambda: None,
    lists: bool = True,
) -> None:
    """Does one thing with two contents, and compares all that the untrusted services can see of either.

    Lists of all collections are left out if the first has changed what stands there.
    """
    made = []
    for number, act in enumerate((first, second)):
        if number:
            between()
        session.note(f"{what}, {number}", act)
        calls = without_others(session.seen.pop(f"{what}, {number}"))
        made.append([one for one in calls if lists or not one.method.endswith("ListCollections")])
    one, other = ([leakage.shape(call, ROWS) for call in calls] for calls in made)
    assert one == other
    assert one
    for call, its in zip(*made, strict=True):
        for sent, again in zip(call.asked, its.asked, strict=True):
            if len(sent) > 4096:  # residues of 27 bits have zeros in common, items their form
                assert np.mean(np.frombuffer(sent, "u1") == np.frombuffer(again, "u1")) < 0.15


def test_two_photos_of_one_padded_size_and_two_searches_look_the_same(session: Session) -> None:
    vault, photos = session.vault, of_one_padded_size(4)
    assert len({len(one) for one in photos}) == 4
    names = ("a.png", "a photo of somebody whom nobody should know.png")
    albums: list[Collection] = []

    def create(name: str) -> None:
        albums.append(vault.create_collection(name, embedder="pixels", dimension=64))

    spare = vault.create_collection("one fewer", embedder="pixels", dimension=64)
    both(
        session,
        "create",
        lambda: create("x"),
        lambda: create("a far longer name, with a word: \N{SNOWMAN}"),
        between=lambda: vault.delete_collection(spare.name),
    )
    short, long = albums
    both(
        session,
        "alias",
        lambda: vault.set_alias("y", short),
        lambda: vault.set_alias("an alias that says what is in it", long),
        lists=False,
    )
    both(
        session,
        "rename",
        lambda: short.rename("z"),
        lambda: long.rename("a name that is longer than it was"),
        lists=False,
    )
    items = []

    def ingest(number: int) -> None:
        report = albums[number].ingest([(names[number], photos[number])])
        items.append(report.items[0].id)

    both(session, "ingest", lambda: ingest(0), lambda: ingest(1))
    for album in albums:
        album.search(photos[0], k=1)  # the evaluator has both ready
    both(
        session,
        "search",
        lambda: albums[0].search(photos[0], k=1),
        lambda: albums[1].search(photos[2], k=1, threshold=-1),
    )
    both(
        session,
        "search of vectors",
        lambda: albums[0].search_vectors(np.ones((3, 64)), k=1),
        lambda: albums[1].search_vectors(np.random.default_rng(1).normal(size=(3, 64)), k=2),
    )
    both(
        session,
        "verify",
        lambda: albums[0].verify(items[0], photos[0]),
        lambda: albums[1].verify(items[1], photos[3]),
    )
    both(session, "get", lambda: albums[0].get(items[0]), lambda: albums[1].get(items[1]))
    both(session, "delete", lambda: albums[0].delete(items[0]), lambda: albums[1].delete(items[1]))


@pytest.mark.parametrize("embedder", ["pixels", "sift"])
def test_a_photo_of_which_nothing_can_be_made_looks_like_any_other(session: Session, embedder: str) -> None:
    whole = encoded(photo("coins", 160), "PNG")
    files = whole, whole[:60] + bytes(len(whole) - 60)
    albums = [
        session.vault.create_collection(f"{embedder} {number}", embedder=embedder) for number in range(2)
    ]
    for album in albums:
        album.ingest([("other.png", encoded(photo("rocket", 160), "PNG"))])

    def ingest(number: int) -> None:
        albums[number].ingest([("photo.png", files[number])])

    def search(number: int) -> None:
        (hits,) = albums[number].search(encoded(photo("rocket", 160)), k=2).results
        assert len(hits) == 2 - number

    both(session, "ingest", lambda: ingest(0), lambda: ingest(1))
    assert [album.describe().undescribed_items for album in albums] == [0, 1]
    for number in range(2):
        search(number)  # the evaluator has both ready
    both(session, "search", lambda: search(0), lambda: search(1))
    for album in albums:
        session.vault.delete_collection(album.name)


def test_two_tables_of_vectors_look_the_same_and_so_do_two_pairs(session: Session) -> None:
    vault, draws = session.vault, np.random.default_rng(8)
    tables = [
        vault.create_collection(name, embedder="none", dimension=32, metric="cosine")
        for name in ("t", "u" * 60)
    ]
    contents = [np.ones((40, 32)), draws.normal(size=(40, 32))]
    ids = [[f"{number:02} of an id" for number in range(40)], [f"{number}" * 25 for number in range(10, 50)]]
    both(
        session,
        "ingest vectors",
        lambda: tables[0].ingest_vectors(contents[0], ids[0]),
        lambda: tables[1].ingest_vectors(contents[1], ids[1]),
    )
    pair = draws.normal(size=(2, 32))
    both(session, "verify", lambda: vault.verify(pair[0], pair[0]), lambda: vault.verify(pair[0], pair[1]))


def test_a_search_asks_storage_for_nothing_whatever_it_finds_and_filters(session: Session) -> None:
    draws = np.random.default_rng(9)
    made = session.vault.create_collection("counted", embedder="none", dimension=8)
    # Every third is nothing but its id.
    ids = [f"{number}" if number % 3 == 0 else f"an id of some length, {number}" for number in range(30)]
    rows = draws.normal(size=(30, 8))
    made.ingest_vectors(rows, ids)
    made.ingest_vectors(rows, [f"told {number}" for number in range(30)], metadata={"year": 2020})
    made.search_vectors(rows[:1], k=1)  # the evaluator has it ready
    found = []

    def search(queries: Any, k: int, **more: Any) -> None:
        answer = made.search_vectors(queries, k=k, **more)
        found.append([[hit.id for hit in hits] for hits in answer.results])

    both(
        session,
        "thresholds",
        lambda: search(rows[:1], 4, threshold=-1),
        lambda: search(rows[1:2], 4, threshold=1.5),
    )
    both(session, "filters", lambda: search(rows[:1], 9), lambda: search(rows[:1], 9, where="has(year)"))
    assert [len(hits) for (hits,) in found] == [4, 0, 9, 9]
    assert all(item_id.startswith("told") for item_id in found[3][0])
    session.note("once more", lambda: search(rows[:4], 30, where="not has(year)"))
    assert {one.method.rpartition("/")[2] for one in session.seen.pop("once more")} <= {"Score", "RenewLease"}


def test_a_photo_of_another_padded_size_is_told_apart(session: Session) -> None:
    album = session.vault.create_collection("sizes", embedder="pixels", dimension=64)
    shapes = []
    for number in range(2):
        photos = [encoded(photo("coffee", 100 + 100 * number), "PNG")]
        session.note("size", lambda: album.ingest([("p.png", photos[0])]))  # noqa: B023 - called at once
        appends = [call for call in session.seen.pop("size") if call.method.endswith("/Append")]
        shapes.append([leakage.shape(call, ROWS) for call in appends])
    sizes = [dict(re.findall(r"'(original_size_bytes)', (\d+)", repr(shape))) for shape in shapes]
    assert sizes[0] != sizes[1]


# --- what lies there -----------------------------------------------------------------------------------


def columns(database: Path) -> dict[str, list[Any]]:
    """Every column of every table, TABLE.COLUMN, and what stands in it."""
    found = {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in tables:
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            for name in names:
                values = db.execute(f"SELECT {name} FROM {table} WHERE {name} IS NOT NULL")
                found[f"{table}.{name}"] = [value for (value,) in values]
    return found


def wrongly(found: dict[str, list[Any]], page: dict[str, Row]) -> list[str]:
    """Columns with something of another kind or size than the page says."""
    wrong = []
    for name, values in found.items():
        for value in values:
            try:
                leakage.check(page[name], value)
            except (AssertionError, KeyError):
                wrong.append(f"{name}: {value!r:.60}")
    return wrong


def test_storages_database_has_the_columns_of_the_page_and_nothing_of_another_kind(session: Session) -> None:
    page = leakage.rows("What lies in storage")
    found = columns(session.folder / "storage" / "storage.sqlite3")
    own = {name for name in found if not name.startswith(("sqlite_sequence.", "sqlite_stat"))}
    assert own == page.keys()
    assert wrongly({name: found[name] for name in own}, page) == []
    assert len(found["blobs.bytes"]) > 10


def test_the_evaluators_files_have_what_the_page_says(session: Session) -> None:
    files = [path for path in (session.folder / "evaluator").rglob("*") if path.is_file()]
    page = {
        what: set(re.findall(r"`([^`]+)`", of)) for what, of in leakage.table("What lies at the evaluator")
    }
    names = {re.sub(r"\d+\.\d+\.[0-9a-f]+", "N", path.name) for path in files}
    assert {"lock", "manifest.json", "tail-N.seg"} <= names <= page["files"]
    manifests = [json.loads(path.read_text()) for path in files if path.name == "manifest.json"]
    assert manifests
    assert set().union(*map(keys_of, manifests)) == page["keys of a manifest"]


def keys_of(value: Any) -> set[str]:
    """The keys of a JSON document, at any depth."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set()


def test_the_queues_database_has_the_columns_of_the_page_and_nothing_of_another_kind(tmp_path: Path) -> None:
    page = leakage.rows("What lies in the queue")
    envelopes = Envelopes(shared_key_set())
    with open_queue(f"embedded:{tmp_path / 'queue.db'}", QueueSettings().queue) as queue:
        photos = of_one_padded_size(4)
        queued = [
            QueuedPhoto(b"J" * 16, at, b"C" * 16, "", f"{at}.png", one) for at, one in enumerate(photos)
        ]
        queue.publish(*map(envelopes.seal, queued))
        held = queue.consumer(1)
        assert held.take(5) is not None
        found = columns(tmp_path / "queue.db")
    own = {name for name in found if not name.startswith("sqlite_sequence.")}
    assert own == page.keys()
    assert wrongly({name: found[name] for name in own}, page) == []
