"""The published test vectors: written after docs/wire-format.md alone, read by the code."""

import hashlib
import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from blindsight.additive.block import read_block as read_additive
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.query import HEADER, MAGIC, PlainQueries
from blindsight.ciphertext.header import HEADER as BLOCK_HEADER
from blindsight.ciphertext.residues import read_block
from blindsight.packing.columns import Layout
from blindsight.parameters import PARAMETER_SETS
from blindsight.ring import prng
from blindsight.trusted.imaging import keypoints
from blindsight.trusted.keyring import keyfile
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.secrets import Secret

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


@pytest.mark.parametrize(
    "vector",
    vectors("ciphertexts"),
    ids=lambda one: f"{one['parameter_set']}-{one['form']}-{one['polynomials']}",
)
def test_a_block_of_ciphertexts_is_read_and_written_as_published(vector, writer):
    parameters = PARAMETER_SETS[vector["parameter_set"]]
    polynomials = 1 if vector["form"] == "seeded" else vector["polynomials"]
    body = writer.residues(
        vector["residues"]["shake_256_of"], polynomials, parameters.ring_degree, parameters.primes
    )
    data = bytes.fromhex(vector["header"]) + body + bytes.fromhex(vector.get("seed", ""))
    assert (len(data), hashlib.sha256(data).hexdigest()) == (vector["size_bytes"], vector["sha256"])
    block = read_block(data, parameters, bytes.fromhex(vector["key_id"]))
    assert block.header.form.name.lower() == vector["form"]
    assert block.header.polynomials == vector["polynomials"]
    assert block.residues.reshape(-1)[:4].tolist() == vector["residues"]["first"]
    assert block.to_bytes() == data
    assert data[: BLOCK_HEADER.size] == block.header.pack()
    if block.seeds is not None:
        expected = vector["second_polynomial"]
        expanded = prng.expand(block.seeds, parameters)[0]
        assert expanded[:, :4].tolist() == expected["first"]
        assert hashlib.sha256(expanded.astype("<u4").tobytes()).hexdigest() == expected["sha256"]


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
    vector, _ = vectors("sealed")
    sealer = Sealer(Secret(bytes.fromhex(vector["key"])))
    sealed, place = bytes.fromhex(vector["bytes"]), bytes.fromhex(vector["place"])
    assert sealer.open(sealed, place).hex() == vector["plain"]
    assert len(sealed) == len(sealer.seal(bytes.fromhex(vector["plain"]), place))


def test_a_key_file_opens_as_published(tmp_path):
    _, vector = vectors("sealed")
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
