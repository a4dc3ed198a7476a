"""What SEAL itself encrypts and decrypts: its objects, made of residues and read back."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from tenseal import sealapi

from blindsight.ciphertext.residues import Residues
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet, Scheme
from blindsight.trusted.columns.numbers import transformed
from blindsight.trusted.schemes import seal
from blindsight.trusted.schemes.ckks import CoefficientDecoder, _slot_order
from blindsight.trusted.schemes.seal import (
    _BODY,
    _COUNT,
    _HEADER,
    _MAGIC,
    _PLAIN,
    _UNCOMPRESSED,
    Saves,
    scratch,
)

# `scheme_type::bgv` of SEAL 4 (`encryptionparams.h`); the binding passes it on, but has no name for it.
BGV = sealapi.SCHEME_TYPE(3)


def to_residues(thing: Saves) -> tuple[Residues, bytes]:
    """Reads residues and seed of a ciphertext (or of SEAL's serialisable form of one).

    Returns:
        uint32 [stored polynomials, primes, N], and the 81 bytes of the seed, empty for a full one.
    """
    body = scratch().saved(thing)
    _, _, polynomials, degree, primes, _, _ = _BODY.unpack_from(body)
    start = _BODY.size + _HEADER.size + _COUNT.size
    (count,) = _COUNT.unpack_from(body, _BODY.size + _HEADER.size)
    values = np.frombuffer(body, "<u8", offset=start, count=count).astype(np.uint32)
    seed = body[start + 8 * count :]
    stored = 1 if seed else polynomials
    return values.reshape(stored, primes, degree), seed


@cache
def column_context(parameters: ParameterSet) -> Any:
    """SEAL's context for the columns of a set: CKKS, or BGV for a set of BFV, whose columns have its form."""
    if parameters.scheme is Scheme.CKKS:
        return seal.context(parameters)
    wanted = sealapi.EncryptionParameters(BGV)
    wanted.set_poly_modulus_degree(parameters.ring_degree)
    moduli = [*parameters.primes, parameters.special_prime]
    wanted.set_coeff_modulus([sealapi.Modulus(value) for value in moduli])
    wanted.set_plain_modulus(parameters.plain_modulus)
    made = sealapi.SEALContext(wanted, True, sealapi.SEC_LEVEL_TYPE.TC128)
    assert made.parameters_set(), made.parameters_error_message()
    return made


def secret_key(parameters: ParameterSet, values: Integers) -> Any:
    """Makes SEAL's secret key of ternary coefficients [N]."""
    context = column_context(parameters)
    sample = sealapi.KeyGenerator(context).secret_key()
    _, _, major, minor, *_ = _HEADER.unpack_from(scratch().raw(sample))
    body = scratch().saved(sample)
    # A key has a residue for each prime, and for the one of key switching behind them.
    special = replace(
        parameters,
        primes=(parameters.special_prime,),
        special_prime=parameters.primes[0],
        gallery_scale_bits=0,
        query_scale_bits=0,
    )
    residues = [transformed(values[None], of)[0] for of in (parameters, special)]
    words = np.concatenate(residues).astype("<u8").tobytes()
    start = _PLAIN.size + _HEADER.size + _COUNT.size
    assert len(body) == start + len(words)
    size = _HEADER.size + len(body)
    header = _HEADER.pack(_MAGIC, _HEADER.size, major, minor, _UNCOMPRESSED, 0, size)
    loaded = sealapi.SecretKey()
    loaded.load(context, scratch().fill(header + body[:start] + words))
    return loaded


def decrypt(parameters: ParameterSet, key: Any, residues: Residues) -> Integers:
    """Lets SEAL decrypt a ciphertext, residues [2, primes, N] in NTT form; returns centred integers [N].

    They are the message with its noise under CKKS, and the message modulo t under BGV.
    """
    context = column_context(parameters)
    sample = scratch().raw(sealapi.Ciphertext(context))
    _, _, major, minor, *_ = _HEADER.unpack_from(sample)
    polynomials, primes, degree = residues.shape
    words = residues.astype("<u8").tobytes()

    def wrapped(data: bytes) -> bytes:
        size = _HEADER.size + len(data)
        return _HEADER.pack(_MAGIC, _HEADER.size, major, minor, _UNCOMPRESSED, 0, size) + data

    parms_id = struct.pack("<4Q", *context.first_parms_id())
    body = _BODY.pack(parms_id, True, polynomials, degree, primes, 1.0, 1)
    ciphertext = sealapi.Ciphertext(context)
    data = wrapped(body + wrapped(_COUNT.pack(residues.size) + words))
    ciphertext.load(context, scratch().fill(data))
    plain = sealapi.Plaintext()
    sealapi.Decryptor(context, key).decrypt(ciphertext, plain)
    if parameters.scheme is Scheme.CKKS:
        return np.rint(CoefficientDecoder(parameters).decode(plain)).astype(np.int64)
    values = seal.plaintext_to_integers(parameters, plain)
    half = parameters.plain_modulus // 2
    return (values + half) % parameters.plain_modulus - half


def encrypt(parameters: ParameterSet, key: Any, values: Integers) -> tuple[Residues, bytes]:
    """Lets SEAL encrypt integers [N] under a secret key; returns one polynomial [primes, N], and its seed.

    Args:
        values: from 0 to t - 1 for BGV.
    """
    context = column_context(parameters)
    if parameters.scheme is Scheme.CKKS:
        plain = sealapi.Plaintext()
        # At scale 1 the encoder rounds coefficients to integers: these are integers already.
        sealapi.CKKSEncoder(context).encode(_slots(parameters, values), 1.0, plain)
    else:
        terms = (
            f"{value:X}x^{power}" for power, value in reversed(list(enumerate(values.tolist()))) if value
        )
        plain = sealapi.Plaintext(" + ".join(terms))
    residues, seed = to_residues(sealapi.Encryptor(context, key).encrypt_symmetric(plain))
    return residues[0], seed


def _slots(parameters: ParameterSet, values: Integers) -> list[complex]:
    """Returns the values of a polynomial [N] at SEAL's slots: the inverse of `CoefficientDecoder.decode`."""
    degree = parameters.ring_degree
    points = np.fft.ifft(values * np.exp(1j * np.pi * np.arange(degree) / degree)) * degree
    found: list[complex] = points[_slot_order(degree)].tolist()
    return found
