"""Bulk ingest through real processes and both queues: every photo once, and byte for byte."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import ExifTags, Image
from support.bulk import assert_holds
from support.metrics import scrape, value
from support.oddities import EMBEDDERS, ODDITIES
from support.photos import encoded, jpeg, many, photo
from support.ports import free_ports

from blindsight.client import Photo, PhotoVector
from blindsight.errors import Conflict, InvalidArgument, NotFound
from services.worker.metrics import REGISTRY

PHOTOS = many(100)


def counts(info):
    return info.received, info.done, info.duplicates, info.failed


@pytest.mark.timeout(240)
def test_a_hundred_photos_are_stored_once_each_and_come_back_as_they_were(bulk, vault, collection):
    (port,) = free_ports(1)
    bulk.worker(metrics_port=str(port))
    states = []
    job = collection.ingest_bulk(PHOTOS)
    end = job.wait(progress=states.append)
    assert (end.state, *counts(end)) == ("finished", 100, 100, 0, 0)
    assert states[-1] == end
    assert [state.settled for state in states] == sorted(state.settled for state in states)
    assert_holds(collection, PHOTOS)
    assert collection.search(PHOTOS[17][1], k=1).results[0][0].name == PHOTOS[17][0]
    assert vault.imports()[0] == end
    assert {one.name for one in scrape(port)} >= {family.name for family in REGISTRY.collect()}
    assert value(port, "blindsight_worker_items_total", outcome="done") == 100
    assert value(port, "blindsight_worker_embed_seconds_count", embedder="descriptor") == 100
    scheme = {"scheme": "ckks", "parameter_set": collection.describe().parameter_set}
    assert 0 < value(port, "blindsight_worker_encrypt_seconds_count", **scheme) < 100


@pytest.mark.timeout(240)
def test_a_collection_is_renamed_while_workers_fill_it(bulk, vault, collection):
    photos, was = PHOTOS[:40], collection.name
    bulk.worker(prefetch="4", linger_seconds="0.01")
    vault.set_alias("by its alias", collection)
    job = vault.collection("by its alias").ingest_bulk(photos)
    names = [was]
    while not job.info().ended:
        names.append(f"{was}, {len(names)}")
        collection.rename(names[-1])
    assert len(names) > 2
    end = job.wait()
    assert (end.state, *counts(end)) == ("finished", 40, 40, 0, 0)
    assert (end.collection, vault.imports()[0].collection) == (names[-1], names[-1])
    assert_holds(collection, photos)
    assert collection.check().damaged == 0
    bulk.restart_keyholder()
    assert vault.imports()[0].collection == names[-1]
    assert vault.status().alarms == ()


@pytest.mark.timeout(240)
def test_searches_while_workers_append_are_right_and_never_refused(bulk, vault, collection):
    """Two readers; the keyholder checks each answer by what it reads of the workers' batches meanwhile."""
    photos = PHOTOS[:60]
    collection.ingest(photos[:2])
    for _ in range(2):
        bulk.worker(prefetch="4", linger_seconds="0.01")
    job = collection.ingest_bulk(photos[2:])

    def search(number):
        asked = 0
        while not job.info().ended:
            hits = collection.search(photos[number][1], k=3).results[0]
            assert hits[0].name == photos[number][0]
            asked += 1
        return asked

    with ThreadPoolExecutor(2) as readers:
        assert all(asked > 0 for asked in readers.map(search, range(2)))
    assert counts(job.wait()) == (58, 58, 0, 0)
    assert collection.search(photos[59][1], k=1).results[0][0].name == photos[59][0]
    assert vault.status().services[0].alarm == ""


@pytest.mark.timeout(120)
def test_workers_keep_what_is_said_of_photos_and_their_ids(bulk, vault, collection):
    taken = Image.Exif()
    taken.update({ExifTags.Base.Make: "Maker", ExifTags.Base.DateTime: "2020:01:02 03:04:05"})
    file = io.BytesIO()
    photo("coffee", 120).save(file, "JPEG", exif=taken)
    photos = [
        Photo(jpeg("coins"), id="coins of mine", metadata={"year": 79, "place": "Pompeii"}, name="c.jpg"),
        Photo(file.getvalue(), metadata={"camera": "mine"}, name="cup.jpg"),
    ]
    bulk.worker()
    end = collection.ingest_bulk(photos, metadata={"owner": "me", "year": 1}, exif=True).wait()
    assert counts(end) == (2, 2, 0, 0)
    assert collection.item("coins of mine").metadata == {"owner": "me", "place": "Pompeii", "year": 79}
    (cup,) = collection.items('camera = "mine"')
    assert cup.metadata == {
        "camera": "mine",
        "owner": "me",
        "taken": datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
        "year": 1,
    }
    assert [hit.name for hit in collection.search(jpeg("coins"), where="year < 50").results[0]] == ["cup.jpg"]


@pytest.mark.timeout(120)
def test_photos_are_listed_in_the_order_in_which_they_were_given_whatever_workers_do(bulk, collection):
    given = many(60)[::-1]
    job = collection.ingest_bulk(given)
    for _ in range(2):
        bulk.worker()
    assert counts(job.wait())[1] == 60
    assert [item.name for item in collection.items(page_size=7)] == [name for name, _ in given]


@pytest.mark.timeout(120)
def test_workers_keep_photos_with_vectors_of_their_owners(bulk, vault, request):
    name = request.node.name[:100].strip()
    portraits = vault.create_collection(
        name, embedder="external", dimension=8, metric="euclidean", max_norm=4
    )
    bulk.worker()
    vectors = np.eye(3, 8)
    end = portraits.ingest_bulk(
        [jpeg("coins"), b"no image", jpeg("rocket")], vectors=vectors, any=True
    ).wait()
    assert counts(end) == (3, 3, 0, 0)
    long = portraits.ingest_bulk([jpeg("coffee")], vectors=np.full((1, 8), 9.0)).wait()
    assert counts(long) == (1, 0, 0, 1)
    several = [Photo(jpeg("cat"), "cat", vectors=[-vectors[0], PhotoVector(-vectors[1], "right")])]
    assert counts(portraits.ingest_bulk(several).wait()) == (1, 1, 0, 0)
    (hit,) = portraits.search_vectors(-vectors[1], k=1).results[0]
    assert (hit.id, hit.vector.index, hit.vector.name, portraits.count()) == ("cat", 1, "right", 4)
    found = [hits[0].id for hits in portraits.search_vectors(vectors, k=1).results]
    assert [portraits.get(item_id).data for item_id in found] == [jpeg("coins"), b"no image", jpeg("rocket")]
    unbounded = vault.create_collection(
        f"{name[:90]} 2", embedder="external", dimension=8, metric="euclidean"
    )
    with pytest.raises(InvalidArgument, match="max-norm"):
        unbounded.ingest_bulk([jpeg("coins")], vectors=vectors[:1])
    for one in (portraits, unbounded):
        vault.delete_collection(one.name)


@pytest.mark.timeout(120)
def test_workers_keep_the_keypoints_of_photos_that_are_found_by_them(bulk, vault, request):
    album = vault.create_collection(request.node.name[:100].strip(), embedder="sift")
    bulk.worker()
    end = album.ingest_bulk([(f"{name}.jpg", jpeg(name)) for name in ("coffee", "coins", "rocket")]).wait()
    assert counts(end) == (3, 3, 0, 0)
    (hits,) = album.search(encoded(photo("coins").rotate(40, expand=True)), k=3).results
    assert [(hit.name, hit.keypoints.verified) for hit in hits[:1]] == [("coins.jpg", True)]
    assert not any(hit.keypoints.verified for hit in hits[1:])
    vault.delete_collection(album.name)


@pytest.mark.timeout(120)
def test_the_same_request_id_twice_is_one_import_and_its_items_are_counted_once(bulk, collection):
    first = collection.ingest_bulk(PHOTOS[:20], request_id="only one " + collection.name)
    bulk.worker()
    again = collection.ingest_bulk(PHOTOS[:20], request_id="only one " + collection.name)
    assert again.import_id == first.import_id
    assert counts(again.wait()) == (20, 20, 0, 0)
    another = collection.ingest_bulk(PHOTOS[:20])
    assert another.import_id != first.import_id
    assert counts(another.wait()) == (20, 0, 20, 0)
    assert_holds(collection, PHOTOS[:20])


@pytest.mark.timeout(120)
def test_what_fails_is_told_with_its_reason_and_name_and_can_be_retried_and_dropped(bulk, collection):
    job = collection.ingest_bulk([PHOTOS[0], ("empty.jpg", b""), *PHOTOS[1:3]])
    with bulk.open_queue() as queue:

        def give_up(count):
            consumer = queue.consumer(prefetch=count)
            for _ in range(count):
                assert consumer.take(10).reject("UNAVAILABLE")
            consumer.close()
            assert counts(job.wait()) == (4, 0, 0, 4)
            assert [(item.number, item.name, item.reason) for item in job.failed()] == [
                (0, PHOTOS[0][0], "UNAVAILABLE"),
                (1, "empty.jpg", "INVALID_IMAGE"),
                (2, PHOTOS[1][0], "UNAVAILABLE"),
                (3, PHOTOS[2][0], "UNAVAILABLE"),
            ]

        give_up(3)
        assert job.retry() == 3
        give_up(3)
        assert job.drop_failed() == 3
        assert (job.retry(), job.drop_failed()) == (0, 0)
    assert collection.describe().items == 0


@pytest.mark.timeout(120)
def test_photos_of_which_nothing_can_be_made_are_stored_with_a_remark(bulk, vault, request):
    bulk.worker()
    for kind, settings in EMBEDDERS.items():
        embedder = "pixels" if kind == "channels" else kind
        album = vault.create_collection(
            f"{request.node.name[:60].strip()} {kind}", embedder=embedder, **settings
        )
        files = [(one.name, one.data) for one in ODDITIES]
        job = album.ingest_bulk([*files, ("notes.txt", b"no photo")])
        assert counts(job.wait()) == (len(ODDITIES), len(ODDITIES), 0, 0)
        unfound = [one.name for one in ODDITIES if kind in one.undescribed]
        assert [item.name for item in job.remarked()] == unfound
        assert all(item.remark.endswith("no search will find it") for item in job.remarked())
        assert [item.path for item in job.unreadable] == ["notes.txt"]
        assert album.describe().undescribed_items == len(unfound)
        assert_holds(album, files)
        vault.delete_collection(album.name)


def test_what_is_said_of_photos_that_are_there_is_told_not_to_be_kept_as_in_plain_ingest(bulk, collection):
    bulk.worker()
    assert counts(collection.ingest_bulk(PHOTOS[:2], metadata={"year": 2020}).wait()) == (2, 2, 0, 0)
    again = collection.ingest_bulk(PHOTOS[:3], metadata={"year": 2021})
    assert counts(again.wait()) == (3, 1, 2, 0)
    remarks = {item.number: item.remark for item in again.remarked()}
    plain = collection.ingest(PHOTOS[:2], metadata={"year": 2021}).items
    assert remarks == {0: plain[0].remark, 1: plain[1].remark}
    assert "what is said of it now was not kept" in remarks[0]
    same = collection.ingest_bulk(PHOTOS[:2], metadata={"year": 2020})
    assert counts(same.wait()) == (2, 0, 2, 0)
    assert list(same.remarked()) == []


@pytest.mark.timeout(120)
def test_a_cancelled_import_stores_nothing_more(bulk, collection):
    job = collection.ingest_bulk(PHOTOS[:10])
    assert job.cancel().state == "cancelled"
    assert job.wait().state == "cancelled"
    bulk.worker()
    after = collection.ingest_bulk(PHOTOS[10:20])  # behind it in the queue, so it is over when this is
    assert counts(after.wait()) == (10, 10, 0, 0)
    assert counts(job.info()) == (10, 0, 0, 0)
    with pytest.raises(Conflict, match="cancelled"):
        job.retry()
    assert after.cancel().state == "finished"
    assert_holds(collection, PHOTOS[10:20])


def test_what_cannot_be_imported_is_refused_before_anything_is_sent(vault, collection):
    with pytest.raises(NotFound):
        vault.collection("nowhere").ingest_bulk(PHOTOS[:1])
    with pytest.raises(NotFound, match="no import"):
        vault.get_import("no id").info()
    vectors = vault.create_collection(f"vectors {collection.name}", embedder="none", dimension=8)
    with pytest.raises(InvalidArgument, match="vectors only"):
        vectors.ingest_bulk(PHOTOS[:1])
    with pytest.raises(InvalidArgument, match="want 1 to 128"):
        collection.ingest_bulk(PHOTOS[:1], request_id="x" * 129)
    vault.delete_collection(vectors.name)


@pytest.mark.timeout(120)
def test_photos_of_a_collection_that_is_gone_fail(bulk, vault):
    doomed = vault.create_collection("doomed")
    job = doomed.ingest_bulk(PHOTOS[:3])
    vault.delete_collection("doomed")
    again = vault.create_collection("doomed")  # of the same name, and another
    bulk.worker()
    assert counts(job.wait()) == (3, 0, 0, 3)
    assert {item.reason for item in job.failed()} == {"NOT_FOUND"}
    assert again.describe().items == 0
    vault.delete_collection("doomed")
