"""Answers about columns: what they open to, and that the check lets pass the right one and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from support.columns import FIRST, SECOND, THIRD, Answers, Gallery, collection_keys, unit_rows

from blindsight.ciphertext.residues import Residues
from blindsight.errors import InvalidVector
from blindsight.packing.columns import Layout
from blindsight.packing.segments import SegmentId
from blindsight.parameters import PARAMETER_SETS, ParameterSet, Scheme
from blindsight.ring.tiles import TILE
from blindsight.trusted.columns.queries import Query

SETS = list(PARAMETER_SETS.values())
EXACT = [parameters for parameters in SETS if parameters.scheme is Scheme.BFV]
# Fields and strides: one field without a fold, with a small and with the widest one; several fields.
SHAPES = {
    "one field": ((24,), 1),
    "folded": ((24,), 8),
    "widest stride": ((24,), 2048),
    "fields": ((5, 9, 3), 1),
    "folded fields": ((5, 40, 3), 64),
}


@pytest.fixture(scope="module", params=SETS, ids=lambda parameters: parameters.name)
def parameters(request):
    return request.param


def gallery_of(parameters: ParameterSet, fields, stride, name="collection") -> Gallery:
    return Gallery(collection_keys(parameters, Layout(fields, stride, parameters.ring_degree), name))


class Case:
    """Two segments, each with more than one batch, and two queries."""

    def __init__(self, parameters: ParameterSet, fields, stride) -> None:
        self.gallery = gallery_of(parameters, fields, stride)
        layout = self.gallery.layout
        count = min(layout.capacity, 12) // 2
        for turn, segment in enumerate([FIRST, SECOND, FIRST, SECOND]):
            self.older = self.gallery.key
            self.gallery.add(segment, unit_rows(count, layout.dimension, seed=turn))
        self.query, self.other = (self.gallery.query(form) for form in unit_rows(2, layout.dimension, seed=9))
        self.answers = self.gallery.answers(self.query)

    def answer(self, segment: SegmentId, of) -> Answers:
        """The answers, of which one is about other batches."""
        return {**self.answers, segment: self.gallery.answer(self.query, self.gallery.block(of))}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=list(SHAPES))
def case(request, parameters):
    fields, stride = request.param
    return Case(parameters, fields, stride)


def with_one(answers: Answers, change: Callable[[Residues], None]) -> Answers:
    """The answers, of which the second is changed."""
    changed = answers[SECOND].copy()
    change(changed)
    assert (changed != answers[SECOND]).any()
    return {**answers, SECOND: changed}


def test_the_right_answers_pass_in_any_order(case):
    assert case.gallery.passes(case.query, case.answers)
    assert case.gallery.passes(case.query, dict(reversed(case.answers.items())))
    assert case.gallery.passes(case.other, case.gallery.answers(case.other))


def test_an_answer_of_which_one_residue_differs_by_one_is_refused(case):
    fields, _, size = case.answers[SECOND].shape
    somewhere = int(np.random.default_rng(1).integers(size))
    primes = enumerate(case.gallery.parameters.primes)
    for (row, prime), field, place in itertools.product(primes, range(fields), (0, somewhere, size - 1)):
        for by in (1, prime - 1):

            def change(answer, at=(field, row, place), by=by, prime=prime):
                answer[at] = (int(answer[at]) + by) % prime

            assert not case.gallery.passes(case.query, with_one(case.answers, change))


def test_an_answer_of_zeros_is_refused(case):
    assert not case.gallery.passes(case.query, with_one(case.answers, lambda answer: answer.fill(0)))
    nothing = {segment: np.zeros_like(answer) for segment, answer in case.answers.items()}
    assert not case.gallery.passes(case.query, nothing)


def test_an_answer_that_is_moved_negated_or_multiplied_is_refused(case):
    primes = np.array(case.gallery.parameters.primes, np.uint32)[:, None]

    def moved(answer):
        answer[...] = np.roll(answer, 1, axis=-1)

    def negated(answer):
        answer[...] = np.where(answer, primes - answer, 0)

    def doubled(answer):
        answer[...] = answer * 2 % primes

    for change in (moved, negated, doubled):
        assert not case.gallery.passes(case.query, with_one(case.answers, change))


def test_answers_that_change_places_are_refused(case):
    exchanged = {FIRST: case.answers[SECOND], SECOND: case.answers[FIRST]}
    assert not case.gallery.passes(case.query, exchanged)


def test_fields_that_change_places_are_refused(parameters):
    case = Case(parameters, *SHAPES["folded fields"])

    def exchanged(answer):
        answer[...] = answer[::-1].copy()

    assert not case.gallery.passes(case.query, with_one(case.answers, exchanged))


def test_the_answer_to_another_query_is_refused(case):
    others = case.gallery.answers(case.other)
    assert not case.gallery.passes(case.query, others)
    assert not case.gallery.passes(case.query, {**case.answers, SECOND: others[SECOND]})


def test_the_answer_to_a_query_of_which_one_residue_was_changed_is_refused(case):
    tiles = case.query.tiles.copy()
    tiles[0, 0, 0] ^= 1
    asked = Query(case.query.keys, tiles, case.query.secret, case.query.weights)
    assert not case.gallery.passes(case.query, case.gallery.answers(asked))


def test_an_answer_about_an_older_gallery_is_refused(case):
    old = case.answer(SECOND, case.gallery.log[SECOND][:-1])
    assert not case.gallery.passes(case.query, old)
    # It was right once.
    assert case.gallery.passes(case.query, old, case.older)
    assert not case.gallery.passes(case.query, case.answers, case.older)


def test_an_answer_that_lacks_a_batch_or_has_one_twice_is_refused(case):
    log = case.gallery.log[SECOND]
    for of in (log[1:], log[:1], [], [*log, log[0]], [*log, log[1]], [log[0], log[0]]):
        assert not case.gallery.passes(case.query, case.answer(SECOND, of))
    assert case.gallery.passes(case.query, case.answer(SECOND, log[::-1]))


def test_a_segment_that_is_left_out_or_comes_twice_is_refused(case):
    assert not case.gallery.passes(case.query, {FIRST: case.answers[FIRST]})
    assert not case.gallery.passes(case.query, {})
    assert not case.gallery.passes(case.query, {**case.answers, THIRD: case.answers[SECOND]})


def test_the_answer_about_another_collection_is_refused(case):
    layout = case.gallery.layout
    other = gallery_of(case.gallery.parameters, layout.fields, layout.stride, "another")
    for segment, rows in case.gallery.rows.items():
        other.add(segment, rows)
    assert not case.gallery.passes(case.query, other.answers(case.query))


def test_a_changed_residue_of_the_evaluators_copy_is_noticed(case):
    block = case.gallery.block(case.gallery.log[SECOND])
    block[-1, -1, TILE - 1] ^= 1
    answer = case.gallery.answer(case.query, block)
    assert not case.gallery.passes(case.query, {**case.answers, SECOND: answer})


def test_every_fold_opens_to_the_right_products_and_is_checked(parameters):
    stride = 1
    while stride <= parameters.ring_degree:
        held = gallery_of(parameters, (40, 3), stride)
        layout = held.layout
        held.add(FIRST, unit_rows(min(layout.capacity, 20), 43))
        form = unit_rows(1, 43, seed=4)[0]
        query = held.query(form)
        answers = held.answers(query)
        assert answers[FIRST].shape == (2, len(parameters.primes), parameters.ring_degree // layout.fold)
        want = np.stack([held.rows[FIRST][:, part] @ form[part] for part in (np.s_[:40], np.s_[40:])])
        bound = parameters.score_error_bound(layout.capacity)
        np.testing.assert_allclose(held.scores(query)[FIRST], want, rtol=0, atol=bound)
        assert held.passes(query, answers)
        for field, row in np.ndindex(2, len(parameters.primes)):
            changed = answers[FIRST].copy()
            changed[field, row, -1] ^= 1
            assert not held.passes(query, {FIRST: changed})
        stride *= 2


@pytest.mark.parametrize(("dimension", "batches"), [(128, 1), (16, 100)])
def test_scores_of_thousands_of_vectors_are_within_the_stated_bound(parameters, dimension, batches):
    held = gallery_of(parameters, (dimension,), 4)
    capacity = held.layout.capacity
    rows = unit_rows(4 * capacity, dimension)
    for index, of_segment in enumerate(np.split(rows, 4)):
        for part in np.array_split(of_segment, batches):
            held.add(SegmentId(FIRST.region, index), part)
    bound = parameters.score_error_bound(capacity, batches=batches)
    errors = []
    for form in unit_rows(5, dimension, seed=4):
        for segment, scores in held.scores(held.query(form)).items():
            errors.append(scores[0] - held.rows[segment] @ form)
    assert np.size(errors) == 20 * capacity
    assert np.abs(errors).max() <= bound
    # The bound is a bound on this error, not on something far away from it.
    assert np.std(errors) > bound / 60


@pytest.mark.parametrize("parameters", EXACT, ids=lambda parameters: parameters.name)
def test_products_of_integers_are_exact(parameters):
    held = gallery_of(parameters, (100, 28), 4)
    largest = int((parameters.plain_modulus / 2 / 100) ** 0.5)
    rng = np.random.default_rng(6)
    count = held.layout.capacity
    integers = rng.integers(-largest, largest, (count, 128), endpoint=True)
    for part in np.array_split(integers, 30):
        held.add(FIRST, part / parameters.gallery_scale)
    for form in rng.integers(-largest, largest, (5, 128), endpoint=True):
        query = held.query(form / parameters.query_scale)
        answers = held.answers(query)
        want = [integers[:, :100] @ form[:100], integers[:, 100:] @ form[100:]]
        np.testing.assert_array_equal(held.opened(query, FIRST, answers[FIRST]), want)
        assert held.passes(query, answers)


def test_values_that_would_wrap_around_are_refused_on_both_sides(parameters):
    held = gallery_of(parameters, (1,), 1)
    limit = (parameters.plain_modulus or parameters.modulus) // 2
    for value in (limit, -limit, -(2.0**63)):
        with pytest.raises(InvalidVector, match=f"want less than {limit}"):
            held.add(FIRST, np.array([[value / parameters.gallery_scale]]))
        with pytest.raises(InvalidVector, match=f"want less than {limit}"):
            held.query(np.array([value / parameters.query_scale]))
    assert not held.log
