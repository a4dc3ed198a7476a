"""Photos compared as in TenSEAL-Image-Recognition: raw pixels, one ciphertext per colour channel.

The squared cosine of a channel is a numerator and a denominator, both computed under encryption: five
products of ciphertexts, of which three are inner products by rotations.  Both are decrypted and divided.
Pixels are not scaled first, so sums of raw pixels overflow the plaintext modulus of BFV and the last prime
of CKKS; that is part of the method, and kept on purpose.  One process holds the secret key and the gallery.

    python -P -m blindsight.cli.compare.baselines.tenseal_pixels SAMPLE.npz ckks
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import tenseal

from blindsight.cli.compare.baselines.sample import Pixels, Sample, answer, finite, report

RING_DEGREE = 8192
COEFFICIENT_BITS = [60, 40, 40, 60]
SCALE_BITS = 40
PLAIN_MODULUS = 1032193
CHANNELS = 3


class Ckks:
    """CKKS: approximate; pixels are real numbers at a scale."""

    parameters: ClassVar = {"scale_bits": SCALE_BITS}

    def context(self) -> Any:
        made = tenseal.context(tenseal.SCHEME_TYPE.CKKS, RING_DEGREE, coeff_mod_bit_sizes=COEFFICIENT_BITS)
        made.global_scale = 2.0**SCALE_BITS
        return made

    encrypt = staticmethod(tenseal.ckks_vector)
    load = staticmethod(tenseal.ckks_vector_from)


class Bfv:
    """BFV: exact modulo the plaintext modulus."""

    parameters: ClassVar = {"plain_modulus": PLAIN_MODULUS}

    def context(self) -> Any:
        return tenseal.context(
            tenseal.SCHEME_TYPE.BFV,
            RING_DEGREE,
            plain_modulus=PLAIN_MODULUS,
            coeff_mod_bit_sizes=COEFFICIENT_BITS,
        )

    encrypt = staticmethod(tenseal.bfv_vector)
    load = staticmethod(tenseal.bfv_vector_from)


SCHEMES: dict[str, type[Ckks | Bfv]] = {"ckks": Ckks, "bfv": Bfv}


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Calls a function; returns its result, and the seconds it took."""
    started = time.perf_counter()
    result = work(*arguments)
    return result, time.perf_counter() - started


class Comparison:
    """One run under one scheme."""

    def __init__(self, scheme: Ckks | Bfv) -> None:
        self._scheme = scheme
        self._context = scheme.context()
        self._context.generate_galois_keys()

    def encrypt(self, photo: Pixels) -> list[Any]:
        """Encrypts a photo [3, 4096], one ciphertext per channel."""
        return [self._scheme.encrypt(self._context, channel.tolist()) for channel in photo]

    def store(self, photo: Pixels) -> list[bytes]:
        """Encrypts and serialises a photo, as for a database."""
        return [one.serialize() for one in self.encrypt(photo)]

    def similarity(self, stored: list[bytes], query: list[Any]) -> list[tuple[Any, Any]]:
        """Loads a photo and compares it; returns the encrypted numerator and denominator of each channel."""
        rows = [self._scheme.load(self._context, one) for one in stored]
        return [_squared_cosine(row, asked) for row, asked in zip(rows, query, strict=True)]

    def decrypt(self, similarity: list[tuple[Any, Any]]) -> list[float | None]:
        """Decrypts numerator and denominator of each channel; returns their quotients."""
        with np.errstate(divide="ignore", invalid="ignore"):
            opened = [[np.float64(one.decrypt()[0]) for one in pair] for pair in similarity]
            return [finite(numerator / denominator) for numerator, denominator in opened]


def _squared_cosine(row: Any, query: Any) -> tuple[Any, Any]:
    numerator = row.dot(query)
    return numerator * numerator, row.dot(row) * query.dot(query)


def measure(scheme: Ckks | Bfv, sample: Sample) -> dict[str, Any]:
    """Encrypts all of the sample, compares its pairs, and returns the measurements."""
    steps = len(sample.gallery) + len(sample.queries) + len(sample.pairs)
    run, keygen_seconds = timed(Comparison, scheme)
    stored, encryptions, queries, query_encryptions = [], [], [], []
    for photo in sample.gallery:
        made, seconds = timed(run.store, photo)
        stored.append(made)
        encryptions.append(seconds)
        report(len(stored), steps)
    for photo in sample.queries:
        made, seconds = timed(run.encrypt, photo)
        queries.append(made)
        query_encryptions.append(seconds)
    comparisons, decryptions, scores = [], [], []
    for query, row in sample.pairs.tolist():
        compared, seconds = timed(run.similarity, stored[row], queries[query])
        comparisons.append(seconds)
        opened, seconds = timed(run.decrypt, compared)
        decryptions.append(seconds)
        scores.append({"query": query, "image": row, "channels": opened})
        report(len(stored) + len(queries) + len(scores), steps)
    return {
        "tenseal": tenseal.__version__,
        "ring_degree": RING_DEGREE,
        "coefficient_bits": COEFFICIENT_BITS,
        **scheme.parameters,
        "keygen_seconds": keygen_seconds,
        "encrypt_seconds": encryptions,
        "query_encrypt_seconds": query_encryptions,
        "compare_seconds": comparisons,
        "decrypt_seconds": decryptions,
        "bytes_per_image": [sum(map(len, one)) for one in stored],
        "scores": scores,
    }


if __name__ == "__main__":
    answer(measure(SCHEMES[sys.argv[2]](), Sample.read()))
