"""Real services, shared by all tests that leave them as they were."""

import pytest
from support.keysets import shared_key_set
from support.services import Process, Services

import blindsight
from blindsight.trusted.crypto.pool import Crypto
from services.keyholder.metrics import CRYPTO


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """One set for each process that runs tests, with several workers as on every machine."""
    running = Services(tmp_path_factory.mktemp("services"), pool_size=2)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def services(shared):
    """The shared ones, empty again after the module.  Whoever stops, kills or fills them makes its own."""
    yield shared
    with blindsight.connect(shared.address()) as vault:
        for collection in vault.collections():
            vault.delete_collection(collection.name)


@pytest.fixture(scope="module")
def own_services(tmp_path_factory):
    """For a module that breaks them."""
    running = Services(tmp_path_factory.mktemp("own"), pool_size=2)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected


@pytest.fixture(scope="module")
def storage_alone(tmp_path_factory):
    """Storage, for a module that is the trusted zone itself."""
    folder = tmp_path_factory.mktemp("storage")
    process = Process("storage", {"data": str(folder / "data")}, folder / "log")
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def crypto():
    """Workers with the keys of `shared_key_set`."""
    made = Crypto(shared_key_set(), 1, CRYPTO)
    yield made
    made.close()
