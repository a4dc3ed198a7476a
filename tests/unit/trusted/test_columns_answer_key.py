"""The answer key of a gallery: it opens and checks after adds and retires, and older ones stay unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from support.columns import FIRST, SECOND, THIRD, Gallery, collection_keys, unit_rows

from blindsight.errors import DataLoss
from blindsight.packing.columns import Layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted.columns import answer_key, batches
from blindsight.trusted.columns.answer_key import AnswerKey, Extension

FIELDS, STRIDE = (20, 7), 4
TAIL = SegmentId(Region.TAIL, 0)


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def parameters(request):
    return request.param


@pytest.fixture
def held(parameters):
    """A gallery without segments."""
    return Gallery(collection_keys(parameters, Layout(FIELDS, STRIDE, parameters.ring_degree)))


def rows(count, seed=3):
    return unit_rows(count, sum(FIELDS), seed)


def assert_right(held, form):
    """All products of all segments are numpy's, and the check passes."""
    query = held.query(form)
    answers = held.answers(query)
    for segment, scores in held.scores(query).items():
        most = len(held.log[segment])
        bound = held.parameters.score_error_bound(held.layout.capacity, batches=most)
        vectors = held.rows[segment]
        want = [vectors[:, :20] @ form[:20], vectors[:, 20:] @ form[20:]]
        np.testing.assert_allclose(scores, want, rtol=0, atol=bound)
    assert held.passes(query, answers)


def contents(key):
    """All bytes of an answer key."""
    segments = {segment: answer_key.to_bytes(one) for segment, one in key.segments.items()}
    return key.sequence, key.epoch, segments, {region: sums.tobytes() for region, sums in key.sums.items()}


def test_the_sum_of_several_batches_decrypts_to_all_rows(held):
    capacity = held.layout.capacity
    for turn, part in enumerate(np.array_split(rows(capacity), 7)):
        held.add(FIRST, part)
        found = batches.decrypt(held.log[FIRST], Region.MAIN, held.keys)
        most = 21 * (turn + 1) / held.parameters.gallery_scale
        wanted = held.rows[FIRST]
        np.testing.assert_allclose(found[: len(wanted)], wanted, rtol=0, atol=most)
        np.testing.assert_allclose(found[len(wanted) :], 0, rtol=0, atol=most)


def test_it_opens_and_checks_after_every_add_and_retire(held):
    form = rows(1, seed=9)[0]
    steps = [FIRST, FIRST, SECOND, FIRST, THIRD, SECOND]
    for turn, segment in enumerate(steps):
        held.add(segment, rows(5 + turn, seed=turn))
        assert_right(held, form)
    for segment in (SECOND, FIRST):
        held.retire(segment)
        assert_right(held, form)
    held.add(THIRD, rows(3, seed=20))
    held.add(SegmentId(Region.MAIN, 3), rows(4, seed=21))
    assert_right(held, form)
    assert set(held.key.segments) == {THIRD, SegmentId(Region.MAIN, 3)}


def test_an_extension_never_changes_its_base(held):
    for segment in (FIRST, SECOND, FIRST):
        held.add(segment, rows(5))
    base = held.key
    before = contents(base)
    query = held.query(rows(1, seed=9)[0])
    answers = held.answers(query)
    extension = Extension(base, held.keys)
    extension.add(*held.read([held.written(FIRST, rows(3))]))
    third = held.written(THIRD, rows(3))
    extension.add(*held.read([third]))
    extension.retire(SECOND, held.read(held.log[SECOND]))
    made = extension.finish(9, 1)
    assert contents(base) == before
    # A search that began before goes on with its own.
    assert held.passes(query, answers, base)
    assert not held.passes(query, answers, made)
    # What did not change is shared, not copied.
    again = Extension(made, held.keys)
    again.retire(THIRD, held.read([third]))
    assert again.finish(10, 2).segments[FIRST] is made.segments[FIRST]


def test_two_extensions_of_one_base_know_nothing_of_each_other(held):
    held.add(FIRST, rows(5))
    base, one = held.key, held.written(FIRST, rows(4, seed=5))
    made = []
    for of in ([one], []):
        extension = Extension(base, held.keys)
        for batch in held.read(of):
            extension.add(batch)
        made.append(extension.finish(2, 0))
    assert contents(made[0])[2:] != contents(base)[2:]
    assert contents(made[1])[2:] == contents(base)[2:]
    query = held.query(rows(1, seed=9)[0])
    longer = {FIRST: held.answer(query, held.block([*held.log[FIRST], one]))}
    assert held.passes(query, longer, made[0])
    assert not held.passes(query, longer, made[1])


def test_adding_and_retiring_a_segment_leaves_nothing_of_it(held):
    held.add(FIRST, rows(5))
    before = contents(held.key)
    for part in np.array_split(rows(20, seed=5), 3):
        held.add(SECOND, part)
    assert contents(held.key)[3] != before[3]
    held.retire(SECOND)
    assert contents(held.key)[2:] == before[2:]
    held.retire(FIRST)
    assert not held.key.segments
    assert not held.key.sums[Region.MAIN].any()


def test_regions_have_check_sums_of_their_own(held):
    held.add(FIRST, rows(5))
    before = held.key.sums[Region.MAIN]
    held.add(TAIL, rows(4))
    assert held.key.sums[Region.MAIN] is before
    assert held.key.sums[Region.TAIL].any()


def test_the_order_in_which_a_log_is_read_in_pieces_does_not_matter(held):
    """A key made from the whole log at once is the one that followed it batch by batch."""
    for turn, segment in enumerate([FIRST, SECOND, FIRST, SECOND]):
        held.add(segment, rows(4, seed=turn))
    extension = Extension(AnswerKey(), held.keys)
    for segment in (SECOND, FIRST):
        for batch in held.read(held.log[segment]):
            extension.add(batch)
    assert contents(extension.finish(held.key.sequence, 0)) == contents(held.key)


def test_a_batch_that_comes_twice_or_was_left_out_is_data_loss(held):
    """Storage tells the keyholder and the evaluator the same, so that the check of answers would pass."""
    for turn in range(3):
        held.add(FIRST, rows(4, seed=turn))
    first, second, third = held.read(held.log[FIRST])
    for log in (
        [second],
        [first, first],
        [first, third],
        [first, second, second],
        [first, second, third, first],
    ):
        extension = Extension(AnswerKey(), held.keys)
        for batch in log[:-1]:
            extension.add(batch)
        with pytest.raises(DataLoss, match="a batch of segment MAIN 0 from slot"):
            extension.add(log[-1])


def test_a_segment_is_retired_with_all_of_its_batches(held):
    for turn in range(3):
        held.add(FIRST, rows(4, seed=turn))
    log = held.read(held.log[FIRST])
    for given in ([], log[:2], [*log, log[0]]):
        extension = Extension(held.key, held.keys)
        with pytest.raises(DataLoss, match="segment MAIN 0, which has others"):
            extension.retire(FIRST, given)


def test_a_segments_key_comes_back_from_its_bytes(held):
    held.add(FIRST, rows(5))
    held.add(FIRST, rows(6))
    key = held.key.segments[FIRST]
    found = answer_key.from_bytes(answer_key.to_bytes(key), FIRST, held.keys)
    assert found.fill == 11
    np.testing.assert_array_equal(found.cover.held, key.cover.held)
    np.testing.assert_array_equal(found.cover.common, key.cover.common)


def test_bytes_that_are_no_segments_key_are_refused(held):
    held.add(FIRST, rows(5))
    data = answer_key.to_bytes(held.key.segments[FIRST])
    largest = int(held.parameters.primes[-1]).to_bytes(4, "little")
    for bad in (b"", data[:3], data[:-4], data + bytes(4), data[:-4] + largest):
        with pytest.raises(ValueError, match=r"."):
            answer_key.from_bytes(bad, FIRST, held.keys)
    with pytest.raises(ValueError, match=r"."):
        answer_key.from_bytes(data + data[-1:], FIRST, held.keys)
