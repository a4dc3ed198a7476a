"""Messages to records and back; no other module here names a message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from blindsight.errors import InvalidArgument
from blindsight.packing.segments import Region, SegmentId
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.runtime.transfer import slots_crc32
from services.storage.appends import AppendPart
from services.storage.records import (
    AppendHeader,
    AppendItem,
    AttachmentRecord,
    BatchRecord,
    CollectionRecord,
    LogRecord,
    OriginalRecord,
    PieceRecord,
    Planes,
    PlanesRecord,
    SlotPage,
    SlotRun,
    StoredItem,
)


def collection_from(message: pb.Collection) -> CollectionRecord:
    """What a creation gives; the service fills in the rest."""
    return CollectionRecord(
        collection_id=message.collection_id,
        name_tag=message.name_tag,
        sealed_config=message.sealed_config,
        parameter_set=message.parameter_set,
        key_id=message.key_id,
        dimension=message.dimension,
        stride=message.stride,
        fields=tuple(message.fields),
    )


def collection_message(record: CollectionRecord) -> pb.Collection:
    """A collection, whole."""
    return pb.Collection(
        collection_id=record.collection_id,
        name_tag=record.name_tag,
        sealed_config=record.sealed_config,
        parameter_set=record.parameter_set,
        key_id=record.key_id,
        dimension=record.dimension,
        stride=record.stride,
        created_unix_seconds=record.created_unix_seconds,
        sequence=record.sequence,
        epoch=record.epoch,
        items=record.items,
        items_added=record.items_added,
        size_bytes=record.size_bytes,
        plane_items=record.plane_items,
        plane_bytes=record.plane_bytes,
        fields=record.fields,
    )


def segment_from(message: pb.SegmentId) -> SegmentId:
    """A segment.

    Raises:
        InvalidArgument: when its region is unspecified or unknown.
    """
    try:
        return SegmentId(Region(message.region), message.index)
    except ValueError as error:
        raise InvalidArgument(f"region {message.region}, want {', '.join(Region.__members__)}") from error


def segment_message(segment: SegmentId) -> pb.SegmentId:
    """A segment."""
    region = pb.REGION_MAIN if segment.region is Region.MAIN else pb.REGION_TAIL
    return pb.SegmentId(region=region, index=segment.index)


def segments_from(messages: Iterable[pb.SegmentId]) -> tuple[SegmentId, ...]:
    """Segments; see `segment_from`."""
    return tuple(segment_from(message) for message in messages)


async def append_parts(requests: AsyncIterator[pb.AppendRequest]) -> AsyncIterator[AppendPart]:
    """The parts of an append's stream.

    Raises:
        InvalidArgument: for a message that holds none.
    """
    async for request in requests:
        kind = request.WhichOneof("part")
        if kind == "header":
            yield _header_from(request.header)
        elif kind == "items":
            yield [_item_from(item) for item in request.items.items]
        elif kind == "chunk":
            yield request.chunk
        elif kind == "piece":
            yield PieceRecord(request.piece.size_bytes, request.piece.sha256)
        else:
            raise InvalidArgument(
                "an append message without a part, want a header, items, the header of a piece or a chunk"
            )


def _header_from(message: pb.AppendHeader) -> AppendHeader:
    return AppendHeader(
        collection_id=message.collection_id,
        batch_id=message.batch_id,
        expected_sequence=message.expected_sequence,
        batches=_batches_from(message),
        retires=segments_from(message.retires),
    )


def _batches_from(message: pb.AppendHeader) -> tuple[BatchRecord, ...]:
    if message.batches or not message.HasField("segment"):
        return tuple(_batch_from(batch) for batch in message.batches)
    only = BatchRecord(
        message.expected_sequence + 1,
        segment_from(message.segment),
        message.first_slot,
        message.items_count,
        message.block_size_bytes,
        message.block_sha256,
    )
    return (only,)


def _batch_from(message: pb.BatchHeader) -> BatchRecord:
    return BatchRecord(
        message.sequence,
        segment_from(message.segment),
        message.first_slot,
        message.count,
        message.block_size_bytes,
        message.block_sha256,
    )


def _item_from(message: pb.AppendItem) -> AppendItem:
    return AppendItem(
        message.handle,
        message.sealed_metadata,
        message.original_size_bytes,
        message.original_sha256,
        _planes_from(message.planes) if message.HasField("planes") else None,
        message.attachment_size_bytes,
        message.attachment_sha256,
    )


def _planes_from(message: pb.Planes) -> Planes:
    return Planes(message.width, message.height, message.channels, message.halo)


def batch_message(part: LogRecord | BatchRecord | bytes) -> pb.ReadBatchesResponse:
    """One part of the log."""
    if isinstance(part, bytes):
        return pb.ReadBatchesResponse(chunk=part)
    if isinstance(part, BatchRecord):
        return pb.ReadBatchesResponse(batch=_batch_header(part))
    retired = [segment_message(segment) for segment in part.retired]
    log = pb.LogHeader(
        sequence=part.sequence,
        epoch=part.epoch,
        batches=part.batches,
        size_bytes=part.size_bytes,
        retired=retired,
    )
    return pb.ReadBatchesResponse(log=log)


def _batch_header(record: BatchRecord) -> pb.BatchHeader:
    return pb.BatchHeader(
        sequence=record.sequence,
        segment=segment_message(record.segment),
        first_slot=record.first_slot,
        count=record.count,
        block_size_bytes=record.block_size_bytes,
        block_sha256=record.block_sha256,
    )


def slots_message(page: SlotPage) -> pb.ReadSlotsResponse:
    """One part of the slot map."""
    message = pb.ReadSlotsResponse(
        sequence=page.sequence,
        epoch=page.epoch,
        runs=[_run_message(run) for run in page.runs],
        next_main_index=page.next_main_index,
        next_tail_index=page.next_tail_index,
    )
    message.crc32 = slots_crc32(message)
    return message


def _run_message(run: SlotRun) -> pb.SlotRun:
    return pb.SlotRun(
        segment=segment_message(run.segment),
        first_slot=run.first_slot,
        handles=run.handles,
        batches=run.batches,
    )


def item_message(item: StoredItem) -> pb.Item:
    """An item."""
    return pb.Item(
        handle=item.handle,
        sealed_metadata=item.sealed_metadata,
        original_size_bytes=item.original_size_bytes,
        planes_size_bytes=item.planes_size_bytes,
    )


def original_message(part: OriginalRecord | bytes) -> pb.ReadOriginalResponse:
    """One part of an original."""
    if isinstance(part, bytes):
        return pb.ReadOriginalResponse(chunk=part)
    return pb.ReadOriginalResponse(header=pb.OriginalHeader(size_bytes=part.size_bytes, sha256=part.sha256))


def attachment_message(part: AttachmentRecord | bytes) -> pb.ReadAttachmentsResponse:
    """One part of attachments."""
    if isinstance(part, bytes):
        return pb.ReadAttachmentsResponse(chunk=part)
    header = pb.AttachmentHeader(handle=part.handle, size_bytes=part.size_bytes, sha256=part.sha256)
    return pb.ReadAttachmentsResponse(header=header)


def planes_message(part: PlanesRecord | PieceRecord | bytes) -> pb.ReadPlanesResponse:
    """One part of planes."""
    if isinstance(part, bytes):
        return pb.ReadPlanesResponse(chunk=part)
    if isinstance(part, PieceRecord):
        piece = pb.PieceHeader(size_bytes=part.size_bytes, sha256=part.sha256)
        return pb.ReadPlanesResponse(piece=piece)
    planes = pb.Planes(
        width=part.planes.width,
        height=part.planes.height,
        channels=part.planes.channels,
        halo=part.planes.halo,
    )
    return pb.ReadPlanesResponse(header=pb.PlanesHeader(planes=planes, size_bytes=part.size_bytes))
