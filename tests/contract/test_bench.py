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


def test_every_benchmark_writes_its_document_by_the_one_writer():
    # It takes whatever the SDK answers, as times, on which one broke after an hour.
    for path in BENCH.glob("*.py"):
        text = path.read_text()
        assert ("json.dump" in text) == (path.name == "written.py"), path.name
        assert ('"--out"' in text) == ("    write_document(" in text), path.name


def test_a_document_with_times_and_numbers_of_numpy_can_be_written_and_nothing_without_a_form(tmp_path):
    out = tmp_path / "below" / "found.json"
    told = "{'when': datetime(2026, 5, 1, tzinfo=UTC), 'best': np.float32(0.5), 'all': np.arange(3)}"
    program = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path; import numpy as np;"
        "from written import write_document; write_document(Path(sys.argv[1]), {})"
    )
    run("-c", program.format(told), str(out))
    assert json.loads(out.read_text()) == {
        "when": "2026-05-01T00:00:00Z",
        "best": 0.5,
        "all": [0, 1, 2],
    }
    with pytest.raises(AssertionError, match="object in a benchmark's document"):
        run("-c", program.format("{'what': object()}"), str(out))


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
