"""Rotation of keys, through the real services: everything moves to new keys while it is used."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from support.command import run
from support.photos import encoded, jpeg, photo, small_photo
from support.services import SHORT_LEASE, Services, wait_until

import blindsight
from blindsight.client import Box, Collection, Photo, PhotoVector, Vault
from blindsight.errors import BlindsightError, NotFound
from blindsight.trusted.keyring import keyfile
from blindsight.wire.keys import RotationState
from services.keyholder.rotation import switching
from services.keyholder.settings import KEY_FILE_NAME

DIMENSION = 16
ROWS = np.random.default_rng(41).normal(size=(300, DIMENSION)).astype(np.float32)
NO_PHOTO = b"words that are no photo, and kept all the same"
KILLS = 20
MOVING = ("moving-ckks", "moving-bfv")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    running = Services(tmp_path_factory.mktemp("rotation"), settings={"storage": SHORT_LEASE}, pool_size=2)
    try:
        with blindsight.connect(running.start().address()) as vault:
            filled(vault)
        yield running
    finally:
        running.stop()


def filled(vault: Vault) -> None:
    """One collection of each kind, with something of everything that an item may have."""
    for scheme in ("ckks", "bfv"):
        rows = vault.create_collection(f"rows-{scheme}", scheme=scheme, embedder="none", dimension=DIMENSION)
        rows.ingest_vectors(ROWS[:200])
        rows.ingest_vectors(ROWS[200:250], [f"an id of many letters {n}" for n in range(50)])
        rows.ingest_vectors(ROWS[250:280], range(1000, 1030), metadata=[{"n": n} for n in range(30)])
        rows.delete(["3", "5", "an id of many letters 7", "1001"])
        rows.update(["1002"], set={"said": "later"})
        rows.ingest_vectors(ROWS[280:], range(1020, 1040), upsert=True)
    lengths = vault.create_collection("lengths", embedder="none", dimension=DIMENSION, metric="euclidean")
    lengths.ingest_vectors(ROWS[:40])
    vault.create_collection("nothing yet", embedder="none", dimension=DIMENSION, metric="dot")
    paillier = vault.create_collection("slow", scheme="paillier", embedder="none", dimension=2)
    paillier.ingest_vectors(ROWS[:3, :2])
    photos = vault.create_collection("photos", scheme="bfv")
    photos.ingest(
        [("coffee.jpg", jpeg("coffee")), ("small.png", encoded(photo("rocket").resize((90, 60)), "PNG"))],
        planes=True,
        plane_halo=1,
        metadata={"album": "one"},
    )
    photos.ingest([Photo(small_photo(1), "mine", {"n": 1}), ("words.jpg", NO_PHOTO)], any=True)
    vault.set_alias("pictures", photos)
    pixels = vault.create_collection("pixels", embedder="pixels", channels="rgb", size=16)
    pixels.ingest([(f"{n}.png", small_photo(n)) for n in range(6)])
    keypoints = vault.create_collection("keypoints", embedder="sift")
    keypoints.ingest([("coffee.jpg", jpeg("coffee")), ("rocket.jpg", jpeg("rocket"))])
    faces = vault.create_collection("faces", embedder="external", dimension=DIMENSION)
    faces.ingest([face(n) for n in range(8)])
    faces.delete(["face-2"])


def face(number: int) -> Photo:
    """A photo with one vector or several, with names and boxes."""
    rows = ROWS[5 * number : 5 * number + 1 + number % 4]
    vectors = [
        PhotoVector(row, f"v{index}", Box(index, 2, 30, 40) if index else None)
        for index, row in enumerate(rows)
    ]
    return Photo(small_photo(100 + number), f"face-{number}", {"number": number}, vectors=vectors)


def told(vault: Vault) -> dict[str, object]:
    """All that the vault says of what is in it, but for the numbers of vectors under CKKS."""
    return {info.name: told_of(vault.collection(info.name), info) for info in vault.collections()}


def told_of(collection: Collection, info: blindsight.client.CollectionInfo) -> dict[str, object]:
    items = list(collection.items())
    if info.embedder == "none":  # those that came at no known time stand in the order of random handles
        items.sort(key=lambda one: one.id)
    about = (info.scheme, info.embedder, info.metric, info.items, sorted(info.aliases))
    files = [] if info.embedder == "none" else items
    return {
        "about": (*about, info.undescribed_items, info.quarantined_items),
        "items": items,
        "files": {one.id: original(collection, one.id) for one in files},
        "planes": {one.id: planes(collection, one.id) for one in files},
    }


def original(collection: Collection, item_id: str) -> tuple[str, bytes] | None:
    try:
        found = collection.get(item_id)
    except NotFound:
        return None
    return found.name, found.data


def planes(collection: Collection, item_id: str) -> bytes | None:
    try:
        return collection.planes(item_id).tobytes()
    except BlindsightError:
        return None


def vectors(vault: Vault) -> dict[tuple[str, str, int], np.ndarray]:
    found = {}
    for info in vault.collections():
        collection = vault.collection(info.name)
        every = 9 if info.items > 20 else 1
        for item in sorted(collection.items(), key=lambda one: one.id)[::every]:
            for index in range(max(1, len(item.vectors))):
                try:
                    found[info.name, item.id, index] = collection.vector(item.id, index).values
                except NotFound:
                    break
    return found


def rotated(vault: Vault, seconds: float = 120) -> None:
    """Rotates the keys, and waits until nothing is left of the old ones."""
    before = vault.rotation().key_id
    vault.rotate_keys()
    ended(vault, before, seconds)


def ended(vault: Vault, before: bytes, seconds: float = 120) -> None:
    def done() -> bool:
        now = vault.rotation()
        assert not now.message.startswith("repair"), now.message
        return now.state is RotationState.NONE and now.key_id != before

    wait_until(done, seconds, "the end of the rotation")


def holds(folder: Path, what: bytes) -> list[str]:
    """The files in a folder that have some bytes."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and what in path.read_bytes()]


@pytest.mark.timeout(600)
def test_everything_is_as_it_was_under_the_new_keys_and_nothing_is_left_of_the_old_ones(services):
    key_file = services.folder / "keyholder" / KEY_FILE_NAME
    with blindsight.connect(services.address()) as vault:
        before, rows = told(vault), vectors(vault)
        old = vault.rotation().key_id
        ciphertexts = pieces(services)
        limited = vault.create_token("searcher", collections=["photos"])
        tenant = vault.create_tenant("mieter")
        (services.folder / "tenant").write_text(tenant.token)
        with blindsight.connect(services.address(), token_file=services.folder / "tenant") as theirs:
            theirs.create_collection("photos", embedder="none", dimension=2).ingest_vectors(ROWS[:9, :2])
        audited = vault.audit_page(collection="photos").records
        with key_file.open("rb") as held:
            sealed = held.read()
            rotated(vault)
            held.seek(0)
            assert held.read() != sealed
        assert told(vault) == before
        again = vectors(vault)
        assert again.keys() == rows.keys()
        for key, row in rows.items():
            if "bfv" in key[0] or key[0] in ("photos", "slow"):
                assert np.array_equal(again[key], row), key
            else:
                np.testing.assert_allclose(again[key], row, atol=3e-5, err_msg=str(key))
        assert keyfile.about(key_file).key_id == vault.rotation().key_id != old
        assert not holds(services.folder / "evaluator", old)
        assert not (services.folder / "keyholder" / "rotation").exists()
        # What was known by the old keys is known by the new ones.
        assert not vault.verify_audit().faults
        recorded = vault.audit_page(collection="photos", page_size=1000).records
        assert {(one.number, one.rpc) for one in audited} <= {(one.number, one.rpc) for one in recorded}
        assert any(one.rpc == "KeyService/StartRotation" for one in vault.audit_page(page_size=1000).records)
        assert vault.collection("pictures").ingest([("again.jpg", jpeg("coffee"))]).duplicates == 1
        numbered = vault.collection("rows-bfv")
        numbered.ingest_vectors(ROWS[:1])
        assert numbered.exists("300")
    assert services["storage"].stop() == 0  # which empties its write-ahead log
    stored = (services.folder / "storage" / "storage.sqlite3").read_bytes()
    assert not [one for one in ciphertexts if one in stored]
    services["storage"].start()
    (services.folder / "token").write_text(limited.token)
    with blindsight.connect(services.address(), token_file=services.folder / "token") as searcher:
        assert [one.name for one in searcher.collections()] == ["photos"]
        # Tenants have keys of their own, which stay.
        with blindsight.connect(services.address(), token_file=services.folder / "tenant") as theirs:
            assert theirs.collection("photos").count() == 9
        assert searcher.collection("photos").search(jpeg("coffee")).results[0][0].name == "coffee.jpg"


@pytest.mark.timeout(600)
def test_searches_and_writes_go_on_through_rotations_and_scores_stay_within_their_bound(services):
    """Three rotations, one after another, beside which others search and write all the time."""
    stopped, failures = threading.Event(), []
    twin = Twin({f"r{n}": ROWS[n] for n in range(200)})

    def use(work: Callable[[Vault, int], None]) -> None:
        try:
            with blindsight.connect(services.address(), wait_seconds=60) as own:
                count = 0
                while not stopped.is_set():
                    work(own, count := count + 1)
        except Exception as error:
            failures.append(error)

    def search(own: Vault, count: int) -> None:
        number = 20 + count % 150
        for name in ("rows-ckks", "rows-bfv"):
            (hit,) = own.collection(name).search_vectors(ROWS[number], k=1).results[0]
            assert hit.id == str(number)
        assert own.collection("photos").get("mine").data == small_photo(1)

    with blindsight.connect(services.address()) as vault:
        for name in MOVING:
            vault.create_collection(name, scheme=name[7:], embedder="none", dimension=DIMENSION)
            vault.collection(name).ingest_vectors(ROWS[:200], [f"r{n}" for n in range(200)])
        users = [
            threading.Thread(target=use, args=(search,)),
            threading.Thread(target=use, args=(lambda own, count: write(own, twin, count),)),
        ]
        for user in users:
            user.start()
        for _ in range(3):
            rotated(vault)
        stopped.set()
        for user in users:
            user.join()
        assert not failures
        assert len(twin.rows) > 250
        for name in MOVING:
            compare(vault.collection(name), twin)
            vault.delete_collection(name)


@dataclass
class Twin:
    """Vectors by id, in the clear, to which a test does what it does to a collection."""

    rows: dict[str, np.ndarray] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)
    number: int = 0


def pieces(services: Services) -> list[bytes]:
    """A piece of every ciphertext and of all that is sealed, as storage has them."""
    with closing(sqlite3.connect(services.folder / "storage" / "storage.sqlite3")) as db:
        found = [row[0] for row in db.execute("SELECT substr(bytes, length(bytes) / 2, 24) FROM blobs")]
    assert len(found) > 20
    return found


@pytest.mark.timeout(600)
def test_a_rotation_that_is_killed_twenty_times_ends_right_and_keeps_what_was_written_meanwhile(services):
    random.seed(7)
    keyholder, twin = services["keyholder"], Twin()
    with blindsight.connect(services.address()) as vault:
        before = told(vault)
        for name in MOVING:
            vault.create_collection(name, scheme=name[7:], embedder="none", dimension=DIMENSION)
            vault.collection(name).ingest_vectors(ROWS[:200], [f"r{n}" for n in range(200)])
        twin.rows = {f"r{n}": ROWS[n] for n in range(200)}
        old = vault.rotation().key_id
        vault.rotate_keys()
    killed = refused = 0
    key_file = services.folder / "keyholder" / KEY_FILE_NAME
    while killed < KILLS:
        time.sleep(random.random() * 1.5)
        keyholder.kill()
        killed += 1
        if switching.is_begun(services.folder / "keyholder"):
            refused += run("keys", "rewrap", "--key-file", str(key_file)).stderr.count("are being rotated")
        keyholder.start()
        with blindsight.connect(services.address(), wait_seconds=60) as vault:
            write(vault, twin, killed)
            now = vault.rotation()
            if now.key_id != old and now.state is RotationState.NONE:  # another one
                old = now.key_id
                vault.rotate_keys()
    with blindsight.connect(services.address(), wait_seconds=60) as vault:
        wait_until(lambda: vault.rotation().state is RotationState.NONE, 120, "the end of the rotation")
        for name in MOVING:
            compare(vault.collection(name), twin)
            vault.delete_collection(name)
        assert told(vault) == before
        found = vault.collection("keypoints").search(jpeg("coffee")).results[0][0]
        assert found.name == "coffee.jpg"
        current = vault.rotation().key_id
    assert current != old
    assert refused
    kept = {path.name for path in (services.folder / "keyholder").iterdir()}
    assert "rotation" not in kept


def write(vault: Vault, twin: Twin, seed: int) -> None:
    """Writes of every kind, to the collections and to what is in the clear."""
    rows = np.random.default_rng(seed).normal(size=(12, DIMENSION)).astype(np.float32)
    fresh, upserted = [f"w{seed}-{n}" for n in range(8)], [f"r{10 * seed % 200 + n}" for n in range(4)]
    gone = [f"r{(10 * seed + 5) % 200}", f"w{seed - 1}-0"]
    for name in MOVING:
        collection = vault.collection(name)
        collection.ingest_vectors(rows[:8], fresh)
        collection.ingest_vectors(rows[8:], upserted, upsert=True)
        collection.delete(gone)
        collection.update(fresh[1:3], set={"seed": seed})
    twin.rows |= dict(zip([*fresh, *upserted], rows, strict=True))
    twin.said |= dict.fromkeys(fresh[1:3], seed)
    for one in gone:
        twin.rows.pop(one, None)
        twin.said.pop(one, None)


def compare(collection: Collection, twin: Twin) -> None:
    """What a collection says of its items is what was written, and so is what it finds."""
    items = {one.id: one.metadata.get("seed") for one in collection.items()}
    assert items == {one: twin.said.get(one) for one in twin.rows}
    ids, rows = list(twin.rows), np.stack(list(twin.rows.values()))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    queries = ROWS[[3, 77, 191]]
    answer = collection.search_vectors(queries, k=len(ids))
    bound = collection.describe().score_error_bound
    for query, hits in zip(queries, answer.results, strict=True):
        truth = dict(zip(ids, unit @ (query / np.linalg.norm(query)), strict=True))
        assert {hit.id for hit in hits} == truth.keys()
        assert max(abs(hit.score - truth[hit.id]) for hit in hits) <= bound
