"""Ciphertexts in the kernel's order, and back."""

import numpy as np
import pytest
from support.evaluator import PARAMETERS

from blindsight.ciphertext.residues import add
from blindsight.ring.prng import SEED_PREFIX, expand
from services.evaluator.computing.tiles import add_full, add_seeded, checksum
from services.evaluator.geometry import TILE, Geometry

PRIMES = len(PARAMETERS.primes)


def random_ciphertexts(count, polynomials, seed):
    shape = (count, polynomials, PRIMES, PARAMETERS.ring_degree)
    highs = np.array(PARAMETERS.primes)[:, None]
    return np.random.default_rng(seed).integers(0, highs, shape, np.uint32)


def random_seeds(count, seed):
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 64), np.uint8)
    prefix = np.tile(np.frombuffer(SEED_PREFIX, np.uint8), (count, 1))
    return np.concatenate([prefix, drawn], axis=1)


def untiled(block):
    """[columns, 2, primes, N] of a block."""
    columns = block.shape[1]
    return (
        block.reshape(PRIMES, -1, columns, 2, TILE).transpose(2, 3, 0, 1, 4).reshape(columns, 2, PRIMES, -1)
    )


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 33])
def test_full_ciphertexts_come_back_from_a_block(columns):
    ciphertexts = random_ciphertexts(columns, 2, 1)
    block = np.zeros(Geometry(PARAMETERS, columns).shape, np.uint32)
    add_full(block, ciphertexts, PARAMETERS)
    assert (untiled(block) == ciphertexts).all()


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 33])
def test_seeded_ciphertexts_are_expanded_into_a_block(columns):
    first, seeds = random_ciphertexts(columns, 1, 1), random_seeds(columns, 2)
    block = np.zeros(Geometry(PARAMETERS, columns).shape, np.uint32)
    add_seeded(block, first, seeds, PARAMETERS)
    assert (untiled(block)[:, 0] == first[:, 0]).all()
    assert (untiled(block)[:, 1] == expand(seeds, PARAMETERS)).all()


def test_appends_are_sums_modulo_the_primes():
    columns = 5
    block = np.zeros(Geometry(PARAMETERS, columns).shape, np.uint32)
    total = np.zeros((columns, 2, PRIMES, PARAMETERS.ring_degree), np.uint32)
    for batch in range(4):
        first, seeds = random_ciphertexts(columns, 1, batch), random_seeds(columns, 10 + batch)
        add_seeded(block, first, seeds, PARAMETERS)
        second = expand(seeds, PARAMETERS)
        total = add(total, np.stack([first[:, 0], second], axis=1), PARAMETERS)
        assert (untiled(block) == total).all()


def test_columns_can_be_put_in_place_piece_by_piece():
    first, seeds = random_ciphertexts(20, 1, 1), random_seeds(20, 2)
    whole = np.zeros(Geometry(PARAMETERS, 20).shape, np.uint32)
    pieces = np.zeros_like(whole)
    add_seeded(whole, first, seeds, PARAMETERS)
    for start, stop in ((15, 20), (0, 1), (1, 15)):
        add_seeded(pieces, first[start:stop], seeds[start:stop], PARAMETERS, start)
    assert (pieces == whole).all()


@pytest.mark.parametrize(
    ("columns", "first_column"),
    [(3, 0), (2, 1), (1, 2), (1, -1)],
    ids=["too many", "over", "beyond", "before"],
)
def test_columns_outside_of_the_block_are_refused(columns, first_column):
    block = np.zeros(Geometry(PARAMETERS, 2).shape, np.uint32)
    with pytest.raises(ValueError, match="columns at"):
        add_full(block, random_ciphertexts(columns, 2, 1), PARAMETERS, first_column)
    assert not block.any()


def test_a_checksum_tells_damage_and_exchange():
    block = np.random.default_rng(1).integers(0, 1 << 27, Geometry(PARAMETERS, 3).shape, np.uint32)
    good = checksum(block)
    assert checksum(block.copy()) == good
    seen = {good}
    for place in (0, 1, block.size // 2, block.size - 1):
        for bit in (0, 13, 31):
            damaged = block.copy()
            damaged.reshape(-1)[place] ^= np.uint32(1 << bit)
            seen.add(checksum(damaged))
    assert len(seen) == 13
    exchanged = block.copy()
    exchanged[[10, 11]] = exchanged[[11, 10]]
    assert checksum(exchanged) != good
