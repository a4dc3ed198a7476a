"""The table of metrics, each of which turns vectors into linear forms (`linear`, `channels`)."""

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
    """Returns the linear forms of a metric.

    Args:
        metric: the measure of similarity.
        dimension: length of the user's vectors.
        max_norm: largest norm of a vector that fits; cosine does not use it.
        channels: number of parts of a vector, which squared cosine compares one by one.
    """
    if metric is Metric.SQUARED_COSINE:
        return SquaredCosine(dimension, channels)
    return METRICS[metric](dimension, max_norm or 1.0)
