"""Keys of the additive schemes, and Paillier beside python-paillier and LightPHE with the same numbers."""

import copy
import math
import pickle
import secrets
import subprocess
import sys

import gmpy2
import numpy as np
import phe
import pytest
from lightphe import LightPHE
from support.additive import evaluator, key, sent

from blindsight.additive import SCHEMES, AdditiveScheme
from blindsight.additive.keys import DISCRETE_LOGARITHM_BITS, SECRET_MAGIC, read_numbers
from blindsight.additive.schemes import NOT_ENCRYPTION
from blindsight.errors import InvalidArgument, InvalidCiphertext
from blindsight.trusted.additive import AdditiveKey, primes
from blindsight.trusted.additive.lightphe import BENALOH_BLOCK, modp_prime
from blindsight.trusted.additive.logarithms import SmallLogarithms
from blindsight.trusted.additive.paillier import PaillierKeyholder
from blindsight.trusted.secrets import Secret

PAILLIER, SCRAMBLE = AdditiveScheme.PAILLIER, AdditiveScheme.SCRAMBLE
LIGHTPHE = [scheme for scheme, info in SCHEMES.items() if info.algorithm]
MESSAGES = [0, 1, -1, 255, -(10**30), 10**600]


@pytest.fixture(scope="module")
def numbers():
    """n, h^n, p and q."""
    return primes_of(key(PAILLIER))


def primes_of(holder):
    return read_numbers(SECRET_MAGIC, holder.to_secret().reveal_secret())[2]


@pytest.fixture(scope="module")
def ours(numbers):
    return PaillierKeyholder(key(PAILLIER).public_key, numbers[2:])


def test_a_paillier_key_is_what_the_papers_ask_for(numbers):
    n, blinding, p, q = numbers
    assert p * q == n
    assert n.bit_length() == 2048
    assert p.bit_length() == q.bit_length() == 1024
    assert p % 4 == q % 4 == 3
    assert gmpy2.is_prime(p)
    assert gmpy2.is_prime(q)
    assert math.gcd(p - 1, q - 1) == 2
    assert math.gcd(n, (p - 1) * (q - 1)) == 1
    assert abs(p - q).bit_length() > 1024 - 100
    # an n-th power, so that it hides a message and adds nothing to it
    assert pow(blinding, (p - 1) * (q - 1), n * n) == 1
    # a power of -x^2, which is no square modulo either prime
    assert all(pow(blinding, (prime - 1) // 2, prime) == prime - 1 for prime in (p, q))


def test_paillier_keys_have_3072_bits_unless_told_otherwise():
    assert key_size_of(AdditiveKey.generate(PAILLIER)) == 3072


def key_size_of(holder):
    return holder.public_key.numbers[0].bit_length()


@pytest.mark.parametrize("bits", [512, 1024, 2046])
def test_paillier_keys_under_2048_bits_are_refused_whatever_is_passed(bits):
    with pytest.raises(InvalidArgument, match=f"paillier key of {bits} bits, want at least 2048"):
        AdditiveKey.generate(PAILLIER, bits, insecure_small_keys=True)


def test_python_paillier_and_ours_open_each_others_ciphertexts(numbers, ours):
    n, _, p, q = numbers
    public = phe.PaillierPublicKey(n)
    private = phe.PaillierPrivateKey(public, p, q)
    for message, ciphertext in zip(MESSAGES, ours.encrypt(MESSAGES, None), strict=True):
        assert private.raw_decrypt(ciphertext) == message % n
    theirs = [public.raw_encrypt(message % n) for message in MESSAGES]
    assert ours.decrypt(theirs, None) == MESSAGES


def test_lightphe_and_ours_open_each_others_ciphertexts(numbers, ours):
    n, _, p, q = numbers
    keys = {"public_key": {"n": n, "g": n + 1}, "private_key": {"phi": (p - 1) * (q - 1)}}
    theirs = LightPHE("Paillier", keys=keys).cs
    for message, ciphertext in zip(MESSAGES, ours.encrypt(MESSAGES, None), strict=True):
        assert theirs.decrypt(ciphertext) == message % n
    assert ours.decrypt([theirs.encrypt(message % n) for message in MESSAGES], None) == MESSAGES


def test_python_paillier_opens_a_weighted_sum_of_packed_pixels(numbers):
    n, _, p, q = numbers
    private = phe.PaillierPrivateKey(phe.PaillierPublicKey(n), p, q)
    first, second = np.random.default_rng(8).integers(0, 256, (2, 1, 400))
    answer = evaluator(PAILLIER).weighted_sum([sent(PAILLIER, first), sent(PAILLIER, second)], [5, -9])
    opened = [private.raw_decrypt(number) for number in answer.numbers]
    centred = [message - n if 2 * message > n else message for message in opened]
    np.testing.assert_array_equal(answer.header.layout.unpack(centred), 5 * first - 9 * second)


def test_a_picture_of_8_bit_pixels_takes_157_to_a_ciphertext_of_2048_bits():
    block = sent(PAILLIER, np.zeros((1, 1000), np.int64))
    assert block.header.layout.per_ciphertext == (2048 - 2 + 1) // 13


@pytest.mark.parametrize("scheme", LIGHTPHE, ids=lambda scheme: scheme.name)
def test_lightphe_keys_need_a_size_and_small_ones_must_be_asked_for(scheme):
    if SCHEMES[scheme].fixed_bits:
        with pytest.raises(InvalidArgument, match="want 256"):
            AdditiveKey.generate(scheme, 160, insecure_small_keys=True)
        return
    with pytest.raises(InvalidArgument, match="no default key size, want one of at least 2048 bits"):
        AdditiveKey.generate(scheme)
    with pytest.raises(InvalidArgument, match="key of 1024 bits, want at least 2048"):
        AdditiveKey.generate(scheme, 1024)
    assert 512 <= key_size_of(key(scheme)) <= 516


@pytest.mark.parametrize(
    ("scheme", "bits"),
    [
        (AdditiveScheme.LIGHTPHE_NACCACHE_STERN, 25),
        (AdditiveScheme.LIGHTPHE_BENALOH, 20),
        (AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL, 20),
        (AdditiveScheme.LIGHTPHE_EC_ELGAMAL, 20),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_small_message_spaces_are_told_before_encryption_and_hold_their_bounds(scheme, bits):
    values = np.array([[(1 << bits) - 1], [1 - (1 << bits)]])
    block = sent(scheme, values, value_bits=bits, guard_bits=0)
    np.testing.assert_array_equal(key(scheme).decrypt(block), values)
    with pytest.raises(InvalidArgument, match=f"would overflow: a message of this key has {bits} bits"):
        sent(scheme, values, value_bits=bits, guard_bits=1)


@pytest.mark.parametrize("bits", [2048, 3072])
def test_the_groups_of_rfc_3526_are_safe_primes_and_4_spans_their_prime_order_subgroup(bits):
    p = modp_prime(bits)
    assert p.bit_length() == bits
    assert gmpy2.is_prime(p)
    assert gmpy2.is_prime((p - 1) // 2)
    assert pow(4, (p - 1) // 2, p) == 1


def test_exponential_elgamal_works_in_the_group_of_2048_bits():
    holder = AdditiveKey.generate(AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL, 2048)
    values = np.array([[-200, 255]])
    assert holder.decrypt(holder.encrypt(values, value_bits=8, guard_bits=2)).tolist() == values.tolist()


def test_benalohs_block_is_the_least_prime_that_holds_the_messages():
    assert gmpy2.next_prime(2 << DISCRETE_LOGARITHM_BITS) == BENALOH_BLOCK


def test_without_lightphe_one_line_says_what_to_install():
    script = (
        "import sys; sys.modules['lightphe'] = None\n"
        "from blindsight.additive import AdditiveScheme\n"
        "from blindsight.errors import MissingPackage\n"
        "from blindsight.trusted.additive import AdditiveKey\n"
        "try: AdditiveKey.generate(AdditiveScheme.LIGHTPHE_BENALOH, 512, insecure_small_keys=True)\n"
        "except MissingPackage as error: print(error.message)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == (
        "lightphe-benaloh needs LightPHE, which is not installed: "
        "pip install 'blindsight-vault-library[lightphe]' beside the keyholder and the evaluator\n"
    )


def test_a_ciphertext_of_another_keys_numbers_does_not_open_as_a_small_message():
    holder = key(AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL)
    block = sent(AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL, np.array([[5]]))
    spoilt = type(block)(block.header, [block.numbers[0] * 3 + 1, block.numbers[1]])
    with pytest.raises(InvalidCiphertext, match="out of reach"):
        holder.decrypt(spoilt)


def test_numbers_that_do_not_belong_together_are_no_key(numbers):
    _, _, p, q = numbers
    with pytest.raises(InvalidArgument, match="do not belong together"):
        PaillierKeyholder(key(PAILLIER).public_key, (p, q + 2))
    with pytest.raises(InvalidArgument, match="malformed key"):
        AdditiveKey.from_secret(Secret(b"BSAS" + secrets.token_bytes(300)))


@pytest.mark.parametrize("scheme", AdditiveScheme, ids=lambda scheme: scheme.name)
def test_a_key_cannot_be_printed_pickled_or_copied(scheme):
    holder = key(scheme)
    assert repr(holder) == f"AdditiveKey({scheme.name}, ...)"
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            way(holder)


@pytest.mark.parametrize("exponent", [-1024, -1023, -1, 0, 1, 31, 32, 1023, 1024])
def test_small_logarithms_are_found_up_to_their_bound(exponent):
    prime = (1 << 61) - 1
    search = SmallLogarithms(lambda e: pow(37, e, prime), lambda a, b: a * b % prime, 10)
    assert search.find(pow(37, exponent, prime)) == exponent


def test_a_logarithm_out_of_reach_is_refused():
    prime = (1 << 61) - 1
    search = SmallLogarithms(lambda e: pow(37, e, prime), lambda a, b: a * b % prime, 10)
    with pytest.raises(InvalidCiphertext, match="out of reach"):
        search.find(pow(37, 10**6, prime))


@pytest.mark.parametrize("bits", [64, 65, 256])
def test_random_primes_have_their_length_and_remainder(bits):
    drawn = {primes.random_prime(bits, remainder=3, modulus=4) for _ in range(20)}
    assert len(drawn) == 20
    assert all(gmpy2.is_prime(p) and p % 4 == 3 and p >> (bits - 2) == 3 for p in drawn)


def scrambled(values, value_bits=8):
    return key(SCRAMBLE).encrypt(values, value_bits=value_bits, guard_bits=1)


def test_scramble_says_what_it_is_not():
    assert SCHEMES[SCRAMBLE].description == NOT_ENCRYPTION
    assert NOT_ENCRYPTION == "not encryption: hides a picture from a glance only"


def test_scramble_moves_every_pixel_and_inverts_about_half_of_them():
    # distinct values below 2048, none its own inverse
    values = np.arange(2000)[None]
    numbers = np.array(scrambled(values, value_bits=11).numbers)
    kept = np.isin(numbers, values) & (np.sort(numbers) == numbers)
    assert kept.sum() < 100
    pairs = np.minimum(numbers, 2047 - numbers)
    np.testing.assert_array_equal(np.sort(pairs), np.sort(np.minimum(values, 2047 - values)[0]))
    assert 800 < (numbers >= 1024).sum() < 1200


def test_scramble_orders_differ_from_key_to_key_and_from_size_to_size():
    tall, wide = np.arange(200).reshape(2, 100), np.arange(200).reshape(1, 200)
    first = scrambled(tall).numbers
    assert first == scrambled(tall).numbers
    assert first != scrambled(wide).numbers
    assert first != AdditiveKey.generate(SCRAMBLE).encrypt(tall, value_bits=8, guard_bits=1).numbers


def test_scramble_subtracts_once_and_no_more():
    public, block = evaluator(SCRAMBLE), sent(SCRAMBLE, np.array([[3, 4]]))
    difference = public.subtract(block, block)
    with pytest.raises(InvalidArgument, match="a difference of two pictures as they were scrambled"):
        public.subtract(difference, block)
