"""Seeds against SEAL's own expansion of them, and against the definition where SEAL never gets."""

import itertools

import numpy as np
import pytest
from support.evaluator import PARAMETERS
from support.seal import to_residues
from tenseal import sealapi

from blindsight.errors import InvalidCiphertext
from blindsight.ring import prng
from blindsight.trusted.schemes import seal

SEED = prng.SEED_PREFIX + bytes(range(64))


def seeds_of(*seeds):
    return np.stack([np.frombuffer(seed, np.uint8) for seed in seeds])


@pytest.fixture(scope="module")
def fresh():
    """Seeds of fresh ciphertexts, and what SEAL makes of them: [count, 81], [count, primes, N]."""
    context = seal.context(PARAMETERS)
    encryptor = sealapi.Encryptor(context, sealapi.KeyGenerator(context).secret_key())
    plain = sealapi.Plaintext()
    sealapi.CKKSEncoder(context).encode(0.5, PARAMETERS.query_scale, plain)
    seeds, expanded = [], []
    for _ in range(20):
        residues, seed = to_residues(encryptor.encrypt_symmetric(plain))
        loaded = seal.from_residues(PARAMETERS, residues, PARAMETERS.query_scale, seed)
        full, nothing = to_residues(loaded)
        assert not nothing
        assert (full[0] == residues[0]).all()
        seeds.append(seed)
        expanded.append(full[1])
    return seeds_of(*seeds), np.stack(expanded)


def test_seeds_expand_to_what_seal_expands_them_to(fresh):
    seeds, expanded = fresh
    assert (prng.expand(seeds, PARAMETERS) == expanded).all()


def test_one_seed_expands_like_many(fresh):
    seeds, expanded = fresh
    for seed, wanted in zip(seeds, expanded, strict=True):
        assert (prng.expand(seed[None], PARAMETERS)[0] == wanted).all()


def test_the_slow_way_for_rare_words_gives_the_same(fresh):
    seeds, expanded = fresh
    words = prng.generate(prng.seed_words(seeds)[0])
    assert (prng.sample(words, PARAMETERS) == expanded[0]).all()


def test_more_words_continue_where_the_first_ended():
    seed = prng.seed_words(seeds_of(SEED))[0]
    few = list(itertools.islice(prng.generate(seed), 8192))
    many = list(itertools.islice(prng.generate(seed), 30000))
    assert many[:8192] == few
    assert len(set(many)) == 30000


def test_words_over_the_limit_are_replaced_by_the_next_ones_after_the_bulk():
    primes, degree = PARAMETERS.primes, PARAMETERS.ring_degree
    limit = prng.word_limit(primes[1])
    bulk = list(range(1000, 1000 + 2 * degree))
    bulk[7] = prng.word_limit(primes[0])
    bulk[degree + 3] = limit
    more = [(1 << 64) - 1, 5, limit + 1, limit - 1]
    residues = prng.sample(iter(bulk + more), PARAMETERS)
    assert residues[0, 7] == 5
    assert residues[1, 3] == (limit - 1) % primes[1]
    assert residues[0, 8] == 1008


@pytest.mark.parametrize("prime", PARAMETERS.primes)
def test_the_limit_leaves_every_residue_equally_likely(prime):
    assert prng.word_limit(prime) % prime == prime - 1 or (prng.word_limit(prime) + 1) % prime == 0


@pytest.mark.parametrize(
    "seed",
    [
        bytes(81),
        b"\x00" + SEED[1:],
        SEED[:2] + b"\x11" + SEED[3:],
        SEED[:3] + b"\x05" + SEED[4:],
        SEED[:5] + b"\x02" + SEED[6:],
        SEED[:8] + b"\x52" + SEED[9:],
        SEED[:16] + b"\x02" + SEED[17:],
    ],
    ids=["zeros", "magic", "header size", "major version", "compressed", "size", "shake256"],
)
def test_a_seed_of_another_generator_or_version_is_refused(seed):
    with pytest.raises(InvalidCiphertext, match="want SEAL 4 with BLAKE2Xb"):
        prng.expand(seeds_of(SEED, seed), PARAMETERS)
