"""`make demo`: ingest and search of real photos, from keys to pictures of the result.

Starts the three services by `blindsight up`, ingests views of scikit-image's bundled photos, searches with
views that are not among them, and compares every answer with the same search on plaintext vectors.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

import blindsight
from blindsight.ciphertext.header import SEALED_OVERHEAD_BYTES
from blindsight.cli.local import temporary
from blindsight.client import Collection, Hit, IngestProgress, Photo, SearchTimings
from blindsight.errors import BlindsightError
from blindsight.runtime.leaving import leave
from blindsight.trusted import embedders
from blindsight.trusted.imaging import images
from blindsight.trusted.keyring import padding
from demo.sheet import Match, Row, contact_sheet, what_the_server_holds
from demo.views import View, gallery, queries

OUT = Path("demo-out")
NAME = "photos"
DEPTH = 5
STAGES = ("embed", "encrypt", "score", "decrypt", "rank", "total")

Vectors = npt.NDArray[np.float32]
console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one search, and that of the same search on plaintext."""

    query: View
    hits: Sequence[Hit]
    plaintext: Sequence[str]
    timings: SearchTimings


def embed_in_the_clear(views: Sequence[View]) -> Vectors:
    """Returns the vectors of the plaintext search: [views, dimension]."""
    embedder = embedders.create(embedders.DEFAULT)
    described = track(views, "Embedding again, for the plaintext search", console=console)
    return np.stack([embedder.embed(images.decode(v.data, at_least=embedder.at_least)) for v in described])


def ingest(collection: Collection, views: Sequence[View]) -> float:
    """Ingests the gallery; returns photos per second."""
    with console.status("Ingesting ...") as status:

        def show(state: IngestProgress) -> None:
            status.update(f"Ingesting: {state.done} of {len(views)}")

        photos = [Photo(view.data, name=view.name, metadata={"photo": view.photo}) for view in views]
        report = collection.ingest(photos, progress=show)
    if report.stored != len(views):
        raise SystemExit(f"demo: {report.stored} of {len(views)} views were stored")
    return report.per_second


def search_all(
    collection: Collection, asked: Sequence[View], views: Sequence[View], vectors: Vectors
) -> list[Result]:
    """Searches with every query, encrypted and in the clear."""
    collection.search(asked[0].data, k=DEPTH)  # warms up: the evaluator fetches the gallery
    plain = embed_in_the_clear(asked) @ vectors.T
    results = []
    for query, scores in zip(track(asked, "Searching", console=console), plain, strict=True):
        answer = collection.search(query.data, k=DEPTH)
        best = np.argsort(-scores, kind="stable")[:DEPTH]
        names = [views[index].name for index in best]
        results.append(Result(query, answer.results[0], names, answer.timings))
    return results


def filtered(collection: Collection, asked: Sequence[View]) -> float:
    """Searches among views of other photos alone; returns the median of the milliseconds that this takes.

    What a view is of stands in its metadata, which storage and the evaluator cannot read.
    """
    spent = []
    for query in track(asked, "Searching among other photos", console=console):
        answer = collection.search(query.data, k=DEPTH, where=f'photo != "{query.photo}"')
        if any(hit.metadata["photo"] == query.photo for hit in answer.results[0]):
            raise SystemExit("demo: a search found what its filter leaves out")
        spent.append(1e3 * answer.timings.total_seconds)
    return float(np.median(spent))


def recall(results: Sequence[Result], depth: int) -> float:
    """Returns the share of the plaintext search's best hits that the encrypted search finds."""
    found = [
        len({hit.name for hit in result.hits[:depth]} & set(result.plaintext[:depth])) for result in results
    ]
    return sum(found) / (depth * len(results))


def right(results: Sequence[Result], photo_of: Mapping[str, str], depth: int) -> float:
    """Returns the share of queries whose photo is among the best hits."""
    found = [
        any(photo_of[hit.name] == result.query.photo for hit in result.hits[:depth]) for result in results
    ]
    return sum(found) / len(results)


def draw(results: Sequence[Result], views: Sequence[View], held: bytes) -> list[Path]:
    """Writes the pictures; returns their paths."""
    by_name = {view.name: view for view in views}

    def match(hit: Hit, query: View) -> Match:
        view = by_name[hit.name]
        return Match(hit.name, view.data, hit.score or 0.0, view.photo == query.photo)

    rows = [
        Row(one.query.name, one.query.data, [match(hit, one.query) for hit in one.hits]) for one in results
    ]
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    pages = contact_sheet(rows, OUT / "contact-sheet.png")
    what_the_server_holds(views[0].data, held, OUT / "what-the-server-holds.png")
    return [*pages, OUT / "what-the-server-holds.png"]


def held_by_storage(data: Path, photo: bytes) -> bytes:
    """Reads what an intruder at storage finds: a sealed original that may be this photo's, by its size."""
    database = sqlite3.connect(f"file:{data / 'storage' / 'storage.sqlite3'}?mode=ro", uri=True)
    wanted = padding.padded_size(len(photo)) + SEALED_OVERHEAD_BYTES
    try:
        row = database.execute("SELECT bytes FROM blobs WHERE length(bytes) = ?", [wanted]).fetchone()
    finally:
        database.close()
    return bytes(row[0])


def report(
    results: Sequence[Result], photo_of: Mapping[str, str], per_second: float, filtered_milliseconds: float
) -> None:
    """Prints the measurements, and writes them as JSON."""
    spent = [result.timings.seconds() for result in results]
    medians = {stage: round(1e3 * float(np.median([one[stage] for one in spent])), 1) for stage in STAGES}
    shares = {
        **{f"recall@{depth} against the plaintext search": recall(results, depth) for depth in (1, DEPTH)},
        **{f"right photo in the first {depth}": right(results, photo_of, depth) for depth in (1, DEPTH)},
    }
    counts = {"gallery": len(photo_of), "queries": len(results), "ingested_per_second": round(per_second, 1)}
    medians["total with a filter"] = round(filtered_milliseconds, 1)
    figures = {**counts, **shares, "median_milliseconds": medians}
    (OUT / "demo.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    table = Table(title="Encrypted search of real photos", show_header=False, title_justify="left")
    table.add_row("gallery, unseen queries", f"{len(photo_of)}, {len(results)}")
    table.add_row("ingested", f"{per_second:.0f} photos a second")
    for name, share in shares.items():
        table.add_row(name, f"{share:.1%}")
    for stage, milliseconds in medians.items():
        table.add_row(f"{stage}, median", f"{milliseconds:.1f} ms")
    console.print(table)


def main() -> int:
    """Runs the demo; returns its exit code."""
    try:
        run()
    except BlindsightError as error:
        sys.stderr.write(f"demo: {error.message}\n")
        return 1
    return 0


def run() -> None:
    """Ingests, searches, draws and reports."""
    started = time.monotonic()
    made = track(gallery(), "Making views of the photos", total=None, console=console)
    # Two recipes may produce the same file, which a collection holds only once.
    views = list({view.data: view for view in made}.values())
    asked = list(queries())
    photo_of = {view.name: view.photo for view in views}
    with tempfile.TemporaryDirectory(prefix="blindsight-demo-") as folder:
        data = Path(folder)
        with temporary.services(data) as address, blindsight.connect(address) as vault:
            collection = vault.create_collection(NAME, expected_size=len(views))
            per_second = ingest(collection, views)
            vectors = embed_in_the_clear(views)
            results = search_all(collection, asked, views, vectors)
            filtered_milliseconds = filtered(collection, asked)
            held = held_by_storage(data, views[0].data)
    with console.status("Drawing ..."):
        pictures = draw(results, views, held)
    report(results, photo_of, per_second, filtered_milliseconds)
    console.print("Look at " + ", ".join(map(str, pictures)))
    console.print(f"Done in {time.monotonic() - started:.0f} seconds; everything is stopped.")


if __name__ == "__main__":
    leave(main)
