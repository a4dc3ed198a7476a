"""Parameter sets refuse what is weak or does not compute."""

import math
from dataclasses import replace

import numpy as np
import pytest

from blindsight.errors import InvalidArgument
from blindsight.parameters import (
    ADDITIVE_SETS,
    BFV_4096,
    BFV_8192,
    BY_NUMBER,
    CKKS_4096,
    COLLECTION_SETS,
    FRESH_NOISE,
    MAX_BATCHES_PER_SEGMENT,
    PAILLIER_3072,
    PARAMETER_SETS,
    by_name,
    default_for,
    security,
)
from blindsight.parameters.security import GUIDELINES_2024, LEVELS, STANDARD_2018, STANDARD_2018_QUANTUM
from blindsight.trusted.schemes import seal
from blindsight.trusted.schemes.sampling import NOISE_BITS

RING_SETS = pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=lambda one: one.name)


@RING_SETS
def test_every_set_is_under_all_tables_and_says_how_it_stands(parameters):
    """The rows of the tables, written out: what a set says of itself is looked up in them by another hand."""
    row = LEVELS.index(parameters.security_bits)
    bits = math.log2(math.prod(parameters.primes))
    for table in (GUIDELINES_2024, STANDARD_2018):
        assert bits <= table[parameters.ring_degree][row]
    assert bits <= STANDARD_2018_QUANTUM[parameters.ring_degree][LEVELS.index(parameters.quantum_bits)]
    said = parameters.security
    assert f"{parameters.security_bits}-bit, quantum {parameters.quantum_bits}-bit" in said
    assert f"a modulus of {parameters.published_bits} bits" in said


def test_the_levels_that_sets_reach():
    levels = {one.name: (one.security_bits, one.quantum_bits) for one in PARAMETER_SETS.values()}
    assert levels == {"ckks-4096": (256, 256), "bfv-4096": (128, 128), "bfv-8192": (256, 256)}


@pytest.mark.parametrize(
    ("degree", "bits", "classical", "quantum"),
    [
        (2048, 54, 0, 0),
        (2048, 53, 128, 0),
        (2048, 51, 128, 128),
        (2048, 37, 128, 128),
        (2048, 36, 192, 128),
        (2048, 27, 256, 256),
        (4096, 107, 0, 0),
        (4096, 106, 128, 0),
        (4096, 56, 256, 192),
        (8192, 214, 128, 0),
        (8192, 114, 256, 192),
        (8192, 109, 256, 256),
    ],
)
def test_a_level_is_that_of_the_strictest_table(degree, bits, classical, quantum):
    assert security.level(degree, bits, *security.CLASSICAL) == classical
    assert security.level(degree, bits, STANDARD_2018_QUANTUM) == quantum


@pytest.mark.parametrize("degree", security.RING_DEGREES)
def test_the_limit_of_a_level_reaches_it_and_one_bit_more_does_not(degree):
    for bits in LEVELS:
        most = security.limit(degree, bits, *security.CLASSICAL)
        assert security.level(degree, most, *security.CLASSICAL) >= bits
        assert security.level(degree, most + 1, *security.CLASSICAL) < bits


@RING_SETS
def test_seal_agrees_that_every_set_has_128_bits(parameters):
    """SEAL counts one prime more than is ever published."""
    assert seal.context(parameters).parameters_set()


@RING_SETS
def test_the_kernel_can_add_up_its_largest_terms_in_64_bits(parameters):
    largest = max(parameters.primes) - 1
    assert largest + parameters.max_terms * largest**2 < 1 << 64
    assert largest + (parameters.max_terms + 1) * largest**2 >= 1 << 64
    assert parameters.max_terms >= 1024


@RING_SETS
def test_sums_of_two_residues_fit_into_a_word_and_messages_into_the_arithmetic(parameters):
    assert 2 * max(parameters.primes) < 1 << 32
    # Integers are made residues by a float's reciprocal, and read back modulo 2^64.
    assert (parameters.plain_modulus or parameters.modulus) // 2 < 1 << 53


def test_the_noise_is_that_of_the_sampler_and_no_less_than_the_tables_assume():
    assert pytest.approx(math.sqrt(NOISE_BITS / 2)) == FRESH_NOISE
    assert FRESH_NOISE >= 3.19


@RING_SETS
def test_a_residue_modulo_all_primes_is_a_word_for_each(parameters):
    assert parameters.residue_bytes == np.zeros(len(parameters.primes), np.uint32).nbytes


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
