"""The worker processes: compiled when they start, and nothing of them in the service itself."""

import subprocess
import sys

# In a process of its own, because other tests compile versions that no worker does.
WARM = """
import hashlib, sys
from pathlib import Path
import numpy as np
from support.evaluator import PARAMETERS
from blindsight.ciphertext.header import BATCH_TRAILER_BYTES, HEADER, BlockHeader, Form
from blindsight.ciphertext.residues import full_block, seeded_block
from blindsight.packing.columns import collection_layout
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import PARAMETER_SETS
from blindsight.ring import columns, jit, linear, ntt, prng
from blindsight.ring.tiles import Geometry, column_block
from services.evaluator import tasks
from services.evaluator.computing import building, checksums, imaging, kernel, scoring
from services.evaluator.geometry import CollectionRecord
from services.evaluator.shared_memory import SharedMemory

def versions():
    found = {}
    for module in (jit, ntt, columns, linear, prng, checksums, imaging, kernel, scoring):
        for name, thing in vars(module).items():
            if hasattr(thing, "signatures"):
                found[module.__name__, name] = len(thing.signatures)
    return found

building.compile_all(tasks.Compile())
scoring.start(tasks.StartScorer(2))
before = versions()
entries = {"multiply_rows", "_below_primes", "_add", "_sums", "_products", "_expand", "_forward"}
assert {name for (_, name), count in before.items() if count} >= entries, before

folder = Path(sys.argv[1])
key = SegmentId(Region.MAIN, 0)

def search(parameters, fields, stride):
    layout = collection_layout(fields, parameters.ring_degree, stride)
    record = CollectionRecord(bytes(16), parameters, bytes(16), layout)
    geometry, of_region = record.geometry(key.region), layout.of(key.region)
    tiles = np.zeros(geometry.shape, np.uint32)
    header = BlockHeader(parameters, bytes(16), Form.BATCH, geometry.columns)
    batch = header.pack() + tiles.tobytes() + bytes(BATCH_TRAILER_BYTES)
    source, paths = None, []
    for number in range(2):
        with SharedMemory() as memory:
            memory.append(batch)
            memory.append(batch)
            digest = hashlib.sha256(batch).digest()
            parts = tuple(tasks.BatchPart(n * len(batch), len(batch), digest) for n in range(2))
            target = folder / f"{parameters.name}.{len(fields)}.{stride}.{number}.seg"
            building.build(tasks.Build(record, key, source, target, number, memory.ref, parts))
        source = target
        paths.append(str(target))
    scoring.open_segments(tasks.OpenSegments(tuple(paths)))
    size = record.answer_bytes(key.region)
    with SharedMemory() as sent, SharedMemory(4 * size) as out:
        sent.append(column_block(parameters, bytes(16), [tiles, tiles]))
        queries = tasks.Blocks(sent.ref, geometry, HEADER.size, geometry.size_bytes, 2)
        scoring.check_blocks(tasks.CheckBlocks((queries,)))
        offsets = ((0, size), (2 * size, 3 * size))
        for rows in (tuple(paths), queries):
            scoring.multiply(
                tasks.Multiply(rows, queries, of_region.field_columns, of_region.fold, out.ref, offsets)
            )
    scoring.forget_segments(tasks.ForgetSegments(tuple(paths)))

def filter(parameters):
    residues = np.zeros((2, 2, len(parameters.primes), parameters.ring_degree), np.uint32)
    seeds = np.tile(np.frombuffer(prng.SEED_PREFIX + bytes(64), np.uint8), (2, 1))
    blocks = [
        seeded_block(parameters, bytes(16), residues[:, :1], seeds).to_bytes(),
        full_block(parameters, bytes(16), residues).to_bytes(),
    ]
    for block in blocks:
        imaging.transform(
            tasks.Transform(parameters, bytes(16), block, (PlaneKernel(1, 3, 0, 1, (-1, 0, 1), 5),))
        )
        for other in blocks:
            imaging.subtract(tasks.Subtract(parameters, bytes(16), block, other))

for parameters in PARAMETER_SETS.values():
    search(parameters, (24,), 8)
    search(parameters, (24, 3), 1)
    search(parameters, (64,), 64)
    filter(parameters)
assert versions() == before, (before, versions())
"""

SMALL = """
import sys
from services.evaluator import servicer
from services.evaluator import service
from services.evaluator import tasks
heavy = {"numba", "llvmlite", "tenseal", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""

NO_SEAL = """
import sys
from services.evaluator.computing import building
from services.evaluator.computing import scoring
from services.evaluator import servicer
assert "tenseal" not in sys.modules
"""


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_started_worker_compiles_nothing_during_a_task(tmp_path):
    run(WARM, tmp_path)


def test_the_service_itself_loads_no_compiler():
    run(SMALL)


def test_no_part_of_the_evaluator_loads_seal():
    run(NO_SEAL)
