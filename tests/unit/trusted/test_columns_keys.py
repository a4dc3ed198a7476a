"""Keys of columns: each region and collection has its own, and a process keeps only so many of them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
from support.columns import KEY_ID

from blindsight.packing.columns import CollectionLayout, Layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import CKKS_4096, PARAMETER_SETS
from blindsight.ring.tiles import from_tiles
from blindsight.trusted.columns import checking
from blindsight.trusted.columns import keys as column_keys
from blindsight.trusted.columns.keys import CollectionKeys, ColumnKeys, _Cache
from blindsight.trusted.secrets import Secret

ROOTS = b"one collection".ljust(32), b"another collection".ljust(32)
PURPOSES = "check", "batches", "answer keys"


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def parameters(request):
    return request.param


def keys_of(root, parameters, columns=4):
    """Keys of a collection whose regions have as many columns as each other."""
    layout = Layout((columns,), 1, parameters.ring_degree)
    return CollectionKeys(Secret(root), parameters, CollectionLayout(layout, layout), KEY_ID)


def assert_all_differ(arrays):
    for first, second in combinations(arrays, 2):
        assert np.mean(first == second) < 0.01


def test_secrets_and_masks_of_regions_collections_and_columns_all_differ(parameters):
    made = [keys_of(root, parameters).of(region) for root in ROOTS for region in Region]
    for polynomials in ([one.secrets for one in made], [one.masks for one in made]):
        assert_all_differ([column for tiles in polynomials for column in from_tiles(tiles, parameters)])


def test_a_region_with_more_columns_begins_with_the_same_ones_but_no_region_is_another(parameters):
    """The tail has fewer columns than the main region: they are no prefix of its."""
    main = keys_of(ROOTS[0], parameters, 4).of(Region.MAIN)
    tail = keys_of(ROOTS[0], parameters, 1).of(Region.TAIL)
    assert_all_differ([main.secrets[:, :1], tail.secrets])
    assert_all_differ([main.masks[:, :1], tail.masks])


def test_keys_are_the_same_for_every_process_that_derives_them(parameters):
    secret, public = bytes(range(32)), bytes(range(32, 64))
    first, second = (ColumnKeys.derive(parameters, secret, public, 20) for _ in range(2))
    np.testing.assert_array_equal(first.secrets, second.secrets)
    np.testing.assert_array_equal(first.masks, second.masks)
    assert first.columns == 20
    other = ColumnKeys.derive(parameters, secret, bytes(32), 20)
    # Who knows the public part knows nothing of the secrets.
    np.testing.assert_array_equal(first.secrets, other.secrets)
    assert_all_differ([first.masks, other.masks])


def test_columns_that_are_derived_in_parts_are_those_that_are_derived_one_by_one(parameters):
    """17 columns are one more than are transformed at once."""
    secret = bytes(range(32))
    many = ColumnKeys.derive(parameters, secret, secret, 17)
    few = ColumnKeys.derive(parameters, secret, secret, 3)
    np.testing.assert_array_equal(many.secrets[:, :3], few.secrets)


def test_no_two_generators_of_a_collections_secrets_and_masks_have_one_key(parameters, monkeypatch):
    given = []
    derive = ColumnKeys.derive

    def noted(parameters, secret, public, columns):
        given.extend([secret, public])
        return derive(parameters, secret, public, columns)

    monkeypatch.setattr(ColumnKeys, "derive", noted)
    cache = _Cache(1 << 30)
    for root in ROOTS:
        for region in Region:
            cache.get(root, parameters, region, 1)
    others = [
        keys_of(root, parameters).fixed(purpose).reveal_secret() for root in ROOTS for purpose in PURPOSES
    ]
    assert len({*given, *others, *ROOTS}) == 2 * 2 * len(ROOTS) + len(others) + len(ROOTS)


def test_keys_of_purposes_and_collections_all_differ(parameters):
    found = {
        keys_of(root, parameters).fixed(purpose).reveal_secret() for root in ROOTS for purpose in PURPOSES
    }
    assert len(found) == len(ROOTS) * len(PURPOSES)
    assert found.isdisjoint(ROOTS)


def test_factors_of_segments_regions_primes_and_collections_all_differ(parameters):
    found = [
        int(factor)
        for root in ROOTS
        for region in Region
        for index in (0, 1, 10, 11)
        for factor in checking.factors(
            keys_of(root, parameters).fixed("check"), SegmentId(region, index), parameters
        )
    ]
    assert len(set(found)) == len(found)


def test_keys_are_not_shown():
    made = keys_of(ROOTS[0], CKKS_4096)
    assert repr(ROOTS[0])[2:-1] not in repr(made)
    assert "array" not in repr(made.of(Region.MAIN))


# --- the keys that a process keeps --------------------------------------------------------------------


def root_of(number):
    return number.to_bytes(32, "little")


@pytest.fixture
def derived(monkeypatch):
    """How often keys are derived."""
    calls = []
    derive = ColumnKeys.derive

    def counted(*given):
        calls.append(given)
        return derive(*given)

    monkeypatch.setattr(ColumnKeys, "derive", counted)
    return calls


def size_of(columns):
    return ColumnKeys.derive(CKKS_4096, bytes(32), bytes(32), columns).size_bytes


def kept_bytes(cache):
    return sum(one.size_bytes for one in cache._kept.values())


def test_the_cache_keeps_within_its_limit_and_drops_what_was_not_used_for_longest(derived):
    limit = 3 * size_of(2)
    derived.clear()
    cache = _Cache(limit)

    def get(number):
        before = len(derived)
        cache.get(root_of(number), CKKS_4096, Region.MAIN, 2)
        assert kept_bytes(cache) <= limit
        return len(derived) > before

    assert [get(number) for number in (0, 1, 2)] == [True] * 3
    assert [get(number) for number in (0, 1, 2, 0)] == [False] * 4
    assert get(3)  # drops 1, which was not used for longest
    assert [get(number) for number in (2, 0, 3)] == [False] * 3
    assert get(1)
    assert kept_bytes(cache) == limit


def test_keys_larger_than_the_limit_are_kept_alone_until_others_are_used(derived):
    cache = _Cache(size_of(2))
    derived.clear()
    for _ in range(3):
        cache.get(root_of(0), CKKS_4096, Region.MAIN, 5)
    assert len(derived) == 1
    cache.get(root_of(1), CKKS_4096, Region.MAIN, 1)
    assert kept_bytes(cache) == size_of(1)


def test_the_cache_tells_collections_regions_and_parameter_sets_apart():
    cache = _Cache(1 << 30)
    made = [
        cache.get(root, one, region, 1)
        for root in ROOTS
        for one in PARAMETER_SETS.values()
        for region in Region
    ]
    assert len({id(one) for one in made}) == len(made)
    again = [
        cache.get(root, one, region, 1)
        for root in ROOTS
        for one in PARAMETER_SETS.values()
        for region in Region
    ]
    assert all(first is second for first, second in zip(made, again, strict=True))


@pytest.fixture
def eager():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager")
def test_threads_that_share_the_cache_derive_nothing_twice(derived):
    cache = _Cache(1 << 30)
    cache.get(ROOTS[0], CKKS_4096, Region.MAIN, 2)

    def use(_):
        return {id(cache.get(ROOTS[0], CKKS_4096, Region.MAIN, 2)) for _ in range(2000)}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(16)))
    assert len(set().union(*found)) == 1
    assert len(derived) == 1


def test_the_keys_of_many_collections_are_kept_within_the_limit(monkeypatch):
    limit = 3 * size_of(4)
    monkeypatch.setattr(column_keys, "_cache", _Cache(limit))
    for number in range(10):
        for region in Region:
            keys_of(root_of(number), CKKS_4096).of(region)
            assert kept_bytes(column_keys._cache) <= limit
    assert kept_bytes(column_keys._cache) == limit
