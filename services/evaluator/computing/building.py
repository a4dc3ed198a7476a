"""In a builder process: batches from storage become segment files."""

from __future__ import annotations

import numpy as np

from blindsight.ciphertext.residues import Residues, read_block
from blindsight.errors import DataLoss, InvalidCiphertext
from blindsight.parameters import PARAMETER_SETS
from blindsight.runtime.transfer import digest
from services.evaluator.computing.prng import SEED_PREFIX
from services.evaluator.computing.tiles import add_full, add_seeded, checksum
from services.evaluator.geometry import Geometry
from services.evaluator.segments import SegmentHeader, map_segment, write_segment
from services.evaluator.tasks import BuildTask


def start() -> None:
    """Compiles, or loads what an earlier process compiled."""
    for parameters in PARAMETER_SETS.values():
        block = np.zeros(Geometry(parameters, 1).shape, np.uint32)
        residues = np.zeros((1, 2, len(parameters.primes), parameters.ring_degree), np.uint32)
        seeds = np.frombuffer(SEED_PREFIX + bytes(64), np.uint8).reshape(1, -1)
        add_seeded(block, residues[:, :1], seeds, parameters)
        add_full(block, residues, parameters)
        for writable in (True, False):  # numba compiles for each, and files are mapped read-only
            block.flags.writeable = writable
            checksum(block)


def build(task: BuildTask) -> int:
    """Adds batches to a segment; returns the new file's bytes.

    Raises:
        DataLoss: when the old file is damaged, or storage's bytes are no batch of this collection.
    """
    header = SegmentHeader.of(task.record, task.key, task.sequence)
    block = _so_far(task, header)
    blocks = memoryview(task.blocks.map())
    for part in task.parts:
        data = blocks[part.offset : part.offset + part.size_bytes]
        if digest(data) != part.sha256:
            raise DataLoss("a batch is not what storage announced")
        try:
            _add(block, data, task)
        except InvalidCiphertext as error:
            raise DataLoss(f"storage holds a bad batch: {error}") from error
    write_segment(task.target, header, block, checksum)
    return header.file_bytes


def _so_far(task: BuildTask, header: SegmentHeader) -> Residues:
    if task.source is None:
        return np.zeros(header.geometry.shape, np.uint32)
    found, block = map_segment(task.source, checksum)
    if not found.describes(task.record, task.key):
        raise DataLoss("segment file of another collection")
    return block.copy()


def _add(block: Residues, data: memoryview, task: BuildTask) -> None:
    record = task.record
    batch = read_block(data, record.parameters, record.key_id)
    columns = record.geometry(task.key.region).columns
    if batch.seeds is None or batch.header.count != columns:
        raise InvalidCiphertext(f"{batch.header.count} columns, want {columns} seeded ones")
    add_seeded(block, batch.residues, batch.seeds, record.parameters)
