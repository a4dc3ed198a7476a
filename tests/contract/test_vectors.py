"""The published test vectors: written after docs/wire-format.md alone, read by the code."""

import hashlib
import importlib.util
import json
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from blindsight.additive.block import read_block as read_additive
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.query import HEADER, MAGIC, PlainQueries
from blindsight.ciphertext.header import HEADER as BLOCK_HEADER
from blindsight.ciphertext.header import BlockHeader, Form
from blindsight.ciphertext.residues import read_block
from blindsight.errors import DataLoss
from blindsight.packing.columns import Layout, collection_layout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import PARAMETER_SETS, Scheme
from blindsight.ring import prng
from blindsight.ring.columns import products
from blindsight.ring.lanes import Factors
from blindsight.ring.tiles import column_block, from_tiles, to_tiles, view_tiles
from blindsight.trusted.columns import batches, gallery, queries
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.columns.numbers import transformed
from blindsight.trusted.columns.queries import Query
from blindsight.trusted.imaging import keypoints
from blindsight.trusted.keyring import keyfile
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.keyring.padding import pad, unpad
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.schemes.sampling import ternary
from blindsight.trusted.secrets import Secret
from services.evaluator.computing.kernel import Kernel
from services.keyholder.operations.query_groups import read_answers

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "vectors"


def vectors(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def writer():
    """tools/vectors.py, which names nothing of the product."""
    spec = importlib.util.spec_from_file_location("vectors", ROOT / "tools" / "vectors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_their_writer_writes(writer):
    assert {path.stem for path in FOLDER.glob("*.json")} == set(writer.FILES)
    for name in writer.FILES:
        assert (FOLDER / f"{name}.json").read_text() == writer.text(name), name


def test_the_writer_does_not_use_the_code_that_reads(writer):
    assert not {"blindsight", "services"} & set(vars(writer))
    assert "import blindsight" not in Path(writer.__file__).read_text()
    assert "from blindsight" not in Path(writer.__file__).read_text()


def test_the_writer_knows_every_parameter_set_as_it_is(writer):
    assert {name: tuple(one) for name, one in writer.SETS.items()} == {
        name: (
            one.number,
            one.scheme,
            one.ring_degree,
            one.primes,
            one.plain_modulus,
            one.gallery_scale,
            one.query_scale,
        )
        for name, one in PARAMETER_SETS.items()
    }


@pytest.mark.parametrize(
    "vector", vectors("ciphertexts"), ids=lambda one: f"{one['parameter_set']}-{one['form']}"
)
def test_a_block_of_planes_is_read_and_written_as_published(vector, writer):
    parameters = PARAMETER_SETS[vector["parameter_set"]]
    stored = 1 if vector["form"] == "seeded" else 2
    label = vector["residues"]["shake_256_of"]
    body = writer.residues(label, stored, parameters.ring_degree, parameters.primes)
    data = bytes.fromhex(vector["header"]) + body + bytes.fromhex(vector.get("seed", ""))
    assert (len(data), hashlib.sha256(data).hexdigest()) == (vector["size_bytes"], vector["sha256"])
    block = read_block(data, parameters, bytes.fromhex(vector["key_id"]))
    assert block.header.form.name.lower() == vector["form"]
    assert block.residues.reshape(-1)[:4].tolist() == vector["residues"]["first"]
    assert block.to_bytes() == data
    assert data[: BLOCK_HEADER.size] == block.header.pack()
    if block.seeds is not None:
        expected = vector["second_polynomial"]
        expanded = prng.expand(block.seeds, parameters)[0]
        assert expanded[:, :4].tolist() == expected["first"]
        assert hashlib.sha256(expanded.astype("<u4").tobytes()).hexdigest() == expected["sha256"]


class Published:
    """A published search as the code reads it: its keys, its layout, its bytes as the writer makes them."""

    def __init__(self, vector, search):
        self.vector, self.search = vector, search
        self.parameters = PARAMETER_SETS[vector["parameter_set"]]
        self.key_id = bytes.fromhex(vector["key_id"])
        keys = KeySet(self.key_id, 0, {}, Secret(bytes.fromhex(vector["master"])))
        self.root = keys.subkey("columns", bytes.fromhex(vector["collection_id"]))
        fields, degree = tuple(vector["fields"]), self.parameters.ring_degree
        whole = collection_layout(fields, degree, vector["stride"])
        self.keys = CollectionKeys(self.root, self.parameters, whole, self.key_id)
        batch = vector["batch"]
        place = (batch[name] for name in ("index", "first_slot", "count"))
        self.place = Placement(Region(batch["region"]), *place)
        self.layout = whole.of(self.place.region)
        self.column_keys = self.keys.of(self.place.region)

    @property
    def batch(self):
        return batches.read(self.search.batch, self.place, self.keys)

    @property
    def query_tiles(self):
        shape = self.parameters, self.key_id, Form.COLUMNS, self.layout.columns
        return view_tiles(self.search.columns, *shape)[0]

    def answer(self, batch):
        """The evaluator's answer, [fields, primes, N / fold]."""
        shape = len(self.layout.fields), len(self.parameters.primes), self.layout.answer_size
        out = np.zeros(shape, np.uint32)
        spans, fold = self.layout.field_columns, self.layout.fold
        place = out.reshape(-1), np.zeros((1, 1), np.int64)
        kernel = Kernel(2)
        kernel.multiply([batch.tiles], [self.query_tiles], self.parameters, spans, fold, *place)
        kernel.close()
        return out

    def query(self):
        """The query with the secret that opens its answers."""
        degree, primes = self.parameters.ring_degree, self.parameters.primes
        secret = ternary(bytes.fromhex(self.vector["columns"]["secret"]), (1, degree))
        (transform,) = transformed(secret, self.parameters)
        masked = from_tiles(self.column_keys.masks, self.parameters).astype(np.uint64) * transform
        column = np.array(primes, np.uint64)[:, None]
        messages = (from_tiles(self.query_tiles, self.parameters) + masked) % column
        spans = self.layout.field_columns
        weights = products(
            self.column_keys.secrets, to_tiles(messages.astype(np.uint32)), self.parameters, spans
        )
        factors = (Factors.of(each, primes) for each in (transform, weights))
        return Query(self.column_keys, self.query_tiles, *factors)


@pytest.fixture(params=vectors("search"), ids=lambda one: one["parameter_set"])
def published(request, writer):
    return Published(request.param, writer.search(request.param["parameter_set"]))


def summary(words):
    """The first words of an array, and its SHA-256, as the files have them."""
    return {
        "first": words.reshape(-1)[:4].tolist(),
        "sha256": hashlib.sha256(words.astype("<u4").tobytes()).hexdigest(),
    }


def test_the_keys_of_columns_are_derived_as_published(published):
    keys, wanted = published.keys, published.vector["keys"]
    assert published.root.reveal_secret().hex() == wanted["root"]
    region = published.place.region
    for purpose in ("secrets", "masks"):
        assert keys.fixed(f"{purpose}/{region}").reveal_secret().hex() == wanted[purpose]
    assert keys.fixed("batches").reveal_secret().hex() == wanted["batches"]
    assert summary(published.column_keys.secrets) == published.vector["secrets"]
    assert summary(published.column_keys.masks) == published.vector["masks"]


def test_a_batch_is_read_and_opened_as_published(published):
    vector, block = published.vector["batch"], published.search.batch
    assert (len(block), hashlib.sha256(block).hexdigest()) == (vector["size_bytes"], vector["sha256"])
    header = BlockHeader(published.parameters, published.key_id, Form.BATCH, published.layout.columns)
    assert block[: BLOCK_HEADER.size] == header.pack() == bytes.fromhex(vector["header"])
    assert block[-60:].hex() == vector["seed"] + vector["nonce"] + vector["tag"]
    assert summary(published.batch.tiles) == vector["residues"]
    assert published.batch.seed.hex() == vector["seed"]
    common = gallery.common_polynomial(published.batch.seed, published.parameters)
    assert summary(common) == vector["common"]
    opened = batches.decrypt([(published.place, block)], published.place.region, published.keys)
    rows = published.vector["rows"]
    start = vector["first_slot"]
    # Rounding, and under CKKS errors of at most 3.
    bound = (3.5 if published.parameters.scheme is Scheme.CKKS else 0.5) / published.parameters.gallery_scale
    assert np.abs(opened[start : start + len(rows)] - rows).max() <= bound
    assert np.abs(np.delete(opened, range(start, start + len(rows)), axis=0)).max() <= bound


@pytest.mark.parametrize("change", [{"region": Region.TAIL}, {"index": 8}, {"first_slot": 3}, {"count": 2}])
def test_a_published_batch_is_of_its_place_alone(published, change):
    elsewhere = replace(published.place, **change)
    with pytest.raises(DataLoss):
        batches.read(published.search.batch, elsewhere, published.keys)


@pytest.mark.parametrize("place", [31, 32, -61, -60, -29, -28, -17, -16, -1])
def test_a_published_batch_with_another_byte_is_refused(published, place):
    changed = bytearray(published.search.batch)
    changed[place] ^= 1
    with pytest.raises(DataLoss):
        batches.read(bytes(changed), published.place, published.keys)


def test_columns_are_read_and_written_as_published(published):
    vector, block = published.vector["columns"], published.search.columns
    assert (len(block), hashlib.sha256(block).hexdigest()) == (vector["size_bytes"], vector["sha256"])
    assert block[: BLOCK_HEADER.size].hex() == vector["header"]
    assert summary(published.query_tiles) == vector["residues"]
    assert column_block(published.parameters, published.key_id, [published.query_tiles]) == block


def test_an_answer_is_computed_and_opened_as_published(published):
    vector, parameters, layout = published.vector["answer"], published.parameters, published.layout
    assert layout.fold == vector["fold"]
    batch = published.batch
    answer = published.answer(batch)
    assert answer.astype("<u4").tobytes() == published.search.answer
    assert len(published.search.answer) == vector["size_bytes"]
    assert summary(answer) == {name: vector[name] for name in ("first", "sha256")}
    read = read_answers(published.search.answer, 1, 1, layout, parameters)[0, 0]
    held = queries.held(batch.tiles, published.column_keys, layout.field_columns)
    common = gallery.common_polynomial(batch.seed, parameters)
    opened = queries.open_answer(read, queries.Cover(held, common), published.query())
    place = published.place
    slots = slice(place.first_slot, place.first_slot + place.count)
    assert layout.scores(opened)[:, slots].tolist() == vector["opened"]


def test_what_is_published_as_opened_are_the_inner_products(published):
    vector, scale = published.vector, published.parameters.gallery_scale * published.parameters.query_scale
    opened = np.array(vector["answer"]["opened"]) / scale
    rows, form = np.array(vector["rows"]), np.array(vector["query"])
    starts = np.cumsum([0, *vector["fields"]])
    spans = [slice(*one) for one in pairwise(starts)]
    wanted = [rows[:, span] @ form[span] for span in spans]
    norm = np.linalg.norm(rows, axis=1).max()
    bound = published.parameters.score_error_bound(published.layout.capacity, norm)
    assert np.abs(opened - wanted).max() <= bound


@pytest.mark.parametrize(
    "vector", vectors("packing"), ids=lambda one: f"{one['fields']}-stride-{one['stride']}"
)
def test_rows_and_queries_lie_in_columns_as_published(vector):
    layout = Layout(tuple(vector["fields"]), vector["stride"], vector["ring_degree"])
    rows, form = np.array(vector["rows"], float), np.array(vector["query"], float)
    assert layout.pack(rows).tolist() == vector["columns"]
    assert layout.pack_query(form).tolist() == vector["query_columns"]
    assert layout.unpack(np.array(vector["columns"], float))[: len(rows)].tolist() == vector["rows"]


def test_additive_ciphertexts_keys_and_queries_are_read_and_written_as_published():
    key, block, queries = vectors("additive")
    public = AdditivePublicKey.from_bytes(bytes.fromhex(key["bytes"]))
    assert public.named == {"n": int(key["n"], 16), "h": int(key["h"], 16)}
    assert public.to_bytes().hex() == key["bytes"]
    read = read_additive(bytes.fromhex(block["bytes"]), public)
    assert [hex(number) for number in read.numbers] == block["numbers"]
    layout = read.header.layout
    for name in ("rows", "columns", "per_ciphertext", "value_bits", "guard_bits", "scale_bits"):
        assert getattr(layout, name) == block[name]
    assert read.header.growth == block["growth"]
    assert read.to_bytes().hex() == block["bytes"]
    written = PlainQueries(public.to_bytes(), np.array(queries["weights"], np.int32)).to_bytes()
    assert written.hex() == queries["bytes"]
    assert written.startswith(MAGIC)
    assert HEADER.unpack_from(written)[3:5] == (2, 4)


def test_sealed_bytes_open_at_their_place_alone():
    vector, *_ = vectors("sealed")
    sealer = Sealer(Secret(bytes.fromhex(vector["key"])))
    sealed, place = bytes.fromhex(vector["bytes"]), bytes.fromhex(vector["place"])
    assert sealer.open(sealed, place).hex() == vector["plain"]
    assert len(sealed) == len(sealer.seal(bytes.fromhex(vector["plain"]), place))


def test_files_are_padded_as_published():
    _, *padded, _ = vectors("sealed")
    for vector in padded:
        plain, whole = bytes.fromhex(vector["plain"]), bytes.fromhex(vector["bytes"])
        assert (pad(plain), unpad(whole)) == (whole, plain)


def test_a_key_file_opens_as_published(tmp_path):
    *_, vector = vectors("sealed")
    path = tmp_path / "keys.bsky"
    path.write_bytes(bytes.fromhex(vector["bytes"]))
    keys = keyfile.read(path, Secret(vector["passphrase"].encode()))
    assert keys.key_id.hex() == vector["key_id"]
    assert keys.master.reveal_secret().hex() == vector["master"]
    opened = {name: secret.reveal_secret().hex() for name, secret in keys.secret_keys.items()}
    assert opened == vector["secret_keys"]


def test_keypoints_are_read_as_published():
    (vector,) = vectors("keypoints")
    descriptors = [bytes.fromhex(one) for one in vector["descriptors"]]
    packed = struct.pack("<4sBHHH", b"BSKP", 1, len(descriptors), vector["width"], vector["height"])
    packed += np.array(vector["places"], "<f4").tobytes().ljust(4000, b"\0")
    packed += b"".join(descriptors).ljust(64000, b"\0")
    assert (len(packed), hashlib.sha256(packed).hexdigest()) == (vector["size_bytes"], vector["sha256"])
    read = keypoints.unpack(packed)
    assert read.size == (vector["width"], vector["height"])
    assert read.features.places.tolist() == vector["places"]
    wide = np.array([list(one) for one in descriptors], np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    assert np.allclose(read.features.descriptors, wide, atol=1e-6)
