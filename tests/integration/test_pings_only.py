"""Services that answer pings and nothing else: no call of the keyholder waits for one for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from support.storage import MAIN_0, link_to

from blindsight.errors import Unavailable
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import PARAMETER_SETS
from blindsight.runtime.pace import Pace
from blindsight.runtime.peer import Connection
from blindsight.trusted.clients import EvaluatorClient, StorageClient, timeouts
from blindsight.trusted.slots import Segment, SlotMap, handles_from_bytes
from blindsight.wire.planes import StoredPlanes
from blindsight.wire.storage import ItemUpdate, SlotBatch

ID = bytes(16)
SILENCE_SECONDS = 0.3
PLANES = StoredPlanes(ID, ID)
PLACE = Placement(Region.MAIN, 0, 0, 1)
LINK = link_to(1)
SLOTS = SlotMap(1, 0, {MAIN_0: Segment(handles_from_bytes(bytes(16)), (SlotBatch(1, bytes(32)),))})


class Deaf(grpc.GenericRpcHandler):
    """Takes every call, and does nothing with it."""

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(self._wait)

    async def _wait(self, _: object, __: object) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


@pytest.fixture
async def deaf(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of a service that answers no call; limits are short."""
    for limit in [name for name in vars(timeouts) if name.endswith("_SECONDS")]:
        monkeypatch.setattr(timeouts, limit, SILENCE_SECONDS)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Deaf()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def _all(parts: AsyncIterator[Any]) -> None:
    async for _ in parts:
        pass


async def _no_batches(_: object, __: object) -> None:
    """Reads nothing."""


OF_STORAGE: dict[str, Callable[[StorageClient], Awaitable[Any]]] = {
    "get_collection": lambda storage: storage.get_collection(ID),
    "list_collections": lambda storage: storage.list_collections(),
    "replace_config": lambda storage: storage.replace_config(ID, ID, b"config", LINK),
    "truncate_collection": lambda storage: storage.truncate_collection(ID, LINK),
    "delete_collection": lambda storage: storage.delete_collection(ID),
    "take_turn": lambda storage: storage.take_turn(ID, ID),
    "append": lambda storage: storage.append(ID, ID, LINK, [PLACE], [b"block"], [bytes(32)], []),
    "read_segments": lambda storage: storage.read_segments(ID, SLOTS, [MAIN_0]),
    "read_intact": lambda storage: storage.read_intact(ID, SLOTS, MAIN_0),
    "read_log": lambda storage: storage.read_log(ID, 0, _no_batches),
    "read_slots": lambda storage: storage.read_slots(ID, 0),
    "get_items": lambda storage: storage.get_items(ID, [ID]),
    "read_original": lambda storage: storage.read_original(ID, ID),
    "read_keypoints": lambda storage: storage.read_keypoints(ID, [ID]),
    "read_planes": lambda storage: _all(storage.read_planes(ID, ID, PARAMETER_SETS["ckks-4096"])),
    "delete_items": lambda storage: storage.delete_items(ID, [ID], LINK),
    "update_items": lambda storage: storage.update_items(ID, [ItemUpdate(ID, b"sealed", bytes(8))], LINK),
    "take_lease": lambda storage: storage.take_lease(ID, ID),
    "renew_lease": lambda storage: storage.renew_lease(ID, ID, 1),
    "release_lease": lambda storage: storage.release_lease(ID, 1),
    "status": lambda storage: storage.status(),
}
OF_THE_EVALUATOR: dict[str, Callable[[EvaluatorClient], Awaitable[Any]]] = {
    "score": lambda evaluator: _all(evaluator.score(ID, 0, 1, [b"queries"])),
    "compare_all": lambda evaluator: _all(evaluator.compare_all(b"rows", b"queries", (1,), 1)),
    "transform": lambda evaluator: _all(evaluator.transform(PLANES, [])),
    "scale_space": lambda evaluator: _all(evaluator.scale_space(PLANES, [], 1)),
    "difference": lambda evaluator: _all(evaluator.difference(PLANES, PLANES)),
    "prepare": lambda evaluator: evaluator.prepare(ID),
    "drop_collection": lambda evaluator: evaluator.drop_collection(ID),
    "status": lambda evaluator: evaluator.status(),
}
# They make no call, or need more than an address: `create_collection` calls as `get_collection` does, and
# `combine` as `compare_all`.
OTHERS = {"close", "call", "create_collection", "combine", "fenced_by"}


def test_every_call_is_tried() -> None:
    for client, tried in ((StorageClient, OF_STORAGE), (EvaluatorClient, OF_THE_EVALUATOR)):
        calls = {name for name in dir(client) if not name.startswith("_")}
        assert calls - OTHERS == set(tried)


@pytest.mark.parametrize("name", OF_STORAGE)
async def test_a_call_to_a_storage_that_does_nothing_ends(deaf: str, name: str) -> None:
    client = StorageClient(deaf, Connection(retry_seconds=0.1))
    started = time.monotonic()
    with pytest.raises(Unavailable, match="storage"):
        await OF_STORAGE[name](client)
    assert time.monotonic() - started < 60  # not for ever; how soon is the limit's business
    await client.close()


@pytest.mark.parametrize("name", OF_THE_EVALUATOR)
async def test_a_call_to_an_evaluator_that_does_nothing_ends(deaf: str, name: str) -> None:
    client = EvaluatorClient(deaf, Connection(retry_seconds=0.1))
    with pytest.raises(Unavailable, match="evaluator"):
        await OF_THE_EVALUATOR[name](client)
    await client.close()


async def test_a_long_upload_is_no_silence() -> None:
    pace = Pace("storage", 0.2)

    async def slowly() -> AsyncIterator[int]:
        for number in range(8):
            await asyncio.sleep(0.1)
            yield number

    async def answer() -> int:
        return sum([number async for number in pace.sending(slowly())])

    assert await pace.wait(answer()) == sum(range(8))
    with pytest.raises(Unavailable, match=r"storage has been silent for 0\.2 s"):
        await pace.wait(asyncio.sleep(60))
