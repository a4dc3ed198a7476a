"""Services that work all day: whatever is done with them, and whoever leaves, they keep nothing open."""

import contextlib

import numpy as np
import pytest
from support.bulk import BulkServices
from support.photos import encoded, many, photo
from support.services import wait_until

import blindsight
from blindsight.errors import BlindsightError

ROUNDS = 3
DIMENSION = 16
PICTURE = np.asarray(photo("camera", 200).convert("L"))
# Such that most of it is still to be sent when the first results come.
LARGE = np.zeros((1500, 1500), np.uint8)
# gRPC's threads come and go; an open file of SQLite's may be closed when the next is opened.
SLACK = 4


class Left(Exception):
    """Of a caller who loses interest."""


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    running = BulkServices(tmp_path_factory.mktemp("leaks")).start()
    running.worker()
    yield running
    running.stop()


def everything(vault, number):
    """Whatever a day brings, once; `number` makes it other photos than before."""
    rng = np.random.default_rng(number)
    photos = many(60)[number * 6 :][:6]
    album = vault.create_collection(f"album-{number}")
    assert album.ingest_bulk([*photos, ("empty.jpg", b"")]).wait().failed == 1
    assert album.ingest(photos).duplicates == 6
    assert album.search(photos[2][1], k=1).results[0][0].name == photos[2][0]
    vectors = vault.create_collection(f"vectors-{number}", embedder="none", dimension=DIMENSION, scheme="bfv")
    for _ in range(8):  # each is a batch of a segment that another one follows
        vectors.ingest_vectors(rng.normal(size=(5, DIMENSION)))
    vectors.search_vectors(rng.normal(size=(2, DIMENSION)))
    vault.verify(rng.normal(size=DIMENSION), rng.normal(size=DIMENSION))
    vault.combine([PICTURE[:8], PICTURE[8:16]], weights=[1, -1], scheme="paillier", key_bits=2048)
    vault.filter(PICTURE, "gaussian:5")
    vault.filter(PICTURE, "gradient:3", scheme="bfv")
    vault.diff(PICTURE, PICTURE, server_views=True)
    refused(lambda: vault.filter(PICTURE, "gaussian:4"))
    refused(lambda: vault.diff(PICTURE, PICTURE[1:]))
    refused(lambda: vectors.search_vectors(rng.normal(size=(1, 3))))
    assert album.ingest(b"").rejected == album.ingest(b"no photo").rejected == 1
    assert album.ingest(f"no photo {number}".encode(), any=True).stored == 1
    refused(lambda: vault.collection("nowhere").search(encoded(photo("coins"))))
    with pytest.raises(Left):
        vault.filter(LARGE, "gaussian:5", progress=leave)
    vault.delete_collection(album.name)
    vault.delete_collection(vectors.name)


def refused(ask):
    with pytest.raises(BlindsightError):
        ask()


def leave(progress):
    if progress.done:
        raise Left


def taken(services):
    """Open files and threads of every service and of its processes."""
    found = {}
    for one in (*services.processes.values(), *services.workers):
        for index, process in enumerate((one.process(), *one.workers())):
            found[one.name, index, "files"] = process.num_fds()
            found[one.name, index, "threads"] = process.num_threads()
    return found


@pytest.mark.timeout(300)
def test_nothing_stays_open(services):
    with blindsight.connect(services.address()) as vault:
        everything(vault, 0)
        before = taken(services)
        for number in range(ROUNDS):
            everything(vault, 1 + number)

        def more():
            now = taken(services)
            return {what: count for what, count in now.items() if count > before.get(what, 0) + SLACK}

        with contextlib.suppress(AssertionError):
            wait_until(lambda: not more())
        assert more() == {}
