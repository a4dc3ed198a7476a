"""The steps of a photo through bulk ingest, in one process and each timed alone.

Keyholder and worker do these steps in groups of the same size.  The streams, pipes and event loops between
them are not measured here; the processor times of whole runs include them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from processes import Services, tree_cpu_seconds

from blindsight.packing.columns import Floats
from blindsight.runtime import host
from blindsight.runtime.peer import Connection
from blindsight.trusted import embedders
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging import images
from blindsight.trusted.ingest.envelope import Envelopes, QueuedPhoto
from blindsight.trusted.ingest.read_ahead import GROUP_PHOTOS
from blindsight.trusted.keyring import keyfile, passphrase
from blindsight.trusted.queue import Consumer, Delivery, Queue, open_queue
from blindsight.trusted.records import ItemMetadata, NewItem
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from services.keyholder.metrics import CRYPTO
from services.worker.settings import WorkerSettings
from services.worker.worker import TAKE_AT_ONCE

QUEUE = ("seal", "publish", "take", "open", "ack")
WORK = ("read", "decode", "embed", "name and seal", "encrypt", "append")
NAME = "steps"
_PREFETCH = WorkerSettings.model_fields["prefetch"].default
_BATCH = _PREFETCH // 2
_JOB = b"a job's sixteen."
_TAKE_SECONDS = 10.0
Prepared = tuple[NewItem, Floats]


class Stopwatch:
    """Adds up the wall time and the processor time of steps.

    Attributes:
        helpers: processes whose processor time is added to this one's.
    """

    def __init__(self) -> None:
        self.helpers: list[psutil.Process] = []
        self.seconds = dict.fromkeys((*WORK, *QUEUE), 0.0)
        self.cpu_seconds = dict(self.seconds)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a block."""
        cpu, started = self._cpu(), time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started
        self.cpu_seconds[name] += self._cpu() - cpu

    def _cpu(self) -> float:
        return time.process_time() + sum(map(tree_cpu_seconds, self.helpers))


def measure(services: Services, files: Sequence[Path]) -> dict[str, Any]:
    """Measures each step in milliseconds per photo, and the ratio of the queue's steps to the others.

    Args:
        services: services with an empty collection named `NAME`.
        files: photos of several batches.
    """
    watch = Stopwatch()
    host.keep_photos()  # as in the processes that do these steps
    asyncio.run(_measure(services, files, watch))
    return {
        "photos": len(files),
        "ms": {name: 1e3 * seconds / len(files) for name, seconds in watch.seconds.items()},
        "cpu_ms": {name: 1e3 * seconds / len(files) for name, seconds in watch.cpu_seconds.items()},
        "queue_part": _part(watch.seconds),
        "queue_part_cpu": _part(watch.cpu_seconds),
    }


def _part(seconds: dict[str, float]) -> float:
    return sum(seconds[name] for name in QUEUE) / sum(seconds[name] for name in WORK)


async def _measure(services: Services, files: Sequence[Path], watch: Stopwatch) -> None:
    folder = services.folder / "keyholder"
    keys = keyfile.read(folder / "keys.bsky", passphrase.from_file(folder / "passphrase"))
    connection = Connection(certificates=services.as_keyholder())
    storage = StorageClient(services.addresses["storage"], connection)
    evaluator = EvaluatorClient(services.addresses["evaluator"], connection)
    crypto = Crypto(keys, 1, CRYPTO)
    envelopes = Envelopes(keys)
    try:
        await crypto.warm()
        vault = Vault(keys, storage, evaluator)
        collection = await vault.get(NAME)
        with open_queue(f"embedded:{services.folder / 'queue' / 'steps.db'}") as queue:
            _publish(queue, envelopes, collection, files, watch)
            consumer = queue.consumer(len(files))
            deliveries = _take(consumer, len(files), watch)
            prepared = _prepare(envelopes, collection, deliveries, watch)
            watch.helpers = [one for one in (services.process("storage"), *_children()) if one is not None]
            for start in range(0, len(files), _BATCH):
                batch = slice(start, start + _BATCH)
                await _store(Writer(vault, storage, crypto), collection, prepared[batch], watch)
                with watch.step("ack"):
                    consumer.ack_all(deliveries[batch])
    finally:
        crypto.close()
        await storage.close()
        await evaluator.close()


def _children() -> list[psutil.Process]:
    """Returns the process that encrypts, not the services, which are children of this process too."""
    servers = [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]
    return [worker for server in servers for worker in server.children()]


def _publish(
    queue: Queue, envelopes: Envelopes, collection: OpenCollection, files: Sequence[Path], watch: Stopwatch
) -> None:
    collection_id = collection.record.collection_id
    for start in range(0, len(files), GROUP_PHOTOS):
        group = list(enumerate(files))[start : start + GROUP_PHOTOS]
        with watch.step("read"):
            read = [(number, path.name, path.read_bytes()) for number, path in group]
        with watch.step("seal"):
            photos = [QueuedPhoto(_JOB, number, collection_id, "", name, data) for number, name, data in read]
            messages = [envelopes.seal(photo) for photo in photos]
        with watch.step("publish"):
            queue.publish(*messages)


def _take(consumer: Consumer, count: int, watch: Stopwatch) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < count:
        with watch.step("take"):
            taken += consumer.take_some(_TAKE_SECONDS, TAKE_AT_ONCE)
    return taken


def _prepare(
    envelopes: Envelopes, collection: OpenCollection, deliveries: Sequence[Delivery], watch: Stopwatch
) -> list[Prepared]:
    """Does the steps of a worker and its processes for each photo."""
    config = collection.config
    embedder = embedders.create(config.embedder, config.dimension, config.channels)
    prepared = []
    for delivery in deliveries:
        with watch.step("open"):
            photo = envelopes.open(delivery.message)
        with watch.step("decode"):
            picture = images.decode(photo.data, at_least=embedder.at_least)
            media_type = images.media_type(photo.data)
        with watch.step("embed"):
            vector = embedder.embed(picture).astype(np.float64)
        with watch.step("name and seal"):
            item_id = collection.content_id(photo.data)
            handle = collection.handle(item_id)
            key = ItemKey.new(handle)
            metadata = collection.seal_metadata(key, ItemMetadata(item_id, photo.name, media_type))
            original = collection.seal_original(key, photo.data)
            item = NewItem(handle, metadata, original, version=key.version)
        prepared.append((item, vector))
    return prepared


async def _store(
    writer: Writer, collection: OpenCollection, batch: Sequence[Prepared], watch: Stopwatch
) -> None:
    rows = collection.linear().rows(np.stack([vector for _, vector in batch]))
    with watch.step("encrypt"):
        ahead = await writer.encrypt(collection, collection.slots, rows)
    with watch.step("append"):
        await writer.append(collection, rows, [item for item, _ in batch], ahead)
