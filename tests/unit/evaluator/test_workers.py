"""The worker processes: compiled when they start, and nothing of them in the service itself."""

import subprocess
import sys

# In a process of its own, because other tests compile versions that no worker does.
WARM = """
import hashlib, sys
from pathlib import Path
import numpy as np
from support.evaluator import PARAMETERS
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region
from blindsight.ciphertext.residues import full_block, seeded_block
from services.evaluator.computing import building
from blindsight.ring import jit
from services.evaluator.computing import kernel
from blindsight.ring import prng
from services.evaluator.computing import scoring
from services.evaluator import tasks
from services.evaluator.computing import tiles
from services.evaluator.geometry import CollectionRecord
from blindsight.packing.segments import SegmentId
from services.evaluator.shared_memory import SharedMemory

def versions():
    found = {}
    for module in (jit, kernel, prng, tiles):
        for name, thing in vars(module).items():
            if hasattr(thing, "signatures"):
                found[module.__name__, name] = len(thing.signatures)
    return found

building.compile_all(tasks.Compile())
scoring.start(tasks.StartScorer(2))
before = versions()
entries = {"_score_rows", "_expand", "_add", "_sums"}
assert {name for (_, name), count in before.items() if count} >= entries, before

layout = collection_layout((24,), PARAMETERS.ring_degree, 8)
record = CollectionRecord(bytes(16), PARAMETERS, bytes(16), layout)
key = SegmentId(Region.MAIN, 0)
def block(count, form):
    residues = np.zeros((count, form, 2, PARAMETERS.ring_degree), np.uint32)
    seeds = np.tile(np.frombuffer(prng.SEED_PREFIX + bytes(64), np.uint8), (count, 1))
    made = seeded_block(PARAMETERS, bytes(16), residues, seeds) if form == 1 else full_block(
        PARAMETERS, bytes(16), residues)
    return made.to_bytes()

folder = Path(sys.argv[1])
source = None
for number in range(2):
    data = block(3, 1)
    with SharedMemory() as memory:
        memory.append(data)
        part = tasks.BatchPart(0, len(data), hashlib.sha256(data).digest())
        target = folder / f"{number}.seg"
        building.build(tasks.Build(record, key, source, target, number, memory.ref, (part,)))
        source = target
for form in (1, 2):
    data = block(2 * 4, form)
    words = record.geometry(key.region).score_words * 4
    with SharedMemory() as memory, SharedMemory(tasks.expanded_bytes(record, 2)) as out, SharedMemory(
        4 * words) as scores:
        memory.append(data)
        scoring.expand(tasks.Expand(record, memory.ref, 0, 2, out.ref))
        offsets = ((0, words), (2 * words, 3 * words))
        paths = (str(folder / "0.seg"), str(folder / "1.seg"))
        scoring.score(tasks.Score(record, Region.MAIN, paths, out.ref, 2, scores.ref, offsets))
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
