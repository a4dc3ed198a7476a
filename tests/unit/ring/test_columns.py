"""Inner products of columns against Python's and numpy's integers, which do not overflow."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.polynomials import (
    SETS,
    coefficients,
    largest_tiles,
    negacyclic,
    random_residues,
    random_tiles,
    tile_primes,
)

from blindsight.errors import InvalidCiphertext
from blindsight.parameters import CKKS_4096, PARAMETER_SETS
from blindsight.ring import columns, ntt
from blindsight.ring.jit import reduced
from blindsight.ring.sums import GROUP
from blindsight.ring.tiles import TILE, Geometry, to_tiles

FOLDS = pytest.mark.parametrize("fold", [1, 2, TILE // 2, TILE, 2 * TILE, "most"], ids=str)


def number(fold, parameters):
    """The fold itself; `most` is the largest that an answer has."""
    return parameters.ring_degree // ntt.MIN_SIZE if fold == "most" else fold


def by_integers(first, second, primes, fields, fold, polynomials):
    """What `products` should give: every product is reduced before it is added.

    Args:
        primes: uint64 [rows, 1, 1].
        polynomials: number of polynomials that the rows of tiles are: one for each prime.
    """
    found = []
    for start, stop in fields:
        terms = first[:, start:stop].astype(np.uint64) * second[:, start:stop] % primes
        points = terms.sum(axis=1) % primes[:, 0]
        groups = points.reshape(polynomials, -1, fold).sum(axis=2)
        found.append(groups % primes.reshape(polynomials, -1)[:, :1])
    return np.array(found, np.uint32)


def expected(first, second, parameters, fields, fold):
    return by_integers(first, second, tile_primes(parameters), fields, fold, len(parameters.primes))


@SETS
@FOLDS
@pytest.mark.parametrize("cuts", [(0, 1), (0, 33), (0, 3, 4, 21)], ids=str)
def test_products_are_those_of_integers(parameters, fold, cuts):
    fold, fields = number(fold, parameters), list(pairwise(cuts))
    first, second = (random_tiles(parameters, cuts[-1], seed) for seed in (1, 2))
    found = columns.products(first, second, parameters, fields, fold)
    assert found.dtype == np.uint32
    assert found.shape == (len(fields), len(parameters.primes), parameters.ring_degree // fold)
    assert (found == expected(first, second, parameters, fields, fold)).all()


@SETS
@FOLDS
def test_the_largest_residues_do_not_overflow(parameters, fold):
    fold, count = number(fold, parameters), 5
    tiles = largest_tiles(parameters, count)
    found = columns.products(tiles, tiles, parameters, fold=fold)
    # (p - 1)^2 is 1 modulo p, so that every point is a plain count.
    assert (found == count * fold).all()


def rows_of(parameters, count, kind, seed=0):
    """One tile of columns for each prime, as if the ring had no more points: uint32 [primes, count, TILE]."""
    primes = np.array(parameters.primes, np.uint64)[:, None, None]
    shape = len(parameters.primes), count, TILE
    if kind == "largest":
        return np.ascontiguousarray(np.broadcast_to(primes - 1, shape), np.uint32)
    return np.random.default_rng(seed).integers(0, primes, shape).astype(np.uint32)


def multiplied(first, queries, parameters, fields, fold):
    """`multiply_rows` for one tile of each prime: [queries, fields, primes, points]."""
    primes = np.array(parameters.primes, np.uint64)
    words = len(fields) * len(primes) * TILE // fold
    out = np.full(len(queries) * words, 0xFFFFFFFF, np.uint32)
    columns.multiply_rows(
        columns.addresses([first]),
        columns.addresses(queries),
        first.shape[1],
        primes,
        np.array(fields, np.int64),
        parameters.max_terms,
        fold,
        out,
        np.arange(len(queries), dtype=np.int64)[None] * words,
        0,
        len(primes),
    )
    return out.reshape(len(queries), len(fields), len(primes), TILE // fold)


@SETS
@pytest.mark.parametrize("kind", ["random", "largest"])
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("asked", [1, GROUP])
def test_columns_are_added_up_beyond_what_64_bits_hold(parameters, kind, more, times, asked):
    count = times * parameters.max_terms + more
    first, *queries = (rows_of(parameters, count, kind, seed) for seed in range(1 + asked))
    primes = np.array(parameters.primes, np.uint64)[:, None, None]
    for fold in (1, 8, TILE):
        for cuts in ((0, count), (0, 1, count), (0, count - 1, count)):
            fields = list(pairwise(cuts))
            for second, found in zip(
                queries, multiplied(first, queries, parameters, fields, fold), strict=True
            ):
                assert (found == by_integers(first, second, primes, fields, fold, len(primes))).all()


@SETS
@pytest.mark.parametrize("fold", [1, 4, 128])
def test_a_product_is_the_sum_of_products_in_the_ring(parameters, fold):
    first, second = (random_residues(parameters, 3, seed) for seed in (1, 2))
    wanted = [
        sum(negacyclic(one[row], other[row]) for one, other in zip(first, second, strict=True)) % prime
        for row, prime in enumerate(parameters.primes)
    ]
    for polynomials in (first, second):
        ntt.forward(polynomials, parameters)
    found = columns.products(to_tiles(first), to_tiles(second), parameters, fold=fold)
    assert (coefficients(found[0], parameters) == np.array(wanted)[:, ::fold]).all()


@pytest.mark.parametrize("asked", [1, 3, GROUP, GROUP + 1, 2 * GROUP + 3])
def test_a_result_lies_where_its_offset_says_and_only_the_given_rows_are_computed(asked):
    parameters, count, fold = CKKS_4096, 3, 2 * TILE
    gallery = [random_tiles(parameters, count, seed) for seed in (1, 2)]
    queries = [random_tiles(parameters, count, seed) for seed in range(3, 3 + asked)]
    rows, size = columns.row_primes(parameters).size, 2 * 4096 // fold
    fields, words = [(0, 1), (1, 3)], 2 * size
    offsets = np.arange(2 * asked, dtype=np.int64).reshape(2, asked)[::-1].copy() * (words + 5) + 3
    out = np.full(2 * asked * (words + 5) + 3, 7, np.uint32)
    primes = columns.row_primes(parameters)
    pair = columns.addresses(gallery), columns.addresses(queries)
    spans = np.array(fields)
    columns.multiply_rows(*pair, count, primes, spans, 512, fold, out, offsets, 4, rows - 6)
    touched = np.zeros(out.size, bool)
    for s, segment in enumerate(gallery):
        for q, query in enumerate(queries):
            wanted = expected(segment, query, parameters, fields, fold).reshape(2, size)
            for field in range(2):
                # Two rows are one point.
                place = slice(offsets[s, q] + field * size + 2, offsets[s, q] + (field + 1) * size - 3)
                touched[place] = True
                assert (out[place] == wanted[field, 2:-3]).all()
    assert (out[~touched] == 7).all()


def test_tiles_that_nobody_may_write_are_multiplied_checked_and_added():
    first, second = (random_tiles(CKKS_4096, 2, seed) for seed in (1, 2))
    wanted = expected(first, second, CKKS_4096, [(0, 2)], 1)
    total = first.copy()
    for tiles in (first, second):
        tiles.flags.writeable = False
    assert (columns.products(first, second, CKKS_4096) == wanted).all()
    columns.require_below_primes(first, CKKS_4096)
    columns.add(total, second, CKKS_4096)
    assert (total == (first.astype(np.uint64) + second) % tile_primes(CKKS_4096)).all()


def misfits():
    good = random_tiles(CKKS_4096, 2, 1)
    return {
        "fewer columns": (good, random_tiles(CKKS_4096, 1, 1), {}),
        "fewer rows": (good, good[:-1], {}),
        "another ring": (good, random_tiles(PARAMETER_SETS["bfv-8192"], 2, 1), {}),
        "every other point": (good, random_tiles(CKKS_4096, 4, 1)[:, ::2], {}),
        "backwards": (good[::-1], good, {}),
        "wider words": (good, good.astype(np.uint64), {}),
        "signed words": (good, good.astype(np.int32), {}),
        "other bytes first": (good, good.astype(">u4"), {}),
        "flat": (good, good.reshape(-1), {}),
        "a field too long": (good, good, {"fields": [(0, 3)]}),
        "a field before the first column": (good, good, {"fields": [(-1, 2)]}),
        "an empty field": (good, good, {"fields": [(1, 1)]}),
        "a field that ends before it begins": (good, good, {"fields": [(0, 1), (2, 1)]}),
        "no field": (good, good, {"fields": []}),
        "no fold": (good, good, {"fold": 0}),
        "a negative fold": (good, good, {"fold": -2}),
        "a fold of three": (good, good, {"fold": 3}),
        "a fold of more than there is": (good, good, {"fold": 8192}),
    }


@pytest.mark.parametrize("name", misfits())
def test_what_does_not_fit_is_refused_before_native_code(name):
    first, second, changes = misfits()[name]
    with pytest.raises(ValueError, match="want"):
        columns.products(first, second, CKKS_4096, **changes)


@SETS
def test_every_residue_below_its_prime_is_taken_and_no_other(parameters):
    rows, count, points = Geometry(parameters, 3).shape
    columns.require_below_primes(largest_tiles(parameters, count), parameters)
    columns.require_below_primes(np.zeros((rows, count, points), np.uint32), parameters)
    of_each_prime = rows // len(parameters.primes)
    places = [
        *((row, 0, 0) for row in (0, 1, of_each_prime - 1, of_each_prime, rows - 1)),
        *((0, column, points - 1) for column in range(count)),
        (of_each_prime - 1, count - 1, points - 1),
        (rows - 1, count - 1, points - 1),
    ]
    for row, column, point in places:
        prime = int(tile_primes(parameters)[row, 0, 0])
        for value in (prime, prime + 1, 2**31, 2**32 - 1):
            tiles = largest_tiles(parameters, count)
            tiles[row, column, point] = value
            with pytest.raises(InvalidCiphertext, match="residue is too large, want all below their primes"):
                columns.require_below_primes(tiles, parameters)


@SETS
def test_a_residue_below_another_prime_alone_is_refused(parameters):
    """The primes grow: a residue under the last may be over the first."""
    assert list(parameters.primes) == sorted(parameters.primes)
    tiles = np.zeros(Geometry(parameters, 1).shape, np.uint32)
    tiles[-1, 0, 0] = parameters.primes[0]
    columns.require_below_primes(tiles, parameters)
    tiles[0, 0, 0] = parameters.primes[0]
    with pytest.raises(InvalidCiphertext):
        columns.require_below_primes(tiles, parameters)


@SETS
def test_appends_are_sums_modulo_the_primes(parameters):
    total = np.zeros(Geometry(parameters, 5).shape, np.uint32)
    wanted = total.astype(np.uint64)
    batches = [random_tiles(parameters, 5, seed) for seed in range(3)]
    for batch in [*batches, largest_tiles(parameters, 5), largest_tiles(parameters, 5)]:
        columns.add(total, batch, parameters)
        wanted = (wanted + batch) % tile_primes(parameters)
        assert (total == wanted).all()
    # With its negative every sum is 0 or the prime itself, which is 0 as well.
    negative = (tile_primes(parameters) - wanted) % tile_primes(parameters)
    columns.add(total, negative.astype(np.uint32), parameters)
    assert not total.any()


def test_a_batch_of_another_shape_is_not_added():
    total = random_tiles(CKKS_4096, 2, 1)
    before = total.copy()
    for other in (random_tiles(CKKS_4096, 1, 1), random_tiles(CKKS_4096, 3, 1), total[:-1]):
        with pytest.raises(ValueError, match="want"):
            columns.add(total, other, CKKS_4096)
    assert (total == before).all()


@pytest.mark.parametrize("prime", sorted({prime for one in PARAMETER_SETS.values() for prime in one.primes}))
@given(st.data())
def test_reduction_equals_the_remainder(prime, data):
    multiple = data.draw(st.integers(0, ((1 << 64) - 1) // prime))
    near = data.draw(st.sampled_from([-1, 0, 1])) + multiple * prime
    value = min(max(near, 0), (1 << 64) - 1)
    assert int(reduced(np.uint64(value), np.uint64(prime), 1.0 / prime)) == value % prime
