"""Measures encrypted search through the three real services, and plaintext and TenSEAL baselines, in one run.

    python bench/search.py --size 1000000 --dimension 128

Starts the services as `blindsight up` does, ingests random unit vectors through the SDK, searches one
query at a time, in batches and from two clients, restarts the evaluator, checks every answer against
numpy, and writes all raw figures with a description of the machine as JSON.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
import report
import scoring
import vectors
from baselines import flat, tenseal_dot
from processes import HealthProbe, PeakMemory, Services, own_cores, running, wait_until
from progress import Progress, phase, say
from written import write_document

import blindsight
from blindsight.client import Collection, IngestProgress, SearchAnswer, Vault
from blindsight.parameters import CKKS_4096, PARAMETER_SETS

RESULTS = Path(__file__).parent / "results"
K = 10
BATCHES = (8, 32)
CLIENTS = 2
NAME = "bench"
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """The common data of the phases.

    Attributes:
        gallery: float32 [size, dimension].
        queries: random directions, float32 [queries, dimension].
        near, winners: queries with a clear winner, as many as in the largest batch, and the winners' rows.
    """

    options: argparse.Namespace
    services: Services
    vault: Vault
    collection: Collection
    gallery: vectors.Matrix
    queries: vectors.Matrix
    near: vectors.Matrix
    winners: list[int]


def ingest(run: Run) -> Figures:
    """Measures the ingest: vectors per second, and the size in storage."""
    shown = Progress(len(run.gallery))

    def show(progress: IngestProgress) -> None:
        shown(progress.done)

    with PeakMemory(run.services) as memory:
        made = run.collection.ingest_vectors(run.gallery, progress=show)
    if made.stored != len(run.gallery):
        raise RuntimeError(f"{made.stored} vectors were stored, want {len(run.gallery)}")
    disk = run.services.disk_bytes()["storage"]
    return {
        "seconds": made.seconds,
        "vectors_per_second": made.per_second,
        "storage_bytes": disk,
        "storage_bytes_per_vector": disk / len(run.gallery),
        "peak_memory_bytes": memory.peak_bytes,
    }


def first_search(run: Run) -> Figures:
    """Measures the first search, for which the evaluator fetches the gallery and builds its cache."""
    with PeakMemory(run.services) as memory:
        measured = _one(run.collection, run.queries[0])
    disk = run.services.disk_bytes()["evaluator"]
    return {
        "seconds": measured["client_seconds"],
        "refresh_seconds": measured["stages"]["refresh"],
        "cache_bytes": disk,
        "cache_bytes_per_vector": disk / len(run.gallery),
        "peak_memory_bytes": memory.peak_bytes,
    }


def restart(run: Run) -> Figures:
    """Kills the evaluator; measures how soon it serves again, and counts the segments that it rebuilt."""
    before = _cache_files(run.services)
    old = run.services.process("evaluator")
    started = time.perf_counter()
    run.services.kill("evaluator")
    wait_until(lambda: run.services.process("evaluator") not in (None, old), "a new evaluator")
    wait_until(lambda: run.services.healthy("evaluator"), "the evaluator serves again")
    ready = time.perf_counter() - started
    wait_until(lambda: run.vault.status().reachable, "the keyholder found it again")
    first = _one(run.collection, run.queries[0])
    second = _one(run.collection, run.queries[0])
    return {
        "ready_seconds": ready,
        "first_query_seconds": first["client_seconds"],
        "second_query_seconds": second["client_seconds"],
        "refresh_seconds": first["stages"]["refresh"],
        "segments": len(before),
        "segments_rebuilt": len(_cache_files(run.services) - before),
    }


def _cache_files(services: Services) -> set[tuple[str, int, int]]:
    files = (services.folder / "evaluator" / "cache").rglob("*.seg")
    return {(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def _one(collection: Collection, queries: vectors.Matrix) -> Figures:
    """Makes one call; returns its time at the client, the keyholder's stages, and the answer."""
    started = time.perf_counter()
    answer = collection.search_vectors(queries, k=K)
    return {
        "client_seconds": time.perf_counter() - started,
        "stages": answer.timings.seconds(),
        "scanned_bytes": answer.timings.scanned_bytes,
        "answer": answer,
    }


def single_queries(run: Run, scores: vectors.Scores) -> Figures:
    """Measures queries one after the other, from one client."""
    calls = [_one(run.collection, query) for query in run.queries]
    return {**_summary(calls), **_judged(calls, scores)}


def evaluator_alone(run: Run) -> Figures:
    """Measures the evaluator's part of a query, without decryption at the same time."""
    services = run.services
    cache = services.folder / "evaluator" / "cache"
    return scoring.measure(services, cache, own_cores(), run.options.queries)


def batch_queries(run: Run, scores: vectors.Scores, count: int) -> Figures:
    """Measures several queries in one call, each with a clear winner."""
    calls = [_one(run.collection, run.near[:count]) for _ in range(run.options.repeats)]
    first = [hits[0].id for call in calls for hits in call["answer"].results]
    wanted = [str(row) for row in run.winners[:count]] * len(calls)
    right = sum(got == want for got, want in zip(first, wanted, strict=True))
    summary = _summary(calls)
    return {
        "queries_per_call": count,
        "seconds_per_query_p50": summary["p50_seconds"] / count,
        "winners_found": right / len(wanted),
        **summary,
        **_judged(calls, np.tile(scores[:count], (len(calls), 1))),
    }


def two_clients(run: Run, scores: vectors.Scores) -> Figures:
    """Measures two concurrent clients with their own connections, each with half of the queries."""
    barrier = threading.Barrier(CLIENTS)

    def work(part: Any) -> list[Figures]:
        with blindsight.connect(run.vault.address) as vault:
            collection = vault.collection(NAME)
            barrier.wait()
            return [_one(collection, run.queries[index]) for index in part]

    parts = np.array_split(np.arange(len(run.queries)), CLIENTS)
    with ThreadPoolExecutor(CLIENTS) as pool:
        started = time.perf_counter()
        calls = [call for done in pool.map(work, parts) for call in done]
        seconds = time.perf_counter() - started
    return {
        "clients": CLIENTS,
        "queries_per_second": len(calls) / seconds,
        **_summary(calls),
        **_judged(calls, scores),
    }


def health(run: Run) -> Figures:
    """Measures health checks of the evaluator, when it is idle and while it scores."""
    with HealthProbe(run.services, "evaluator") as idle:
        time.sleep(1.0)
    with HealthProbe(run.services, "evaluator") as probe:
        for query in run.queries:
            run.collection.search_vectors(query, k=K)
    return {"idle": _latency(idle), "scoring": _latency(probe)}


def _latency(probe: HealthProbe) -> Figures:
    return {
        "checks": len(probe.seconds),
        "failures": probe.failures,
        "p50_seconds": float(np.percentile(probe.seconds, 50)),
        "p99_seconds": float(np.percentile(probe.seconds, 99)),
        "max_seconds": max(probe.seconds),
    }


def memory(run: Run) -> Figures:
    """Measures the memory of the services at rest after the searches, and its peak during searches."""
    rest = run.services.memory_bytes()
    with PeakMemory(run.services) as batch:
        run.collection.search_vectors(run.near, k=K)
    with PeakMemory(run.services) as single:
        for query in run.queries:
            run.collection.search_vectors(query, k=K)
    return {
        "what": "proportional set size of each service with its workers; shared pages count once",
        "rest_bytes": rest,
        "peak_single_bytes": single.peak_bytes,
        "peak_batch_bytes": batch.peak_bytes,
        "evaluator_multiple_of_gallery": single.peak_bytes["evaluator"]
        / run.services.disk_bytes()["evaluator"],
    }


def _summary(calls: Sequence[Figures]) -> Figures:
    """Returns p50 and p95 of the whole and of each stage, the kernel's speed, and the raw figures."""
    whole = [call["client_seconds"] for call in calls]
    stages = {name: [call["stages"][name] for call in calls] for name in calls[0]["stages"]}
    rates = [call["scanned_bytes"] / call["stages"]["kernel"] / 1e9 for call in calls]
    return {
        "p50_seconds": float(np.percentile(whole, 50)),
        "p95_seconds": float(np.percentile(whole, 95)),
        "stages_p50_seconds": {name: float(np.percentile(values, 50)) for name, values in stages.items()},
        "stages_p95_seconds": {name: float(np.percentile(values, 95)) for name, values in stages.items()},
        "scanned_bytes": calls[0]["scanned_bytes"],
        "kernel_gb_per_second_p50": float(np.median(rates)),
        "kernel_gb_per_second_best": max(rates),
        "calls": [{key: call[key] for key in ("client_seconds", "stages")} for call in calls],
    }


def _judged(calls: Sequence[Figures], scores: vectors.Scores) -> Figures:
    answers: list[SearchAnswer] = [call["answer"] for call in calls]
    return vectors.judge(scores, [hits for answer in answers for hits in answer.results], K)


def baselines(options: argparse.Namespace, gallery: vectors.Matrix, queries: vectors.Matrix) -> Figures:
    """Measures the same search without encryption, and with TenSEAL."""
    threads = own_cores()
    figures: Figures = {}
    with phase("FAISS IndexFlatIP on the plaintext"):
        figures["faiss"] = flat.measure_faiss(gallery, queries, K, BATCHES, threads, options.repeats)
    with phase("numpy on the plaintext"):
        figures["numpy"] = flat.measure_numpy(gallery, queries, options.repeats)
    with phase("TenSEAL per vector (a sample)"):
        figures["tenseal_per_vector"] = tenseal_dot.measure_per_vector(gallery, queries[0])
    with phase("TenSEAL batched (a sample)"):
        figures["tenseal_batched"] = tenseal_dot.measure_batched(gallery, queries[0])
    return figures


def encrypted(options: argparse.Namespace, gallery: vectors.Matrix) -> Figures:
    """Measures everything that needs the services."""
    queries = vectors.strangers(options.queries, options.dimension, options.seed)
    near, winners = vectors.neighbours(gallery, max(BATCHES), options.seed)
    with phase("exact scores in double precision"):
        exact = vectors.exact_scores(gallery, queries)
        exact_near = vectors.exact_scores(gallery, near)
    figures: Figures = {}
    with running(options.scratch) as services, blindsight.connect(services.addresses["keyholder"]) as vault:
        made = vault.create_collection(
            NAME,
            scheme=PARAMETER_SETS[options.parameter_set].scheme.name.lower(),
            parameter_set=options.parameter_set,
            embedder="none",
            dimension=options.dimension,
            expected_size=options.size,
        )
        run = Run(options, services, vault, made, gallery, queries, near, winners)
        figures["memory_empty_bytes"] = services.memory_bytes()
        with phase(f"ingest of {options.size:,} vectors"):
            figures["ingest"] = ingest(run)
        with phase("the evaluator's cache"):
            figures["first_search"] = first_search(run)
        figures["collection"] = asdict(made.describe())
        with phase("the evaluator killed and back"):
            figures["restart"] = restart(run)
        with phase(f"{len(queries)} single queries"):
            figures["search"] = single_queries(run, exact)
        with phase("the evaluator alone"):
            figures["evaluator_alone"] = evaluator_alone(run)
        figures["batches"] = {}
        for count in BATCHES:
            with phase(f"{options.repeats} batches of {count}"):
                figures["batches"][str(count)] = batch_queries(run, exact_near, count)
        with phase(f"{CLIENTS} clients at once"):
            figures["clients"] = two_clients(run, exact)
        with phase("health checks"):
            figures["health"] = health(run)
        with phase("memory"):
            figures["memory"] = memory(run)
    return figures


def measure(options: argparse.Namespace) -> Figures:
    """Runs the whole benchmark; returns all figures."""
    document: Figures = {
        "benchmark": "search",
        "machine": machine.describe(),
        "note": options.note,
        "parameters": {
            "size": options.size,
            "dimension": options.dimension,
            "queries": options.queries,
            "k": K,
            "batches": BATCHES,
            "parameter_set": options.parameter_set,
            "seed": options.seed,
            "repeats": options.repeats,
        },
    }
    with phase("the machine's read bandwidth"):
        before = machine.read_bandwidth(own_cores())
    with phase("random unit vectors"):
        gallery = vectors.gallery(options.size, options.dimension, options.seed)
    document |= encrypted(options, gallery)
    queries = vectors.strangers(options.queries, options.dimension, options.seed)
    document["baselines"] = baselines(options, gallery, queries)
    with phase("the machine's read bandwidth again"):
        after = machine.read_bandwidth(own_cores())
    document["read_bandwidth"] = {"before": before, "after": after}
    document["machine"]["load_average_after"] = machine.load_average()
    return document


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=100_000, help="vectors (default %(default)s)")
    parser.add_argument("--dimension", type=int, default=128, help="of a vector (default %(default)s)")
    parser.add_argument("--parameter-set", choices=PARAMETER_SETS, default=CKKS_4096.name)
    parser.add_argument("--queries", type=int, default=20, help="one at a time (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="of batches and baselines (default %(default)s)"
    )
    parser.add_argument("--note", default="", help="on the circumstances, kept with the figures")
    parser.add_argument("--seed", type=int, default=1, help="of the vectors (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, help="default: results/search-SIZExDIMENSION[-SET].json beside this file"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path("/var/tmp"),
        help="for the galleries, on a real disk (default %(default)s)",
    )
    options = parser.parse_args(arguments)
    least = max(BATCHES)
    if options.size < least or options.dimension < 1 or options.queries < CLIENTS or options.repeats < 1:
        parser.error(f"want at least {least} vectors, 1 dimension, {CLIENTS} queries and 1 repeat")
    options.out = options.out or RESULTS / f"search-{_name(options)}.json"
    return options


def _name(options: argparse.Namespace) -> str:
    of_set = "" if options.parameter_set == CKKS_4096.name else f"-{options.parameter_set}"
    return f"{options.size}x{options.dimension}{of_set}"


def main() -> int:
    options = parse(sys.argv[1:])
    document = measure(options)
    write_document(options.out, document)
    report.show(document)
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
