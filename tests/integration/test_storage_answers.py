"""Answers of a real storage that lose something on their way to the keyholder: nothing is made of it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.relay import Relay
from support.services import Process
from support.vaults import vectors_config

from blindsight.errors import DataLoss
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import ItemMetadata, NewItem
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.repack import Repack
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer

DIMENSION, BATCHES, BATCH_ITEMS = 16, 3, 2
# Two chunks, and not one more byte.
ORIGINAL = b"an original" + bytes(2 << 20)
KEYPOINTS = b"some keypoints"
VECTORS = np.random.default_rng(5).normal(size=(BATCHES * BATCH_ITEMS, DIMENSION))

Change = Callable[[list[bytes]], list[bytes]]


@dataclass
class Answered:
    """A collection, and a storage whose answers can be changed on their way."""

    relay: Relay
    storage: StorageClient
    vault: Vault
    writer: Writer
    crypto: Crypto
    collection: OpenCollection

    def change(self, method: str, change: Change) -> None:
        def changed(called: str, answers: Iterable[bytes]) -> Iterable[bytes]:
            return change(list(answers)) if called.endswith(f"/{method}") else answers

        self.relay.change = changed

    async def rows(self) -> np.ndarray:
        """Vectors as storage has them, in the order of their items."""
        slots = self.collection.slots
        blocks = await self.storage.read_segments(self.key, slots, slots.segments)
        rows = {}
        for key, segment in slots.segments.items():
            found = await self.crypto.decrypt_segment(self.collection.column_keys, key.region, blocks[key])
            rows |= zip(map(bytes, segment.handles), found, strict=False)
        return np.stack([rows[self.collection.handle(str(number))] for number in range(len(VECTORS))])

    @property
    def key(self) -> bytes:
        return self.collection.record.collection_id


@pytest.fixture
async def answered(
    storage_alone: Process, crypto: Crypto, request: pytest.FixtureRequest
) -> AsyncIterator[Answered]:
    """Several batches in the tail, which a repack moves because one item of them is deleted."""
    with Relay(storage_alone.address) as relay:
        storage = StorageClient(relay.address)
        vault = Vault(shared_key_set(), storage, EvaluatorClient(storage_alone.address))
        writer = Writer(vault, storage, crypto)
        collection = await vault.create(vectors_config(request.node.name, DIMENSION))
        made = Answered(relay, storage, vault, writer, crypto, collection)
        for batch in range(BATCHES):
            numbers = range(batch * BATCH_ITEMS, (batch + 1) * BATCH_ITEMS)
            await writer.append_new(collection, VECTORS[numbers], [item(collection, n) for n in numbers])
        gone = item(collection, len(VECTORS))
        await writer.append_new(collection, VECTORS[:1], [gone])
        await writer.delete(collection, [gone.handle])
        yield made
        await storage.close()


def item(collection: OpenCollection, number: int) -> NewItem:
    key = ItemKey.new(collection.handle(str(number)))
    return NewItem(
        key.handle,
        collection.seal_metadata(key, ItemMetadata(str(number))),
        collection.seal_original(key, ORIGINAL),
        sealed_keypoints=collection.seal_keypoints(key, KEYPOINTS),
        version=key.version,
    )


def altered(message: bytes) -> bytes:
    """A chunk of which the last byte is another."""
    return message[:-1] + bytes([message[-1] ^ 1])


def without_a_batch(answers: list[bytes]) -> list[bytes]:
    """The last batch is left out with all of its chunks."""
    starts = [
        place
        for place, answer in enumerate(answers)
        if pb.ReadBatchesResponse.FromString(answer).WhichOneof("part") == "batch"
    ]
    return answers[: starts[-1]]


CUTS: dict[str, Change] = {
    "all": lambda answers: answers[:0],
    "after the header": lambda answers: answers[:1],
    "in a batch": lambda answers: answers[:2],
    "after a batch": without_a_batch,
    "before the end": lambda answers: answers[:-1],
    "doubled": lambda answers: answers + answers[1:],
}


@pytest.mark.parametrize("cut", CUTS)
async def test_a_repack_makes_nothing_of_segments_that_do_not_come_whole(
    answered: Answered, cut: str
) -> None:
    before = answered.collection.slots
    answered.change("ReadBatches", CUTS[cut])
    with pytest.raises(DataLoss):
        async for _ in Repack(answered.vault, answered.storage, answered.crypto, answered.writer).run(
            answered.collection
        ):
            pass
    answered.change("none", list)
    assert (await answered.storage.read_slots(answered.key, 0))[0].sequence == before.sequence
    wanted = answered.collection.linear().rows(VECTORS)
    np.testing.assert_allclose(await answered.rows(), wanted, atol=1e-4)
    async for _ in Repack(answered.vault, answered.storage, answered.crypto, answered.writer).run(
        answered.collection
    ):
        pass
    assert (await answered.storage.read_slots(answered.key, 0))[0].sequence > before.sequence
    np.testing.assert_allclose(await answered.rows(), wanted, atol=1e-4)


def rewritten(change: Change) -> Change:
    """An answer of ReadBatches with other blocks, whose digests are announced as if they were right."""

    def changed(answers: list[bytes]) -> list[bytes]:
        messages = [pb.ReadBatchesResponse.FromString(answer) for answer in answers]
        headers, blocks = [], []
        for message in messages[1:]:
            if message.WhichOneof("part") == "batch":
                headers.append(message.batch)
                blocks.append(b"")
            else:
                blocks[-1] += message.chunk
        made = [messages[0]]
        for header, block in zip(headers, change(blocks), strict=True):
            header.block_sha256 = hashlib.sha256(block).digest()
            made += [pb.ReadBatchesResponse(batch=header), pb.ReadBatchesResponse(chunk=block)]
        return [message.SerializeToString() for message in made]

    return changed


def with_a_changed_residue(blocks: list[bytes]) -> list[bytes]:
    return [*blocks[:-1], blocks[-1][:-100] + altered(blocks[-1][-100:-99]) + blocks[-1][-99:]]


FORGED: dict[str, Change] = {
    "a residue": with_a_changed_residue,
    "a seed": lambda blocks: [blocks[0][:-60] + blocks[1][-60:-28] + blocks[0][-28:], *blocks[1:]],
    "a tag": lambda blocks: [*blocks[:-1], altered(blocks[-1])],
    "a batch for another": lambda blocks: [blocks[1], *blocks[1:]],
    "two batches exchanged": lambda blocks: [blocks[1], blocks[0], *blocks[2:]],
}


@pytest.mark.parametrize("change", FORGED)
async def test_a_batch_that_storage_made_up_or_took_from_elsewhere_is_not_decrypted(
    answered: Answered, change: str
) -> None:
    before = answered.collection.slots
    answered.change("ReadBatches", rewritten(list))
    wanted = answered.collection.linear().rows(VECTORS)
    np.testing.assert_allclose(await answered.rows(), wanted, atol=1e-4)
    answered.change("ReadBatches", rewritten(FORGED[change]))
    with pytest.raises(DataLoss, match="not the 4 that were written"):
        await answered.rows()
    with pytest.raises(DataLoss, match="not the 4 that were written"):
        async for _ in Repack(answered.vault, answered.storage, answered.crypto, answered.writer).run(
            answered.collection
        ):
            pass
    answered.change("none", list)
    assert (await answered.storage.read_slots(answered.key, 0))[0].sequence == before.sequence


async def test_an_answer_that_ends_among_the_bytes_of_keypoints_does_not_say_that_there_are_none(
    answered: Answered,
) -> None:
    handles = [answered.collection.handle(str(number)) for number in range(2)]
    assert set(await answered.storage.read_keypoints(answered.key, handles)) == set(handles)
    answered.change("ReadAttachments", lambda answers: answers[:-1])
    with pytest.raises(DataLoss):
        await answered.storage.read_keypoints(answered.key, handles)


async def test_bytes_that_storage_did_not_get_are_its_loss_and_nobodys_mistake(answered: Answered) -> None:
    handle = answered.collection.handle("0")
    asked: dict[str, Callable[[], object]] = {
        "ReadBatches": answered.rows,
        "ReadOriginal": lambda: answered.storage.read_original(answered.key, handle),
        "ReadAttachments": lambda: answered.storage.read_keypoints(answered.key, [handle]),
    }
    for method, ask in asked.items():
        for change in (lambda answers: [*answers[:-1], altered(answers[-1])], lambda answers: answers[:-1]):
            answered.change(method, change)
            with pytest.raises(DataLoss):
                await ask()
        answered.change("none", list)
        await ask()
