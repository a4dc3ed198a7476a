"""Services with a queue of either kind, shared by the tests of a module; workers are each test's own."""

import os
import subprocess

import pytest
from support.broker import Broker
from support.bulk import BulkServices

import blindsight


@pytest.fixture(scope="session")
def broker_folder(tmp_path_factory):
    """All that RabbitMQ writes."""
    return tmp_path_factory.mktemp("broker")


@pytest.fixture(scope="session")
def broker(broker_folder):
    """One RabbitMQ for all tests; services use queues of names of their own."""
    folder = broker_folder
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    running = Broker(folder, certificate, key)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"])
def services(request, tmp_path_factory):
    """Started services over each queue."""
    url = request.getfixturevalue("broker").url if request.param == "rabbitmq" else ""
    # Tests kill more workers in a row than a photo would be given to by default.
    own = {"queue_max_deliveries": "20"}
    if url:
        own["queue_name"] = f"test.{os.urandom(6).hex()}"
    running = BulkServices(tmp_path_factory.mktemp("bulk"), queue_url=url, queue=own)
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
    made = vault.create_collection(request.node.name)
    yield made
    vault.delete_collection(made.name)
