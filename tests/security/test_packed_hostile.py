"""Hostile queries and batches of collections under Paillier: one clear status each, and all serve on."""

import struct

import grpc
import numpy as np
import pytest
from support import storage
from support.evaluator import Client, Gallery, Owner, Untrusted, requests, unit_rows
from support.packed import PackedPair
from support.storage import MAIN_0, TAIL_0, refusal

from blindsight.additive import AdditivePublicKey, AdditiveScheme
from blindsight.additive.query import HEADER, PlainQueries
from blindsight.ciphertext.header import ADDITIVE_HEADER
from blindsight.packing.columns import Layout, collection_layout
from blindsight.parameters import CKKS_4096, PAILLIER_3072
from blindsight.trusted.additive import AdditiveKey
from blindsight.wire.storage import AppendHeader, BatchHeader
from services.storage.records import Append

INVALID = grpc.StatusCode.INVALID_ARGUMENT
CIPHERTEXT, SECRET, ARGUMENT = "INVALID_CIPHERTEXT", "SECRET_MATERIAL_REFUSED", "INVALID_ARGUMENT"
LAYOUT = Layout((4,), 1, PAILLIER_3072.slots)
RING_LAYOUT = collection_layout((4,), CKKS_4096.ring_degree, 1)
ROWS, FORM = unit_rows(5, 4), unit_rows(1, 4, seed=7)
WEIGHTS = np.rint(FORM * PAILLIER_3072.query_scale).astype(np.int32)


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory):
    running = Untrusted(tmp_path_factory.mktemp("packed"))
    try:
        yield running.start()
    finally:
        running.stop()
    assert "Traceback" not in running.storage.log.read_text() + running.evaluator.log.read_text()


@pytest.fixture(scope="module")
def owner():
    return Owner()


@pytest.fixture(scope="module")
def pair(owner):
    return PackedPair(PAILLIER_3072, owner.key_id)


@pytest.fixture(scope="module")
def stored(untrusted):
    with storage.Client(untrusted.storage.address) as client:
        yield client


def collection(number, owner):
    return storage.collection(
        number, parameter_set=PAILLIER_3072.name, key_id=owner.key_id, dimension=4, stride=1
    )


@pytest.fixture(scope="module")
def gallery(stored, owner, pair):
    """Five vectors in two batches of one segment."""
    record = collection(1, owner)
    stored.create(record)
    made = Gallery(owner, stored, record)
    made.append(MAIN_0, 0, pair.encrypt_rows(LAYOUT, ROWS[:2]), 2)
    made.append(MAIN_0, 2, pair.encrypt_rows(LAYOUT, ROWS[2:], 2), 3)
    return made


@pytest.fixture(scope="module")
def client(untrusted):
    with Client(untrusted.evaluator.address) as connected:
        yield connected


def answer(client, gallery, block, **changes):
    stream = requests(gallery.record.collection_id, block, **changes)
    return client.stub.Score(stream, timeout=60, wait_for_ready=True)


def check(client, gallery, pair):
    plan, result, summary = answer(client, gallery, pair.query(LAYOUT, FORM))
    assert (plan.plan.main_segments, plan.plan.tail_segments) == (1, 0)
    assert (list(result.result.segments), result.result.queries) == ([0], 1)
    assert summary.summary.scanned_bytes == 2 * (ADDITIVE_HEADER.size + 4 * PAILLIER_3072.number_bytes)
    key = pair.key
    (row,) = key.decrypt(key.read(result.result.answers)) * PAILLIER_3072.score_grid
    np.testing.assert_allclose(row[:5], ROWS @ FORM[0], atol=1e-5)
    assert not row[5:].any()


@pytest.fixture
def evaluator(client, gallery, pair, untrusted):
    """The service before a hostile call; afterwards the same processes must answer right."""
    before = {process.pid for process in untrusted.workers()}
    assert before
    yield client
    assert client.serving()
    check(client, gallery, pair)
    assert {process.pid for process in untrusted.workers()} == before


def is_refused(call, reason, said):
    code, got, message = refusal(call)
    assert (code, got) == (INVALID, reason), message
    assert said in message
    assert "\n" not in message


def block_of(public_key, weights=WEIGHTS):
    return PlainQueries(public_key, weights).to_bytes()


def small_key(key_id, bits=1024):
    """A well-formed public key of a modulus that anybody could factor."""
    from blindsight.additive.keys import PUBLIC_MAGIC, write_numbers

    n = (1 << bits) - 159
    return write_numbers(PUBLIC_MAGIC, AdditiveScheme.PAILLIER, key_id, (n, 4))


def stranger(key_id, bits=3072):
    return AdditiveKey.generate(AdditiveScheme.PAILLIER, bits, key_id=key_id)


HOSTILE = {
    "an encrypted query": (
        lambda pair, owner: owner.query(RING_LAYOUT, FORM),
        CIPHERTEXT,
        "paillier-3072 cannot search with an encrypted query, want queries in the clear",
    ),
    "an additive ciphertext": (
        lambda pair, owner: pair.encrypt_rows(LAYOUT, ROWS),
        CIPHERTEXT,
        "want queries in the clear",
    ),
    "noise": (lambda pair, owner: bytes(range(256)), CIPHERTEXT, "want queries in the clear"),
    "a secret key": (lambda pair, owner: pair.key.to_secret().reveal_secret(), SECRET, "serialised key"),
    "a secret key in a query": (
        lambda pair, owner: block_of(pair.key.to_secret().reveal_secret()),
        SECRET,
        "secret key",
    ),
    "another key's id": (
        lambda pair, owner: block_of(
            AdditivePublicKey(
                AdditiveScheme.PAILLIER, b"another key's id", pair.key.public_key.numbers
            ).to_bytes()
        ),
        CIPHERTEXT,
        "public key",
    ),
    "a public key under 2048 bits": (
        lambda pair, owner: block_of(small_key(owner.key_id)),
        ARGUMENT,
        "paillier key of 1024 bits, want at least 2048",
    ),
    "a public key of another size": (
        lambda pair, owner: block_of(stranger(owner.key_id, 2048).public_key.to_bytes()),
        ARGUMENT,
        "2048 bits, want paillier-3072",
    ),
    "another scheme's key": (
        lambda pair, owner: block_of(
            AdditiveKey.generate(
                AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL, 3072, key_id=owner.key_id
            ).public_key.to_bytes()
        ),
        ARGUMENT,
        "want paillier-3072",
    ),
    "no public key": (lambda pair, owner: block_of(b""), ARGUMENT, "malformed key"),
    "huge weights": (
        lambda pair, owner: block_of(
            pair.key.public_key.to_bytes(), np.full((1, 4), -(2**31), np.int64).astype(np.int32)
        ),
        ARGUMENT,
        "weights would overflow: their magnitudes sum to 8589934592, want at most 67108864",
    ),
    "weights for more columns": (
        lambda pair, owner: block_of(pair.key.public_key.to_bytes(), np.ones((1, 5), np.int32)),
        CIPHERTEXT,
        "1 queries of 5 columns, want 1 of 4",
    ),
    "more queries than announced": (
        lambda pair, owner: block_of(pair.key.public_key.to_bytes(), np.ones((2, 4), np.int32)),
        CIPHERTEXT,
        "2 queries of 4 columns, want 1 of 4",
    ),
    "a weight too many": (lambda pair, owner: pair.query(LAYOUT, FORM) + bytes(4), CIPHERTEXT, "bytes, want"),
    "a header alone": (
        lambda pair, owner: pair.query(LAYOUT, FORM)[: HEADER.size],
        CIPHERTEXT,
        "bytes, want",
    ),
    "another version": (
        lambda pair, owner: pair.query(LAYOUT, FORM)[:4] + b"\2" + pair.query(LAYOUT, FORM)[5:],
        CIPHERTEXT,
        "version 2",
    ),
    "a key of four gigabytes": (
        lambda pair, owner: (
            pair.query(LAYOUT, FORM)[:16] + struct.pack("<I", 2**32 - 1) + pair.query(LAYOUT, FORM)[20:]
        ),
        CIPHERTEXT,
        "bytes, want",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_query_that_is_none_is_refused_by_what_it_is(evaluator, gallery, pair, owner, name):
    make, reason, said = HOSTILE[name]
    is_refused(lambda: answer(evaluator, gallery, make(pair, owner)), reason, said)


def test_another_modulus_is_refused_or_makes_nothing_of_the_gallery(evaluator, gallery, pair, owner):
    # Which of the two depends on whether all of the gallery's numbers are below the stranger's.
    other = stranger(owner.key_id)
    try:
        _, result, _ = answer(evaluator, gallery, block_of(other.public_key.to_bytes()))
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNAVAILABLE)  # noqa: PT017
        return
    size = PAILLIER_3072.number_bytes
    assert len(result.result.answers) == ADDITIVE_HEADER.size + size


def test_a_query_in_the_clear_is_refused_where_queries_are_hidden(evaluator, pair, owner, stored):
    record = storage.collection(2, key_id=owner.key_id)
    stored.create(record)
    hiding = Gallery(owner, stored, record)
    hiding.add(MAIN_0, unit_rows(3, 8))
    query = pair.query(Layout((8,), 1, PAILLIER_3072.slots), unit_rows(1, 8))
    said = "queries in the clear, want ciphertexts of ckks-4096"
    is_refused(lambda: answer(evaluator, hiding, query), CIPHERTEXT, said)
    hiding.check(evaluator.score(hiding, unit_rows(1, 8)))


def test_an_answer_covers_the_log_that_was_asked_for(evaluator, gallery, pair):
    query = pair.query(LAYOUT, FORM)
    is_refused(lambda: answer(evaluator, gallery, query, minimum_sequence=99), ARGUMENT, "the log ends at 2")
    plan, *_ = answer(evaluator, gallery, query, minimum_sequence=2)
    assert plan.plan.sequence == 2


def test_nothing_is_prepared_of_such_a_collection(evaluator, gallery, untrusted):
    assert evaluator.prepare(gallery.record.collection_id) == []
    evaluator.drop(gallery.record.collection_id)


# --- storage's door -----------------------------------------------------------------------------------


BATCHES = {
    "a ckks block": (
        lambda good, pair, owner: owner.query(RING_LAYOUT, FORM),
        CIPHERTEXT,
        "not a",
    ),
    "a secret key": (
        lambda good, pair, owner: pair.key.to_secret().reveal_secret(),
        SECRET,
        "serialised key",
    ),
    "a public key": (lambda good, pair, owner: pair.key.public_key.to_bytes(), CIPHERTEXT, "not a block"),
    "a query": (lambda good, pair, owner: pair.query(LAYOUT, FORM), CIPHERTEXT, "not a block"),
    "another key's": (
        lambda good, pair, owner: good[:16] + b"another key's id" + good[32:],
        CIPHERTEXT,
        "ciphertext of key",
    ),
    "fewer columns": (
        lambda good, pair, owner: good[:12] + struct.pack("<I", 3) + good[16:],
        CIPHERTEXT,
        "block of 3 ciphertexts, want 4",
    ),
    "other slots": (
        lambda good, pair, owner: good[:40] + struct.pack("<H", 63) + good[42:],
        CIPHERTEXT,
        "of another form",
    ),
    "results of weights": (
        lambda good, pair, owner: good[:48] + struct.pack("<Q", 2) + good[56:],
        CIPHERTEXT,
        "of another form",
    ),
    "another scheme's": (
        lambda good, pair, owner: good[:5] + b"\x10" + good[6:],
        CIPHERTEXT,
        "of another form",
    ),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_is_none_is_refused_at_storages_door(gallery, pair, owner, stored, name):
    make, reason, said = BATCHES[name]
    good = pair.encrypt_rows(LAYOUT, ROWS[:1], 5)
    bad = (make(good, pair, owner) + bytes(len(good)))[: len(good)]
    is_refused(lambda: gallery.append(MAIN_0, 5, bad, 1), reason, said)
    assert stored.get(gallery.record).sequence == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stride": 2}, "stride 2, want a power of two up to 1"),
        ({"parameter_set": "paillier-1024"}, "parameter set 'paillier-1024', want one of"),
    ],
    ids=["a stride", "a small key"],
)
def test_a_collection_that_cannot_be_is_refused(stored, owner, changes, said):
    record = storage.collection(
        3, **{"parameter_set": PAILLIER_3072.name, "key_id": owner.key_id, "stride": 1, **changes}
    )
    is_refused(lambda: stored.create(record), ARGUMENT, said)


def test_a_segment_holds_as_many_vectors_as_there_are_slots(gallery, pair):
    good = pair.encrypt_rows(LAYOUT, ROWS[:1], 5)
    is_refused(lambda: gallery.append(MAIN_0, 5, good, 60), ARGUMENT, "slots 5 to 65, want at most 64")


def test_planes_are_refused_which_the_scheme_has_none_of(gallery, pair, stored):
    block = pair.encrypt_rows(LAYOUT, ROWS[:1], 5)
    header = AppendHeader(
        collection_id=gallery.record.collection_id,
        batch_id=storage.identifier("planes"),
        expected_sequence=2,
        batches=(BatchHeader(3, MAIN_0, 5, 1, len(block), storage.sha256(block)),),
        link=storage.link_to(3),
    )
    (item,) = storage.items(1)
    batch = Append(header, (storage.with_planes(item),), (block,), (b"",))
    is_refused(lambda: stored.append(batch), ARGUMENT, "planes under paillier, want ckks or bfv")


def test_numbers_that_are_no_ciphertexts_are_data_loss_and_not_computed_with(client, owner, pair, stored):
    """Storage cannot tell; the evaluator looks at every number."""
    record = collection(4, owner)
    stored.create(record)
    damaged = Gallery(owner, stored, record)
    good = pair.encrypt_rows(LAYOUT, ROWS[:1])
    damaged.append(TAIL_0, 0, good[: -PAILLIER_3072.number_bytes] + bytes(PAILLIER_3072.number_bytes), 1)
    code, reason, message = refusal(lambda: answer(client, damaged, pair.query(LAYOUT, FORM)))
    assert (code, reason) == (grpc.StatusCode.DATA_LOSS, "DATA_LOSS")
    assert "out of range" in message
