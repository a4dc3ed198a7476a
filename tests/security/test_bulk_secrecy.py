"""The queue keeps sealed bytes: no byte of a photo, no name; and what is forged or moved is refused."""

import os
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from support.bulk import BulkServices, assert_holds
from support.canaries import Needles, contents
from support.photos import many
from support.services import failed_start, wait_until

import blindsight
from blindsight.rpc.keyholder.v1 import workers_pb2 as pb
from blindsight.rpc.keyholder.v1.workers_pb2_grpc import WorkerServiceStub
from blindsight.trusted.ingest.worker_token import TOKEN_KEY, WorkerAccess
from blindsight.trusted.keyring import keyfile, keys, passphrase
from blindsight.trusted.queue import open_queue

PHOTOS = many(6)
MIDDLE = 200


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    running = BulkServices(tmp_path_factory.mktemp("secrecy"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def bulk(services):
    yield services
    services.stop_workers()


@pytest.fixture
def vault(bulk):
    with blindsight.connect(bulk.address()) as connected:
        yield connected


def test_the_queue_and_the_account_hold_no_byte_of_a_photo_and_no_name(bulk, vault):
    collection = vault.create_collection("canary-collection")
    job = collection.ingest_bulk(PHOTOS)
    needles = Needles(
        {
            "name": [name.encode() for name, _ in PHOTOS],
            "collection": [b"canary-collection", collection.name.encode()],
            "photo": [
                data[at : at + 16] for _, data in PHOTOS for at in (8, MIDDLE, len(data) // 2, len(data) - 40)
            ],
            "plain": [b"canary-name"],
        }
    )
    kept = {
        path: data for path, data in contents(bulk.folder).items() if "queue.db" in path or "jobs.db" in path
    }
    assert any(len(data) > sum(len(photo) for _, photo in PHOTOS) for data in kept.values())
    assert needles.found_in(kept) == {}
    assert needles.found_in({"itself": PHOTOS[0][0].encode() + PHOTOS[0][1]}) != {}
    bulk.worker()
    assert job.wait().done == len(PHOTOS)
    logs = {path: data for path, data in contents(bulk.folder).items() if path.endswith(".log")}
    assert needles.found_in(logs) == {}


def test_a_message_that_is_forged_moved_or_repeated_changes_nothing(bulk, vault):
    collection = vault.create_collection("moved")
    first = collection.ingest_bulk(PHOTOS[:1])
    second = collection.ingest_bulk(PHOTOS[1:2])
    with open_queue(bulk.queue_url, bulk.opened_with) as queue:
        consumer = queue.consumer(2)
        taken = [consumer.take(10) for _ in range(2)]
        ours, other = (delivery.message for delivery in taken)
        hostile = [
            replace(ours, job_id=other.job_id),  # into another job
            replace(ours, job_id=other.job_id, message_id=other.message_id),  # as another item
            replace(ours, message_id=os.urandom(16)),
            replace(ours, body=ours.body[:-1] + bytes([ours.body[-1] ^ 1])),
            replace(ours, job_id=os.urandom(16)),
            replace(ours, body=ours.body[:40]),
        ]
        for message in (*hostile, ours):  # the last one is a true repetition
            queue.publish(message)
        for delivery in taken:
            delivery.nack()
        consumer.close()
        bulk.worker()
        assert (first.wait().done, second.wait().done) == (1, 1)
        wait_until(lambda: queue.depth() == replace(queue.depth(), ready=0, unacknowledged=0, dead=6))
        assert {letter.reason for letter in queue.dead_letters()} == {"DATA_LOSS"}
    assert [(one.received, one.done, one.failed) for one in (first.info(), second.info())] == [(1, 1, 0)] * 2
    assert_holds(collection, PHOTOS[:2])


@pytest.mark.parametrize("token", [None, "", "0" * 64, "another owner's"])
def test_who_is_no_worker_of_this_key_set_cannot_report(bulk, vault, token):
    job = vault.create_collection(f"reports of {token!r}").ingest_bulk(PHOTOS[:1])
    shown = [] if token is None else [(TOKEN_KEY, token)]
    if token == "another owner's":
        shown = WorkerAccess(keys.create()).metadata()
    for call in (report, note_trial):
        with pytest.raises(grpc.RpcError) as refused:
            call(bulk, job, shown)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert job.info().done == bulk.deaths(0) == 0


def shown_by_a_worker(bulk):
    """The metadata of a worker of the services' key set."""
    settings = bulk.worker_settings()
    secret = passphrase.from_file(Path(settings["passphrase_file"]))
    return WorkerAccess(keyfile.read(Path(settings["key_file"]), secret)).metadata()


def test_a_worker_of_this_key_set_may_report(bulk, vault):
    job = vault.create_collection("believed").ingest_bulk(PHOTOS[:1])
    shown = shown_by_a_worker(bulk)
    note_trial(bulk, job, shown)
    assert bulk.deaths(0) == 1
    report(bulk, job, shown)
    assert (job.info().done, bulk.deaths(0)) == (1, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"trial_id": b"short"}, "trial_id has 5 bytes, want 16"),
        ({"state": pb.TRIAL_STATE_UNSPECIFIED}, "trial state 0, want one of"),
        ({"state": 99}, "trial state 99, want one of"),
    ],
)
def test_a_trial_that_is_none_is_refused(bulk, vault, wrong, said):
    job = vault.create_collection(f"trials of {said!r}").ingest_bulk(PHOTOS[:1])
    with pytest.raises(grpc.RpcError, match=said):
        note_trial(bulk, job, shown_by_a_worker(bulk), **wrong)


def note_trial(bulk, job, shown, **wrong) -> None:
    about = {"job_id": bytes.fromhex(job.import_id), "trial_id": bytes(16), "state": pb.TRIAL_STATE_BEGUN}
    with grpc.insecure_channel(bulk.address()) as channel:
        WorkerServiceStub(channel).NoteTrial(
            pb.NoteTrialRequest(**{**about, **wrong}), metadata=shown, timeout=10
        )


def report(bulk, job, shown) -> None:
    item = pb.ItemReport(job_id=bytes.fromhex(job.import_id), number=0, state=pb.ITEM_STATE_DONE)
    with grpc.insecure_channel(bulk.address()) as channel:
        WorkerServiceStub(channel).ReportItems(
            pb.ReportItemsRequest(items=[item]), metadata=shown, timeout=10
        )


def test_a_worker_with_the_keys_of_another_owner_does_not_start(bulk, tmp_path):
    secret = passphrase.from_file(bulk.folder / "keyholder.passphrase")
    keyfile.write(tmp_path / "keys.bsky", keys.create(), secret)
    said = failed_start("worker", bulk.worker_settings(key_file=str(tmp_path / "keys.bsky")))
    assert said == "blindsight worker: no token of a worker of this key set came, want one"
