"""The table of metrics: each makes linear forms of vectors (`linear`, `channels`)."""

from __future__ import annotations

from collections.abc import Callable

from blindsight.trusted.similarity.channels import SquaredCosine
from blindsight.trusted.similarity.linear import Cosine, Dot, Euclidean, Linear, Metric

METRICS: dict[Metric, Callable[[int, float], Linear]] = {
    Metric.COSINE: Cosine,
    Metric.DOT: Dot,
    Metric.EUCLIDEAN: Euclidean,
}


def make(metric: Metric, dimension: int, max_norm: float, channels: int = 0) -> Linear:
    """The linear forms of a metric.

    Args:
        metric: which.
        dimension: of the user's vectors.
        max_norm: longest vector that fits; cosine does not use it.
        channels: parts of a vector that squared cosine compares one by one.
    """
    if metric is Metric.SQUARED_COSINE:
        return SquaredCosine(dimension, channels)
    return METRICS[metric](dimension, max_norm or 1.0)
