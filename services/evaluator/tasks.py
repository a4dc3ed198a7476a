"""What worker processes are asked to do, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blindsight.additive.block import AdditiveHeader
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import ParameterSet
from services.evaluator.geometry import CollectionRecord
from services.evaluator.shared_memory import SharedRef


@dataclass(frozen=True, slots=True)
class BatchPart:
    """Where a batch's block lies in shared memory, and what it must hash to."""

    offset: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class BuildTask:
    """Adds batches to a segment and writes the sum as a new file.

    Attributes:
        record, key: whose segment, and which.
        source: the segment so far, or None.
        target: the new file.
        sequence: of the last batch.
        blocks, parts: the batches, in shared memory.
    """

    record: CollectionRecord
    key: SegmentId
    source: Path | None
    target: Path
    sequence: int
    blocks: SharedRef
    parts: tuple[BatchPart, ...]


@dataclass(frozen=True, slots=True)
class ExpandTask:
    """Checks some queries of a block and puts them in the kernel's order.

    Attributes:
        record: the collection they are for.
        block: the block as it came, in shared memory.
        first, count: which queries.
        out: receives, one of the layout's regions after the other,
            uint32 [count, primes * tiles, columns, 2, TILE].
    """

    record: CollectionRecord
    block: SharedRef
    first: int
    count: int
    out: SharedRef


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """Scores some segments of one region against some queries.

    Attributes:
        record, region: what the segments belong to.
        paths: of the segment files.
        queries: what an `ExpandTask` made, in shared memory.
        count: queries in it.
        out: receives the scores.
        offsets: byte offset in `out` of each [fields, 3, primes, N]: [segment][query].
    """

    record: CollectionRecord
    region: Region
    paths: tuple[str, ...]
    queries: SharedRef
    count: int
    out: SharedRef
    offsets: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class CompareTask:
    """Multiplies one row by one query.

    Attributes:
        parameters, key_id: what both blocks must be of.
        gallery, query: blocks of as many ciphertexts, in the wire form.
        fields: first ciphertext of each field of the row, and the one after the last.
    """

    parameters: ParameterSet
    key_id: bytes
    gallery: bytes
    query: bytes
    fields: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ArrangeTask:
    """Checks the ciphertexts of rows or queries and puts them in the kernel's order.

    Attributes:
        parameters, key_id: what the block must be of.
        block: as it came, in shared memory.
        queries: whether they are queries, which are prepared otherwise than rows.
        columns: ciphertexts of each row or query.
        count: of rows or queries.
        out: receives uint32 [count, primes * tiles, columns, 2, TILE].
    """

    parameters: ParameterSet
    key_id: bytes
    block: SharedRef
    queries: bool
    columns: int
    count: int
    out: SharedRef


@dataclass(frozen=True, slots=True)
class CrossTask:
    """Multiplies some rows by some queries.

    Attributes:
        parameters, columns: of both.
        gallery, queries: what an `ArrangeTask` made of each.
        rows, chosen: first row or query, and the one after the last.
        out: receives the products.
        offsets: byte offset in `out` of each [3, primes, N]: [row][query].
    """

    parameters: ParameterSet
    columns: int
    gallery: SharedRef
    queries: SharedRef
    rows: tuple[int, int]
    chosen: tuple[int, int]
    out: SharedRef
    offsets: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class CombineTask:
    """Adds up some ciphertexts of an additive scheme.

    Attributes:
        public_key: in the wire form.
        insecure_small_keys: whether a key that anybody can break is taken.
        result: the header of the whole result.
        weights: one for each slice.
        slices: the same ciphertexts of every block, without its header.
    """

    public_key: bytes
    insecure_small_keys: bool
    result: AdditiveHeader
    weights: tuple[int, ...]
    slices: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FoldTask:
    """Adds up batches of the same columns of one segment.

    Attributes:
        public_key: in the wire form.
        blocks: of each batch, in the wire form.
    """

    public_key: bytes
    blocks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class WeighTask:
    """Multiplies columns of one field by the weights of some queries, and adds them up.

    Attributes:
        public_key: in the wire form.
        block: the columns, in the wire form.
        queries: weights, one a column, of each query.
    """

    public_key: bytes
    block: bytes
    queries: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class TransformTask:
    """Multiplies tiles of encrypted planes by kernels.

    Attributes:
        parameters, key_id: what the block must be of.
        block: the tiles, in the wire form.
        kernels: each gives a result.
    """

    parameters: ParameterSet
    key_id: bytes
    block: bytes
    kernels: tuple[PlaneKernel, ...]


@dataclass(frozen=True, slots=True)
class DifferenceTask:
    """Subtracts tiles of encrypted planes from as many others.

    Attributes:
        parameters, key_id: what both blocks must be of.
        minuend, subtrahend: the tiles, in the wire form.
    """

    parameters: ParameterSet
    key_id: bytes
    minuend: bytes
    subtrahend: bytes


@dataclass(frozen=True, slots=True)
class NumbersTask:
    """Checks numbers of Paillier ciphertexts.

    Attributes:
        public_key: in the wire form.
        numbers: of a row.
    """

    public_key: bytes
    numbers: bytes


@dataclass(frozen=True, slots=True)
class WindowTask:
    """Applies a kernel to neighbouring Paillier ciphertexts, which are checked.

    Attributes:
        public_key: in the wire form.
        header: of a row of results.
        rows: as many as the kernel has; numbers of `kernel.width` - 1 more ciphertexts than of results.
        kernel: its offset is added to every value.
    """

    public_key: bytes
    header: AdditiveHeader
    rows: tuple[bytes, ...]
    kernel: PlaneKernel


# A block for each result, and the seconds that it took.
PlaneWork = tuple[tuple[bytes, ...], float]


def expanded_bytes(record: CollectionRecord, count: int) -> int:
    """Bytes of `ExpandTask.out`."""
    return count * sum(record.geometry(region).size_bytes for region in record.layout.regions)
