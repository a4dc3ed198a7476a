"""Conversion between SEAL's serialised objects and numpy arrays.

`tenseal.sealapi` objects save to and load from file paths only, so they go through a memory file
that has no name in any file system.  The format is that of SEAL 4.1 (`ciphertext.cpp`,
`serialization.h`):

    header  u16 magic 0xA15E, u8 header size 16, u8 major, u8 minor, u8 compression, u16 0, u64 size
    body    32 B parms_id, u8 is_ntt, u64 polynomials, u64 N, u64 primes, f64 scale, u64 correction
            factor, then a header, u64 count, count x u64 residues; a seeded ciphertext has the
            residues of one polynomial, and behind them a header, u8 generator, 64 B seed

Ciphertexts to load must have been checked by `blindsight.ciphertext.residues`; every byte that SEAL's
loader then sees is written here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zstandard
from tenseal import sealapi

from blindsight.ciphertext.residues import Residues
from blindsight.errors import InvalidCiphertext
from blindsight.parameters import ParameterSet, Scheme

_MAGIC = 0xA15E
_HEADER = struct.Struct("<HBBBBHQ")
_BODY = struct.Struct("<32sBQQQdQ")
_COUNT = struct.Struct("<Q")
# The header of a seed as far as the minor version.
_SEED_HEADER = struct.Struct("<HBBB")
# A plaintext: parms_id (zeros unless in NTT form), u64 coefficients, f64 scale.
_PLAIN = struct.Struct("<32sQd")
_ZSTD, _UNCOMPRESSED = 2, 0
_SCHEMES = {Scheme.CKKS: sealapi.SCHEME_TYPE.CKKS, Scheme.BFV: sealapi.SCHEME_TYPE.BFV}


class Saves(Protocol):
    """A SEAL object that can be saved to a path."""

    def save(self, path: str, /) -> None: ...


class Scratch:
    """An unnamed file in memory, for SEAL to save to and load from.  One per process.

    Raises:
        OSError: if the kernel has no memory files (Blindsight needs Linux).
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("seal")
        self.path = f"/proc/self/fd/{self._file}"

    def saved(self, thing: Saves) -> bytes:
        """Returns what `thing` saves, decompressed, without the outer header."""
        data = self.raw(thing)
        compression = _HEADER.unpack_from(data)[4]
        body = data[_HEADER.size :]
        if compression == _ZSTD:
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        return body

    def raw(self, thing: Saves) -> bytes:
        """Returns what `thing` saves, unchanged, for `fill` to load again."""
        thing.save(self.path)
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def fill(self, data: bytes) -> str:
        """Writes `data` to the file and returns the path to load it from."""
        os.ftruncate(self._file, len(data))
        os.pwrite(self._file, data, 0)
        return self.path

    def wipe(self) -> None:
        """Truncates the file, so that no content remains."""
        os.ftruncate(self._file, 0)


@cache
def scratch() -> Scratch:
    """Returns this process's memory file."""
    return Scratch()


@cache
def context(parameters: ParameterSet) -> Any:
    """Returns SEAL's context for a parameter set, checked against SEAL's own 128-bit table.

    Raises:
        InvalidCiphertext: if SEAL refuses the parameters.
    """
    wanted = sealapi.EncryptionParameters(_SCHEMES[parameters.scheme])
    wanted.set_poly_modulus_degree(parameters.ring_degree)
    # The last prime is for key switching, which is not used here.  SEAL requires one nevertheless, and
    # counts its bits in the security table; no ciphertext has a residue modulo it.
    moduli = [*parameters.primes, parameters.special_prime]
    wanted.set_coeff_modulus([sealapi.Modulus(value) for value in moduli])
    if parameters.plain_modulus:
        wanted.set_plain_modulus(parameters.plain_modulus)
    made = sealapi.SEALContext(wanted, True, sealapi.SEC_LEVEL_TYPE.TC128)
    if not made.parameters_set():
        raise InvalidCiphertext(f"{parameters.name}: SEAL refuses it: {made.parameters_error_message()}")
    return made


@dataclass(frozen=True, slots=True)
class _Template:
    """SEAL's version and parms_id, common to all serialised ciphertexts of a parameter set."""

    major: int
    minor: int
    parms_id: bytes


@cache
def _template(parameters: ParameterSet) -> _Template:
    # SEAL's version is read from an object that it wrote itself.
    sample = sealapi.Ciphertext(context(parameters))
    _, _, major, minor, *_ = _HEADER.unpack_from(scratch().raw(sample))
    # The first level's parms_id, without the key-switching prime, as for every ciphertext.
    parms_id = struct.pack("<4Q", *context(parameters).first_parms_id())
    return _Template(major, minor, parms_id)


def from_residues(
    parameters: ParameterSet,
    residues: Residues,
    scale: float = 1.0,
    seed: bytes = b"",
    *,
    ntt_form: bool = True,
) -> Any:
    """Builds a SEAL ciphertext.

    Args:
        residues: uint32 [stored polynomials, primes, N], each below its prime (checked before).
        scale: CKKS scale.
        seed: 81 bytes if only the first polynomial is given, else empty.
        ntt_form: whether the residues are in NTT form.

    Raises:
        InvalidCiphertext: if SEAL refuses to load it.
    """
    template = _template(parameters)
    if seed:  # SEAL loads what its own version wrote, and nothing else
        seed = (
            _SEED_HEADER.pack(*_SEED_HEADER.unpack_from(seed)[:3], template.minor) + seed[_SEED_HEADER.size :]
        )
    stored, primes, degree = residues.shape
    polynomials = 2 if seed else stored
    values = residues.astype("<u8").tobytes()
    inner = _header(template, _COUNT.size + len(values)) + _COUNT.pack(residues.size) + values + seed
    # The correction factor is BGV's; SEAL refuses any but 1 elsewhere.
    body = _BODY.pack(template.parms_id, ntt_form, polynomials, degree, primes, scale, 1) + inner
    path = scratch().fill(_header(template, len(body)) + body)
    loaded = sealapi.Ciphertext(context(parameters))
    try:
        loaded.load(context(parameters), path)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InvalidCiphertext(f"SEAL refuses the ciphertext: {error}") from error
    return loaded


def _header(template: _Template, body_bytes: int) -> bytes:
    size = _HEADER.size + body_bytes
    return _HEADER.pack(_MAGIC, _HEADER.size, template.major, template.minor, _UNCOMPRESSED, 0, size)


def plaintext_to_integers(parameters: ParameterSet, plain: Any) -> npt.NDArray[np.int64]:
    """Returns the [N] integers of a BFV plaintext, from 0 to t - 1."""
    body = scratch().saved(plain)
    (count,) = _COUNT.unpack_from(body, _PLAIN.size + _HEADER.size)
    start = _PLAIN.size + _HEADER.size + _COUNT.size
    values = np.zeros(parameters.ring_degree, np.int64)
    values[:count] = np.frombuffer(body, "<u8", offset=start, count=count)
    return values


def secret_residues(parameters: ParameterSet, key: Saves) -> Residues:
    """Returns a secret key in NTT form: uint32 [primes, N]."""
    try:
        body = scratch().saved(key)
    finally:
        scratch().wipe()
    # As for a plaintext; behind the primes of ciphertexts comes the one for key switching.
    start = _PLAIN.size + _HEADER.size + _COUNT.size
    count = len(parameters.primes) * parameters.ring_degree
    values = np.frombuffer(body, "<u8", offset=start, count=count).astype(np.uint32)
    return values.reshape(len(parameters.primes), parameters.ring_degree)
