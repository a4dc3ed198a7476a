"""The account of bulk ingest: every item is counted once, whatever is repeated and whoever dies."""

import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest

from blindsight.errors import Conflict, DataLoss, InvalidArgument, NotFound
from blindsight.trusted.ingest.records import ItemOutcome, JobState
from blindsight.wire.workers import ItemState, Trial, TrialState
from services.keyholder.jobs.store import SCHEMA, JobStore

COLLECTION = bytes(range(16))
DONE, DUPLICATE, FAILED, QUEUED = ItemState.DONE, ItemState.DUPLICATE, ItemState.FAILED, ItemState.QUEUED


def message_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def outcome(number: int, state: ItemState = QUEUED, reason: str = "", message: str = "") -> ItemOutcome:
    return ItemOutcome(number, message_id(number), state, reason, message)


def counts(job):
    return job.received, job.done, job.duplicates, job.failed, job.pending


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path):
    with closing(JobStore(path)) as opened:
        yield opened


@pytest.fixture
def job(store):
    """A job of three items that is running."""
    opened = store.open(COLLECTION, "first")
    for number in range(3):
        store.add_items(opened.job_id, [(outcome(number), b"sealed name")])
    return store.complete(opened.job_id)


def test_one_request_id_is_one_job(store):
    job = store.open(COLLECTION, "a")
    assert job.state is JobState.RECEIVING
    assert store.open(COLLECTION, "a") == job
    assert store.open(COLLECTION, "b").job_id != job.job_id
    with pytest.raises(InvalidArgument, match="another collection"):
        store.open(bytes(16), "a")


def test_an_item_that_is_added_twice_is_counted_once(store):
    job = store.open(COLLECTION, "a")
    for _ in range(2):
        taken = store.add_items(job.job_id, [(outcome(4), b"sealed")])
    assert counts(taken) == (1, 0, 0, 0, 1)
    assert taken.next_number == 5
    assert store.known(job.job_id, [3, 4]) == {4}


def test_an_outcome_that_comes_before_the_account_of_the_item_stays(store):
    job = store.open(COLLECTION, "a")
    assert counts(store.report(job.job_id, [outcome(0, DONE)])) == (1, 1, 0, 0, 0)
    assert store.known(job.job_id, [0]) == set()
    assert store.get(job.job_id).next_number == 0
    assert counts(store.add_items(job.job_id, [(outcome(0), b"sealed")])) == (1, 1, 0, 0, 0)
    assert store.complete(job.job_id).state is JobState.FINISHED


def test_a_job_is_finished_when_the_last_outcome_is_known(store, job):
    now = store.report(job.job_id, [outcome(0, DONE), outcome(1, DUPLICATE)])
    assert (now.state, now.pending) == (JobState.RUNNING, 1)
    now = store.report(job.job_id, [outcome(2, FAILED, "INVALID_IMAGE", "not an image")])
    assert now.state is JobState.FINISHED
    assert counts(now) == (3, 1, 1, 1, 0)


def test_a_job_of_nothing_is_finished_at_once(store):
    assert store.complete(store.open(COLLECTION, "a").job_id).state is JobState.FINISHED


def test_a_job_that_is_still_received_is_not_finished(store):
    job = store.open(COLLECTION, "a")
    store.add_items(job.job_id, [(outcome(0), b"sealed")])
    assert store.report(job.job_id, [outcome(0, DONE)]).state is JobState.RECEIVING


@pytest.mark.parametrize("later", [DUPLICATE, FAILED, QUEUED, DONE])
def test_what_is_done_stays_done(store, job, later):
    store.report(job.job_id, [outcome(0, DONE)])
    assert counts(store.report(job.job_id, [outcome(0, later)])) == (3, 1, 0, 0, 2)


def test_what_failed_may_be_done_after_all(store, job):
    store.report(job.job_id, [outcome(0, FAILED, "UNAVAILABLE", "no")])
    assert counts(store.report(job.job_id, [outcome(0, DONE)])) == (3, 1, 0, 0, 2)
    assert store.told_items(job.job_id, 10) == []


def test_failed_items_are_listed_in_order_and_in_pages(store, job):
    failed = [outcome(number, FAILED, "INVALID_IMAGE", f"line {number}") for number in (2, 0, 1)]
    store.report(job.job_id, failed)
    first = store.told_items(job.job_id, 2)
    assert [(item.number, item.message) for item in first] == [(0, "line 0"), (1, "line 1")]
    (last,) = store.told_items(job.job_id, 2, after=first[-1].number)
    assert (last.number, last.reason, last.sealed_name) == (2, "INVALID_IMAGE", b"sealed name")


def test_remarks_on_what_is_stored_are_listed_among_failures(store, job):
    store.report(job.job_id, [outcome(2, FAILED, "UNAVAILABLE", "why"), outcome(0, DONE, message="flat")])
    assert [(item.number, item.state, item.message) for item in store.told_items(job.job_id, 10)] == [
        (0, DONE, "flat"),
        (2, FAILED, "why"),
    ]


def test_a_retry_puts_failed_items_back_and_reopens_the_job(store, job):
    store.report(job.job_id, [outcome(0, DONE), outcome(1, FAILED), outcome(2, FAILED)])
    again = store.retry(job.job_id, [message_id(0), message_id(1), message_id(77)])
    assert (again.state, counts(again)) == (JobState.RUNNING, (3, 1, 0, 1, 1))
    assert store.report(job.job_id, [outcome(1, DONE)]).state is JobState.FINISHED


def test_dead_letters_fail_only_what_nobody_reported(store, job):
    store.report(job.job_id, [outcome(0, DONE)])
    dead = {message_id(number): ("UNAVAILABLE", "delivered 5 times") for number in (0, 1, 9)}
    assert counts(store.give_up(job.job_id, dead)) == (3, 1, 0, 1, 1)
    assert [item.message for item in store.told_items(job.job_id, 10)] == ["delivered 5 times"]


def test_a_cancelled_job_takes_no_items_but_counts_what_was_stored(store, job):
    assert store.cancel(job.job_id).state is JobState.CANCELLED
    with pytest.raises(Conflict, match="cancelled"):
        store.add_items(job.job_id, [(outcome(3), b"sealed")])
    with pytest.raises(Conflict, match="cancelled"):
        store.retry(job.job_id, [])
    now = store.report(job.job_id, [outcome(number, DONE) for number in range(3)])
    assert (now.state, now.done) == (JobState.CANCELLED, 3)


def test_a_finished_job_cannot_be_cancelled_any_more(store, job):
    store.report(job.job_id, [outcome(number, DONE) for number in range(3)])
    assert store.cancel(job.job_id).state is JobState.FINISHED


def test_jobs_come_in_pages_the_newest_first(store):
    for request_id in "abcde":
        store.open(COLLECTION, request_id)
    seen, before = [], None
    while True:
        jobs, before = store.page(2, before)
        seen.append([job.request_id for job in jobs])
        if before is None:
            break
    assert seen == [["e", "d"], ["c", "b"], ["a"]]


def test_pages_of_some_collections_are_full_and_tell_of_no_other(store):
    other = bytes(16)
    for number, collection in enumerate([COLLECTION, other, other, other, COLLECTION, other]):
        store.open(collection, f"{number}")
    (first,), before = store.page(1, None, {COLLECTION})
    (second,), end = store.page(1, before, {COLLECTION})
    assert (first.request_id, second.request_id, end) == ("4", "0", None)
    assert store.page(1, None, frozenset()) == ([], None)


def test_states_and_unfinished_jobs(store, job):
    finished = store.complete(store.open(COLLECTION, "nothing").job_id)
    receiving = store.open(COLLECTION, "receiving")
    assert store.states([job.job_id, finished.job_id, bytes(16)]) == {
        job.job_id: JobState.RUNNING,
        finished.job_id: JobState.FINISHED,
    }
    assert store.unfinished() == [job, receiving]


def test_an_unknown_job_is_not_found(store):
    for asked in (store.get, store.cancel, store.complete):
        with pytest.raises(NotFound, match="00" * 16):
            asked(bytes(16))


def test_everything_is_there_after_another_start(path):
    with closing(JobStore(path)) as store:
        job = store.open(COLLECTION, "a")
        store.add_items(job.job_id, [(outcome(0), b"sealed")])
        kept = store.report(job.job_id, [outcome(0, FAILED, "DATA_LOSS", "why")])
    with closing(JobStore(path)) as store:
        assert store.open(COLLECTION, "a") == kept == replace(job, received=1, next_number=1, failed=1)
        assert store.told_items(job.job_id, 10)[0].message == "why"


def test_another_database_is_left_alone(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(InvalidArgument, match="is not a job database of Blindsight"):
        JobStore(path)


def test_a_database_of_a_later_version_is_refused(path):
    JobStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 4")
    with pytest.raises(InvalidArgument, match="schema version 4, newer than this program's 3"):
        JobStore(path)


def test_a_database_of_the_first_version_keeps_its_jobs(path):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA.text() + SCHEMA.marks(1))
        row = (bytes(16), COLLECTION, "old", JobState.FINISHED, 1, 5, 5, 5, 0, 0)
        db.execute("INSERT INTO jobs VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        db.commit()
    for _ in range(2):
        with closing(JobStore(path)) as store:
            assert counts(store.get(bytes(16))) == (5, 5, 0, 0, 0)
            assert store.ended_before(int(time.time()) - 60) == []  # it is kept as if it had ended just now
            assert store.ended_before(int(time.time()) + 60) == [bytes(16)]


def trial(job, number, trial_id=bytes(16)):
    return Trial(job.job_id, number, trial_id, TrialState.PLANNED)


def test_trials_without_an_end_are_counted_but_for_the_one_that_asks(store, job):
    first, second = (trial(job, 1, bytes([number]) * 16) for number in range(2))
    assert store.note_trial(first) == 0
    assert [store.note_trial(first.at(TrialState.BEGUN)) for _ in range(2)] == [0, 0]
    assert store.note_trial(second) == 1
    assert store.note_trial(second.at(TrialState.BEGUN)) == 1
    assert store.note_trial(replace(first, number=2)) == 0
    assert store.note_trial(second.at(TrialState.OVER)) == 0
    assert store.note_trial(first) == 0


@pytest.mark.parametrize("state", [DONE, DUPLICATE, FAILED])
def test_nobody_died_over_an_item_of_which_it_is_known_what_became_of_it(store, job, state):
    store.note_trial(trial(job, 1).at(TrialState.BEGUN))
    store.report(job.job_id, [outcome(1, state)])
    assert store.note_trial(trial(job, 1, b"t" * 16)) == 0


def test_a_trial_of_an_unknown_job_is_refused(store):
    with pytest.raises(NotFound):
        store.note_trial(Trial(bytes(16), 0, bytes(16), TrialState.BEGUN))


def test_jobs_that_ended_are_known_and_forgotten_with_their_items(store, job):
    later = int(time.time()) + 60
    assert store.ended_before(later) == []
    store.report(job.job_id, [outcome(number, DONE) for number in range(3)])
    other = store.open(COLLECTION, "second")
    store.note_trial(trial(other, 0).at(TrialState.BEGUN))
    store.cancel(other.job_id)
    assert store.ended_before(later) == [job.job_id, other.job_id]
    assert store.ended_before(later - 120) == []
    for job_id in (job.job_id, other.job_id):
        store.forget(job_id)
        with pytest.raises(NotFound):
            store.get(job_id)
    assert store.open(COLLECTION, "first").received == 0


def test_a_job_that_is_tried_again_has_not_ended_and_is_not_forgotten(store, job):
    store.report(job.job_id, [outcome(0, DONE), outcome(1, DONE), outcome(2, FAILED, "INVALID_IMAGE", "why")])
    store.retry(job.job_id, [message_id(2)])
    assert store.ended_before(int(time.time()) + 60) == []
    store.forget(job.job_id)
    assert counts(store.get(job.job_id)) == (3, 2, 0, 0, 1)


def test_a_damaged_database_is_a_data_loss(path):
    path.write_bytes(b"no database, and longer than a header " * 100)
    with pytest.raises(DataLoss):
        JobStore(path)
