"""Compiled code of columns is made ready before it is needed: nobody's first search waits for a compiler."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from blindsight.parameters import PARAMETER_SETS

TESTS = Path(__file__).parents[2]

# In a process of its own, in which nothing is compiled yet: everything that a keyholder and its workers do
# with columns, also with what they read back from storage and from the disk, which is read-only.
PROGRAM = """
import json, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
from support.columns import FIRST, SECOND, Gallery, collection_keys, unit_rows
from blindsight.packing.columns import Layout
from blindsight.packing.segments import Region
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted.columns import answer_key, batches
from blindsight.trusted.columns.answer_key import AnswerKey
from blindsight.trusted.columns.compiling import compile_all
from blindsight.trusted.schemes import encryption

def compiled():
    modules = [module for name, module in sys.modules.items() if name.startswith("blindsight.")]
    found = {one for module in modules for one in vars(module).values() if isinstance(one, Dispatcher)}
    assert len(found) > 10
    return {f"{one.__name__}{signature}" for one in found for signature in one.signatures}

def read_only(array):
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)

parameters = PARAMETER_SETS[sys.argv[1]]
compile_all(parameters)
before = compiled()
for fields in ((8,), (5, 9)):
    gallery = Gallery(collection_keys(parameters, Layout(fields, 4, parameters.ring_degree)))
    for segment in (FIRST, SECOND, FIRST, SECOND):
        gallery.add(segment, unit_rows(3, sum(fields)))
    segments = {
        segment: answer_key.from_bytes(answer_key.to_bytes(one), segment, gallery.keys)
        for segment, one in gallery.key.segments.items()
    }
    sums = {region: read_only(one) for region, one in gallery.key.sums.items()}
    for key in (gallery.key, AnswerKey(4, 0, segments, sums)):
        gallery.key = key
        query = gallery.query(unit_rows(1, sum(fields))[0])
        answers = {segment: read_only(answer) for segment, answer in gallery.answers(query).items()}
        for segment, answer in answers.items():
            gallery.opened(query, segment, answer)
        assert gallery.passes(query, answers)
    gallery.add(FIRST, unit_rows(3, sum(fields)))
    batches.decrypt(gallery.log[FIRST], Region.MAIN, gallery.keys)
    gallery.retire(FIRST)
print(json.dumps(sorted(compiled() - before)))
"""


@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_nothing_is_compiled_after_everything_was_made_ready(name):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name],
        cwd=TESTS.parent,
        env={"PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
