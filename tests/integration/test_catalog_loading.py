"""What filters are computed on is loaded in the background after a start, and a first filter says how far."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.services import Services, wait_until

import blindsight

ITEMS, DIMENSION = 6000, 4
# Many keys: what takes a second is a million values, however few items have them.
SAID = {f"key{number}": f"text {number}" for number in range(60)}
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    running = Services(tmp_path_factory.mktemp("loading"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def said(services):
    with blindsight.connect(services.address()) as vault:
        said = vault.create_collection("said", embedder="none", dimension=DIMENSION)
        rows = RNG.standard_normal((ITEMS, DIMENSION))
        each = [{**SAID, "number": number} for number in range(ITEMS)]
        said.ingest_vectors(rows, [f"row{number}" for number in range(ITEMS)], metadata=each)
        yield said


def loaded(services: Services) -> list[int]:
    lines = services["keyholder"].log.read_text().splitlines()
    events = [json.loads(line) for line in lines if "catalog_loaded" in line]
    return [event["items"] for event in events]


@pytest.mark.timeout(120)
def test_a_first_filter_says_how_far_it_is_and_others_change_items_meanwhile(services, said):
    told = []
    with ThreadPoolExecutor(2) as callers:
        search = callers.submit(
            said.search_vectors, np.ones(DIMENSION), 10, where="number < 5", progress=told.append
        )
        time.sleep(0.1)
        started = time.perf_counter()
        assert said.update("row7", set={"number": -7}).updated == 1
        waited = time.perf_counter() - started
        counted = callers.submit(said.count, "number < 5")
        assert len(search.result().results[0]) in (5, 6)
        assert counted.result() == 6
    steps = [one for one in told if one.items_total]
    assert steps
    assert all(0 <= one.items_done <= one.items_total == ITEMS for one in steps)
    assert [one.items_done for one in steps] == sorted(one.items_done for one in steps)
    assert waited < 5
    assert loaded(services) == [ITEMS]
    assert said.search_vectors(np.ones(DIMENSION), where="number = -7").results[0][0].id == "row7"


@pytest.mark.timeout(120)
def test_after_a_start_the_first_filter_waits_for_nothing(services, said):
    services["keyholder"].stop()
    before = len(loaded(services))
    services["keyholder"].start()
    wait_until(lambda: len(loaded(services)) > before, 60, "the catalog to be loaded")
    told = []
    found = said.search_vectors(np.ones(DIMENSION), ITEMS, where="number < 5", progress=told.append)
    assert len(found.results[0]) == 6
    assert not [one for one in told if one.items_total]
    assert loaded(services)[before:] == [ITEMS]


@pytest.mark.timeout(120)
def test_a_keyholder_that_stops_while_it_loads_ends_and_loads_again(services, said):
    services["keyholder"].stop()
    services["keyholder"].start()
    assert services["keyholder"].stop() == 0
    services["keyholder"].start()
    assert said.count("number < 5") == 6
