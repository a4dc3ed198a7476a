"""Tasks of worker processes as plain data, and the functions that run them.

A new task is a class here, a function in `services.evaluator.computing`, and a row of `COMPUTE`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from blindsight.additive.block import AdditiveHeader
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.segments import SegmentId
from blindsight.parameters import ParameterSet
from blindsight.ring.tiles import Geometry
from blindsight.runtime.processpool import Compute, Task, compute_table
from services.evaluator.geometry import CollectionRecord
from services.evaluator.shared_memory import SharedRef


@dataclass(frozen=True, slots=True)
class Compile(Task[None]):
    """Makes a worker process ready to build segments, and to compute with planes."""


@dataclass(frozen=True, slots=True)
class StartScorer(Task[None]):
    """Makes the scoring process ready.

    Attributes:
        threads: number of the kernel's threads.
    """

    threads: int


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The place of a batch's block in shared memory, and its SHA-256."""

    offset: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Build(Task[None]):
    """Adds batches to a segment and writes the sum as a new file.

    Attributes:
        record, key: the collection, and the segment in it.
        source: file of the segment so far; None for a new segment.
        target: the new file.
        sequence: sequence of the last batch.
        blocks, parts: the batches in shared memory, and their places there.
    """

    record: CollectionRecord
    key: SegmentId
    source: Path | None
    target: Path
    sequence: int
    blocks: SharedRef
    parts: tuple[BatchPart, ...]


@dataclass(frozen=True, slots=True)
class OpenSegments(Task[None]):
    """Maps and checks segment files before a search."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetSegments(Task[None]):
    """Unmaps segment files that were deleted."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of tiles of one geometry in shared memory.

    Attributes:
        memory: the shared memory.
        geometry: the shape of each block.
        offset: place of the first block, in bytes.
        step: distance from one block to the next, in bytes.
        count: number of blocks.
    """

    memory: SharedRef
    geometry: Geometry
    offset: int
    step: int
    count: int

    def part(self, start: int, stop: int) -> Blocks:
        """Returns the blocks from `start` up to `stop`."""
        return replace(self, offset=self.offset + start * self.step, count=stop - start)


@dataclass(frozen=True, slots=True)
class CheckBlocks(Task[None]):
    """Refuses blocks with a residue that is not below its prime, before any arithmetic with them."""

    blocks: tuple[Blocks, ...]


@dataclass(frozen=True, slots=True)
class Multiply(Task[float]):
    """Multiplies rows by queries; returns the kernel's seconds.

    Attributes:
        rows: segments in shared memory, or the paths of segment files.
        queries: checked queries, of the same geometry as the rows.
        fields: for each field of a row, its first column and the one after its last.
        fold: number of neighbouring points of a product that are added up.
        out: receives the products.
        offsets: byte offset in `out` of each [fields, primes, N / fold]: [row][query].
    """

    rows: Blocks | tuple[str, ...]
    queries: Blocks
    fields: tuple[tuple[int, int], ...]
    fold: int
    out: SharedRef
    offsets: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Combine(Task[bytes]):
    """Computes a weighted sum of some ciphertexts of an additive scheme; returns the numbers of the result.

    Attributes:
        public_key: the key, in the wire form.
        insecure_small_keys: whether a key that anybody can break is accepted.
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
class AddBatches(Task[bytes]):
    """Adds up the same columns of some batches of one segment; returns the numbers of the sum.

    Attributes:
        public_key: the key, in the wire form.
        blocks: the columns of each batch, in the wire form.
    """

    public_key: bytes
    blocks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class InnerProducts(Task[tuple[bytes, ...]]):
    """Computes inner products of the columns of one field with some queries; returns a number per query.

    Attributes:
        public_key: the key, in the wire form.
        block: the columns, in the wire form.
        queries: the weights of each query, one for each column.
    """

    public_key: bytes
    block: bytes
    queries: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Transform(Task[tuple[bytes, ...]]):
    """Multiplies tiles of encrypted planes by kernels; returns a block for each kernel.

    Attributes:
        parameters, key_id: parameter set and key that the block must have.
        block: the tiles, in the wire form.
        kernels: at least one kernel.
    """

    parameters: ParameterSet
    key_id: bytes
    block: bytes
    kernels: tuple[PlaneKernel, ...]


@dataclass(frozen=True, slots=True)
class Subtract(Task[tuple[bytes, ...]]):
    """Subtracts tiles of encrypted planes from equally many others; returns one block.

    Attributes:
        parameters, key_id: parameter set and key that both blocks must have.
        minuend, subtrahend: the tiles, in the wire form.
    """

    parameters: ParameterSet
    key_id: bytes
    minuend: bytes
    subtrahend: bytes


@dataclass(frozen=True, slots=True)
class CheckNumbers(Task[None]):
    """Checks numbers of Paillier ciphertexts.

    Attributes:
        public_key: the key, in the wire form.
        numbers: the numbers of a row.
    """

    public_key: bytes
    numbers: bytes


@dataclass(frozen=True, slots=True)
class ApplyWindow(Task[bytes]):
    """Applies a kernel to Paillier ciphertexts that are checked already; returns the numbers of the results.

    Attributes:
        public_key: the key, in the wire form.
        header: the header of a row of results.
        rows: as many rows of numbers as the kernel has; each has `kernel.width` - 1 more ciphertexts than
            there are results.
        kernel: the kernel, whose offset is added to every value.
    """

    public_key: bytes
    header: AdditiveHeader
    rows: tuple[bytes, ...]
    kernel: PlaneKernel


# Tasks on planes, which return a block for each result.
PlaneTask = Transform | Subtract

COMPUTE: Compute = compute_table(
    "services.evaluator.computing",
    {
        Compile: "building:compile_all",
        Build: "building:build",
        StartScorer: "scoring:start",
        OpenSegments: "scoring:open_segments",
        ForgetSegments: "scoring:forget_segments",
        CheckBlocks: "scoring:check_blocks",
        Multiply: "scoring:multiply",
        Combine: "additive.sums:combine",
        AddBatches: "additive.inner_products:add_batches",
        InnerProducts: "additive.inner_products:inner_products",
        CheckNumbers: "additive.windows:check_numbers",
        ApplyWindow: "additive.windows:apply_window",
        Transform: "imaging:transform",
        Subtract: "imaging:subtract",
    },
)
