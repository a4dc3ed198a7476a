"""Benchmarks take minutes and are run by hand: that they still begin is seen here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from blindsight.parameters import PARAMETER_SETS

BENCH = Path(__file__).parents[2] / "bench"


def run(*command):
    done = subprocess.run(
        [sys.executable, *command], cwd=BENCH, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_benchmark_finds_what_it_measures():
    modules = sorted(path.stem for path in BENCH.glob("*.py"))
    assert {"search", "ingest", "imaging", "kernel", "schemes", "additive"} <= set(modules)
    # FAISS is in the benchmarks' own lock, and nothing of it is used before a measurement.
    program = (
        f"import sys, types; sys.modules['faiss'] = types.ModuleType('faiss'); import {', '.join(modules)}"
    )
    run("-c", program)  # from its folder, as the scripts


@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_the_kernel_is_measured_with_single_queries_and_batches(name, tmp_path):
    out = tmp_path / "kernel.json"
    settings = {"--size": 5000, "--dimension": 8, "--repeats": 1, "--threads": 2, "--out": out}
    shown = run(
        "kernel.py", "--parameter-set", name, *(str(one) for pair in settings.items() for one in pair)
    )
    document = json.loads(out.read_text())
    given, measured = document["parameters"], document["measured"]
    assert given["bytes_per_value"] == 4 * len(PARAMETER_SETS[name].primes)
    assert given["vectors_scanned"] >= 5000
    ours = {"read": 1, "kernel, one query": 1, "kernel, batch of 8": 8, "kernel, batch of 32": 32}
    for what, queries in ours.items():
        figures = measured[what]
        assert what in shown
        assert figures["queries"] == queries
        assert figures["size_bytes"] == given["gallery_bytes"]
        assert 0 < figures["best_seconds"] <= figures["median_seconds"]
        seconds = figures["median_seconds_per_query"] * queries
        assert figures["median_gb_per_second"] == pytest.approx(given["gallery_bytes"] / seconds / 1e9)
