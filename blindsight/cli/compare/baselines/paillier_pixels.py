"""Photos compared under Paillier: the gallery is encrypted, the query is visible to the server.

A ciphertext packs one pixel of many photos, so that one inner product of a channel compares all of them;
encrypting a single photo would cost as much as a whole block.  The squared norms are encrypted with the
photos.  The server learns the query; the owner decrypts integers and divides them.

    python -P -m blindsight.cli.compare.baselines.paillier_pixels SAMPLE.npz
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.additive import AdditiveScheme
from blindsight.additive.block import AdditiveBlock
from blindsight.additive.evaluation import AdditiveEvaluator
from blindsight.additive.layout import plan
from blindsight.cli.compare.baselines.sample import Sample, answer, report
from blindsight.trusted.additive import AdditiveKey

PIXEL_BITS = 8
SQUARE_BITS = 28  # a sum of 4096 squares of 255
PIECES = 8  # a channel is encrypted in this many pieces, to report progress

Integers = npt.NDArray[np.int64]


class Block:
    """The encrypted photos [n, 3, 4096] that share ciphertexts: as many as one has slots."""

    def __init__(self, key: AdditiveKey, photos: Integers) -> None:
        self._key = key
        self._photos = photos
        _, channels, pixels = photos.shape
        self._guard_bits = int(pixels * 255).bit_length()
        self.pixels: list[list[AdditiveBlock]] = []
        for channel in range(channels):
            self.pixels.append(self._encrypt_channel(channel))
        squares = (photos**2).sum(axis=2).T
        self.squares = key.encrypt(squares, value_bits=SQUARE_BITS, guard_bits=0)

    def _encrypt_channel(self, channel: int) -> list[AdditiveBlock]:
        made = []
        for part in np.array_split(self._photos[:, channel].T, PIECES):
            made.append(self._key.encrypt(part, value_bits=PIXEL_BITS, guard_bits=self._guard_bits))
            report(channel * PIECES + len(made), len(self._photos[0]) * PIECES)
        return made

    def size_bytes(self) -> int:
        """Returns the size of all that the server stores."""
        blocks = [part for channel in self.pixels for part in channel]
        return sum(len(one.to_bytes()) for one in [*blocks, self.squares])


def compare(evaluator: AdditiveEvaluator, block: Block, query: Integers) -> list[AdditiveBlock]:
    """Computes the server's part: inner products [1, n] of each channel with a plaintext query [3, 4096]."""
    found = []
    for parts, channel in zip(block.pixels, query, strict=True):
        weights = np.array_split(channel, PIECES)
        sums = [
            evaluator.inner_products(part, weight.tolist())
            for part, weight in zip(parts, weights, strict=True)
        ]
        total = sums[0]
        for one in sums[1:]:
            total = evaluator.add(total, one)
        found.append(total)
    return found


def decrypt(
    key: AdditiveKey, block: Block, products: list[AdditiveBlock], query: Integers
) -> npt.NDArray[np.float64]:
    """Computes the owner's part: decrypts, and returns squared cosines [n, 3]."""
    dots = np.stack([key.decrypt(one)[0] for one in products], axis=1).astype(np.float64)
    lengths = key.decrypt(block.squares).T.astype(np.float64)
    cosines: npt.NDArray[np.float64] = dots**2 / (lengths * (query.astype(np.float64) ** 2).sum(axis=1))
    return cosines


def measure(sample: Sample) -> dict[str, Any]:
    """Encrypts one block of the sample's first photos, and measures every query against it."""
    started = time.perf_counter()
    key = AdditiveKey.generate(AdditiveScheme.PAILLIER)
    keygen_seconds = time.perf_counter() - started
    guard_bits = int(sample.gallery.shape[2] * 255).bit_length()
    planned = plan((1, 1 << 12), key.public_key.group.message_bits, PIXEL_BITS, guard_bits)
    capacity = planned.per_ciphertext
    photos = sample.gallery[:capacity].astype(np.int64)
    started = time.perf_counter()
    block = Block(key, photos)
    encrypt_seconds = time.perf_counter() - started
    evaluator = AdditiveEvaluator(key.public_key)
    comparisons, decryptions, scores = [], [], []
    for number, query in enumerate(sample.queries.astype(np.int64)):
        started = time.perf_counter()
        products = compare(evaluator, block, query)
        compared = time.perf_counter()
        values = decrypt(key, block, products, query)
        comparisons.append(compared - started)
        decryptions.append(time.perf_counter() - compared)
        scores += [
            {"query": number, "image": row, "channels": channels}
            for row, channels in enumerate(values.tolist())
        ]
    return {
        "key_bits": key.public_key.bits,
        "images_per_block": capacity,
        "measured_images": len(photos),
        "keygen_seconds": keygen_seconds,
        "encrypt_seconds": encrypt_seconds,
        "compare_seconds": comparisons,
        "decrypt_seconds": decryptions,
        "block_bytes": block.size_bytes(),
        "scores": scores,
    }


if __name__ == "__main__":
    answer(measure(Sample.read()))
