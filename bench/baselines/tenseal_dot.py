"""TenSEAL as usually applied to encrypted search: a rotated dot product per vector, or a tensor batch.

Both sides are encrypted, as in Blindsight.  A gallery of real size would take minutes to hours, so a sample
is measured and scaled up to the size of the gallery; the results say so.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import tenseal
from baselines.flat import timed

Matrix = npt.NDArray[np.float32]

# The parameters of projects that compare faces in this way.
RING_DEGREE = 8192
COEFFICIENT_BITS = [60, 40, 40, 60]
SCALE = 2.0**40
SLOTS = RING_DEGREE // 2
_REPEATS = 3


def _context() -> Any:
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, RING_DEGREE, coeff_mod_bit_sizes=COEFFICIENT_BITS)
    context.global_scale = SCALE
    context.generate_galois_keys()
    return context


def _parameters() -> dict[str, Any]:
    return {
        "version": tenseal.__version__,
        "ring_degree": RING_DEGREE,
        "coefficient_bits": COEFFICIENT_BITS,
        "scale_bits": 40,
    }


def measure_per_vector(gallery: Matrix, query: Matrix, pairs: int = 20) -> dict[str, Any]:
    """Measures `ckks_vector.dot`, one ciphertext per vector: the first `pairs` vectors, scaled to all."""
    context = _context()
    sample = gallery[:pairs].astype(np.float64)
    rows = [tenseal.ckks_vector(context, row.tolist()) for row in sample]
    encrypted = tenseal.ckks_vector(context, query.astype(np.float64).tolist())
    rows[0].dot(encrypted)
    seconds = [timed(lambda row=row: row.dot(encrypted)) for row in rows]
    scores = np.array([row.dot(encrypted).decrypt()[0] for row in rows])
    median = float(np.median(seconds))
    return {
        **_parameters(),
        "measured_pairs": len(rows),
        "seconds_per_pair": seconds,
        "p50_seconds_per_pair": median,
        "scaled_to_gallery_seconds": median * len(gallery),
        "scaled": True,
        "max_score_error": float(np.abs(scores - sample @ query.astype(np.float64)).max()),
    }


def measure_batched(gallery: Matrix, query: Matrix) -> dict[str, Any]:
    """Measures `ckks_tensor(batch=True)`: one ciphertext per dimension of 4,096 vectors, product and sum."""
    context = _context()
    sample = gallery[:SLOTS].astype(np.float64)
    started = time.perf_counter()
    columns = _tensor(context, sample)
    encrypt_seconds = time.perf_counter() - started
    repeated = _tensor(context, np.tile(query.astype(np.float64), (len(sample), 1)))
    seconds = [timed(lambda: (columns * repeated).sum(axis=1)) for _ in range(_REPEATS)]
    scores = np.array((columns * repeated).sum(axis=1).decrypt().tolist())
    median = float(np.median(seconds))
    return {
        **_parameters(),
        "measured_vectors": len(sample),
        "seconds": seconds,
        "p50_seconds": median,
        "vectors_per_second": len(sample) / median,
        "encrypt_vectors_per_second": len(sample) / encrypt_seconds,
        "scaled_to_gallery_seconds": median * len(gallery) / len(sample),
        "scaled": len(gallery) != len(sample),
        "max_score_error": float(np.abs(scores - sample @ query.astype(np.float64)).max()),
    }


def _tensor(context: Any, rows: npt.NDArray[np.float64]) -> Any:
    plain = tenseal.plain_tensor(rows.ravel().tolist(), list(rows.shape))
    return tenseal.ckks_tensor(context, plain, batch=True)
