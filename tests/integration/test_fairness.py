"""A keyholder that many ask for much at once still answers those who ask for little."""

import statistics
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from blindsight import connect
from blindsight.client.vectors import blocks
from blindsight.errors import ResourceExhausted
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1.keyholder_pb2_grpc import KeyholderServiceStub

RNG = np.random.default_rng(31)
HEAVY_CLIENTS, HEAVY_QUERIES = 24, 32


@pytest.fixture(scope="module")
def gallery(services):
    rows = RNG.normal(size=(3000, 64)).astype(np.float32)
    with connect(services.address()) as vault:
        collection = vault.create_collection("fairness", embedder="none", dimension=64, expected_size=3000)
        collection.ingest_vectors(rows)
        collection.search_vectors(rows[:20])
    return rows


class Counted:
    """Clients that each search with many queries, and the number of queries that were answered."""

    def __init__(self, address, rows):
        self.answered = 0
        self._address, self._rows = address, rows
        self._lock = threading.Lock()
        self._begun = threading.Semaphore(0)

    def search(self, count):
        header = pb.SearchRequest(header=pb.SearchHeader(collection="fairness", k=5))
        parts = [pb.SearchRequest(vectors=block.to_message()) for block in blocks(self._rows[:count])]
        with grpc.insecure_channel(self._address) as channel:
            answers = KeyholderServiceStub(channel).Search(iter([header, *parts]))
            self._begun.release()
            for answer in answers:
                with self._lock:
                    self.answered += answer.WhichOneof("part") == "hits"

    def wait_for_all(self, count):
        for _ in range(count):
            assert self._begun.acquire(timeout=60)


def test_a_single_search_waits_for_few_queries_of_many_heavy_ones(services, gallery):
    clients = Counted(services.address(), gallery)
    single = Counted(services.address(), gallery)
    with ThreadPoolExecutor(HEAVY_CLIENTS) as pool:
        running = [pool.submit(clients.search, HEAVY_QUERIES) for _ in range(HEAVY_CLIENTS)]
        clients.wait_for_all(HEAVY_CLIENTS)
        passed = []
        for _ in range(9):
            before = clients.answered
            single.search(1)
            passed.append(clients.answered - before)
        assert not all(one.done() for one in running)
        for one in running:
            one.result()
    # Its own turn is the next: what ends meanwhile is what had begun, or was being sent.
    assert statistics.median(passed) <= 16
    assert single.answered == 9
    assert clients.answered == HEAVY_CLIENTS * HEAVY_QUERIES


def test_more_hits_than_one_search_may_have_are_refused_before_anything_is_computed(services, gallery):
    with connect(services.address()) as vault:
        collection = vault.collection("fairness")
        with pytest.raises(ResourceExhausted, match="101 queries with k 10000, want at most 1,000,000 hits"):
            collection.search_vectors(gallery[:101], k=10_000)
        answer = collection.search_vectors(gallery[:20], k=3000)
    assert [len(hits) for hits in answer.results] == [3000] * 20
