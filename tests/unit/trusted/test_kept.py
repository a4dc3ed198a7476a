"""Every embedder makes an item of every photo; plain and bulk ingest take this way."""

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.oddities import EMBEDDERS, ODDITIES

from blindsight.parameters import CKKS_4096
from blindsight.trusted import embedders
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.embedders.pixels import CHANNELS
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.ingest.pipeline import UNFOUND, WITHOUT_PLANES, Pipeline, identify
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.similarity import make
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import handles_from_bytes
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.wire.storage import StoredCollection
from services.keyholder import metrics

KEYS = shared_key_set()


@pytest.fixture(scope="module")
def pipeline():
    crypto = Crypto(KEYS, 1, metrics.CRYPTO)
    yield Pipeline(None, crypto, None)
    crypto.close()


def opened(kind):
    """A collection of a kind, without services: nothing of it is stored."""
    channels = EMBEDDERS[kind].get("channels", "")
    embedder = embedders.create("pixels", 3 * 16 * 16, channels) if channels else embedders.create(kind)
    metric = Metric.SQUARED_COSINE if channels else Metric.COSINE
    config = CollectionConfig(
        "photos", embedder.name, embedder.dimension, metric, 10, 1.0, CKKS_4096.name, 64, channels
    )
    fields = make(metric, embedder.dimension, 1.0, CHANNELS.get(channels, 0)).fields
    record = StoredCollection(
        bytes(16), bytes(16), b"", CKKS_4096.name, KEYS.key_id, sum(fields), 64, fields=fields
    )
    return OpenCollection(record, config, KEYS)


@pytest.fixture(scope="module", params=EMBEDDERS)
def kind(request):
    return request.param


@pytest.mark.parametrize("halo", [None, 0], ids=["", "planes"])
async def test_an_item_is_made_of_every_photo(pipeline, kind, halo):
    collection = opened(kind)
    for oddity in ODDITIES:
        identified = await identify(collection, Photo(0, oddity.name, oddity.data))
        prepared = await pipeline.prepare(identified, halo=halo)
        item, unfound = prepared.item, kind in oddity.undescribed
        versions = np.frombuffer(item.version, "<u8")
        tagged = collection.tags.found(handles_from_bytes(item.handle), versions)
        assert (tagged.tolist(), UNFOUND in prepared.remark) == ([unfound], unfound), oddity.name
        assert np.isfinite(collection.linear().rows(prepared.vectors)).all()
        key = ItemKey(item.handle, item.version)
        assert collection.open_original(key, item.sealed_original) == oddity.data
        metadata = collection.open_metadata(key, item.sealed_metadata)
        assert (metadata.id, metadata.name) == (identified.item_id, oddity.name)
        assert (metadata.remark == UNFOUND) == unfound
        assert metadata.media_type.startswith("image/")
        undecodable = oddity.undescribed == set(EMBEDDERS)
        assert (item.planes is not None) == (halo is not None and not undecodable), oddity.name
        assert (WITHOUT_PLANES in prepared.remark) == (halo is not None and undecodable)


async def test_what_is_sealed_of_an_undescribed_photo_is_as_large_as_of_any_other(pipeline, kind):
    collection = opened(kind)
    sizes = set()
    for data in (ODDITIES[0].data, ODDITIES[0].data[:-100]):
        item = (await pipeline.prepare(await identify(collection, Photo(0, "a.jpg", data)))).item
        sizes.add((len(item.sealed_metadata), len(item.sealed_keypoints), len(item.version)))
    assert len(sizes) == 1


async def test_a_file_of_an_unknown_kind_is_kept_under_a_type_that_says_so(pipeline):
    collection = opened("pixels")
    for name, media_type in (("", "application/octet-stream"), ("notes.txt", "text/plain")):
        prepared = await pipeline.prepare(await identify(collection, Photo(0, name, b"no image")))
        key = ItemKey(prepared.item.handle, prepared.item.version)
        assert collection.open_metadata(key, prepared.item.sealed_metadata).media_type == media_type
