"""Filters under Paillier with an evaluator that lies: a real server, which no real evaluator would be."""

import asyncio

import grpc.aio
import numpy as np
import pytest

from blindsight.additive.block import HEADER
from blindsight.additive.planes import PlaneShape
from blindsight.additive.schemes import AdditiveScheme
from blindsight.errors import DataLoss, ResourceExhausted
from blindsight.packing.kernels import PlaneKernel
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.rpc.evaluator.v1 import evaluator_pb2_grpc
from blindsight.runtime.processpool import WorkerPool
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto import tasks
from blindsight.wire.planes import PlaneResult, TransformHeader
from services.evaluator import requests as streams
from services.evaluator import tasks as evaluator_tasks
from services.evaluator.operations.intake import Limits
from services.evaluator.operations.paillier_planes import PaillierOperations
from services.keyholder.imaging.engine import Progress, Transformed
from services.keyholder.imaging.paillier_engine import AdditiveEngine, AdditivePlanes
from services.keyholder.operations.combine import Combine

PLANES = np.random.default_rng(0).integers(0, 256, (3, 9, 40), np.uint8)
PAILLIER = AdditivePlanes.of(AdditiveScheme.PAILLIER, 2048)
KERNELS = (PlaneKernel(1, 2, 0, 0, (1, -1)), PlaneKernel(2, 2, 0, 0, (1, 2, 3, 4), -300))


class Evaluator(evaluator_pb2_grpc.EvaluatorServiceServicer):
    """Computes right, and answers with what a test makes of it."""

    def __init__(self, pool):
        self.lie = lambda results: results
        self._operations = PaillierOperations(pool, Limits(stall_seconds=5, call_seconds=60))

    async def Transform(self, requests, context):
        stream = aiter(requests)
        header = await streams.header(stream, TransformHeader)
        computed = self._operations.transform(header.planes, header.kernels, streams.tiles(stream, "tiles"))
        results = [answer.to_message() async for answer in computed if isinstance(answer, PlaneResult)]
        shape = header.planes
        count = PlaneShape(shape.height, shape.width, shape.halo).results
        yield pb.TransformResponse(plan=pb.PlanePlan(ciphertexts=count))
        for result in self.lie(results):
            yield pb.TransformResponse(result=result)
        yield pb.TransformResponse(summary=pb.PlaneSummary())


@pytest.fixture(scope="module")
def pool():
    made = WorkerPool(1, {**evaluator_tasks.COMPUTE, **tasks.COMPUTE})
    yield made
    made.close()


@pytest.fixture
async def evaluator(pool):
    server = grpc.aio.server()
    made = Evaluator(pool)
    evaluator_pb2_grpc.add_EvaluatorServiceServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made
    await server.stop(None)


@pytest.fixture
async def client(evaluator):
    made = EvaluatorClient(f"127.0.0.1:{evaluator.port}")
    yield made
    await made.close()


def engine(client, pool, limit_seconds=600.0):
    return AdditiveEngine(PAILLIER, client, pool, Combine(client, pool, pool, limit_seconds))


async def transformed(made, planes=PLANES):
    """The result; before it comes progress."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    trip = PAILLIER.trip(planes.shape, 1, KERNELS)
    told = [answer async for answer in made.transform(trip, padded)]
    assert all(isinstance(one, Progress) for one in told[:-1])
    assert isinstance(told[-1], Transformed)
    return told[-1].values


async def test_every_kernel_is_applied_to_every_plane(client, pool):
    made = engine(client, pool)
    found = await transformed(made)
    padded = np.pad(PLANES, ((0, 0), (1, 1), (1, 1))).astype(int)
    own, right = padded[:, 1:-1, 1:-1], padded[:, 1:-1, 2:]
    below, across = padded[:, 2:, 1:-1], padded[:, 2:, 2:]
    np.testing.assert_array_equal(found[0], own - right)
    np.testing.assert_array_equal(found[1], own + 2 * right + 3 * below + 4 * across - 300)
    account, trip = made.account, PAILLIER.trip(PLANES.shape, 1, KERNELS)
    assert (account.round_trips, account.key_bits) == (1, 2048)
    assert (account.ciphertexts, account.results) == (trip.ciphertexts, trip.results)
    assert account.sent_bytes > 512 * account.ciphertexts > 0
    assert account.received_bytes > 512 * account.results > 0


async def test_what_would_take_too_long_is_refused_before_the_evaluator_hears_of_it(client, pool, evaluator):
    heard = []
    evaluator.lie = lambda results: heard.append(results) or results
    with pytest.raises(ResourceExhausted, match="would take paillier about 1 minutes here, want at most"):
        await transformed(engine(client, pool, limit_seconds=0.001))
    await asyncio.sleep(0)
    assert not heard


def patched(result, **changes):
    made = pb.PlaneResult()
    made.CopyFrom(result)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def rewritten(offset, new):
    """The first row of results, with other bytes."""

    def lie(results):
        block = results[0].block
        return [patched(results[0], block=block[:offset] + new + block[offset + len(new) :]), *results[1:]]

    return lie


LIES = {
    "nothing": lambda results: [],
    "a row too few": lambda results: results[:-1],
    "a row too many": lambda results: [*results, results[-1]],
    "a row twice": lambda results: [results[0], *results],
    "a row of another kernel": lambda results: [patched(results[0], kernel=1), *results[1:]],
    "a kernel that there is not": lambda results: [patched(results[0], kernel=2), *results[1:]],
    "a row after the last": lambda results: [*results, patched(results[-1], first=results[-1].first + 512)],
    "no bytes": lambda results: [patched(results[0], block=b""), *results[1:]],
    "junk": lambda results: [patched(results[0], block=b"junk" * 300), *results[1:]],
    "half of a row": lambda results: [patched(results[0], block=results[0].block[:-9]), *results[1:]],
    "another key": rewritten(16, bytes(16)),
    "another growth": rewritten(48, b"\x01"),
    "a number of 0": rewritten(HEADER.size, bytes(512)),
    "a number without end": rewritten(HEADER.size, b"\xff" * 512),
    "a ciphertext of something else": rewritten(HEADER.size, b"\x05" + bytes(511)),
}


@pytest.mark.parametrize("name", LIES)
async def test_an_evaluator_that_answers_with_something_else_is_found_out(client, pool, evaluator, name):
    evaluator.lie = LIES[name]
    with pytest.raises(DataLoss):
        await transformed(engine(client, pool), PLANES[:, :4, :6])
