"""What there is, for people: collections, planes, the state of services, how far a repack is."""

from __future__ import annotations

from blindsight.packing.segments import Region
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.vault.repack import RepackProgress
from blindsight.trusted.vault.vault import OpenCollection
from services.keyholder.service import ServiceReport
from services.keyholder.wire.inputs import METRIC_VALUES


def collection(opened: OpenCollection) -> pb.Collection:
    """A collection, for people."""
    record, config, slots = opened.record, opened.config, opened.slots
    return pb.Collection(
        name=config.name,
        scheme=opened.parameters.scheme.name.lower(),
        parameter_set=opened.parameters.name,
        security=opened.parameters.security,
        embedder=config.embedder,
        dimension=config.dimension,
        metric=METRIC_VALUES[config.metric],
        expected_size=config.expected_size,
        max_norm=config.max_norm,
        stride=record.stride,
        items=record.items,
        tail_items=slots.live_items(Region.TAIL),
        deleted_items=slots.deleted_items(),
        size_bytes=record.size_bytes,
        score_error_bound=opened.score_error_bound,
        created_unix_seconds=record.created_unix_seconds,
        precision=opened.precision,
        plane_items=record.plane_items,
        plane_bytes=record.plane_bytes,
        channels=config.channels,
        query_visible_to_server=opened.parameters.query_visible,
    )


def planes_header(metadata: ItemMetadata, shape: tuple[int, ...], sha256: bytes) -> pb.GetPlanesResponse:
    """Announces pixels of shape [height, width] or [height, width, 3]."""
    return pb.GetPlanesResponse(
        header=pb.PlanesHeader(
            id=metadata.id,
            name=metadata.name,
            width=shape[1],
            height=shape[0],
            channels=1 if len(shape) == 2 else shape[2],
            sha256=sha256,
        )
    )


def repack_progress(state: RepackProgress) -> pb.RepackResponse:
    """How far a repack is."""
    return pb.RepackResponse(
        items_done=state.items_done,
        items_total=state.items_total,
        segments_retired=state.segments_retired,
        segments_written=state.segments_written,
    )


def service_status(report: ServiceReport) -> pb.ServiceStatus:
    """One service's state."""
    status = report.status
    if status is None:
        return pb.ServiceStatus(name=report.name, zone=report.zone, reachable=False, error=report.error)
    return pb.ServiceStatus(
        name=report.name,
        zone=report.zone,
        reachable=True,
        version=status.version,
        collections=status.collections,
        items=status.items,
        disk_bytes=status.disk_bytes,
        memory_bytes=status.memory_bytes,
    )
