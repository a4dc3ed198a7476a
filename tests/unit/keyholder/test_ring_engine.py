"""Filters and differences with an evaluator that lies: a real server, which no real evaluator would be."""

import grpc.aio
import numpy as np
import pytest
from support.keysets import shared_key_set

from blindsight.ciphertext.residues import full_block, read_block
from blindsight.errors import DataLoss
from blindsight.packing.kernels import PlaneKernel
from blindsight.parameters import BFV_4096
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.rpc.evaluator.v1 import evaluator_pb2_grpc
from blindsight.trusted import schemes
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto.pool import Crypto
from services.evaluator.computing import imaging
from services.evaluator.tasks import Subtract, Transform
from services.keyholder.imaging.engine import Progress, Stage, Transformed
from services.keyholder.imaging.ring_engine import RingEngine, RingScheme
from services.keyholder.metrics import CRYPTO

PARAMETERS = BFV_4096
KEYS = shared_key_set()
# Two planes of two tiles each: one block of four.
PLANES = np.random.default_rng(0).integers(0, 256, (2, 40, 100), np.uint8)
KERNELS = (PlaneKernel(1, 2, 0, 0, (1, -1)), PlaneKernel(2, 1, 0, 0, (1, -1)))


class Evaluator(evaluator_pb2_grpc.EvaluatorServiceServicer):
    """Computes right, and answers with what a test makes of it."""

    def __init__(self):
        self.lie = lambda results: results

    async def Transform(self, requests, context):
        header, results = None, []
        async for request in requests:
            if request.WhichOneof("part") == "header":
                header = request.header
                continue
            kernels = tuple(
                PlaneKernel(
                    one.height, one.width, one.anchor_row, one.anchor_column, tuple(one.weights), one.offset
                )
                for one in header.kernels
            )
            blocks = imaging.transform(Transform(PARAMETERS, KEYS.key_id, request.tiles.block, kernels))
            results += [pb.PlaneResult(kernel=kernel, block=block) for kernel, block in enumerate(blocks)]
        yield pb.TransformResponse(plan=pb.PlanePlan(ciphertexts=4))
        for result in self.lie(results):
            yield pb.TransformResponse(result=result)
        yield pb.TransformResponse(summary=pb.PlaneSummary(compute_seconds=1))

    async def Difference(self, requests, context):
        received = [request async for request in requests]
        first, second = received[1].minuend.block, received[2].subtrahend.block
        (block,) = imaging.subtract(Subtract(PARAMETERS, KEYS.key_id, first, second))
        yield pb.DifferenceResponse(plan=pb.PlanePlan(ciphertexts=1))
        for result in self.lie([pb.PlaneResult(block=block)]):
            yield pb.DifferenceResponse(result=result)
        yield pb.DifferenceResponse(summary=pb.PlaneSummary())


@pytest.fixture(scope="module")
def crypto():
    made = Crypto(KEYS, 1, CRYPTO)
    yield made
    made.close()


@pytest.fixture
async def evaluator():
    server = grpc.aio.server()
    made = Evaluator()
    evaluator_pb2_grpc.add_EvaluatorServiceServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made
    await server.stop(None)


@pytest.fixture
async def engine(evaluator, crypto):
    client = EvaluatorClient(f"127.0.0.1:{evaluator.port}")
    yield RingEngine(PARAMETERS, KEYS.key_id, KEYS.subkey("tiles"), client, crypto)
    await client.close()


async def last(answers):
    """The result; before it comes progress that grows."""
    told = [answer async for answer in answers]
    assert all(isinstance(one, Progress) and one.stage is Stage.COMPUTE for one in told[:-1])
    assert [one.done for one in told[:-1]] == sorted(one.done for one in told[:-1])
    assert isinstance(told[-1], Transformed)
    return told[-1].values


def transformed(engine):
    trip = RingScheme(PARAMETERS).trip(PLANES.shape, 1, KERNELS)
    assert (trip.ciphertexts, trip.results) == (4, 8)
    return last(engine.transform(trip, np.pad(PLANES, ((0, 0), (1, 1), (1, 1)))))


async def test_every_kernel_is_applied_to_every_plane(engine):
    found = await transformed(engine)
    padded = np.pad(PLANES, ((0, 0), (1, 1), (1, 1))).astype(int)
    own = padded[:, 1:-1, 1:-1]
    np.testing.assert_array_equal(found, [own - padded[:, 1:-1, 2:], own - padded[:, 2:, 1:-1]])
    account = engine.account
    assert (account.round_trips, account.ciphertexts, account.results) == (1, 4, 8)
    assert account.compute_seconds == 1


async def test_differences_of_all_extremes_share_coefficients(engine):
    levels = np.array([0, 1, 127, 128, 254, 255], np.uint8)
    first, second = (one.reshape(2, 3, 6) for one in np.meshgrid(levels, levels))
    found = await last(engine.difference(first, second))
    np.testing.assert_array_equal(found[0], first.astype(int) - second)
    assert engine.account.ciphertexts == 2


def patched(result, **changes):
    made = pb.PlaneResult()
    made.CopyFrom(result)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def residues(result):
    return read_block(result.block, PARAMETERS, KEYS.key_id).residues.copy()


def without_second_half(result):
    made = residues(result)
    made[:, 1] = 0
    return full_block(PARAMETERS, KEYS.key_id, made).to_bytes()


def seeded():
    scheme = schemes.load(PARAMETERS, KEYS.secret_key(PARAMETERS.name))
    return scheme.encrypt_planes(np.zeros((4, PARAMETERS.ring_degree), np.int64), KEYS.key_id).to_bytes()


def of_another_key(result):
    return full_block(PARAMETERS, bytes(16), residues(result)).to_bytes()


def over_its_prime(result):
    made = residues(result)
    made[0, 0, 0, 0] = PARAMETERS.primes[0]
    return full_block(PARAMETERS, KEYS.key_id, made).to_bytes()


LIES = {
    "nothing": lambda results: [],
    "a result too few": lambda results: results[:1],
    "a result too many": lambda results: [*results, results[1]],
    "a result twice": lambda results: [results[0], results[0]],
    "a kernel that there is not": lambda results: [results[0], patched(results[1], kernel=2)],
    "a tile that comes later": lambda results: [results[0], patched(results[1], first=1)],
    "a tile without end": lambda results: [results[0], patched(results[1], first=2**32 - 1)],
    "bytes that are none": lambda results: [results[0], patched(results[1], block=b"junk" * 100)],
    "no bytes": lambda results: [results[0], patched(results[1], block=b"")],
    "half of a block": lambda results: [results[0], patched(results[1], block=results[1].block[:-9])],
    "tiles that are not encrypted": lambda results: [
        results[0],
        patched(results[1], block=without_second_half(results[1])),
    ],
    "fresh tiles": lambda results: [results[0], patched(results[1], block=seeded())],
    "tiles of another key": lambda results: [
        results[0],
        patched(results[1], block=of_another_key(results[1])),
    ],
    "a residue over its prime": lambda results: [
        results[0],
        patched(results[1], block=over_its_prime(results[1])),
    ],
}


@pytest.mark.parametrize("name", LIES)
async def test_an_evaluator_that_answers_with_something_else_is_found_out(evaluator, engine, name):
    evaluator.lie = LIES[name]
    with pytest.raises(DataLoss):
        await transformed(engine)


async def test_a_difference_that_is_something_else_is_found_out(evaluator, engine):
    evaluator.lie = lambda results: [patched(results[0], block=without_second_half(results[0]))]
    with pytest.raises(DataLoss, match="tiles that are not encrypted"):
        await last(engine.difference(PLANES, PLANES[::-1]))


async def test_noise_in_place_of_a_result_is_found_out(evaluator, engine):
    random = np.random.default_rng(1)

    def noise(results):
        shape = residues(results[0]).shape
        drawn = random.integers(0, min(PARAMETERS.primes), shape, np.uint32)
        return [results[0], patched(results[1], block=full_block(PARAMETERS, KEYS.key_id, drawn).to_bytes())]

    evaluator.lie = noise
    with pytest.raises(DataLoss, match="something else than the results"):
        await transformed(engine)
