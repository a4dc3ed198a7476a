"""Services and a worker that are killed whatever they do: what was acknowledged is there and is found.

BLINDSIGHT_TEST_ROUNDS sets how often one of them is killed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image
from support.bulk import BulkServices
from support.photos import encoded
from support.services import Process, wait_until

import blindsight
from blindsight.client import Vault
from blindsight.errors import BlindsightError, DataLoss, NotFound

ROUNDS = int(os.environ.get("BLINDSIGHT_TEST_ROUNDS", "4"))
VICTIMS = ("keyholder", "evaluator", "storage", "worker")
KEPT = 12
SIDE = 48
ANSWER_SECONDS = 120
Answer = TypeVar("Answer")


@dataclass
class Owner:
    """Somebody who does everything that can be done with photos, and repeats what was not answered.

    Attributes:
        vault: a connection of their own.
        number: of the owner, who has two collections.
        kept: data by id of what was acknowledged and not deleted since.
        gone: ids of what was deleted.
        counts: answers by kind.
    """

    vault: Vault
    number: int
    kept: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Makes the owner's collection."""
        self._random = np.random.default_rng(self.number)
        self._collection = self.vault.create_collection(
            f"fire{self.number}", scheme=("ckks", "bfv")[self.number]
        )
        self._filtered: np.ndarray | None = None
        self._picture = self._photo()

    def work(self, ended: threading.Event) -> None:
        """Does one thing after the other."""
        kinds = (self._ingest, self._ingest_bulk, self._delete, self._get, self._search, self._verify)
        while not ended.is_set():
            for kind in (*kinds, self._filter, self._repack):
                kind()

    def check(self) -> None:
        """Looks at everything."""
        for name, data in self.kept.items():
            assert self._collection.get(name).data == data
            assert self._collection.search(data, k=1).results[0][0].id == name
        for name in self.gone:
            with pytest.raises(NotFound):
                self._collection.get(name)
        assert self._collection.describe().items == len(self.kept)
        assert self._collection.check().damages == ()

    def _photo(self) -> bytes:
        squares = self._random.integers(0, 256, (6, 6, 3), np.uint8)
        return encoded(Image.fromarray(squares.repeat(SIDE // 6, 0).repeat(SIDE // 6, 1)), "PNG")

    def _answered(self, what: str, call: Callable[[], Answer]) -> Answer:
        """Repeats a call until it is answered; data must never be lost."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                answer = call()
            except DataLoss:
                raise
            except BlindsightError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                self.counts[what] += 1
                return answer

    def _one(self) -> tuple[str, bytes]:
        name = sorted(self.kept)[self._random.integers(len(self.kept))]
        return name, self.kept[name]

    def _ingest(self) -> None:
        photos = [self._photo() for _ in range(2)]
        planes = bool(self._random.integers(2))
        report = self._answered("ingest", lambda: self._collection.ingest(photos, planes=planes))
        self.kept |= {item.id: data for item, data in zip(report.items, photos, strict=True)}

    def _ingest_bulk(self) -> None:
        """What an import that has ended stored is found at once."""
        photos = {f"{os.urandom(8).hex()}.png": self._photo() for _ in range(3)}
        request_id = os.urandom(8).hex()
        job = self._answered(
            "bulk", lambda: self._collection.ingest_bulk(list(photos.items()), request_id=request_id)
        )
        self._answered("bulk ended", job.wait)
        for name, data in photos.items():
            ((hit,),) = self._answered("search", lambda data=data: self._collection.search(data, k=1)).results
            assert hit.name == name
            self.kept[hit.id] = data

    def _delete(self) -> None:
        while len(self.kept) > KEPT:
            name, _ = self._one()
            self._answered("delete", lambda name=name: self._collection.delete(name))
            del self.kept[name]
            self.gone.add(name)

    def _get(self) -> None:
        name, data = self._one()
        assert self._answered("get", lambda: self._collection.get(name)).data == data

    def _search(self) -> None:
        name, data = self._one()
        (hits,) = self._answered("search", lambda: self._collection.search(data, k=3)).results
        assert hits[0].id == name, hits

    def _verify(self) -> None:
        _, data = self._one()
        assert self._answered("verify", lambda: self.vault.verify(data, data)).verified

    def _filter(self) -> None:
        filtered = self._answered("filter", lambda: self.vault.filter(self._picture, ["gaussian:3"])).values
        if self._filtered is not None:
            assert np.abs(filtered.astype(int) - self._filtered).max() <= 1
        self._filtered = filtered.astype(int)

    def _repack(self) -> None:
        self._answered("repack", self._collection.repack)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[BulkServices]:
    running = BulkServices(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def victim(services: BulkServices, number: int) -> Process:
    name = VICTIMS[number % len(VICTIMS)]
    return services.workers[0] if name == "worker" else services[name]


@pytest.mark.timeout(200 + 25 * ROUNDS)
def test_everything_stays_right_while_services_are_killed(services: BulkServices) -> None:
    services.worker()
    moments, ended, failed = np.random.default_rng(9), threading.Event(), []
    with blindsight.connect(services.address()) as first, blindsight.connect(services.address()) as second:
        owners = [Owner(vault, number) for number, vault in enumerate((first, second))]

        def work(owner: Owner) -> None:
            try:
                owner.work(ended)
            except BaseException as error:
                failed.append(error)
                ended.set()

        threads = [threading.Thread(target=work, args=(owner,)) for owner in owners]
        for thread in threads:
            thread.start()
        for number in range(ROUNDS):
            before = answers(owners)
            wait_until(
                lambda before=before: ended.is_set() or answers(owners) > before,
                90,
                "an answer between two kills",
            )
            time.sleep(float(moments.uniform(0, 0.7)))
            process = victim(services, number)
            process.kill()
            process.start()
        time.sleep(1)
        ended.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert sum((owner.counts for owner in owners), Counter()).total() > ROUNDS
        for owner in owners:
            owner.check()
        assert first.status().services[0].alarm == ""


def answers(owners: list[Owner]) -> int:
    return sum(owner.counts.total() for owner in owners)
