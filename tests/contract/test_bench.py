"""Benchmarks take minutes and are run by hand: that they still begin is seen here."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


def test_every_benchmark_finds_what_it_measures():
    modules = sorted(path.stem for path in BENCH.glob("*.py"))
    assert {"search", "ingest", "imaging", "kernel", "schemes", "additive"} <= set(modules)
    # FAISS is in the benchmarks' own lock, and nothing of it is used before a measurement.
    program = (
        f"import sys, types; sys.modules['faiss'] = types.ModuleType('faiss'); import {', '.join(modules)}"
    )
    command = [sys.executable, "-c", program]  # from its folder, as the scripts
    done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
