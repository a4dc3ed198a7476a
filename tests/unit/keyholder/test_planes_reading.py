"""Planes from and to a storage that misbehaves: a real server, which no real storage would be."""

from dataclasses import replace

import grpc.aio
import numpy as np
import pytest
from support.keysets import shared_key_set
from support.storage import link_to

from blindsight.errors import BlindsightError, DataLoss, Unavailable
from blindsight.packing.planes import PlaneLayout
from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.parameters import CKKS_4096
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.rpc.storage.v1 import storage_pb2_grpc
from blindsight.runtime import transfer
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging.tile_checks import PlaneRecord
from blindsight.trusted.records import CollectionConfig, ItemMetadata, NewItem, NewPlanes
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import Segment, SlotMap, handles_from_bytes
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.items import Items
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.storage import SlotBatch, StoredCollection
from services.keyholder.metrics import CRYPTO
from services.keyholder.operations.planes import Planes

IMAGE = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
LAYOUT = PlaneLayout.of(IMAGE, CKKS_4096.ring_degree)
GEOMETRY = pb.Planes(width=90, height=70, channels=3)
KEYS = shared_key_set()
CONFIG = CollectionConfig("album", "descriptor", 128, Metric.COSINE, 1000, 1.0, CKKS_4096.name, 8)
RECORD = StoredCollection(bytes(15) + b"1", bytes(16), b"", CKKS_4096.name, KEYS.key_id, 128, 8)
COLLECTION = OpenCollection(RECORD, CONFIG, KEYS)
ITEM = ItemKey(COLLECTION.handle("1"), b"eight by")
COLLECTION.slots = SlotMap(
    segments={
        SegmentId(Region.TAIL, 0): Segment(
            handles_from_bytes(ITEM.handle),
            (SlotBatch(1, bytes(32)),),
            np.frombuffer(ITEM.version, "<u8"),
        )
    }
)


class Storage(storage_pb2_grpc.StorageServiceServicer):
    """Answers with what a test puts into it."""

    def __init__(self):
        self.answers = []

    async def GetItems(self, request, context):
        (handle,) = request.handles
        sealed = COLLECTION.seal_metadata(ItemKey(handle, ITEM.version), ItemMetadata("1"))
        item = pb.Item(handle=handle, sealed_metadata=sealed, original_size_bytes=9, planes_size_bytes=9)
        return pb.GetItemsResponse(items=[item])

    async def ReadPlanes(self, request, context):
        for answer in self.answers:
            yield answer

    async def Append(self, requests, context):
        await context.send_initial_metadata(((transfer.GO_AHEAD_KEY, "1"),))
        async for _ in requests:
            pass
        return pb.AppendResponse(sequence=1)


@pytest.fixture(scope="module")
def crypto():
    made = Crypto(KEYS, 1, CRYPTO)
    yield made
    made.close()


@pytest.fixture
async def served():
    server = grpc.aio.server()
    storage = Storage()
    storage_pb2_grpc.add_StorageServiceServicer_to_server(storage, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    storage.client = StorageClient(f"127.0.0.1:{port}")
    yield storage
    await storage.client.close()
    await server.stop(None)


async def sealed_piece(crypto, tiles, layout=LAYOUT, item=ITEM):
    """The seal and the one piece of planes."""
    made = crypto.encrypt_planes(CKKS_4096, tiles, COLLECTION.tile_key)
    (((piece, combination), _),) = [one async for one in made]
    record = PlaneRecord((transfer.digest(piece),), combination).to_bytes()
    return COLLECTION.seal_planes(item, layout, record), piece


def planes_of(client, crypto):
    return Planes(Items(Vault(KEYS, client, client), client), client, crypto)


def header(**changes):
    planes = pb.Planes()
    planes.CopyFrom(GEOMETRY)
    for name, value in changes.items():
        setattr(planes, name, value)
    return pb.ReadPlanesResponse(
        header=pb.PlanesHeader(planes=planes, size_bytes=LAYOUT.size_bytes(CKKS_4096))
    )


def messages(piece):
    yield pb.ReadPlanesResponse(piece=pb.PieceHeader(size_bytes=len(piece), sha256=transfer.digest(piece)))
    for chunk in transfer.chunks(piece):
        yield pb.ReadPlanesResponse(chunk=chunk)


async def test_planes_that_are_right_are_read(served, crypto):
    seal, piece = await sealed_piece(crypto, LAYOUT.pack(IMAGE))
    served.answers = [header(), *messages(seal), *messages(piece)]
    metadata, image = await planes_of(served.client, crypto).read(COLLECTION, "1")
    assert metadata.id == "1"
    np.testing.assert_array_equal(image, IMAGE)


async def test_planes_that_are_not_those_of_a_photo_are_data_loss(served, crypto):
    tiles = LAYOUT.pack(IMAGE)
    seal, good = await sealed_piece(crypto, tiles)
    _, short = await sealed_piece(crypto, tiles[:-1])
    wide_seal, wide = await sealed_piece(crypto, np.full_like(tiles, 300, np.int64))
    other_seal, other = await sealed_piece(crypto, tiles)
    older, _ = await sealed_piece(crypto, tiles, item=ITEM._replace(version=bytes(8)))
    strange, _ = await sealed_piece(crypto, tiles, item=ITEM._replace(handle=bytes(16)))
    wider, _ = await sealed_piece(crypto, tiles, layout=replace(LAYOUT, width=91))
    head, (first, *rest) = [header(), *messages(seal)], messages(good)
    flipped = good[:200] + b"\xff\xff\xff\xff" + good[204:]
    other_key = good[:16] + bytes(16) + good[32:]
    cases = [
        [],
        [first, *rest],
        [header()],
        [header(), first],
        [header(), first, *rest],
        [header(), first, *rest, *messages(seal)],
        head,
        [*head, first],
        [*head, first, *rest[:-1]],
        [*head, first, *rest, *rest],
        [*head, *messages(good), *messages(good)],
        [header(), *head, *messages(good)],
        [header(width=0), *head[1:], *messages(good)],
        [header(channels=2), *head[1:], *messages(good)],
        [header(width=2**32 - 1, height=2**32 - 1), *head[1:], *messages(good)],
        [header(width=190), *head[1:], *messages(good)],
        [header(channels=1), *head[1:], *messages(good)],
        [header(width=91), *head[1:], *messages(good)],
        [*head, *messages(short)],
        [*head, *messages(other)],
        [header(), *messages(wide_seal), *messages(wide)],
        [header(), *messages(other_seal), *messages(good)],
        [header(), *messages(older), *messages(good)],
        [header(), *messages(strange), *messages(good)],
        [header(), *messages(wider), *messages(good)],
        [header(), *messages(seal[:-1] + bytes([seal[-1] ^ 1])), *messages(good)],
        [header(), *messages(bytes(len(seal))), *messages(good)],
        [*head, *messages(flipped)],
        [*head, *messages(other_key)],
        [*head, *messages(b"junk")],
        [*head, *messages(bytes(len(good)))],
        [*head, pb.ReadPlanesResponse(piece=pb.PieceHeader(size_bytes=2**60, sha256=bytes(32)))],
        [*head, pb.ReadPlanesResponse(piece=pb.PieceHeader(size_bytes=len(good))), *rest],
    ]
    for case in cases:
        served.answers = case
        with pytest.raises(DataLoss) as caught:
            await planes_of(served.client, crypto).read(COLLECTION, "1")
        assert "\n" not in str(caught.value)


async def test_planes_that_cannot_be_encrypted_fail_their_append_with_the_reason(served):
    async def failing(item):
        yield b"a piece"
        raise Unavailable("a worker process died twice over the same task")

    item = NewItem(bytes(15) + b"2", planes=NewPlanes(LAYOUT, LAYOUT.pack(IMAGE)))
    placement = Placement(Region.MAIN, 0, 0, 1)
    with pytest.raises(BlindsightError, match="died twice"):
        await served.client.append(
            RECORD.collection_id,
            bytes(16),
            link_to(1),
            [placement],
            [b"block"],
            [bytes(32)],
            [item],
            encrypt_planes=failing,
        )
