"""A queue of every kind; one broker for all tests that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from support.broker import Broker
from support.certificates import self_signed
from support.queues import Place

from blindsight.trusted.queue import Queue, QueueOptions

# Signs of life come often, so that tests need not wait long for the lack of them.
SILENCE_SECONDS = 2


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("broker"), *certificate)
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def embedded(tmp_path: Path) -> Place:
    return Place(f"embedded:{tmp_path / 'queue.sqlite3'}", QueueOptions(silence_seconds=SILENCE_SECONDS))


@pytest.fixture
def rabbitmq(broker: Broker) -> Iterator[Place]:
    name = f"test.{os.urandom(6).hex()}"
    yield Place(broker.url, QueueOptions(name=name, silence_seconds=SILENCE_SECONDS))
    # A broker with a hundred idle queues is slow to start again.
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        for one in (name, f"{name}.dead"):
            connection.channel().queue_delete(one)


@pytest.fixture(params=["embedded", "rabbitmq"])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def queue(place: Place) -> Iterator[Queue]:
    with place.open() as opened:
        yield opened
