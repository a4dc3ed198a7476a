"""The kernel on threads: every product of every segment and query, wherever it must go."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from support.evaluator import PARAMETERS
from support.polynomials import SETS, largest_tiles, random_tiles, tile_primes

from blindsight.ring.columns import products
from blindsight.ring.tiles import TILE
from services.evaluator.computing import kernel as module
from services.evaluator.computing.kernel import Kernel


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


def random_blocks(count, columns, seed, parameters=PARAMETERS):
    return [random_tiles(parameters, columns, 100 * seed + number) for number in range(count)]


def multiply(kernel, segments, queries, fields=None, fold=1, parameters=PARAMETERS):
    """[segments, queries, fields, primes, size]."""
    fields = fields or [(0, queries[0].shape[1])]
    shape = len(fields), len(parameters.primes), parameters.ring_degree // fold
    count, words = (len(segments), len(queries)), int(np.prod(shape))
    out = np.full(count[0] * count[1] * words, 0xFFFFFFFF, np.uint32)
    offsets = np.arange(count[0] * count[1], dtype=np.int64).reshape(count) * words
    kernel.multiply(segments, queries, parameters, fields, fold, out, offsets)
    return out.reshape(*count, *shape)


def check(found, segments, queries, fields=None, fold=1, parameters=PARAMETERS):
    """Against `products`, which is compared with integers in tests of its own."""
    for s, segment in enumerate(segments):
        for q, query in enumerate(queries):
            assert (found[s, q] == products(segment, query, parameters, fields, fold)).all(), (s, q)


def test_every_split_over_threads_gives_every_product_of_many_segments_and_queries(kernel):
    segments, queries = random_blocks(12, 4, 3), random_blocks(16, 4, 4)
    for fold in (1, 8, TILE, 8 * TILE):
        check(multiply(kernel, segments, queries, fold=fold), segments, queries, fold=fold)


@SETS
@pytest.mark.parametrize("fold", [1, 2, TILE, 2 * TILE, "most"], ids=str)
def test_every_parameter_set_is_multiplied(kernel, parameters, fold):
    fold = parameters.ring_degree // 16 if fold == "most" else fold
    segments, queries = (random_blocks(2, 3, seed, parameters) for seed in (1, 2))
    fields = [(0, 1), (1, 3)]
    found = multiply(kernel, segments, queries, fields, fold, parameters)
    check(found, segments, queries, fields, fold, parameters)


def test_products_equal_those_of_integers(two_threads):
    segments, queries = random_blocks(2, 17, 1), random_blocks(2, 17, 2)
    found = multiply(two_threads, segments, queries)
    for s, segment in enumerate(segments):
        for q, query in enumerate(queries):
            terms = segment.astype(object) * query.astype(object)
            wanted = terms.sum(axis=1) % tile_primes(PARAMETERS)[:, 0].astype(object)
            assert (found[s, q].reshape(wanted.shape) == wanted).all()


@pytest.mark.parametrize("more", [0, 1])
def test_the_largest_residues_do_not_overflow(two_threads, more):
    columns = PARAMETERS.max_terms + more
    tiles = largest_tiles(PARAMETERS, columns)
    assert (multiply(two_threads, [tiles], [tiles]) == columns).all()


@pytest.mark.parametrize("item_bytes", [1, 4096, 10**5, 1 << 30])
def test_items_of_any_size_cover_every_tile_once(two_threads, monkeypatch, item_bytes):
    monkeypatch.setattr(module, "ITEM_BYTES", item_bytes)
    segments, queries = random_blocks(2, 5, 1), random_blocks(3, 5, 2)
    for fold in (1, TILE, 4 * TILE):
        check(multiply(two_threads, segments, queries, fold=fold), segments, queries, fold=fold)


def test_concurrent_calls_of_one_kernel_do_not_mix(two_threads):
    work = [(random_blocks(3, 8, 10 + number), random_blocks(2, 8, 20 + number)) for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda pair: multiply(two_threads, *pair, fold=4), work))
    for answer, (segments, queries) in zip(answers, work, strict=True):
        check(answer, segments, queries, fold=4)


def test_results_go_where_their_offsets_say_and_nothing_else_is_touched(two_threads):
    segments, queries = random_blocks(2, 2, 5), random_blocks(2, 2, 6)
    for fold in (1, 4, 2 * TILE):
        words = 2 * PARAMETERS.ring_degree // fold
        out = np.full(4 * words + 50, 7, np.uint32)
        offsets = np.array([[3 * words + 40, 8], [words + 16, 2 * words + 24]])
        two_threads.multiply(segments, queries, PARAMETERS, ((0, 2),), fold, out, offsets)
        touched = np.zeros(out.size, bool)
        for s in range(2):
            for q in range(2):
                place = slice(offsets[s, q], offsets[s, q] + words)
                touched[place] = True
                wanted = products(segments[s], queries[q], PARAMETERS, fold=fold)
                assert (out[place] == wanted.reshape(-1)).all()
        assert (out[~touched] == 7).all()


@pytest.mark.parametrize("cuts", [(0, 3, 7), (0, 1, 2, 600), (0, 1026, 1027)], ids=str)
def test_every_field_is_scored_as_if_it_were_alone(two_threads, cuts):
    segments, queries = random_blocks(2, cuts[-1], 7), random_blocks(2, cuts[-1], 8)
    fields = list(pairwise(cuts))
    found = multiply(two_threads, segments, queries, fields, 4)
    for index, (first, last) in enumerate(fields):
        alone = [
            [np.ascontiguousarray(one[:, first:last]) for one in blocks] for blocks in (segments, queries)
        ]
        assert (found[:, :, index] == multiply(two_threads, *alone, fold=4)[:, :, 0]).all()


def test_shapes_that_do_not_fit_are_refused_before_native_code(two_threads):
    segments, queries = random_blocks(2, 2, 5), random_blocks(1, 2, 6)
    words = 2 * PARAMETERS.ring_degree
    out, offsets = np.full(2 * words, 7, np.uint32), np.array([[0], [words]])
    good = [segments, queries, PARAMETERS, ((0, 2),), 1, out, offsets]
    wide = random_tiles(PARAMETERS, 4, 5)
    bad = [
        (0, random_blocks(2, 3, 5)),
        (0, [segments[0], wide[:, ::2]]),
        (0, [segments[0], segments[1].astype(np.uint64)]),
        (1, [queries[0][:-1]]),
        (1, random_blocks(1, 3, 6)),
        (3, ((0, 3),)),
        (3, ((1, 1),)),
        (3, ((-1, 2),)),
        (3, ((0, 1), (1, 2))),
        (3, ()),
        (4, 0),
        (4, 3),
        (4, 8192),
        (5, out[:-1]),
        (5, np.full(2 * words, 7, np.uint64)),
        (5, np.full(4 * words, 7, np.uint32)[::2]),
        (5, out.reshape(2, -1)),
        (6, offsets + 1),
        (6, offsets - 1),
        (6, offsets[:1]),
        (6, offsets.reshape(1, 2)),
    ]
    for position, wrong in bad:
        arguments = [*good]
        arguments[position] = wrong
        with pytest.raises(ValueError, match=r"want|contiguous|outside"):
            two_threads.multiply(*arguments)
    assert (out == 7).all()
    two_threads.multiply(*good)
    check(out.reshape(2, 1, 1, 2, -1), segments, queries)


def test_an_error_of_one_item_reaches_the_caller_and_the_kernel_goes_on(two_threads):
    def work(number):
        if number == 3:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        two_threads.each(work, range(8))
    blocks = random_blocks(1, 1, 1)
    check(multiply(two_threads, blocks, blocks), blocks, blocks)
