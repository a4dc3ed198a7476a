"""Parts of requests that several rpcs share."""

from __future__ import annotations

import numpy as np

from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.packing.columns import Floats
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, Receiver
from blindsight.trusted.similarity.linear import Metric

METRICS: dict[int, Metric] = {
    pb.METRIC_UNSPECIFIED: Metric.COSINE,
    pb.METRIC_COSINE: Metric.COSINE,
    pb.METRIC_EUCLIDEAN: Metric.EUCLIDEAN,
    pb.METRIC_DOT: Metric.DOT,
    pb.METRIC_SQUARED_COSINE: Metric.SQUARED_COSINE,
}
METRIC_VALUES = {
    Metric.COSINE: pb.METRIC_COSINE,
    Metric.EUCLIDEAN: pb.METRIC_EUCLIDEAN,
    Metric.DOT: pb.METRIC_DOT,
    Metric.SQUARED_COSINE: pb.METRIC_SQUARED_COSINE,
}


def metric(value: int) -> Metric:
    """The metric of an enum value; unspecified means cosine.

    Raises:
        InvalidArgument: for a value of a newer client.
    """
    if value not in METRICS:
        raise InvalidArgument(f"metric {value}, want one of {sorted(METRICS)}")
    return METRICS[value]


def receiver_of(header: pb.FileHeader) -> Receiver:
    """What takes the chunks of a photo.

    Raises:
        ResourceExhausted, InvalidArgument: when it announces too much, or nothing.
    """
    return Receiver(header.size_bytes, header.sha256, limit_bytes=MAX_PHOTO_BYTES, what="a photo")


def matrix(block: pb.VectorBlock) -> Floats:
    """The vectors of a block: [vectors, dimension].

    Raises:
        InvalidVector: when the bytes do not make a matrix of that dimension.
    """
    if block.dimension < 1 or not block.values or len(block.values) % (4 * block.dimension):
        raise InvalidVector(
            f"{len(block.values)} bytes of vectors, want rows of {block.dimension} float32 values"
        )
    return np.frombuffer(block.values, "<f4").reshape(-1, block.dimension).astype(np.float64)
