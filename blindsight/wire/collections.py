"""Records of collections, of deletions and repacks, and of the services' status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.common import ASKED_CHANNELS, CHANNELS, COLLECTION_SCHEME, SCHEME
from blindsight.wire.names import AskedNames, Names
from blindsight.wire.records import Record

Metric = Literal["cosine", "euclidean", "dot", "squared-cosine"]

_METRICS: dict[Metric, int] = {
    "cosine": pb.METRIC_COSINE,
    "euclidean": pb.METRIC_EUCLIDEAN,
    "dot": pb.METRIC_DOT,
    "squared-cosine": pb.METRIC_SQUARED_COSINE,
}
Zone = Literal["trusted", "untrusted"]
ZONE: Names[Zone] = Names("zone", {"trusted": pb.ZONE_TRUSTED, "untrusted": pb.ZONE_UNTRUSTED})
DamagedPart = Literal["collection", "log", "segment", "item", "unnamed item"]
DAMAGED_PART: Names[DamagedPart] = Names(
    "damage of",
    {
        "collection": pb.DAMAGED_PART_COLLECTION,
        "log": pb.DAMAGED_PART_LOG,
        "segment": pb.DAMAGED_PART_SEGMENT,
        "item": pb.DAMAGED_PART_ITEM,
        "unnamed item": pb.DAMAGED_PART_UNNAMED_ITEM,
    },
)
METRIC = Names("metric", _METRICS)
ASKED_METRIC = AskedNames("metric", _METRICS)


@dataclass(frozen=True, slots=True)
class CollectionRequest(Record[pb.CreateCollectionRequest]):
    """The settings of a new collection; the keyholder chooses those that are 0, empty or None.

    Attributes:
        scheme: "ckks", "bfv" or "paillier"; empty: "ckks".
        embedder: "descriptor", "pixels", "sift", "external" or "none"; empty: "descriptor", or "pixels" with
            channels.
        dimension: number of values of a vector.
        expected_size: number of items that the collection may grow to; 0: 10,000.
        max_norm: largest norm of a vector (dot and euclidean); 0: set by the first ingest.
        parameter_set: one of the scheme's.
        channels: "grey" or "rgb": embedder pixels keeps the raw pixels of these channels.
        size: side of the thumbnail that embedder pixels makes, in pixels.
    """

    name: str
    scheme: Annotated[str, COLLECTION_SCHEME] = ""
    embedder: str = ""
    dimension: int = 0
    metric: Annotated[Metric | None, ASKED_METRIC] = None
    expected_size: int = 0
    max_norm: float = 0.0
    parameter_set: str = ""
    channels: Annotated[str, ASKED_CHANNELS] = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class CollectionInfo(Record[pb.Collection]):
    """A collection as its keyholder describes it.

    Attributes:
        security: security level of the parameter set, as human-readable text.
        precision: how values are rounded, as human-readable text.
        dimension: number of values of a vector, as the user sees it.
        metric: "cosine" and "dot" are better when higher, "euclidean" (squared distance) and
            "squared-cosine" (distance of the channels' values from all ones) when lower.
        max_norm: largest norm of a vector (dot and euclidean); 0 until the first ingest sets it.
        stride: number of consecutive coefficients that one vector takes in a ciphertext.
        items: number of items that a search sees.
        tail_items: those of them that are in the tail, until a repack.
        deleted_items: deleted items that still occupy ciphertexts, until a repack.
        size_bytes: bytes in storage.
        score_error_bound: largest difference between a score and that of a plaintext search.
        plane_items: number of items with encrypted pixel planes.
        plane_bytes: bytes of these planes, part of `size_bytes`.
        channels: channels of raw pixels, "grey" or "rgb"; empty for other vectors.
        query_visible_to_server: whether a search shows the numbers of its query to the server.
        created: when it was created, as storage says.
        damage: why the collection cannot be used; empty if it can.
        quarantined_items: those of `items` that no search ranks, because their vectors were lost.
        undescribed_items: those of `items` that no search ranks, because their photos could not be described.
        aliases: its other names, in their order.
    """

    name: str
    scheme: Annotated[str, SCHEME]
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
    created: datetime
    precision: str
    plane_items: int
    plane_bytes: int
    channels: Annotated[str, CHANNELS]
    query_visible_to_server: bool
    damage: str = ""
    quarantined_items: int = 0
    undescribed_items: int = 0
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion(Record[pb.DeleteItemsResponse]):
    """The number of items that were deleted, and the ids that were not found."""

    deleted: int
    unknown_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rollback(Record[pb.AcceptRollbackResponse]):
    """A collection that may have been set back, with its owner's consent.

    Attributes:
        writes_before: number of writes of the newest state that the keyholder had seen.
        writes: number of writes of the state that it has now.
        items: number of items in it.
        set_back: whether it is another history than was seen; if not, nothing changed.
    """

    writes_before: int
    writes: int
    items: int
    set_back: bool


@dataclass(frozen=True, slots=True)
class Damage(Record[pb.Damage]):
    """A part of a collection that is not as it was written.

    Attributes:
        part: what is damaged; an unnamed item is one whose id is lost with its record.
        name: name of the segment, id of the item, or handle of the unnamed item in hex; else empty.
        message: what is wrong with it, as human-readable text.
    """

    part: Annotated[DamagedPart, DAMAGED_PART]
    name: str
    message: str

    @property
    def what(self) -> str:
        """The part and its name, as human-readable text."""
        return f"{self.part} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class CheckProgress(Record[pb.CheckResponse]):
    """The progress of a check; the last one is its result.

    Attributes:
        segments_done, segments_total: segments of ciphertexts.
        items_done, items_total: items that have more than a vector.
        damaged: number of segments and items that are damaged or lost.
        damages: the first hundred of them.
        rebuildable: number of items without a vector that a repair makes anew from their originals.
        losing: number of items that a repair quarantines, since they have no original that opens, or no name.
        repairs_done, repairs_total: segments of a repair, and originals that it opens.
        rebuilt: number of items that this repair has made anew.
        quarantined: number of items that are quarantined now: no search ranks them.
        lost_ids: ids of the first thousand items that are quarantined or `losing`.
    """

    segments_done: int = 0
    segments_total: int = 0
    items_done: int = 0
    items_total: int = 0
    damaged: int = 0
    damages: tuple[Damage, ...] = ()
    rebuildable: int = 0
    losing: int = 0
    repairs_done: int = 0
    repairs_total: int = 0
    rebuilt: int = 0
    quarantined: int = 0
    lost_ids: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """What has been read and repaired."""
        return self.segments_done + self.items_done + self.repairs_done

    @property
    def total(self) -> int:
        """What is to be read and repaired, as far as it is known."""
        return self.segments_total + self.items_total + self.repairs_total

    @property
    def complete(self) -> bool:
        """Whether everything has been read, and repaired if that was asked for."""
        return self.done == self.total


@dataclass(frozen=True, slots=True)
class RepackProgress(Record[pb.RepackResponse]):
    """The progress of a repack; the last one is its result."""

    items_done: int = 0
    items_total: int = 0
    segments_retired: int = 0
    segments_written: int = 0


@dataclass(frozen=True, slots=True)
class TruncateProgress(Record[pb.TruncateCollectionResponse]):
    """The progress of a truncation, which is one step: all items are there, or gone."""

    items_done: int = 0
    items_total: int = 0


@dataclass(frozen=True, slots=True)
class ServiceStatus(Record[pb.ServiceStatus]):
    """The status of one service.

    Attributes:
        error: why it is not reachable.
        alarm: what is wrong, in words for people; empty if nothing is.
    """

    name: str
    zone: Annotated[Zone, ZONE]
    reachable: bool
    version: str = ""
    collections: int = 0
    items: int = 0
    disk_bytes: int = 0
    memory_bytes: int = 0
    error: str = ""
    alarm: str = ""


@dataclass(frozen=True, slots=True)
class Alarm(Record[pb.Alarm]):
    """Answers of the untrusted side that were refused, because they were something else than they should be.

    Attributes:
        number: of the newest of them; grows with each.
        collection: its name, or what else was asked for.
        message: of the newest.
        count: how many there were.
        first, last: when.
    """

    number: int
    collection: str
    message: str
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class VaultStatus(Record[pb.GetStatusResponse]):
    """The status of a vault.

    Attributes:
        services: the three services.
        key_id: in hex.
        collections: every one.
        lost: names of collections that storage should have and does not.
        alarms: those that were not acknowledged, the newest last.
        unreadable: number of collections whose settings storage has changed.
        fenced: whether another keyholder of these keys has taken over; collections are not told then.
    """

    services: tuple[ServiceStatus, ...]
    key_id: str
    collections: tuple[CollectionInfo, ...]
    lost: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    unreadable: int = 0
    fenced: bool = False

    @property
    def wrong(self) -> bool:
        """Whether the untrusted side gave something else than it should, and still does or nobody saw it."""
        damaged = any(one.damage for one in self.collections)
        return bool(self.alarms or self.lost or self.unreadable or damaged)

    @property
    def reachable(self) -> bool:
        """Whether every service answers."""
        return all(service.reachable for service in self.services)
