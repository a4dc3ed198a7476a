"""Answer keys on the disk: what was saved is there again, what is damaged is made anew, none can be read."""

import numpy as np
import pytest
from support.columns import FIRST, SECOND, collection_keys, unit_rows

from blindsight.packing.columns import Layout
from blindsight.packing.segments import Placement
from blindsight.parameters import CKKS_4096
from blindsight.trusted.columns import batches
from blindsight.trusted.columns.answer_key import AnswerKey, Extension
from services.keyholder.galleries.store import AnswerKeyStore

IDENTITY = bytes(range(16))
KEYS = collection_keys(CKKS_4096, Layout((8,), 4, 4096))


def grown(base, segment, first_slot, sequence):
    """An answer key with a batch more."""
    place = Placement(segment.region, segment.index, first_slot, 5)
    block = batches.encrypt(unit_rows(5, 8), place, KEYS)
    extension = Extension(base, KEYS)
    extension.add(batches.read(block, place, KEYS))
    return extension.finish(sequence, 0)


@pytest.fixture(scope="module")
def states():
    """Three points of a log, one after the other."""
    one = grown(AnswerKey(), FIRST, 0, 1)
    two = grown(one, SECOND, 0, 2)
    return one, two, grown(two, FIRST, 5, 3)


def same(first, second):
    assert (first.sequence, first.epoch) == (second.sequence, second.epoch)
    assert set(first.segments) == set(second.segments)
    for segment, key in first.segments.items():
        other = second.segments[segment]
        assert key.fill == other.fill
        np.testing.assert_array_equal(key.cover.held, other.cover.held)
        np.testing.assert_array_equal(key.cover.common, other.cover.common)
    assert set(first.sums) == set(second.sums)
    for region, sums in first.sums.items():
        np.testing.assert_array_equal(sums, second.sums[region])


def test_what_was_saved_step_by_step_is_there_after_a_restart(tmp_path, states):
    store, before = AnswerKeyStore(tmp_path / "keys.db"), AnswerKey()
    assert store.load(IDENTITY, KEYS) is None
    for state in states:
        store.save(IDENTITY, KEYS, before, state)
        same(store.load(IDENTITY, KEYS), state)
        before = state
    store.close()
    again = AnswerKeyStore(tmp_path / "keys.db")
    same(again.load(IDENTITY, KEYS), states[-1])
    assert again.load(bytes(16), KEYS) is None
    again.forget(IDENTITY)
    assert again.load(IDENTITY, KEYS) is None
    again.close()


def test_retired_segments_go(tmp_path, states):
    store = AnswerKeyStore(tmp_path / "keys.db")
    store.save(IDENTITY, KEYS, AnswerKey(), states[1])
    less = AnswerKey(9, 1, {FIRST: states[1].segments[FIRST]}, states[0].sums)
    store.save(IDENTITY, KEYS, states[1], less)
    same(store.load(IDENTITY, KEYS), less)
    store.close()


def test_all_is_written_again_after_a_loss(tmp_path, states):
    """What stood there of another state does not stay."""
    store = AnswerKeyStore(tmp_path / "keys.db")
    store.save(IDENTITY, KEYS, AnswerKey(), states[2])
    store.save(IDENTITY, KEYS, AnswerKey(), states[0])
    same(store.load(IDENTITY, KEYS), states[0])
    store.close()


@pytest.mark.parametrize("table", ["segments", "sums"])
def test_a_changed_row_is_not_used(tmp_path, states, table):
    store = AnswerKeyStore(tmp_path / "keys.db")
    store.save(IDENTITY, KEYS, AnswerKey(), states[2])
    changed = "UPDATE {} SET sealed = substr(sealed, 1, length(sealed) - 1) || x'00'"
    with store._transaction() as db:
        db.execute(changed.format(table))
    assert store.load(IDENTITY, KEYS) is None
    store.close()


def test_check_sums_that_are_missing_are_noticed(tmp_path, states):
    store = AnswerKeyStore(tmp_path / "keys.db")
    store.save(IDENTITY, KEYS, AnswerKey(), states[2])
    with store._transaction() as db:
        db.execute("DELETE FROM sums")
    assert store.load(IDENTITY, KEYS) is None
    store.close()


def test_another_collections_keys_open_nothing(tmp_path, states):
    store = AnswerKeyStore(tmp_path / "keys.db")
    store.save(IDENTITY, KEYS, AnswerKey(), states[2])
    other = collection_keys(CKKS_4096, Layout((8,), 4, 4096), "another")
    assert store.load(IDENTITY, other) is None
    store.close()


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(5000), b""])
def test_a_file_that_is_no_store_is_made_anew(tmp_path, states, content):
    path = tmp_path / "keys.db"
    path.write_bytes(content)
    store = AnswerKeyStore(path)
    store.save(IDENTITY, KEYS, AnswerKey(), states[0])
    same(store.load(IDENTITY, KEYS), states[0])
    store.close()


def test_the_file_holds_nothing_in_the_clear(tmp_path, states):
    store = AnswerKeyStore(tmp_path / "keys.db")
    store.save(IDENTITY, KEYS, AnswerKey(), states[2])
    store.close()
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for key in states[2].segments.values():
        assert key.cover.common.tobytes()[:64] not in data
        assert key.cover.held.tobytes()[:64] not in data
    for sums in states[2].sums.values():
        assert sums.tobytes()[:64] not in data
