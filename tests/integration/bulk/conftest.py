"""Services with a queue of either kind, shared by all tests; workers are each test's own."""

import os

import pytest
from support.broker import Broker
from support.bulk import BulkServices
from support.certificates import self_signed
from support.disk import disk

import blindsight

# What a full queue or disk is tested with; only what is written takes memory.
DISK_BYTES = 1 << 30


@pytest.fixture(scope="session")
def broker_folder(tmp_path_factory):
    """All that RabbitMQ writes."""
    return tmp_path_factory.mktemp("broker")


@pytest.fixture(scope="session")
def broker(broker_folder):
    """One RabbitMQ for all tests; services use queues of names of their own."""
    running = Broker(broker_folder, *self_signed(broker_folder))
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="session", params=["embedded", "rabbitmq"])
def services(request, tmp_path_factory):
    """Started services over each queue."""
    folder = tmp_path_factory.mktemp("bulk")
    url, queue = "", {}
    if request.param == "rabbitmq":
        url, queue = request.getfixturevalue("broker").url, {"queue_name": f"test.{os.urandom(6).hex()}"}
    running = BulkServices(folder, queue_url=url, queue=queue)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def bulk(services):
    """The services without a worker."""
    yield services
    services.stop_workers()


@pytest.fixture
def vault(bulk):
    with blindsight.connect(bulk.address()) as connected:
        yield connected


@pytest.fixture
def collection(vault, request):
    """One of the test's own."""
    made = vault.create_collection(request.node.name[:100].strip())
    yield made
    vault.delete_collection(made.name)


@pytest.fixture
def storage_disk(bulk, tmp_path):
    """A disk that the services' storage is on, empty at first, until the test is over."""
    storage, data = bulk["storage"], tmp_path / "storage"
    environment = storage.environment
    with disk(data, DISK_BYTES) as made:
        storage.stop()
        storage.within, storage.environment = made.within, {**environment, "data": str(data)}
        storage.start()
        try:
            yield made
        finally:
            storage.stop()
            storage.within, storage.environment = (), environment
            storage.start()
