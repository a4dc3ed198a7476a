"""Blindsight's own schemes, measured through a keyholder, an evaluator and a storage service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

import blindsight
from blindsight.cli import output
from blindsight.cli.compare import photos
from blindsight.cli.compare.photos import Asked, Gallery
from blindsight.cli.compare.plaintext import Task, Values
from blindsight.cli.compare.results import Answer, Channels, Family, Method, Query, Row
from blindsight.cli.local import keys, temporary
from blindsight.cli.local.keys import KEY_FILE_NAME
from blindsight.cli.local.setup import GENERATED_NAME
from blindsight.errors import KeyFileError

if TYPE_CHECKING:
    from blindsight.client import Collection, Hit, SearchTimings, Vault

ROUNDS = 5
"""The number of times each query is repeated; medians count."""

INCLUDES = "sending the photos, decoding, encrypting, sealing the originals, storing"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A parameter set and its family."""

    parameter_set: str
    family: Family


RECIPES = (
    Recipe("ckks-4096", Family.CKKS),
    Recipe("bfv-4096", Family.BFV),
    Recipe("bfv-8192", Family.BFV),
)


@dataclass(frozen=True, slots=True)
class Services:
    """An open vault, and the seconds to generate its keys, by parameter set."""

    vault: Vault
    keygen_seconds: dict[str, float]


@contextmanager
def running(folder: Path) -> Iterator[Services]:
    """Runs three services with new keys in a folder while the block runs."""
    made = _create_keys(folder / "keyholder")
    with temporary.services(folder, quiet=True) as address, blindsight.connect(address) as vault:
        yield Services(vault, made)


def _create_keys(folder: Path) -> dict[str, float]:
    """Creates keys where `up` looks for them, in a separate process; returns seconds by parameter set."""
    folder.mkdir(mode=0o700, parents=True)
    passphrase = folder / GENERATED_NAME
    keys.generate_passphrase(passphrase)
    command = [sys.executable, "-P", "-m", "blindsight.cli", "keys", "create", "--json"]
    paths = ["--output", str(folder / KEY_FILE_NAME), "--passphrase-file", str(passphrase)]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise KeyFileError(f"no key set could be made: {said[-1] if said else 'no reason known'}")
    seconds: dict[str, float] = json.loads(done.stdout)["keygen_seconds"]
    return seconds


def measure(services: Services, recipe: Recipe, task: Task) -> Row:
    """Ingests the gallery, repeats every query, and compares all values with plaintext; returns the row."""
    name, count = recipe.parameter_set, len(task.gallery.pixels)
    collection = _create(services.vault, recipe, count)
    encrypt_seconds = _ingest(collection, task.gallery)
    first = collection.search(photos.picture(task.asked[0].pixels), k=1).timings
    hits = [_all_hits(collection, one, count) for one in task.asked]
    query_seconds, compare_seconds, decrypt_seconds = _stages(collection, task.asked)
    about = collection.describe()
    services.vault.delete_collection(name)  # the next one needs the disk and the memory
    return Row(
        name=name,
        family=recipe.family,
        method=Method.BLINDSIGHT,
        hides="photos and query",
        security=about.security,
        keygen_seconds=services.keygen_seconds.get(name),
        encrypt_seconds=encrypt_seconds,
        encrypt_includes=INCLUDES,
        query_seconds=query_seconds,
        compare_seconds=compare_seconds,
        decrypt_seconds=decrypt_seconds,
        bytes_per_image=about.size_bytes / count,
        max_error=_max_error(hits, task.values),
        answers=tuple(_answer(found, query) for found, query in zip(hits, task.queries, strict=True)),
        details={
            "first_search_seconds": first.total_seconds,
            "searches": ROUNDS * len(task.asked),
            "stride": about.stride,
            "size_bytes": about.size_bytes,
        },
    )


def _create(vault: Vault, recipe: Recipe, count: int) -> Collection:
    return vault.create_collection(
        recipe.parameter_set,
        scheme=recipe.family.value,
        parameter_set=recipe.parameter_set,
        embedder="pixels",
        channels="rgb",
        size=photos.SIDE,
        expected_size=count,
    )


def _ingest(collection: Collection, gallery: Gallery) -> float:
    named = [(str(row), photos.picture(photo)) for row, photo in enumerate(gallery.pixels)]
    with output.meter(f"{collection.name}: encrypting", len(named)) as meter:
        report = collection.ingest(named, progress=lambda now: meter.update(now.done))
    if report.stored != len(named):
        first = next((item.message for item in report.items if item.message), "no reason known")
        raise output.Failure(
            f"{collection.name} took {report.stored} of {len(named)} photos: {first}",
            output.Reason.NOTHING_TAKEN,
        )
    return report.seconds


def _all_hits(collection: Collection, asked: Asked, count: int) -> dict[int, Hit]:
    """Returns the hits of every photo by its row, best first."""
    [found] = collection.search(photos.picture(asked.pixels), k=count).results
    return {int(hit.name): hit for hit in found}


def _stages(collection: Collection, asked: Sequence[Asked]) -> tuple[float, float, float]:
    """Returns the median seconds of encrypting a query, comparing, and decrypting with ranking."""
    timings: list[SearchTimings] = []
    with output.meter(f"{collection.name}: searching", ROUNDS * len(asked)) as meter:
        for _ in range(ROUNDS):
            for one in asked:
                timings.append(collection.search(photos.picture(one.pixels), k=1).timings)
                meter.update(len(timings))

    def middle(of: Callable[[SearchTimings], float]) -> float:
        return median(map(of, timings))

    return (
        middle(lambda one: one.embed_seconds + one.encrypt_seconds),
        middle(lambda one: one.score_seconds),
        middle(lambda one: one.decrypt_seconds + one.rank_seconds),
    )


def _max_error(hits: Sequence[dict[int, Hit]], values: Sequence[Values]) -> float:
    errors = [
        abs(np.array([found[row].channels for row in sorted(found)]) - plain[sorted(found)]).max()
        for found, plain in zip(hits, values, strict=True)
    ]
    return float(max(errors))


def _answer(found: dict[int, Hit], query: Query) -> Answer:
    picked = next(iter(found), None)
    channels: Channels = tuple(found[query.winner].channels) if query.winner in found else ()
    return Answer(picked, len(found), picked == query.winner, channels)
