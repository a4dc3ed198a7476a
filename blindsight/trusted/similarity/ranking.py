"""Selection of the best of many scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blindsight.packing.columns import Floats


def best_of(values: Floats, k: int, *, largest: bool) -> npt.NDArray[np.intp]:
    """Returns the indices of the k best values, best first; all of them if there are fewer.

    Args:
        values: [count].
        k: at least 1.
        largest: whether large values are better.
    """
    badness = -values if largest else values
    if len(badness) <= k:
        return np.argsort(badness, kind="stable")
    chosen = np.argpartition(badness, k - 1)[:k]
    return chosen[np.argsort(badness[chosen], kind="stable")]
