"""What the untrusted zone sees of a collection under Paillier: the numbers of a query, and nothing else."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from support.canaries import Needles, contents, floats, spelled, windows
from support.services import NO_RENEWALS, Services
from support.tap import Tap

import blindsight
from blindsight.additive.keys import SECRET_MAGIC, read_numbers
from blindsight.additive.query import HEADER, MAGIC
from blindsight.errors import InvalidArgument
from blindsight.parameters import PAILLIER_3072
from blindsight.trusted.keyring import keyfile, passphrase

DIMENSION = 24
RNG = np.random.default_rng(31)
VECTORS = RNG.normal(size=(70, DIMENSION)).astype(np.float32)
QUERY, WITHHELD = RNG.normal(size=(2, DIMENSION)).astype(np.float32)
IDS = [f"canary-item-{uuid.UUID(bytes=RNG.bytes(16))}" for _ in VECTORS]
NAME = "canary table of face prints"
TO_EVALUATOR = "keyholder to evaluator"
WAYS = (TO_EVALUATOR, "keyholder to storage", "evaluator to storage")


def unit(vector):
    return vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))


def weights(vector):
    """A query as the evaluator is meant to get it."""
    return np.rint(unit(vector) * PAILLIER_3072.query_scale).astype("<i4")


class Run:
    """One owner's session, and what was seen of it."""

    def __init__(self, folder):
        self.taps = {}

        def tapped(client, server, address):
            tap = self.taps[f"{client} to {server}"] = Tap(address)
            return tap.address

        self.services = Services(folder, {"storage": NO_RENEWALS}, way=tapped)

    def session(self):
        with blindsight.connect(self.services.start().address()) as vault:
            table = vault.create_collection(NAME, scheme="paillier", embedder="none", dimension=DIMENSION)
            table.ingest_vectors(VECTORS, IDS)
            with pytest.raises(InvalidArgument, match="--query-visible-to-server"):
                table.search_vectors(WITHHELD)
            (hits,) = table.search_vectors(QUERY, k=70, query_visible_to_server=True).results
            table.delete(IDS[:3])
            table.repack()
        self.scores = [hit.score for hit in hits]
        self.files = {name: contents(self.services.folder / name) for name in ("storage", "evaluator")}
        secret = passphrase.from_file(self.services.folder / "keyholder.passphrase")
        self.keys = keyfile.read(self.services.folder / "keyholder" / "keys.bsky", secret)
        return self

    def wire(self, way):
        return b"\0".join(self.taps[way].recorded)

    def close(self):
        self.services.stop()
        for tap in self.taps.values():
            tap.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = Run(tmp_path_factory.mktemp("secrecy"))
    try:
        yield made.session()
    finally:
        made.close()


@pytest.fixture(scope="module")
def needles(run):
    """All that nobody untrusted may see."""
    rows = np.stack([unit(vector) for vector in VECTORS])
    integers = np.rint(rows * PAILLIER_3072.gallery_scale).astype(np.int64)
    inner = integers @ weights(QUERY).astype(np.int64)
    secret = run.keys.secret_key(PAILLIER_3072.name).reveal_secret()
    _, _, (_, _, *primes) = read_numbers(SECRET_MAGIC, secret)
    numbers = {
        "a vector": [form for vector in VECTORS for form in floats(vector)],
        "a row": [form for row in rows for form in floats(row)],
        "a row's integers": [row.astype(kind).tobytes() for row in integers for kind in ("<i4", "<i8")],
        "a column": [column.astype(kind).tobytes() for column in integers.T for kind in ("<i4", "<i8")],
        "scores": [np.array(run.scores).astype(kind).tobytes()[:32] for kind in ("<f4", "<f8")],
        "inner products": [inner.astype("<i8").tobytes()[:32]],
    }
    return Needles(
        {
            **numbers,
            "an item's id": [form for one in IDS for form in spelled(one.encode())],
            "a collection's name": spelled(NAME.encode()),
            "a query that was not sent": [*floats(WITHHELD), weights(WITHHELD).tobytes()],
            "a query as it was given": floats(QUERY),
            "the secret key": [
                window
                for prime in primes
                for order in ("little", "big")
                for window in windows(prime.to_bytes(192, order))
            ],
        }
    )


def test_the_evaluator_saw_the_numbers_of_the_query_as_people_agreed(run):
    seen = run.wire(TO_EVALUATOR)
    assert seen.count(MAGIC) == 1  # of two searches one was agreed to
    block = seen[seen.index(MAGIC) :]
    _, _, _, queries, columns, key_bytes, _ = HEADER.unpack_from(block)
    assert (queries, columns) == (1, DIMENSION)
    read = np.frombuffer(block, "<i4", DIMENSION, HEADER.size + key_bytes)
    np.testing.assert_allclose(read / PAILLIER_3072.query_scale, unit(QUERY), atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_the_gallery_passed_to_the_untrusted_services(run, needles, way):
    assert len(run.wire(way)) > 2_000
    assert needles.found(run.wire(way)) == set()


def test_the_query_went_to_the_evaluator_alone_and_was_not_kept(run):
    query = Needles({"query": windows(weights(QUERY).tobytes())})
    assert query.found(run.wire(TO_EVALUATOR)) == {"query"}
    for way in WAYS[1:]:
        assert not query.found(run.wire(way))
    for files in run.files.values():
        assert query.found_in(files) == {}
    for name in ("storage", "evaluator", "keyholder"):
        assert not query.found((run.services.folder / f"{name}.log").read_bytes())


@pytest.mark.parametrize("name", ["storage", "evaluator"])
def test_no_file_and_no_log_of_an_untrusted_service_has_anything_of_it(run, needles, name):
    assert needles.found_in(run.files[name]) == {}
    assert needles.found((run.services.folder / f"{name}.log").read_bytes()) == set()


def test_the_evaluator_keeps_nothing_of_the_gallery(run):
    assert sum(map(len, run.files["evaluator"].values())) == 0
    assert sum(map(len, run.files["storage"].values())) > DIMENSION * PAILLIER_3072.number_bytes


def test_every_needle_is_found_where_it_stands(run, needles):
    """The search would find them: in what the owner holds."""
    assert needles.found(VECTORS.tobytes()) == {"a vector"}
    assert needles.found(QUERY.tobytes()) == {"a query as it was given"}
    assert "the secret key" in needles.found(run.keys.secret_key(PAILLIER_3072.name).reveal_secret())
    assert needles.found(IDS[5].encode()) == {"an item's id"}
