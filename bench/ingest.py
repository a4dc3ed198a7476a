"""Measures the ingest of photos: the plain path, and bulk ingest with one and with two workers, in one run.

    python bench/ingest.py --photos 10000

Makes JPEG files, starts the services as `blindsight up` does, and ingests the same files by each path into a
collection of its own: the plain path first and last, between them bulk ingest alternating between one and two
workers, each while the files are sent and again when all of them wait in the queue.  Times every step of a
photo's path separately, and writes all raw figures with a description of the machine as JSON.  A worker has
one processor and one process for decoding and encrypting.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import bulk
import ingest_report
import jpegs
import machine
import psutil
import steps
from processes import Services, own_cores, running
from progress import Progress, phase, say
from written import write_document

import blindsight
from blindsight.client import Collection, Import, ImportInfo, IngestProgress, Vault

RESULTS = Path(__file__).parent / "results"
# Alternating, so that the varying speed of a shared machine affects both alike.
WORKERS = (1, 2, 2, 1)
_WARMING = 32  # photos for warming up, not measured
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """The common data of the phases.

    Attributes:
        files: photos that are measured.
        others: photos for warming up.
    """

    services: Services
    vault: Vault
    files: list[Path]
    others: list[Path]


@dataclass(slots=True)
class Clock:
    """Measures the wall time of a `with` block, and the processor time of each program."""

    services: Services
    workers: bulk.Workers | None = None
    seconds: float = 0.0
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.seconds, self.cpu_seconds = time.perf_counter(), self._cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        now = self._cpu_seconds()
        self.seconds = time.perf_counter() - self.seconds
        self.cpu_seconds = {name: now[name] - before for name, before in self.cpu_seconds.items()}

    def _cpu_seconds(self) -> dict[str, float]:
        own = psutil.Process().cpu_times()
        return {
            "client": own.user + own.system,
            **self.services.cpu_seconds(),
            "workers": self.workers.cpu_seconds() if self.workers is not None else 0.0,
        }

    def figures(self, photos: int) -> Figures:
        """Returns rates, and milliseconds of processor time per photo."""
        return _rates(photos, self.seconds, self.cpu_seconds)


def _rates(photos: int, seconds: float, cpu_seconds: dict[str, float]) -> Figures:
    per_photo = {name: 1e3 * spent / photos for name, spent in cpu_seconds.items()}
    return {
        "photos": photos,
        "seconds": seconds,
        "photos_per_second": photos / seconds,
        "cpu_seconds": cpu_seconds,
        "cpu_ms_per_photo": per_photo,
        "cpu_ms_per_photo_total": sum(per_photo.values()),
        "cores_busy": sum(cpu_seconds.values()) / seconds,
    }


def plain(run: Run, turn: str) -> Figures:
    """Measures `blindsight ingest`: the keyholder does all the work, and answers once storage has it."""
    run.vault.create_collection(f"plain-warm-{turn}").ingest(_names(run.others))
    shown = Progress(len(run.files))

    def show(progress: IngestProgress) -> None:
        shown(progress.done)

    collection = run.vault.create_collection(f"plain-{turn}", expected_size=len(run.files))
    with Clock(run.services) as clock:
        report = collection.ingest(_names(run.files), progress=show)
    if report.stored != len(run.files):
        raise RuntimeError(f"{report.stored} photos were stored, want {len(run.files)}")
    stored = collection.describe().size_bytes
    return {**clock.figures(len(run.files)), "storage_bytes_per_photo": stored / len(run.files)}


def publish(run: Run) -> Figures:
    """Measures filling the queue without workers: read, seal, publish, record."""
    files = run.files[: max(len(run.files) // 5, 1)]
    collection = run.vault.create_collection("publish")
    shown = Progress(len(files), " in the queue")
    with Clock(run.services) as clock:
        job = collection.ingest_bulk(_names(files), progress=lambda now: shown(now.received))
    in_queue = bulk.queue_bytes(run.services)
    job.cancel()
    return {
        **clock.figures(len(files)),
        "queue_bytes_per_photo": in_queue / len(files),
        "file_bytes_per_photo": sum(path.stat().st_size for path in files) / len(files),
    }


def by_workers(run: Run, count: int, turn: int) -> tuple[Figures, Figures]:
    """Measures `blindsight ingest --bulk`: a whole job with its sending, and the workers alone."""
    with bulk.working(run.services, count) as workers:
        with phase(f"  first photos of {count} cold workers"), Clock(run.services, workers) as cold:
            _work(run.vault.create_collection(f"cold-{turn}"), run.others)
        # Warms up workers that came too late to get one of the first photos.
        _work(run.vault.create_collection(f"warm-{turn}"), run.others)
        started = {
            "workers": count,
            "start_seconds": workers.start_seconds,
            "cold_seconds": cold.seconds,
            "cold_photos": len(run.others),
        }
        return {**_whole(run, workers, turn), **started}, {**_waiting(run, workers, turn), **started}


def _whole(run: Run, workers: bulk.Workers, turn: int) -> Figures:
    """Measures from the first file that is opened to the last photo that is stored."""
    collection = run.vault.create_collection(f"bulk-{turn}", expected_size=len(run.files))
    before = workers.conflicts()
    with Clock(run.services, workers) as clock:
        course = _work(collection, run.files)
    return {
        **clock.figures(len(run.files)),
        **course,
        "conflicts": workers.conflicts() - before,
        "storage_bytes_per_photo": collection.describe().size_bytes / len(run.files),
    }


def _waiting(run: Run, workers: bulk.Workers, turn: int) -> Figures:
    """Measures from when all photos wait in the queue until the last one is stored."""
    collection = run.vault.create_collection(f"waiting-{turn}", expected_size=len(run.files))
    with workers.paused():
        job = collection.ingest_bulk(_names(run.files))
    before = workers.conflicts()
    with Clock(run.services, workers) as clock:
        course = _watch(job, len(run.files))
    return {**clock.figures(len(run.files)), "course": course, "conflicts": workers.conflicts() - before}


def together(turns: Sequence[Figures]) -> Figures:
    """Returns the combined figures of several runs with the same number of workers, and those of each."""
    programs = turns[0]["cpu_seconds"]
    return {
        **_rates(
            sum(one["photos"] for one in turns),
            sum(one["seconds"] for one in turns),
            {name: sum(one["cpu_seconds"][name] for one in turns) for name in programs},
        ),
        "turns": list(turns),
    }


def _work(collection: Collection, files: Sequence[Path]) -> Figures:
    """Runs one job to its end; returns the seconds of sending, and its course afterwards."""
    shown = Progress(len(files), " stored")
    started = time.perf_counter()
    job = collection.ingest_bulk(_names(files), progress=lambda now: shown(now.done))
    sending = time.perf_counter() - started
    return {"sending_seconds": sending, "course_after_sending": _watch(job, len(files))}


def _watch(job: Import, photos: int) -> list[tuple[float, int]]:
    """Waits for the end of a job; returns pairs of the seconds from now and the photos stored by then."""
    shown = Progress(photos, " stored")
    course: list[tuple[float, int]] = []

    def note(now: ImportInfo) -> None:
        shown(now.done)
        course.append((time.perf_counter() - started, now.done))

    started = time.perf_counter()
    end = job.wait(progress=note)
    if end.done != photos:
        raise RuntimeError(f"{end.done} photos were stored, want {photos}: {end}")
    return course


def _names(files: Sequence[Path]) -> list[str]:
    return [str(path) for path in files]


def measure(options: argparse.Namespace) -> Figures:
    """Runs the whole benchmark; returns all figures."""
    document: Figures = {
        "benchmark": "ingest",
        "machine": machine.describe(),
        "note": options.note,
        "parameters": {
            "photos": options.photos,
            "width": jpegs.WIDTH,
            "height": jpegs.HEIGHT,
            "quality": jpegs.QUALITY,
            "seed": options.seed,
        },
    }
    shown = Progress(options.photos + _WARMING)
    with phase(f"{options.photos:,} JPEG files"):
        made = jpegs.gallery(options.photos + _WARMING, options.seed, options.scratch, shown)
    files, others = made[: options.photos], made[options.photos :]
    with running(options.scratch) as services, blindsight.connect(services.addresses["keyholder"]) as vault:
        run = Run(services, vault, files, others)
        with phase("the plain path"):
            first = plain(run, "first")
        with phase("publishing alone"):
            document["publish"] = publish(run)
        turns: dict[int, list[tuple[Figures, Figures]]] = {count: [] for count in WORKERS}
        for turn, count in enumerate(WORKERS):
            with phase(f"bulk ingest, workers: {count}"):
                turns[count].append(by_workers(run, count, turn))
        with phase("the plain path"):
            document["plain"] = together([first, plain(run, "last")])
        for place, name in enumerate(("bulk", "waiting")):
            document[name] = {
                str(count): together([both[place] for both in made]) for count, made in turns.items()
            }
        with phase("the steps of a photo"):
            vault.create_collection(steps.NAME, expected_size=options.photos)
            document["steps"] = steps.measure(services, files[: options.step_photos])
    document["machine"]["load_average_after"] = machine.load_average()
    return document


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=int, default=10_000, help="on each path (default %(default)s)")
    parser.add_argument(
        "--step-photos", type=int, default=512, help="of which each step is timed (default %(default)s)"
    )
    parser.add_argument("--note", default="", help="on the circumstances, kept with the figures")
    parser.add_argument("--seed", type=int, default=1, help="of the photos (default %(default)s)")
    parser.add_argument("--out", type=Path, help="default: results/ingest-PHOTOS.json beside this file")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path("/var/tmp"),
        help="for photos, which stay there, and services, on a real disk (default %(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.photos < 1 or options.step_photos < 1:
        parser.error("want at least 1 photo")
    if own_cores() < max(WORKERS):
        parser.error(f"this process may use {own_cores()} processors, want {max(WORKERS)}")
    options.out = options.out or RESULTS / f"ingest-{options.photos}.json"
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    document = measure(options)
    write_document(options.out, document)
    ingest_report.show(document)
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
