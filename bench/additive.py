"""Compares the keyholder's Paillier with LightPHE's: one core, one run, the same key.

    python bench/additive.py --bits 3072

Both encrypt the same random 8-bit pixels under the same n.  Ours packs as many values as fit, with 8 guard
bits each; LightPHE takes one value per ciphertext, by its fastest call (the algorithm object, without tensors
and processes).  Every decryption is checked against the pixels.  Raw figures go to a JSON file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
from lightphe import LightPHE
from written import write_document

from blindsight.additive import AdditiveScheme
from blindsight.additive.evaluation import AdditiveEvaluator
from blindsight.additive.keys import SECRET_MAGIC, read_numbers
from blindsight.trusted.additive import AdditiveKey

RESULTS = Path(__file__).parent / "results"
VALUE_BITS = 8
GUARD_BITS = 8
AIM = 50
Figures = dict[str, Any]


def timed(work: Callable[[], Any], repeats: int) -> tuple[Any, list[float]]:
    """Repeats a call; returns its last result, and the seconds of every repeat."""
    seconds, result = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return result, seconds


def rates(seconds: list[float], ciphertexts: int, values: int) -> Figures:
    """Returns the rates of the median repeat."""
    median = statistics.median(seconds)
    return {
        "seconds": seconds,
        "ciphertexts": ciphertexts,
        "values": values,
        "ciphertexts_per_second": ciphertexts / median,
        "values_per_second": values / median,
    }


def ours(key: AdditiveKey, pixels: np.ndarray[Any, Any], repeats: int) -> Figures:
    """Measures encryption, decryption and the server's operations on packed pixels."""
    one = pixels[:, :1]
    _, first = timed(lambda: key.encrypt(one, value_bits=VALUE_BITS, guard_bits=GUARD_BITS), 1)
    block, encryption = timed(
        lambda: key.encrypt(pixels, value_bits=VALUE_BITS, guard_bits=GUARD_BITS), repeats
    )
    opened, decryption = timed(lambda: key.decrypt(block), repeats)
    evaluator = AdditiveEvaluator(key.public_key)
    evaluator.rerandomise(key.encrypt(one, value_bits=VALUE_BITS, guard_bits=GUARD_BITS))  # builds its table
    difference, subtraction = timed(lambda: evaluator.subtract(block, block), repeats)
    weighted, weighing = timed(lambda: evaluator.weighted_sum([block, block], [100, -99]), repeats)
    _, rerandomisation = timed(lambda: evaluator.rerandomise(block), repeats)
    if (opened != pixels).any() or key.decrypt(difference).any() or (key.decrypt(weighted) != pixels).any():
        raise RuntimeError("what was decrypted is not what was encrypted")
    count = block.header.layout.count
    measured = {
        "encryption": encryption,
        "decryption": decryption,
        "difference": subtraction,
        "weighted_sum_of_two": weighing,
        "rerandomisation": rerandomisation,
    }
    return {
        "values_per_ciphertext": block.header.layout.per_ciphertext,
        "guard_bits": GUARD_BITS,
        "first_encryption_seconds": first[0],
        **{what: rates(seconds, count, pixels.size) for what, seconds in measured.items()},
    }


def lightphes(key: AdditiveKey, pixels: list[int], repeats: int) -> Figures:
    """Measures LightPHE's Paillier with the same key, one value per ciphertext."""
    _, _, (n, _, p, q) = read_numbers(SECRET_MAGIC, key.to_secret().reveal_secret())
    keys = {"public_key": {"n": n, "g": n + 1}, "private_key": {"phi": (p - 1) * (q - 1)}}
    system = LightPHE("Paillier", keys=keys).cs
    ciphertexts, encryption = timed(lambda: [system.encrypt(pixel) for pixel in pixels], repeats)
    opened, decryption = timed(lambda: [system.decrypt(one) for one in ciphertexts], repeats)
    if opened != pixels:
        raise RuntimeError("what LightPHE decrypted is not what it encrypted")
    return {
        "values_per_ciphertext": 1,
        "encryption": rates(encryption, len(pixels), len(pixels)),
        "decryption": rates(decryption, len(pixels), len(pixels)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bits", type=int, default=3072)
    parser.add_argument("--pixels", type=int, default=64 * 64 * 3)
    parser.add_argument("--lightphe-pixels", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "additive.json")
    options = parser.parse_args()
    described = machine.describe()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    key, keygen = timed(lambda: AdditiveKey.generate(AdditiveScheme.PAILLIER, options.bits), 3)
    pixels = np.random.default_rng(1).integers(0, 256, (1, options.pixels))
    mine = ours(key, pixels, options.repeats)
    theirs = lightphes(key, pixels[0, : options.lightphe_pixels].tolist(), options.repeats)
    ratios = {
        f"{what}_{rate}": mine[what][f"{rate}_per_second"] / theirs[what][f"{rate}_per_second"]
        for what in ("encryption", "decryption")
        for rate in ("ciphertexts", "values")
    }
    report = {
        "machine": described,
        "threads": 1,
        "key_bits": options.bits,
        "value_bits": VALUE_BITS,
        "key_generation_seconds": keygen,
        "blindsight_paillier": mine,
        "lightphe_paillier": theirs,
        "times_lightphe": ratios,
        "aim_times_values_per_second": AIM,
    }
    write_document(options.out, report)
    for name, figures in (("blindsight", mine), ("lightphe", theirs)):
        for what in ("encryption", "decryption"):
            rate = figures[what]
            print(
                f"{name:10} {what}: {rate['ciphertexts_per_second']:,.1f} ciphertexts/s, "
                f"{rate['values_per_second']:,.0f} values/s"
            )
    print({what: round(ratio) for what, ratio in ratios.items()})
    return 0 if ratios["encryption_values"] >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
