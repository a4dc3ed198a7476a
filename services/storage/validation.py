"""Checks of requests by every rule that needs nothing from the store, before anything is stored."""

from __future__ import annotations

from collections.abc import Sequence

from blindsight.ciphertext.header import (
    SEALED_MAGIC,
    SECRET_MAGICS,
    Form,
    check_additive_batch,
    check_expected,
    check_form,
    check_size,
    parse_header,
)
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted, SecretMaterialRefused
from blindsight.packing.segments import Region, SegmentId
from blindsight.packing.tiling import Tiling
from blindsight.parameters import MAX_FIELD_VALUES, MAX_FIELDS, AdditiveSet, ParameterSet, by_name, of_ring
from blindsight.wire.storage import (
    DIGEST_BYTES,
    ID_BYTES,
    NO_HANDLE,
    VERSION_BYTES,
    AppendHeader,
    AppendItem,
    BatchHeader,
    Deletion,
    Link,
    PieceHeader,
    Settings,
    StoredCollection,
    Truncation,
    Update,
)
from services.storage.records import Geometry

MIB = 1 << 20
MAX_SEQUENCE = (1 << 63) - 1
MAX_TOKEN = (1 << 62) - 1
# Limit of one block, and of all blocks of an append together.
MAX_BLOCK_BYTES = 256 * MIB
MAX_ORIGINAL_BYTES = 80 * MIB
# Limit of all originals and attachments of an append together.
MAX_ORIGINALS_BYTES = 256 * MIB
MAX_ATTACHMENT_BYTES = MIB
# Limit of one piece of planes, which is in memory as a whole; then it is on the disk.
MAX_PIECE_BYTES = 8 * MIB
MAX_PLANES_BYTES = 4096 * MIB
MAX_METADATA_BYTES = 64 << 10
MAX_METADATA_TOTAL_BYTES = 32 * MIB
MAX_CONFIG_BYTES = 64 << 10
# The most that one append can reserve of the memory for appends.
MAX_APPEND_BYTES = MAX_BLOCK_BYTES + MAX_ORIGINALS_BYTES + MAX_PIECE_BYTES

MAX_HANDLES = 10_000
# Limit of one append.
MAX_BATCHES = 1000
MAX_SEGMENTS = 100_000
MAX_INDEX = (1 << 31) - 1
MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100


def require_id(value: bytes, what: str) -> None:
    """Refuses anything but 16 bytes that are not all zero."""
    if len(value) != ID_BYTES:
        raise InvalidArgument(f"{what} of {len(value)} bytes, want {ID_BYTES}")
    if value == NO_HANDLE:
        raise InvalidArgument(f"{what} is all zeros, want random bytes")


def require_token(token: int) -> None:
    """Refuses a fencing token that no lease can have had."""
    if token > MAX_TOKEN:
        raise InvalidArgument(f"fencing token {token}, want at most {MAX_TOKEN}")


def require_digest(value: bytes, what: str) -> None:
    """Refuses anything but 32 bytes."""
    if len(value) != DIGEST_BYTES:
        raise InvalidArgument(f"{what} has a digest of {len(value)} bytes, want {DIGEST_BYTES}")


def require_sealed(value: bytes, what: str) -> None:
    """Refuses bytes without the mark of the keyholder's seal: this service must not hold anything else.

    Raises:
        SecretMaterialRefused: if they look like a key.
        InvalidArgument: if they are anything else that is not sealed.
    """
    if value.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused(f"{what} looks like a serialised key, want sealed bytes")
    if not value.startswith(SEALED_MAGIC):
        raise InvalidArgument(f"{what} is not sealed: storage takes sealed bytes only")


def require_config(sealed_config: bytes) -> None:
    """Refuses settings that are too large or not sealed."""
    if len(sealed_config) > MAX_CONFIG_BYTES:
        raise ResourceExhausted(
            f"sealed_config of {len(sealed_config)} bytes, want at most {MAX_CONFIG_BYTES}"
        )
    require_sealed(sealed_config, "sealed_config")


def require_collection(record: StoredCollection) -> None:
    """Refuses a collection with invalid ids, settings or public parameters."""
    require_id(record.collection_id, "collection_id")
    require_id(record.name_tag, "name_tag")
    require_id(record.key_id, "key_id")
    require_config(record.sealed_config)
    most = by_name(record.parameter_set).most_stride
    _require_fields(record.row_fields, record.dimension)
    if not 1 <= record.stride <= most or record.stride & (record.stride - 1):
        raise InvalidArgument(f"stride {record.stride}, want a power of two up to {most}")
    block_bytes = Geometry.of(record, Region.MAIN).block_bytes
    if block_bytes > MAX_BLOCK_BYTES:
        raise InvalidArgument(f"a batch would take {block_bytes} bytes, want at most {MAX_BLOCK_BYTES}")


def _require_fields(fields: tuple[int, ...], dimension: int) -> None:
    if len(fields) > MAX_FIELDS:
        raise InvalidArgument(f"rows of {len(fields)} fields, want at most {MAX_FIELDS}")
    for field in fields:
        if not 1 <= field <= MAX_FIELD_VALUES:
            raise InvalidArgument(f"dimension {field}, want 1 to {MAX_FIELD_VALUES}")
    if sum(fields) != dimension:
        raise InvalidArgument(f"fields of {sum(fields)} values in all, want the dimension, {dimension}")


def require_handles(handles: Sequence[bytes]) -> None:
    """Refuses a list of handles that is too long or has an invalid handle."""
    if len(handles) > MAX_HANDLES:
        raise InvalidArgument(f"{len(handles)} handles, want at most {MAX_HANDLES}")
    for handle in handles:
        require_id(handle, "handle")


def require_segments(segments: Sequence[SegmentId], what: str) -> None:
    """Refuses a list of segments that is too long, has a segment twice, or has an index of 2^31 or more."""
    if len(segments) > MAX_SEGMENTS:
        raise InvalidArgument(f"{what}: {len(segments)} segments, want at most {MAX_SEGMENTS}")
    if len(set(segments)) != len(segments):
        raise InvalidArgument(f"{what}: a segment stands there twice")
    for segment in segments:
        if segment.index > MAX_INDEX:
            raise InvalidArgument(f"{what}: segment index {segment.index}, want at most {MAX_INDEX}")


def require_ids(header: AppendHeader) -> None:
    """Refuses an append with invalid ids; the first check, before anything is looked up."""
    require_id(header.collection_id, "collection_id")
    require_id(header.batch_id, "batch_id")
    require_token(header.fencing_token)


def require_header(collection: StoredCollection, header: AppendHeader) -> None:
    """Refuses an append that does not fit its collection, before any of its bytes are taken.

    Raises:
        InvalidCiphertext: if a block cannot have the announced size.
        ResourceExhausted: if all blocks together are too large.
        InvalidArgument: for everything else.
    """
    require_segments(header.retires, "retires")
    if not (header.batches or header.retires):
        raise InvalidArgument("an append of nothing, want a segment to append to or segments to retire")
    require_handles(split_handles(header.replaces))
    if header.replaces and header.retires:
        raise InvalidArgument("an append that replaces items and retires segments, want one of them")
    if len(header.batches) > MAX_BATCHES:
        raise InvalidArgument(f"an append of {len(header.batches)} batches, want at most {MAX_BATCHES}")
    segments = [batch.segment for batch in header.batches]
    require_segments(segments, "batches")
    for segment in segments:
        if segment in header.retires:
            raise InvalidArgument(f"segment {segment} is appended to and retired at once")
    for sequence, batch in enumerate(header.batches, header.expected_sequence + 1):
        if batch.sequence != sequence:
            raise InvalidArgument(f"a batch of sequence {batch.sequence}, want {sequence}")
        _require_batch(collection, batch)
    if header.block_size_bytes > MAX_BLOCK_BYTES:
        raise ResourceExhausted(
            f"blocks of {header.block_size_bytes} bytes in one append, want at most {MAX_BLOCK_BYTES}"
        )

    sequence = header.expected_sequence + max(len(header.batches), 1)
    require_link(header.link, sequence, collection.epoch + bool(header.retires))


def require_link(link: Link, sequence: int, epoch: int) -> None:
    """Refuses a link that is not that of a write to this sequence and epoch."""
    if (link.sequence, link.epoch) != (sequence, epoch):
        raise InvalidArgument(
            f"a link to sequence {link.sequence} and epoch {link.epoch}, want {sequence} and {epoch}"
        )
    for what in ("previous", "root", "chain"):
        require_digest(getattr(link, what), f"the link's {what}")


def require_deletion(deletion: Deletion) -> None:
    """Refuses a deletion of nothing, or one without a link."""
    require_token(deletion.fencing_token)
    require_handles(deletion.handles)
    if not deletion.handles:
        raise InvalidArgument("a deletion of no items, want one at least")
    require_link(deletion.link, min(deletion.link.sequence, MAX_SEQUENCE), deletion.link.epoch)


def require_update(update: Update) -> None:
    """Refuses an update of nothing, one of items without sealed metadata, or one without a link."""
    require_token(update.fencing_token)
    handles = [item.handle for item in update.items]
    require_handles(handles)
    if not handles:
        raise InvalidArgument("an update of no items, want one at least")
    if len(set(handles)) != len(handles):
        raise InvalidArgument("a handle stands twice in the update")
    for item in update.items:
        if len(item.version) != VERSION_BYTES:
            raise InvalidArgument(f"version of {len(item.version)} bytes, want {VERSION_BYTES}")
        _require_metadata(item.sealed_metadata)
    require_link(update.link, min(update.link.sequence, MAX_SEQUENCE), update.link.epoch)


def require_settings(settings: Settings) -> None:
    """Refuses settings that no collection could have been created with, or without a link."""
    require_token(settings.fencing_token)
    require_id(settings.name_tag, "name_tag")
    require_config(settings.sealed_config)
    require_link(settings.link, min(settings.link.sequence, MAX_SEQUENCE), settings.link.epoch)


def require_truncation(truncation: Truncation) -> None:
    """Refuses a truncation without a link."""
    require_token(truncation.fencing_token)
    require_link(truncation.link, min(truncation.link.sequence, MAX_SEQUENCE), truncation.link.epoch)


def _require_metadata(sealed: bytes) -> None:
    if len(sealed) > MAX_METADATA_BYTES:
        raise ResourceExhausted(f"sealed_metadata of {len(sealed)} bytes, want at most {MAX_METADATA_BYTES}")
    require_sealed(sealed, "sealed_metadata")


def _require_batch(collection: StoredCollection, batch: BatchHeader) -> None:
    geometry = Geometry.of(collection, batch.segment.region)
    if batch.block_size_bytes != geometry.block_bytes:
        raise InvalidCiphertext(
            f"block of {batch.block_size_bytes} bytes, want {geometry.block_bytes} "
            f"for {geometry.columns} ciphertexts"
        )
    require_digest(batch.block_sha256, "block")
    if not 1 <= batch.count <= geometry.capacity:
        raise InvalidArgument(f"{batch.count} items, want 1 to {geometry.capacity}")
    end = batch.first_slot + batch.count
    if end > geometry.capacity:
        raise InvalidArgument(f"slots {batch.first_slot} to {end}, want at most {geometry.capacity}")


def require_items(items: Sequence[AppendItem]) -> None:
    """Refuses items with an invalid or repeated handle, a size over the limits, or unsealed metadata."""
    if len({item.handle for item in items}) != len(items):
        raise InvalidArgument("a handle stands twice in the append")
    for item in items:
        _require_item(item)
    sealed = sealed_bytes(items)
    if sealed > MAX_ORIGINALS_BYTES:
        raise ResourceExhausted(
            f"originals and attachments of {sealed} bytes, want at most {MAX_ORIGINALS_BYTES}"
        )


def sealed_bytes(items: Sequence[AppendItem]) -> int:
    """Returns the announced size of all originals and attachments."""
    return sum(item.original_size_bytes + item.attachment_size_bytes for item in items)


def split_handles(handles: bytes) -> list[bytes]:
    """Splits handles that stand side by side; refuses a part of one."""
    if len(handles) % ID_BYTES:
        raise InvalidArgument(f"handles of {len(handles)} bytes, want a multiple of {ID_BYTES}")
    return [handles[start : start + ID_BYTES] for start in range(0, len(handles), ID_BYTES)]


def brings(item: AppendItem) -> bool:
    """Returns whether an item has more than its handle."""
    return bool(
        item.sealed_metadata
        or item.original_size_bytes
        or item.original_sha256
        or item.attachment_size_bytes
        or item.attachment_sha256
        or item.planes
    )


def _require_item(item: AppendItem) -> None:
    require_id(item.handle, "handle")
    if len(item.version) not in (0, VERSION_BYTES):
        raise InvalidArgument(f"version of {len(item.version)} bytes, want {VERSION_BYTES} or none")
    if not brings(item):  # most items of large appends
        return
    if item.sealed_metadata:
        _require_metadata(item.sealed_metadata)
    if item.original_size_bytes > MAX_ORIGINAL_BYTES:
        raise ResourceExhausted(
            f"original of {item.original_size_bytes} bytes, want at most {MAX_ORIGINAL_BYTES}"
        )
    if item.attachment_size_bytes > MAX_ATTACHMENT_BYTES:
        raise ResourceExhausted(
            f"attachment of {item.attachment_size_bytes} bytes, want at most {MAX_ATTACHMENT_BYTES}"
        )
    _require_announced(item.original_size_bytes, item.original_sha256, "original")
    _require_announced(item.attachment_size_bytes, item.attachment_sha256, "attachment")


def _require_announced(size_bytes: int, sha256: bytes, what: str) -> None:
    if size_bytes:
        require_digest(sha256, what)
    elif sha256:
        raise InvalidArgument(f"an {what} of 0 bytes has a digest, want none")


def require_planes(collection: StoredCollection, items: Sequence[AppendItem]) -> list[Tiling]:
    """Refuses planes with an invalid geometry, or that are too large together.

    Returns:
        The tiling of each, whose pieces and seal will follow.

    Raises:
        InvalidArgument: if a geometry is invalid.
        ResourceExhausted: if all planes together are too large.
    """
    if all(item.planes is None for item in items):
        return []
    parameters = of_ring(collection.parameters, "planes")
    tilings = [item.planes.tiling(parameters) for item in items if item.planes is not None]
    size = sum(tiling.size_bytes(parameters) for tiling in tilings)
    if size > MAX_PLANES_BYTES:
        raise ResourceExhausted(f"planes of {size} bytes in one append, want at most {MAX_PLANES_BYTES}")
    return tilings


def require_piece_header(piece: PieceHeader, wanted: int) -> None:
    """Refuses a piece of planes, or their seal, of another size, before its bytes are taken.

    Raises:
        InvalidCiphertext: if the size is another; it names both sizes.
    """
    if piece.size_bytes != wanted:
        raise InvalidCiphertext(f"piece of {piece.size_bytes} bytes, want {wanted}")
    require_digest(piece.sha256, "piece")


def require_block(collection: StoredCollection, region: Region, block: bytes) -> None:
    """Refuses a block that is not a batch of this collection.

    Raises:
        SecretMaterialRefused: if it looks like a key.
        InvalidCiphertext: if its form, parameter set, key, count or size is another.
    """
    parameters, columns = collection.parameters, Geometry.of(collection, region).columns
    if isinstance(parameters, AdditiveSet):
        check_additive_batch(block, parameters, collection.key_id, columns)
    else:
        _require_ring(collection, parameters, Form.BATCH, columns, block)


def require_seeded(collection: StoredCollection, count: int, block: bytes) -> None:
    """Refuses a block that is not `count` seeded ciphertexts of this collection; see `require_block`."""
    _require_ring(collection, of_ring(collection.parameters, "planes"), Form.SEEDED, count, block)


def _require_ring(
    collection: StoredCollection, parameters: ParameterSet, form: Form, count: int, block: bytes
) -> None:
    header = parse_header(block)
    check_expected(header, parameters, collection.key_id)
    check_form(header, form)
    if header.count != count:
        raise InvalidCiphertext(f"block of {header.count} ciphertexts, want {count}")
    check_size(header, len(block))


def page_size(asked: int) -> int:
    """Returns the size of a page of collections; 0 asks for the default."""
    if asked > MAX_PAGE_SIZE:
        raise InvalidArgument(f"page_size {asked}, want at most {MAX_PAGE_SIZE}")
    return asked or DEFAULT_PAGE_SIZE


def page_start(token: str) -> int:
    """Parses a page token, which is the number of the last collection of the page before."""
    if not token:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise InvalidArgument("page_token is not one that this service gave out")
    return int(token)
