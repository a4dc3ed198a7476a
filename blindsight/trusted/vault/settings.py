"""The settings of a new collection: what fits together, and what is filled in."""

from __future__ import annotations

from dataclasses import replace

from blindsight.errors import InvalidArgument
from blindsight.packing.columns import CollectionLayout, Layout, collection_layout, plan_stride
from blindsight.parameters import Parameters, by_name, default_for, of_ring
from blindsight.trusted import embedders
from blindsight.trusted.embedders.pixels import CHANNELS, Pixels
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.similarity import linear
from blindsight.trusted.vault.names import check_name, composed

DEFAULT_EXPECTED_SIZE = 10_000
MAX_DIMENSION = 4096
# Norms of single-precision vectors lie between these, and their squares are finite in double precision.
SHORTEST_NORM, LONGEST_NORM = 1e-45, 1e41


def new_config(
    name: str,
    *,
    scheme: str,
    parameter_set: str,
    embedder: str,
    dimension: int,
    metric: linear.Metric | None,
    expected_size: int,
    max_norm: float,
    channels: str = "",
    size: int = 0,
) -> CollectionConfig:
    """Returns the settings of a new collection.

    Args:
        channels: colour channels of raw pixels; "" for any other vectors.
        size: side of an image of raw pixels; 0 for the embedder's default.

    Raises:
        InvalidArgument: if they do not fit together.
    """
    name = composed(name)
    check_name(name)
    parameters = parameters_for(scheme, parameter_set)
    metric = _metric(metric, channels)
    if embedder == embedders.SIFT:
        _require_recognisable(parameters, metric)
    config = CollectionConfig(
        name=name,
        embedder=embedder,
        dimension=_dimension(embedder, _of_size(size, dimension, embedder, channels), channels),
        metric=metric,
        expected_size=expected_size or DEFAULT_EXPECTED_SIZE,
        max_norm=_max_norm(max_norm, embedder, metric),
        parameter_set=parameters.name,
        stride=0,
        channels=channels,
    )
    fields = config.linear().fields
    degree, most_stride = parameters.ring_degree, parameters.most_stride
    stride = plan_stride(fields, degree, config.expected_size, most_stride, parameters.residue_bytes)
    _require_room(parameters, collection_layout(fields, degree, stride, most_stride))
    return replace(config, stride=stride)


def parameters_for(scheme: str, name: str) -> Parameters:
    """Returns the named parameter set, or the scheme's default.

    Raises:
        InvalidArgument: if the scheme or set is unknown, or the set is another scheme's.
    """
    if not name:
        return default_for(scheme)
    parameters = by_name(name)
    if default_for(scheme).scheme is not parameters.scheme:
        raise InvalidArgument(f"parameter set {name} is of {parameters.scheme.name.lower()}, want {scheme}")
    return parameters


def summed_columns(layout: Layout) -> int:
    """Returns the number of columns whose products, and their noise, add up to one score."""
    return max(last - first for first, last in layout.field_columns)


def _require_room(parameters: Parameters, layout: CollectionLayout) -> None:
    """Refuses a collection whose scores would be lost in noise or overflow, according to the bound."""
    columns = max(summed_columns(layout.main), summed_columns(layout.tail))
    if parameters.max_batches(columns) < 1:
        raise InvalidArgument(
            f"{parameters.name} has no room for {parameters.hindrance} of {columns} columns; "
            "take a smaller dimension or another parameter set"
        )


def _metric(metric: linear.Metric | None, channels: str) -> linear.Metric:
    """Returns the requested metric, or the default one for these channels."""
    suits = linear.Metric.SQUARED_COSINE if channels else linear.Metric.COSINE
    if metric is None:
        return suits
    if channels and metric is not suits:
        raise InvalidArgument(f"metric {metric} of colour channels, want {suits}")
    if metric is linear.Metric.SQUARED_COSINE and not channels:
        raise InvalidArgument(f"metric {metric} is of colour channels, want channels grey or rgb with it")
    return metric


def _require_recognisable(parameters: Parameters, metric: linear.Metric) -> None:
    """Refuses settings under which photos cannot be found by their keypoints."""
    of_ring(parameters, "embedder sift")
    if metric is not linear.Metric.COSINE:
        raise InvalidArgument(f"metric {metric} with embedder sift, want cosine")


def _of_size(size: int, dimension: int, embedder: str, channels: str) -> int:
    """Returns the dimension of images of `size` pixels a side, or `dimension` if the size is 0."""
    if not size:
        return dimension
    if embedder != Pixels.name:
        raise InvalidArgument(f"size {size} with embedder {embedder}, want embedder {Pixels.name} for it")
    of_size = size * size * CHANNELS.get(channels, 1)
    if dimension not in (0, of_size):
        raise InvalidArgument(f"dimension {dimension} with size {size}, want {of_size} or none")
    return of_size


def _dimension(embedder: str, dimension: int, channels: str) -> int:
    if embedder not in (embedders.NONE, embedders.EXTERNAL) or channels:
        return embedders.create(embedder, dimension or None, channels).dimension
    if not 1 <= dimension <= MAX_DIMENSION:
        raise InvalidArgument(f"dimension {dimension}, want 1 to {MAX_DIMENSION} for vectors (--dimension)")
    return dimension


def _max_norm(max_norm: float, embedder: str, metric: linear.Metric) -> float:
    if max_norm != 0 and not SHORTEST_NORM <= max_norm <= LONGEST_NORM:
        raise InvalidArgument(f"largest norm {max_norm:g}, want {SHORTEST_NORM:g} to {LONGEST_NORM:g}")
    if metric is linear.Metric.COSINE or embedder not in (embedders.NONE, embedders.EXTERNAL):
        return 1.0  # embedders give unit vectors
    return max_norm
