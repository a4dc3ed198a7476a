"""Builds segment files from storage's batches, in a builder process."""

from __future__ import annotations

import numpy as np

from blindsight.ciphertext.header import Form
from blindsight.ciphertext.residues import Residues
from blindsight.errors import DataLoss, InvalidCiphertext
from blindsight.ring import columns
from blindsight.ring.tiles import view_tiles
from blindsight.runtime.transfer import digest
from services.evaluator import tasks
from services.evaluator.computing import checksums, imaging
from services.evaluator.computing.checksums import checksum
from services.evaluator.segments import SegmentHeader, map_segment, write_segment


def compile_all(_: tasks.Compile) -> None:
    """Compiles the functions of workers, or loads them from numba's cache."""
    columns.compile_all()
    checksums.compile_all()
    imaging.compile_all()


def build(task: tasks.Build) -> None:
    """Adds batches to a segment and writes it as a new file.

    Raises:
        DataLoss: if the old file is damaged, or storage's bytes are not a batch of this collection.
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


def _so_far(task: tasks.Build, header: SegmentHeader) -> Residues:
    if task.source is None:
        return np.zeros(header.geometry.shape, np.uint32)
    found, block = map_segment(task.source, checksum)
    if not found.describes(task.record, task.key):
        raise DataLoss("segment file of another collection")
    return block.copy()


def _add(block: Residues, data: memoryview, task: tasks.Build) -> None:
    record = task.record
    batch = view_tiles(data, record.parameters, record.key_id, Form.BATCH, block.shape[1])[0]
    columns.require_below_primes(batch, record.parameters)
    columns.add(block, batch, record.parameters)
