"""The transform against its definition: values of a polynomial at the roots of X^N + 1, in SEAL's order."""

import numpy as np
import pytest
from support.polynomials import SETS, negacyclic, random_residues

from blindsight.parameters import PARAMETER_SETS
from blindsight.ring import ntt


def forward(residues, parameters):
    made = residues.copy()
    ntt.forward(made, parameters)
    return made


def inverse(residues, parameters):
    made = residues.copy()
    ntt.inverse(made, parameters)
    return made


def monomial(parameters, power):
    """X^power: uint32 [1, primes, N]."""
    made = np.zeros((1, len(parameters.primes), parameters.ring_degree), np.uint32)
    made[:, :, power] = 1
    return made


def folded(residues, fold, parameters):
    """Sums of `fold` neighbours, modulo each prime."""
    primes = np.array(parameters.primes, np.uint64)[:, None]
    by_group = residues.astype(np.uint64).reshape(*residues.shape[:2], -1, fold)
    return (by_group.sum(axis=3) % primes).astype(np.uint32)


def folds(parameters):
    """Every fold that an answer may have."""
    return [1 << power for power in range((parameters.ring_degree // ntt.MIN_SIZE).bit_length())]


FOLDS = pytest.mark.parametrize(
    ("parameters", "fold"),
    [(parameters, fold) for parameters in PARAMETER_SETS.values() for fold in folds(parameters)],
    ids=lambda value: str(getattr(value, "name", value)),
)


@SETS
def test_the_points_are_all_roots_of_the_ring(parameters):
    points = forward(monomial(parameters, 1), parameters)[0].astype(object)
    for row, prime in enumerate(parameters.primes):
        assert len(set(points[row])) == parameters.ring_degree
        assert {pow(int(point), parameters.ring_degree, prime) for point in points[row]} == {prime - 1}


@SETS
def test_the_first_point_is_the_smallest_root_as_in_seal(parameters):
    points = forward(monomial(parameters, 1), parameters)[0]
    for row in range(len(parameters.primes)):
        assert points[row, 0] == points[row].min()


@SETS
def test_a_transformed_polynomial_has_its_values_at_the_points(parameters):
    points = forward(monomial(parameters, 1), parameters)[0]
    polynomial = random_residues(parameters, 1, 1)
    values = forward(polynomial, parameters)[0]
    for row, prime in enumerate(parameters.primes):
        for place in (0, 1, 15, 16, 17, parameters.ring_degree // 2, parameters.ring_degree - 1):
            total, point = 0, int(points[row, place])
            for coefficient in polynomial[0, row, ::-1].tolist():
                total = (total * point + coefficient) % prime
            assert values[row, place] == total


@SETS
def test_both_ways_give_back_every_polynomial_below_its_primes(parameters):
    primes = np.array(parameters.primes, np.uint32)[:, None]
    given = random_residues(parameters, 3, 2)
    given[1] = primes - 1
    given[2] = 0
    there = forward(given, parameters)
    assert (there < primes).all()
    assert (inverse(there, parameters) == given).all()
    # And the other way round: every array of residues is the transform of some polynomial.
    back = inverse(given, parameters)
    assert (back < primes).all()
    assert (forward(back, parameters) == given).all()


@SETS
def test_products_of_transforms_are_products_in_the_ring(parameters):
    first, second = random_residues(parameters, 2, 3)
    primes = np.array(parameters.primes, np.uint64)[:, None]
    values = forward(np.stack([first, second]), parameters).astype(np.uint64)
    product = inverse((values[:1] * values[1:] % primes).astype(np.uint32), parameters)[0]
    for row, prime in enumerate(parameters.primes):
        assert (product[row] == negacyclic(first[row], second[row]) % prime).all()


@FOLDS
def test_points_that_are_folded_together_have_one_power(parameters, fold):
    powers = forward(monomial(parameters, fold), parameters)
    groups = powers.reshape(len(parameters.primes), -1, fold)
    assert (groups == groups[:, :, :1]).all()


@FOLDS
@pytest.mark.parametrize("kind", ["random", "largest"])
def test_a_folded_polynomial_goes_back_to_every_fold_th_coefficient(parameters, fold, kind):
    given = random_residues(parameters, 2, 4)
    if kind == "largest":
        given[:] = np.array(parameters.primes, np.uint32)[:, None] - 1
    found = inverse(folded(forward(given, parameters), fold, parameters), parameters)
    assert found.shape == (2, len(parameters.primes), parameters.ring_degree // fold)
    assert (found == given[:, :, ::fold]).all()


@FOLDS
def test_the_largest_sums_of_a_fold_go_back_without_overflow(parameters, fold):
    size = parameters.ring_degree // fold
    primes = np.array(parameters.primes, np.uint32)[:, None]
    given = np.broadcast_to(primes - 1, (1, len(parameters.primes), size)).copy()
    found = inverse(given, parameters)
    # All values are -1, so the polynomial is a constant: fold times it is -1.
    wanted = np.zeros_like(given)
    for row, prime in enumerate(parameters.primes):
        wanted[0, row, 0] = -pow(fold, -1, prime) % prime
    assert (found == wanted).all()


@SETS
def test_polynomials_are_transformed_one_by_one(parameters):
    given = random_residues(parameters, 4, 5)
    for way in (forward, inverse):
        together = way(given, parameters)
        for index in range(4):
            assert (together[index] == way(given[index : index + 1], parameters)[0]).all()
