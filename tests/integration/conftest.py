"""Real services, shared by the tests of a module."""

import pytest
from support.services import Services

import blindsight


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    running = Services(tmp_path_factory.mktemp("services"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected
