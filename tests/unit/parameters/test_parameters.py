"""Parameter sets refuse what is weak or does not compute."""

from dataclasses import replace

import pytest

from blindsight.errors import InvalidArgument
from blindsight.parameters import (
    ADDITIVE_SETS,
    BFV_4096,
    BFV_8192,
    BY_NUMBER,
    CKKS_4096,
    CLASSICAL_128_BITS,
    COLLECTION_SETS,
    MAX_BATCHES_PER_SEGMENT,
    PAILLIER_3072,
    PARAMETER_SETS,
    QUANTUM_128_BITS,
    by_name,
    default_for,
)


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=str)
def test_every_set_is_under_the_classical_table_and_says_how_it_stands(parameters):
    assert parameters.total_bits <= CLASSICAL_128_BITS[parameters.ring_degree]
    quantum = parameters.total_bits <= QUANTUM_128_BITS[parameters.ring_degree]
    assert ("quantum" in parameters.security.split(",")[0]) == quantum


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=str)
def test_the_kernel_can_add_up_its_largest_terms_in_64_bits(parameters):
    largest = max(parameters.primes) - 1
    assert parameters.max_terms * 2 * largest**2 < 1 << 64
    assert parameters.max_terms >= 512


def test_ckks_scores_are_within_2e_4_whatever_is_appended():
    bound = CKKS_4096.score_error_bound(CKKS_4096.ring_degree, row_norm=2**0.5, batches=1024)
    assert bound < 2e-4


@pytest.mark.parametrize("parameters", [BFV_4096, BFV_8192], ids=str)
def test_a_bfv_segment_takes_fewer_appends_the_more_columns_it_has(parameters):
    allowed = [parameters.max_batches(columns) for columns in (1, 128, 512, 2049, 1 << 24)]
    assert allowed == sorted(allowed, reverse=True)
    assert allowed[0] == MAX_BATCHES_PER_SEGMENT
    assert allowed[3] > 0
    assert allowed[4] == 0


def test_a_larger_plain_modulus_leaves_no_room_for_noise():
    greedy = replace(BFV_4096, plain_modulus_bits=38)
    assert BFV_4096.max_batches(128) > 0
    assert greedy.max_batches(128) == 0


def test_numbers_and_names_are_unique():
    assert len(BY_NUMBER) == len(PARAMETER_SETS)
    assert len({parameters.number for parameters in COLLECTION_SETS.values()}) == len(COLLECTION_SETS)
    assert len(COLLECTION_SETS) == len(PARAMETER_SETS) + len(ADDITIVE_SETS)
    assert default_for("paillier") is by_name("paillier-3072") is PAILLIER_3072
    assert by_name("ckks-4096") is CKKS_4096
    assert default_for("ckks") is CKKS_4096


@pytest.mark.parametrize(
    "change",
    [
        {"primes": (134012929, 134111233, 134176769, 133218305)},
        {"ring_degree": 4095},
        {"ring_degree": 2048},
        {"primes": (134012929, 134111234)},
        {"primes": (4294828033, 134111233)},
        {"query_scale_bits": 31},
    ],
    ids=["too many bits", "odd degree", "small degree", "not a prime of the ring", "wide prime", "no room"],
)
def test_a_weak_or_wrong_set_cannot_be_built(change):
    with pytest.raises(InvalidArgument, match=r"ckks-4096: .* want"):
        replace(CKKS_4096, **change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modulus_bits": 1024}, "modulus of 1024 bits, want at least 2048"),
        ({"slots": 66}, "66 slots of 47 bits, want less than 3072"),
        ({"gallery_scale": 2.0**19}, "leaves no room for values up to 2 in 20 value bits"),
        ({"guard_bits": 42, "slots": 8}, "slots of 63 bits, want at most 62"),
    ],
    ids=["small key", "many slots", "large scale", "wide slots"],
)
def test_an_additive_set_that_could_overflow_or_be_broken_cannot_be_built(change, said):
    with pytest.raises(InvalidArgument, match=f"paillier-3072: .*{said}"):
        replace(PAILLIER_3072, **change)


def test_a_set_says_whether_a_search_shows_its_query():
    assert {name for name, one in COLLECTION_SETS.items() if one.query_visible} == set(ADDITIVE_SETS)
    assert "shows the query to the server" in PAILLIER_3072.security


@pytest.mark.parametrize("lookup", [by_name, default_for])
def test_an_unknown_name_is_refused_with_the_known_ones(lookup):
    with pytest.raises(InvalidArgument, match="ckks"):
        lookup("rot13")
