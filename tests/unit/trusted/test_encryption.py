"""Encryption by our own samplers: what SEAL makes of it, what it makes of SEAL's, and how it is spread."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support.keysets import shared_key_set
from support.seal import to_residues
from tenseal import sealapi

from blindsight.ciphertext.residues import seeded_block
from blindsight.parameters import PARAMETER_SETS, Scheme
from blindsight.ring import ntt, prng
from blindsight.trusted import schemes
from blindsight.trusted.schemes import sampling, seal
from blindsight.trusted.schemes.encryption import encrypt

KEY_ID = bytes(16)
# Of a true hypothesis rejected: once in a thousand million runs.
RARE = 1e-9


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def parameters(request):
    return request.param


@pytest.fixture(scope="module")
def key(parameters):
    """The secret key as SEAL holds it."""
    loaded = sealapi.SecretKey()
    data = shared_key_set().secret_key(parameters.name).reveal_secret()
    loaded.load(seal.context(parameters), seal.scratch().fill(data))
    return loaded


@pytest.fixture(scope="module")
def secret(parameters, key):
    return seal.secret_residues(parameters, key)


def messages(parameters, count, seed=1):
    """Integers [count, N], as large as they may be in a collection."""
    largest = 2**26 if parameters.scheme is Scheme.CKKS else parameters.plain_modulus // 2 - 1
    rng = np.random.default_rng(seed)
    return rng.integers(-largest, largest, (count, parameters.ring_degree), endpoint=True)


def composed(residues, parameters):
    """Centred integers of residues [primes, N], as Python's."""
    modulus = parameters.modulus
    factors = [modulus // prime * pow(modulus // prime, -1, prime) for prime in parameters.primes]
    total = sum(row.astype(object) * factor for row, factor in zip(residues, factors, strict=True))
    return (total + modulus // 2) % modulus - modulus // 2


def phases(parameters, secret, residues, seeds):
    """c0 + a s as centred integers [count, N]: by transforms of our own, without SEAL."""
    masks = prng.expand(seeds, parameters)
    coefficients = parameters.scheme is Scheme.BFV
    if coefficients:
        ntt.forward(masks, parameters)
    primes = np.array(parameters.primes, np.uint64)[:, None]
    masks = (masks.astype(np.uint64) * secret % primes).astype(np.uint32)
    if coefficients:
        ntt.inverse(masks, parameters)
    phase = ((residues[:, 0].astype(np.uint64) + masks) % primes).astype(np.uint32)
    if not coefficients:
        ntt.inverse(phase, parameters)
    return np.stack([composed(one, parameters) for one in phase])


def scaled(parameters, integers):
    """What a fresh ciphertext's phase is without noise: exact integers."""
    if parameters.scheme is Scheme.CKKS:
        return integers.astype(object)
    plain = parameters.plain_modulus
    return (integers.astype(object) * parameters.modulus + (plain + 1) // 2) // plain


def test_seal_decrypts_what_we_encrypt(parameters):
    scheme = schemes.load(parameters, shared_key_set().secret_key(parameters.name))
    given = messages(parameters, 3)
    opened = scheme.decrypt_planes(scheme.encrypt_planes(given // 64, KEY_ID))
    np.testing.assert_array_equal(opened, given // 64)


def test_our_arithmetic_reads_what_seal_encrypts(parameters, key, secret):
    encryptor = sealapi.Encryptor(seal.context(parameters), key)
    plain = sealapi.Plaintext()
    if parameters.scheme is Scheme.CKKS:
        sealapi.CKKSEncoder(seal.context(parameters)).encode(12345.0, 1.0, plain)
        given = np.zeros((1, parameters.ring_degree), np.int64)
        given[0, 0] = 12345
    else:
        plain = sealapi.Plaintext("7x^3 + 1x^1 + 5")
        given = np.zeros((1, parameters.ring_degree), np.int64)
        given[0, [0, 1, 3]] = 5, 1, 7
    residues, seed = to_residues(encryptor.encrypt_symmetric(plain))
    seeds = np.frombuffer(seed, np.uint8)[None]
    noise = phases(parameters, secret, residues[None], seeds) - scaled(parameters, given)
    assert np.abs(noise.astype(np.int64)).max() <= sampling.NOISE_BITS
    assert noise.astype(np.float64).std() == pytest.approx(np.sqrt(sampling.NOISE_BITS / 2), rel=0.1)


def expected_noise():
    """Values and probabilities of the difference of two sums of 21 fair bits."""
    values = np.arange(-sampling.NOISE_BITS, sampling.NOISE_BITS + 1)
    return values, stats.binom.pmf(values + sampling.NOISE_BITS, 2 * sampling.NOISE_BITS, 0.5)


def assert_noise(sample):
    values, probabilities = expected_noise()
    counts = np.array([(sample == value).sum() for value in values])
    assert counts.sum() == sample.size, "nothing else is drawn"
    common = probabilities * sample.size > 10
    rare = ~common
    observed = [*counts[common], counts[rare].sum()]
    wanted = [*(probabilities[common] * sample.size), probabilities[rare].sum() * sample.size]
    assert stats.chisquare(observed, wanted).pvalue > RARE


def test_the_sampler_draws_the_centred_binomial_distribution():
    sample = np.zeros(400_000, np.int64)
    sampling.add_noise(sample)
    assert_noise(sample)
    # Neighbours, which come from one block of the cipher, have nothing to do with each other.
    assert abs(np.corrcoef(sample[:-1], sample[1:])[0, 1]) < 6 / np.sqrt(sample.size)


def test_the_noise_of_ciphertexts_is_what_the_sampler_draws_whatever_the_message(parameters, secret):
    given = messages(parameters, 8)
    block = encrypt(parameters, secret, given, KEY_ID)
    noise = phases(parameters, secret, block.residues, block.seeds) - scaled(parameters, given)
    assert_noise(noise.astype(np.int64).reshape(-1))


def test_two_encryptions_of_one_message_share_neither_seed_nor_noise(parameters, secret):
    given = np.repeat(messages(parameters, 1), 20, axis=0)
    blocks = [encrypt(parameters, secret, given, KEY_ID) for _ in range(5)]
    seeds = np.concatenate([block.seeds for block in blocks])
    assert len(np.unique(seeds, axis=0)) == 100
    noise = phases(parameters, secret, blocks[0].residues[:4], blocks[0].seeds[:4]) - scaled(
        parameters, given[:4]
    )
    assert len(np.unique(noise.astype(np.int64), axis=0)) == 4


def test_masks_look_uniform(parameters, secret):
    block = encrypt(parameters, secret, np.zeros((16, parameters.ring_degree), np.int64), KEY_ID)
    for row, prime in enumerate(parameters.primes):
        bins = (block.residues[:, 0, row].astype(np.uint64) * 64 // prime).reshape(-1)
        assert stats.chisquare(np.bincount(bins.astype(np.int64), minlength=64)).pvalue > RARE


def test_secret_keys_are_ternary(parameters, secret):
    coefficients = secret[None].copy()
    ntt.inverse(coefficients, parameters)
    values = composed(coefficients[0], parameters).astype(np.int64)
    counts = np.bincount(values + 1, minlength=3)
    assert counts.sum() == values.size
    assert stats.chisquare(counts).pvalue > RARE


def test_a_block_is_a_fresh_one_of_the_wire_form(parameters, secret):
    block = encrypt(parameters, secret, messages(parameters, 2), KEY_ID)
    again = seeded_block(parameters, KEY_ID, block.residues, block.seeds)
    assert block.to_bytes() == again.to_bytes()
    assert (block.residues < np.array(parameters.primes, np.uint32)[:, None]).all()


def test_transforms_undo_each_other(parameters):
    rng = np.random.default_rng(2)
    primes = np.array(parameters.primes)[:, None]
    given = rng.integers(0, primes, (3, len(parameters.primes), parameters.ring_degree)).astype(np.uint32)
    found = given.copy()
    ntt.forward(found, parameters)
    assert (found != given).any()
    ntt.inverse(found, parameters)
    np.testing.assert_array_equal(found, given)
