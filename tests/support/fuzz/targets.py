"""The targets: every record of the wire, and every other parser of bytes."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import numpy as np

from blindsight.additive import AdditivePublicKey, AdditiveScheme, block
from blindsight.backup import manifest as backup_manifest
from blindsight.ciphertext import residues
from blindsight.ciphertext.header import BlockHeader, Form, parse_header
from blindsight.packing.columns import Layout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import CKKS_4096
from blindsight.ring.tiles import view_tiles
from blindsight.trusted.columns import batches
from blindsight.trusted.imaging import images, keypoints
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.records import CollectionConfig, ItemMetadata
from blindsight.trusted.secrets import Secret
from blindsight.trusted.similarity.linear import Metric
from services.evaluator.galleries import manifest
from support import additive, columns
from support.fuzz import Target, reads, reads_record, records
from support.photos import encoded, photo, small_photo

LAYOUT = Layout((8,), 4, CKKS_4096.ring_degree)
PLACE = Placement(Region.MAIN, 0, 0, 4)
HEADER = BlockHeader(CKKS_4096, columns.KEY_ID, Form.BATCH, LAYOUT.columns).pack()


@functools.cache
def targets() -> dict[str, Target]:
    """All targets by name."""
    found = {f"{kind.__module__}.{kind.__qualname__}": reads_record(kind) for kind in records()}
    return found | _blocks() | _records() | _files()


def _blocks() -> dict[str, Target]:
    key = additive.key(AdditiveScheme.PAILLIER)
    numbers = key.encrypt(np.arange(4)[None], value_bits=8, guard_bits=4, scale_bits=0).to_bytes()
    keys = columns.collection_keys(CKKS_4096, LAYOUT)
    return {
        "block header": reads(parse_header, HEADER),
        "residues": reads(lambda data: residues.read_block(data, CKKS_4096, columns.KEY_ID), HEADER),
        "tiles": reads(lambda data: view_tiles(data, CKKS_4096, columns.KEY_ID, Form.BATCH, 2), HEADER),
        "batch": reads(lambda data: batches.read(data, PLACE, keys), HEADER),
        "additive block": reads(lambda data: block.read_block(data, key.public_key), numbers),
        "additive key": reads(AdditivePublicKey.from_bytes, key.public_key.to_bytes()),
    }


def _records() -> dict[str, Target]:
    """What storage keeps sealed: here as if its seal did not hold."""
    sealer = Sealer(Secret(bytes(32)))
    item = ItemMetadata("an id", "a name", "image/png", "origin").to_bytes()
    config = CollectionConfig("a name", "none", 8, Metric.COSINE, 1, 1.0, CKKS_4096.name, 4).to_bytes()
    return {
        "sealed": reads(lambda data: sealer.open(data, b"here"), sealer.seal(item, b"here")),
        "item": reads(ItemMetadata.from_bytes, item),
        "settings": reads(CollectionConfig.from_bytes, config),
        "keypoints": reads(keypoints.unpack, bytes(keypoints.PACKED_BYTES)),
    }


def _files() -> dict[str, Target]:
    photos = (
        small_photo(1),
        *(encoded(photo("coins", 24), form) for form in ("JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")),
    )
    gallery = json.dumps({
        "version": manifest.VERSION, "collection_id": "00" * 16, "parameter_set": "ckks-4096",
        "key_id": "11" * 16,
        "fields": [8], "stride": 4, "sequence": 1, "epoch": 1,
        "chain": "22" * 32, "segments": [[1, 0, "a.seg"]],
    }).encode()  # fmt: skip
    return {
        "image": reads(images.decode, *photos),
        "gallery": reads(functools.partial(_in_folder, "00" * 16, manifest.NAME, manifest.read), gallery),
        "backup": reads(
            functools.partial(_in_folder, "a", backup_manifest.MANIFEST_NAME, backup_manifest.read), b"{}"
        ),
    }


def _in_folder(folder, name, read, data: bytes) -> object:
    with tempfile.TemporaryDirectory() as parent:
        place = Path(parent) / folder
        place.mkdir()
        (place / name).write_bytes(data)
        return read(place)
