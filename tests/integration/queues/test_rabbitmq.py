"""What can happen to a broker: restarts, kill -9, a cut cable, alarms, wrong keys to its doors."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pika
import pytest
from support.broker import PASSWORD, USER, Broker
from support.ports import free_ports
from support.queues import JOB, Place, message, patiently_taken, published, taken
from support.services import wait_until
from support.tap import Tap

from blindsight.errors import BlindsightError, InvalidArgument, Unavailable
from blindsight.trusted.queue import Consumer, Message, amqp, open_queue

# A quorum queue younger than this may be left without a leader when its broker is killed.
SETTLING_SECONDS = 3
ID = "00" * 16


def through(place: Place, port: int, **parts: str) -> Place:
    """The same queue by way of another door."""
    user, password = parts.get("user", USER), parts.get("password", PASSWORD)
    vhost = parts.get("vhost", "")
    return replace(place, url=f"amqp://{user}:{password}@127.0.0.1:{port}/{vhost}")


@pytest.fixture
def tap(broker: Broker) -> Iterator[Tap]:
    with Tap(f"127.0.0.1:{broker.port}") as made:
        yield made


def tapped(place: Place, tap: Tap) -> Place:
    return through(place, int(tap.address.rpartition(":")[2]))


def is_away(consumer: Consumer) -> bool:
    try:
        consumer.take(0.1)
    except Unavailable as error:
        return "does not answer" in error.message
    return False


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_confirmed_messages_outlive_the_broker_and_its_clients_come_back(
    broker: Broker, rabbitmq: Place, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(amqp, "_LONGEST_WAIT_SECONDS", 0.5)
    with rabbitmq.open() as queue, ThreadPoolExecutor() as threads:
        sent = published(queue, 20)
        consumer = queue.consumer(prefetch=2)
        held = [taken(consumer), taken(consumer)]
        assert held[0].ack()
        if how == "kill":
            time.sleep(SETTLING_SECONDS)
        getattr(broker, how)()
        wait_until(lambda: is_away(consumer))
        assert not held[1].ack()
        late = message()
        publishing = threads.submit(queue.publish, late)
        time.sleep(0.5)
        broker.start()
        publishing.result(60)
        found: dict[Message, int] = {}
        while len(found) < 20:
            delivery = patiently_taken(consumer)
            found[delivery.message] = delivery.count
            delivery.ack()
        assert {*found} >= {*sent[1:], late}
        assert found[sent[1]] == 2


def test_a_publisher_whose_broker_stays_away_is_told_in_time(rabbitmq: Place, tap: Tap) -> None:
    with tapped(rabbitmq, tap).but(answer_seconds=1.0).open() as queue:
        tap.close()
        with pytest.raises(Unavailable, match=r"the broker 127.0.0.1:\d+ does not answer: "):
            queue.publish(message(1000))
        with pytest.raises(Unavailable, match="does not answer"):
            queue.depth()


def test_a_consumer_behind_a_cut_cable_loses_its_message_and_comes_back(rabbitmq: Place, tap: Tap) -> None:
    with rabbitmq.open() as queue, tapped(rabbitmq, tap).open() as remote:
        (sent,) = published(queue, 1)
        far = remote.consumer(prefetch=1)
        held = taken(far)
        near = queue.consumer(prefetch=1)
        with tap.cut():
            delivery = patiently_taken(near)
            assert (delivery.message, delivery.count) == (sent, 2)
            wait_until(lambda: not held.ack())
        assert delivery.ack()
        near.close()
        (sent,) = published(queue, 1)
        assert patiently_taken(far).message == sent


def test_a_publisher_behind_a_cut_cable_publishes_when_it_is_whole_again(rabbitmq: Place, tap: Tap) -> None:
    with tapped(rabbitmq, tap).open() as remote, rabbitmq.open() as queue, ThreadPoolExecutor() as threads:
        sent = message(200_000)
        with tap.cut():
            publishing: Future[None] = threads.submit(remote.publish, sent)
            time.sleep(1)
            assert not publishing.done()
        publishing.result(30)
        assert patiently_taken(queue.consumer(prefetch=1)).message == sent


def test_a_broker_short_of_memory_says_so_and_still_takes_acknowledgements(
    broker: Broker, rabbitmq: Place
) -> None:
    with rabbitmq.but(answer_seconds=2.0).open() as queue:
        published(queue, 1)
        consumer = queue.consumer(prefetch=1)
        delivery = taken(consumer)
        broker.control("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            with pytest.raises(Unavailable, match="short of memory or disk"):
                queue.publish(message())
            assert delivery.ack()
        finally:
            broker.control("set_vm_memory_high_watermark", "absolute", "2GB")
        queue.publish(message())


def refused(place: Place) -> BlindsightError:
    with pytest.raises(BlindsightError) as caught:
        place.open()
    shown = f"{caught.value} {caught.value.metadata} {caught.value!r}"
    assert PASSWORD not in shown.replace(f"user {USER}", "")
    assert "hidden" not in shown
    assert "\n" not in shown
    return caught.value


def test_a_wrong_password_is_refused_and_not_shown(broker: Broker, rabbitmq: Place) -> None:
    error = refused(through(rabbitmq, broker.port, password="hidden"))
    assert isinstance(error, InvalidArgument)
    assert error.message.endswith("refuses user guest: wrong name or password")


def test_an_unknown_virtual_host_is_refused(broker: Broker, rabbitmq: Place) -> None:
    error = refused(through(rabbitmq, broker.port, vhost="nowhere"))
    assert isinstance(error, InvalidArgument)
    assert error.message.endswith("has no virtual host nowhere for user guest")


def test_a_place_without_a_broker_is_unavailable(rabbitmq: Place) -> None:
    (port,) = free_ports(1)
    error = refused(through(rabbitmq, port, password="hidden"))
    assert isinstance(error, Unavailable)
    assert error.message == f"the broker 127.0.0.1:{port} does not answer: Connection refused"


def test_a_host_without_an_address_is_unavailable(rabbitmq: Place) -> None:
    error = refused(replace(rabbitmq, url="amqps://guest:hidden@nowhere.invalid/"))
    assert isinstance(error, Unavailable)
    assert error.message.startswith("the broker nowhere.invalid:5671 does not answer: ")


def test_a_password_goes_over_no_network_unencrypted(rabbitmq: Place) -> None:
    error = refused(replace(rabbitmq, url="amqp://guest:hidden@nowhere.invalid/"))
    assert isinstance(error, InvalidArgument)
    assert error.message.endswith("amqp:// is not encrypted: want amqps://")


def test_a_queue_made_with_other_settings_is_refused(rabbitmq: Place) -> None:
    with rabbitmq.open():
        error = refused(rabbitmq.but(max_messages=7))
    assert isinstance(error, InvalidArgument)
    assert "inequivalent arg 'x-max-length'" in error.message


def test_tls_is_spoken_and_the_brokers_certificate_checked(
    broker: Broker, rabbitmq: Place, certificate: tuple[Path, Path]
) -> None:
    url = f"amqps://{USER}:{PASSWORD}@127.0.0.1:{broker.tls_port}/"
    with replace(rabbitmq, url=f"{url}?cafile={certificate[0]}").open() as queue:
        (sent,) = published(queue, 1)
        assert taken(queue.consumer(prefetch=1)).message == sent
    error = refused(replace(rabbitmq, url=url))
    assert "certificate verify failed" in error.message


@pytest.mark.parametrize("setting", ["cafile=/etc", "heartbeat=0"])
def test_a_plain_url_has_no_settings(setting: str) -> None:
    with pytest.raises(InvalidArgument, match="has an unknown setting"):
        open_queue(f"amqp://127.0.0.1/?{setting}")


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"message_id": "zz", "headers": {"job": "00" * 16}},
        {"message_id": "00" * 16, "headers": {"job": 7}},
    ],
    ids=["nothing", "no hex", "no text"],
)
def test_what_others_put_into_the_queue_is_thrown_away(
    rabbitmq: Place, properties: dict[str, object]
) -> None:
    with rabbitmq.open() as queue:
        connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
        channel = connection.channel()
        name = rabbitmq.settings.name
        for target in (name, f"{name}.dead"):
            channel.basic_publish("", target, os.urandom(100), pika.BasicProperties(**properties))
        plain = pika.BasicProperties(message_id=ID, headers={"job": ID})
        channel.basic_publish("", name, b"not sealed", plain)
        connection.close()
        (sent,) = published(queue, 1)
        consumer = queue.consumer(prefetch=1)
        assert taken(consumer).message == sent
        assert queue.dead_letters() == []


def test_a_deleted_queue_is_made_again(broker: Broker, rabbitmq: Place) -> None:
    with rabbitmq.open() as queue:
        consumer = queue.consumer(prefetch=1)
        broker.control("delete_queue", rabbitmq.settings.name)
        (sent,) = published(queue, 1)
        assert patiently_taken(consumer).message == sent


def test_listing_dead_letters_from_two_places_shows_both_all_of_them(rabbitmq: Place) -> None:
    with rabbitmq.open() as queue, rabbitmq.open() as other, ThreadPoolExecutor() as threads:
        sent = published(queue, 20)
        consumer = queue.consumer(prefetch=20)
        for _ in sent:
            assert taken(consumer).reject("broken")
        for _ in range(3):
            lists = [threads.submit(one.dead_letters, JOB) for one in (queue, other)]
            assert [len(one.result(30)) for one in lists] == [20, 20]
