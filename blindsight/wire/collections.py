"""Collections, what becomes of their items, and the state of the services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.names import AskedNames, Names
from blindsight.wire.records import Record

Metric = Literal["cosine", "euclidean", "dot", "squared-cosine"]

_METRICS: dict[Metric, int] = {
    "cosine": pb.METRIC_COSINE,
    "euclidean": pb.METRIC_EUCLIDEAN,
    "dot": pb.METRIC_DOT,
    "squared-cosine": pb.METRIC_SQUARED_COSINE,
}
METRIC = Names("metric", _METRICS)
ASKED_METRIC = AskedNames("metric", _METRICS)


@dataclass(frozen=True, slots=True)
class CollectionRequest(Record[pb.CreateCollectionRequest]):
    """A collection that is to be made; what is 0, empty or None is chosen.

    Attributes:
        scheme: "ckks", "bfv" or "paillier"; empty: "ckks".
        embedder: "descriptor", "pixels", "sift" or "none"; empty: "descriptor", and "pixels" with channels.
        dimension: of a vector.
        expected_size: items that it may have one day; 0: 10,000.
        max_norm: longest vector that fits (dot and euclidean); 0: set by the first ingest.
        parameter_set: one of the scheme's.
        channels: "grey" or "rgb": embedder pixels keeps the raw pixels of these channels.
        size: side of the picture that embedder pixels makes, in pixels.
    """

    name: str
    scheme: str = ""
    embedder: str = ""
    dimension: int = 0
    metric: Annotated[Metric | None, ASKED_METRIC] = None
    expected_size: int = 0
    max_norm: float = 0.0
    parameter_set: str = ""
    channels: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class CollectionInfo(Record[pb.Collection]):
    """A collection as its keyholder describes it.

    Attributes:
        security: the parameter set's standing, for people.
        precision: how values are rounded, for people.
        dimension: of a vector, as the user sees it.
        metric: "cosine" and "dot" are better when higher, "euclidean" (squared distance) and
            "squared-cosine" (distance of the channels' values from all ones) when lower.
        max_norm: longest vector that fits (dot and euclidean); 0 until the first ingest sets it.
        stride: consecutive coefficients that one vector takes in a ciphertext.
        items: that a search sees.
        tail_items: of these, in the tail, until a repack.
        deleted_items: still taking room in ciphertexts, until a repack.
        size_bytes: in storage.
        score_error_bound: largest difference of a score from the plaintext's.
        plane_items: that have encrypted pixel planes.
        plane_bytes: of these planes, part of `size_bytes`.
        channels: of raw pixels, "grey" or "rgb"; empty for other vectors.
        query_visible_to_server: whether a search shows the numbers of its query to the server.
    """

    name: str
    scheme: str
    parameter_set: str
    security: str
    embedder: str
    dimension: int
    metric: Annotated[Metric, METRIC]
    expected_size: int
    max_norm: float
    stride: int
    items: int
    tail_items: int
    deleted_items: int
    size_bytes: int
    score_error_bound: float
    created_unix_seconds: int
    precision: str
    plane_items: int
    plane_bytes: int
    channels: str
    query_visible_to_server: bool


@dataclass(frozen=True, slots=True)
class Deletion(Record[pb.DeleteItemsResponse]):
    """How many items were deleted, and which ids were not there."""

    deleted: int
    unknown_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepackProgress(Record[pb.RepackResponse]):
    """How far a repack is; the last one is its result."""

    items_done: int = 0
    items_total: int = 0
    segments_retired: int = 0
    segments_written: int = 0


@dataclass(frozen=True, slots=True)
class ServiceStatus(Record[pb.ServiceStatus]):
    """One service; `error` says why it is not reachable."""

    name: str
    zone: str
    reachable: bool
    version: str = ""
    collections: int = 0
    items: int = 0
    disk_bytes: int = 0
    memory_bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class VaultStatus(Record[pb.GetStatusResponse]):
    """The three services, the key id in hex, and every collection."""

    services: tuple[ServiceStatus, ...]
    key_id: str
    collections: tuple[CollectionInfo, ...]

    @property
    def reachable(self) -> bool:
        """Whether every service answers."""
        return all(service.reachable for service in self.services)
