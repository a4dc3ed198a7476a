"""Compares the schemes: the same vectors, services and kernel, interleaved queries, in one run.

python bench/schemes.py --size 100000 --dimension 128
python bench/schemes.py --size 1000 --query-visible-to-server
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
import processes
import vectors
from written import write_document

import blindsight
from blindsight.parameters import COLLECTION_SETS, PARAMETER_SETS

RESULTS = Path(__file__).parent / "results"
K = 10


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Ingests the same gallery under every parameter set, then interleaves queries to all of them."""
    gallery = vectors.gallery(options.size, options.dimension, options.seed)
    queries = vectors.strangers(options.queries, options.dimension, options.seed + 1)
    scores = vectors.exact_scores(gallery, queries)
    found: dict[str, Any] = {}
    sets = COLLECTION_SETS if options.query_visible_to_server else PARAMETER_SETS
    with (
        tempfile.TemporaryDirectory(prefix="blindsight-bench-") as scratch,
        processes.running(Path(scratch)) as running,
        blindsight.connect(running.addresses["keyholder"]) as vault,
    ):
        collections = {}
        for name, parameters in sets.items():
            collection = vault.create_collection(
                name,
                scheme=parameters.scheme.name.lower(),
                parameter_set=name,
                embedder="none",
                dimension=options.dimension,
                expected_size=options.size,
            )
            report = collection.ingest_vectors(gallery)
            asked = {"k": K, "query_visible_to_server": parameters.query_visible}
            collection.search_vectors(queries[:1], **asked)  # the evaluator fetches the gallery
            collections[name] = collection, asked
            found[name] = {
                "security": parameters.security,
                "precision": parameters.precision,
                "stride": collection.describe().stride,
                "ingest_vectors_per_second": report.per_second,
                "storage_bytes": collection.describe().size_bytes,
                "calls": [],
            }
            print(f"{name}: {report.per_second:,.0f} vectors a second", file=sys.stderr)
        answers: dict[str, list[Any]] = {name: [] for name in collections}
        for query in queries:
            for name, (collection, asked) in collections.items():
                started = time.perf_counter()
                answer = collection.search_vectors(query, **asked)
                seconds = time.perf_counter() - started
                found[name]["calls"].append({"client": seconds, **answer.timings.seconds()})
                answers[name] += answer.results
    for name, one in found.items():
        one["p50_seconds"] = {
            stage: float(np.median([call[stage] for call in one["calls"]])) for stage in one["calls"][0]
        }
        one.update(vectors.judge(scores, answers[name], K))
    return found


def main() -> None:
    """Writes all figures as JSON and prints a line per parameter set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--query-visible-to-server", action="store_true", help="measure Paillier too")
    parser.add_argument(
        "--out", type=Path, help="default: results/schemes-SIZExDIMENSION.json beside this file"
    )
    options = parser.parse_args()
    out = options.out or RESULTS / f"schemes-{options.size}x{options.dimension}.json"
    document = {
        "benchmark": "schemes",
        "machine": machine.describe(),
        "parameters": {name: value for name, value in vars(options).items() if name != "out"},
        "schemes": measure(options),
    }
    write_document(out, document)
    for name, one in document["schemes"].items():
        p50 = one["p50_seconds"]
        stages = ", ".join(
            f"{stage} {1e3 * p50[stage]:.1f}" for stage in ("encrypt", "score", "kernel", "decrypt")
        )
        print(
            f"{name:10} query {1e3 * p50['client']:6.1f} ms ({stages})  recall {one['recall_at_10']:.3f}  "
            f"error {one['max_score_error']:.1e}  {one['storage_bytes'] / options.size:.0f} bytes a vector"
        )
    print(f"written to {out}")


if __name__ == "__main__":
    main()
