"""The kernel against Python's integers, which do not overflow."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evaluator import PARAMETERS

from blindsight.ring.jit import reduced
from services.evaluator.computing.kernel import Kernel
from services.evaluator.computing.tiles import row_primes
from services.evaluator.geometry import TILE, Geometry

# Rows that are compared: first and last of each prime, and one inside.
ROWS = [0, 77, 127, 128, 255]


@pytest.fixture(scope="module", params=[1, 2, 3, 7], ids=lambda threads: f"{threads} threads")
def kernel(request):
    made = Kernel(request.param)
    yield made
    made.close()


@pytest.fixture(scope="module")
def two_threads():
    made = Kernel(2)
    yield made
    made.close()


def random_blocks(count, columns, seed):
    shape = (count, *Geometry(PARAMETERS, columns).shape)
    highs = row_primes(PARAMETERS).astype(np.uint32)[None, :, None, None, None]
    return np.random.default_rng(seed).integers(0, highs, shape, np.uint32)


def largest_blocks(count, columns):
    shape = (count, *Geometry(PARAMETERS, columns).shape)
    highs = row_primes(PARAMETERS).astype(np.uint32)[None, :, None, None, None]
    return np.ascontiguousarray(np.broadcast_to(highs - 1, shape))


def score(kernel, segments, query):
    words = Geometry(PARAMETERS, query.shape[2]).score_words
    count = len(segments), len(query)
    out = np.full(count[0] * count[1] * words, 0xFFFFFFFF, np.uint32)
    offsets = np.arange(count[0] * count[1], dtype=np.int64).reshape(count) * words
    kernel.score(list(segments), query, PARAMETERS, ((0, query.shape[2]),), out, offsets)
    return out.reshape(*count, 3, row_primes(PARAMETERS).size, TILE)


def by_integers(segment, query, row):
    """[3, TILE] of one row of tiles, with Python's integers."""
    prime = int(row_primes(PARAMETERS)[row])
    g, q = segment[row].astype(object), query[row].astype(object)
    products = [
        (g[:, 0] * q[:, 0]).sum(0),
        (g[:, 0] * q[:, 1] + g[:, 1] * q[:, 0]).sum(0),
        (g[:, 1] * q[:, 1]).sum(0),
    ]
    return np.array([product % prime for product in products], np.uint32)


def check(got, segments, queries, rows=ROWS):
    for s, segment in enumerate(segments):
        for q, query in enumerate(queries):
            for row in rows:
                assert (got[s, q, :, row] == by_integers(segment, query, row)).all(), (s, q, row)


@pytest.mark.parametrize("columns", [1, 2, 3, 17, 128, 511, 512, 513, 1024, 1025, 1100])
def test_scores_equal_those_of_integers(two_threads, columns):
    segments, queries = random_blocks(2, columns, 1), random_blocks(1, columns, 2)
    check(score(two_threads, segments, queries), segments, queries)


@pytest.mark.parametrize("columns", [1, 512, 513, 1025, 2049])
def test_the_largest_residues_do_not_overflow(two_threads, columns):
    segments, queries = largest_blocks(1, columns), largest_blocks(1, columns)
    check(score(two_threads, segments, queries), segments, queries, rows=[0, 255])


def test_every_split_over_threads_gives_every_row_of_many_segments_and_queries(kernel):
    segments, queries = random_blocks(5, 4, 3), random_blocks(6, 4, 4)
    check(score(kernel, segments, queries), segments, queries, rows=range(0, 256, 3))


def test_concurrent_calls_of_one_kernel_do_not_mix(two_threads):
    from concurrent.futures import ThreadPoolExecutor

    work = [(random_blocks(3, 8, 10 + number), random_blocks(2, 8, 20 + number)) for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda pair: score(two_threads, *pair), work))
    for answer, (segments, queries) in zip(answers, work, strict=True):
        check(answer, segments, queries)


def test_results_go_where_their_offsets_say_and_nothing_else_is_touched(two_threads):
    segments, queries = random_blocks(2, 2, 5), random_blocks(2, 2, 6)
    words = Geometry(PARAMETERS, 2).score_words
    out = np.full(4 * words + 50, 7, np.uint32)
    offsets = np.array([[3 * words + 40, 8], [words + 16, 2 * words + 24]])
    two_threads.score(list(segments), queries, PARAMETERS, ((0, 2),), out, offsets)
    touched = np.zeros(out.size, bool)
    for s in range(2):
        for q in range(2):
            place = slice(offsets[s, q], offsets[s, q] + words)
            touched[place] = True
            got = out[place].reshape(3, -1, TILE)
            for row in ROWS:
                assert (got[:, row] == by_integers(segments[s], queries[q], row)).all()
    assert (out[~touched] == 7).all()


@pytest.mark.parametrize("cuts", [(0, 3, 7), (0, 1, 2, 600), (0, 513, 514)], ids=str)
def test_every_field_is_scored_as_if_it_were_alone(two_threads, cuts):
    segments, queries = random_blocks(2, cuts[-1], 7), random_blocks(2, cuts[-1], 8)
    fields = list(pairwise(cuts))
    words = Geometry(PARAMETERS, cuts[-1]).score_words
    out = np.zeros(4 * len(fields) * words, np.uint32)
    offsets = np.arange(4).reshape(2, 2) * len(fields) * words
    two_threads.score(list(segments), queries, PARAMETERS, fields, out, offsets)
    got = out.reshape(2, 2, len(fields), -1)
    for index, (first, last) in enumerate(fields):
        parts = [np.ascontiguousarray(blocks[:, :, first:last]) for blocks in (segments, queries)]
        assert (got[:, :, index] == score(two_threads, *parts).reshape(2, 2, -1)).all()


@pytest.mark.parametrize("prime", PARAMETERS.primes)
@given(st.data())
def test_reduction_equals_the_remainder(prime, data):
    multiple = data.draw(st.integers(0, ((1 << 64) - 1) // prime))
    near = data.draw(st.sampled_from([-1, 0, 1])) + multiple * prime
    value = min(max(near, 0), (1 << 64) - 1)
    assert int(reduced(np.uint64(value), np.uint64(prime), 1.0 / prime)) == value % prime


def test_shapes_that_do_not_fit_are_refused_before_native_code(two_threads):
    segments, queries = random_blocks(2, 2, 5), random_blocks(1, 2, 6)
    words = Geometry(PARAMETERS, 2).score_words
    out, offsets = np.zeros(2 * words, np.uint32), np.array([[0], [words]])
    good = [list(segments), queries, PARAMETERS, ((0, 2),), out, offsets]
    bad = [
        (0, list(random_blocks(2, 3, 5))),
        (0, [segments[0], segments[1][:, :, :, ::-1]]),
        (0, [segments[0], segments[1].astype(np.uint64)]),
        (1, queries[:, :-1]),
        (3, ((0, 3),)),
        (3, ((1, 1),)),
        (3, ((-1, 2),)),
        (3, ((0, 1), (1, 2))),
        (4, out[:-1]),
        (5, offsets + 1),
        (5, offsets - 1),
        (5, offsets[:1]),
    ]
    for position, wrong in bad:
        arguments = [*good]
        arguments[position] = wrong
        with pytest.raises(ValueError, match=r"want|contiguous|outside"):
            two_threads.score(*arguments)
