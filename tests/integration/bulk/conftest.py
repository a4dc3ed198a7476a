"""Services with a queue of either kind."""

import os
import subprocess

import pytest
from support.broker import Broker
from support.bulk import BulkServices

import blindsight


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """One RabbitMQ for all tests; each uses a queue of its own name."""
    folder = tmp_path_factory.mktemp("broker")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-days", "2"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    running = Broker(folder, certificate, key)
    running.start()
    yield running
    running.stop()


@pytest.fixture(params=["embedded", "rabbitmq"])
def bulk(request, tmp_path):
    """Started services over each queue."""
    url = request.getfixturevalue("broker").url if request.param == "rabbitmq" else ""
    own = {"queue_name": f"test.{os.urandom(6).hex()}"} if url else {}
    running = BulkServices(tmp_path, queue_url=url, queue=own)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def vault(bulk):
    with blindsight.connect(bulk.address()) as connected:
        yield connected
