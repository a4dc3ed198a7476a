"""Image processing as in Secure-image-processing: Paillier, one ciphertext per value, window by window.

The method is that project's, but not its key of 16 bits: here it has 3072, and python-paillier does the
arithmetic.  A few pixels are measured, and scaled up to the whole picture; nothing is sent over a network.
Borders copy ciphertexts, so every value is encrypted once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import phe

KEY_BITS = 3072
SIDE = 4  # side of the measured patch, in results
_CIPHERTEXT_BYTES = KEY_BITS // 4  # ciphertexts are integers modulo n squared

Integers = npt.NDArray[np.integer[Any]]
Figures = dict[str, Any]


@cache
def _key() -> tuple[Any, Any]:
    return phe.generate_paillier_keypair(n_length=KEY_BITS)


def filtered(image: Integers, weights: Integers, cores: int) -> Figures:
    """Measures a kernel of odd size on a patch of a grey picture; returns figures scaled up to all of it.

    Args:
        image: [height, width].
        weights: integers, [size, size].
        cores: number of cores over which the work is assumed to be split perfectly.
    """
    size = len(weights)
    top, left = (length // 2 for length in image.shape)
    patch = image[top : top + SIDE + size - 1, left : left + SIDE + size - 1].astype(int)

    def compute(encrypted: list[Any]) -> list[Any]:
        grid = np.array(encrypted, object).reshape(patch.shape)
        windows = np.lib.stride_tricks.sliding_window_view(grid, weights.shape).reshape(-1, weights.size)
        return [_weighted(window, weights.ravel().tolist()) for window in windows]

    wanted = np.lib.stride_tricks.sliding_window_view(patch, weights.shape)
    sums = np.einsum("rcij,ij->rc", wanted, weights).ravel()
    return _measured(patch.ravel(), compute, sums, (image.size, image.size), cores)


def _weighted(window: npt.NDArray[Any], weights: list[int]) -> Any:
    products = [value * weight for value, weight in zip(window, weights, strict=True) if weight]
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total


def subtracted(first: Integers, second: Integers, cores: int) -> Figures:
    """Measures the difference of two pictures of the same shape, like `filtered`."""
    count = SIDE * SIDE
    pair = [one.ravel()[:count].astype(int) for one in (first, second)]

    def compute(encrypted: list[Any]) -> list[Any]:
        return [a - b for a, b in zip(encrypted[:count], encrypted[count:], strict=True)]

    return _measured(np.concatenate(pair), compute, pair[0] - pair[1], (2 * first.size, first.size), cores)


def _measured(
    values: Integers,
    compute: Callable[[list[Any]], list[Any]],
    wanted: Integers,
    whole: tuple[int, int],
    cores: int,
) -> Figures:
    """Encrypts, computes, decrypts; `whole` has the numbers of values and results of a whole picture."""
    public, private = _key()
    started = time.perf_counter()
    encrypted = [public.encrypt(value) for value in values.tolist()]
    computing = time.perf_counter()
    results = compute(encrypted)
    decrypting = time.perf_counter()
    found = [private.decrypt(result) for result in results]
    end = time.perf_counter()
    each = {
        "encrypt": (computing - started) / len(values),
        "compute": (decrypting - computing) / len(results),
        "decrypt": (end - decrypting) / len(results),
    }
    seconds = whole[0] * each["encrypt"] + whole[1] * (each["compute"] + each["decrypt"])
    return {
        "what": f"one value a ciphertext; {len(results)} results were measured and scaled up",
        "key_bits": KEY_BITS,
        "sample_values": len(values),
        "sample_results": len(results),
        "values": whole[0],
        "results": whole[1],
        "seconds_each": each,
        "seconds_one_core": seconds,
        "seconds_all_cores_at_best": seconds / cores,
        "sent_bytes": whole[0] * _CIPHERTEXT_BYTES,
        "received_bytes": whole[1] * _CIPHERTEXT_BYTES,
        "largest_difference": int(np.abs(np.array(found) - wanted).max()),
    }


def scale_space(one: Figures, octaves: int, cores: int, differences: int = 5) -> Figures:
    """Returns a lower bound for SIFT: encrypting the pixels, decrypting the differences of every octave.

    Args:
        one: figures of a filter on the same picture, with the seconds of each operation.
        octaves: number of octaves.
        cores: number of cores over which the work is assumed to be split perfectly.
        differences: number of differences of Gaussians in an octave.
    """
    results = sum(differences * (one["values"] >> 2 * octave) for octave in range(octaves))
    each = one["seconds_each"]
    seconds = one["values"] * each["encrypt"] + results * each["decrypt"]
    return {
        "what": "at least: encryption and decryption alone, without the filters, as measured for one filter",
        "key_bits": KEY_BITS,
        "values": one["values"],
        "results": results,
        "seconds_one_core": seconds,
        "seconds_all_cores_at_best": seconds / cores,
        "sent_bytes": one["values"] * _CIPHERTEXT_BYTES,
        "received_bytes": results * _CIPHERTEXT_BYTES,
    }
