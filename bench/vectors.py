"""Random unit vectors, and the exact answers by which a search is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
_BLOCK_ROWS = 1 << 16
# Norm of the noise that is added to a unit vector to make a query for which it is the clear winner.
_NEAR = 0.5


def gallery(size: int, dimension: int, seed: int) -> Matrix:
    """Returns unit vectors in random directions: float32 [size, dimension]."""
    rows = np.empty((size, dimension), np.float32)
    for start in range(0, size, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, size)
        random = np.random.default_rng([seed, start])
        rows[start:stop] = _unit(random.standard_normal((stop - start, dimension), np.float32))
    return rows


def strangers(count: int, dimension: int, seed: int) -> Matrix:
    """Returns queries near no vector: the hardest to rank, because many scores are nearly equal."""
    random = np.random.default_rng([seed, 1])
    return _unit(random.standard_normal((count, dimension), np.float32))


def neighbours(rows: Matrix, count: int, seed: int) -> tuple[Matrix, list[int]]:
    """Returns queries near one vector each, and the rows of these vectors, the clear winners."""
    random = np.random.default_rng([seed, 2])
    chosen = random.choice(len(rows), count, replace=False)
    noise = _unit(random.standard_normal((count, rows.shape[1]), np.float32))
    return _unit(rows[chosen] + _NEAR * noise), chosen.tolist()


def _unit(rows: Matrix) -> Matrix:
    scaled: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def exact_scores(rows: Matrix, queries: Matrix) -> Scores:
    """Returns cosine similarities in double precision: [queries, rows]."""
    wide = queries.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    scores = np.empty((len(queries), len(rows)))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        scores[:, start : start + len(block)] = wide @ block.T
    return scores


def judge(scores: Scores, answers: Sequence[Sequence[Any]], k: int) -> dict[str, Any]:
    """Compares hits with the exact scores.

    Args:
        scores: result of `exact_scores`, a row for each query.
        answers: the hits of each query; an item's id is its row number.
        k: number of hits that were requested.

    Returns:
        Recall@k and the largest difference of a returned score from the exact one.
    """
    found, error = 0, 0.0
    wanted = min(k, scores.shape[1])
    for row, hits in zip(scores, answers, strict=True):
        best = np.argpartition(-row, wanted - 1)[:wanted]
        chosen = [int(hit.id) for hit in hits]
        found += len(set(chosen) & set(best.tolist()))
        error = max(error, *(abs(hit.score - row[index]) for hit, index in zip(hits, chosen, strict=True)))
    return {
        "queries": len(answers),
        f"recall_at_{k}": found / (wanted * len(answers)),
        "max_score_error": error,
    }
