"""A queue at a RabbitMQ broker, 3.10 or later, for workers on several machines.

There are two durable quorum queues: NAME and NAME.dead.  A published message is on the disks of most of the
broker's nodes when the broker confirms it.  The broker itself dead-letters a message that was delivered too
often (at least once); one that a worker rejects is published there with the worker's reason, and then
acknowledged.  Publishing and consuming use separate connections: a broker that is short of memory blocks
connections that publish, and acknowledgements must go on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pika
from pika import exceptions as amqp
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from blindsight.errors import BlindsightError, InvalidArgument, ResourceExhausted, Unavailable
from blindsight.runtime import logs
from blindsight.trusted.queue import Delivery
from blindsight.trusted.queue.amqp import Broker, Link
from blindsight.trusted.queue.messages import (
    DeadLetter,
    Depth,
    Message,
    QueueOptions,
    require_id,
    require_reason,
)

if TYPE_CHECKING:
    from blindsight.runtime.tls import Certificates

_JOB, _REASON, _DELIVERIES = "job", "reason", "deliveries"
_DELIVERY_COUNT = "x-delivery-count"
# Listing dead letters delivers them, and from version 4 on a broker drops messages after 20 deliveries by
# default.
_LISTINGS = 1 << 30
_BUSY_SECONDS = 0.1
# A broker refuses messages if the queue is full, and briefly also if it is new or changes its leader.
_TRIES = 4


class RabbitQueue:
    """An implementation of `Queue` at a RabbitMQ broker.

    Args:
        url, certificates: see `amqp.Broker`.
        settings: options that the queue is declared with; an existing queue with others is refused.
    """

    def __init__(self, url: str, settings: QueueOptions, certificates: Certificates | None = None) -> None:
        self._settings = settings
        self._dead = f"{settings.name}.dead"
        self._broker = Broker(url, settings.silence_seconds, settings.answer_seconds, certificates)
        self._publisher = Link(self._broker, self.open_channel)
        self._consumers: list[RabbitConsumer] = []

    def open_channel(self, connection: BlockingConnection) -> BlockingChannel:
        """Opens a channel with publisher confirms, and declares the queues."""
        channel = connection.channel()
        channel.confirm_delivery()
        declare(channel, self._dead, {"x-delivery-limit": _LISTINGS})
        given = {
            # The broker counts redeliveries only.
            "x-delivery-limit": self._settings.max_deliveries - 1,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self._dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length": self._settings.max_messages,
            "x-max-length-bytes": self._settings.max_bytes,
        }
        declare(channel, self._settings.name, given)
        return channel

    def publish(self, *messages: Message) -> int:
        for count, message in enumerate(messages):
            try:
                self._call(partial(self._put, name=self._settings.name, message=message, headers={}))
            except ResourceExhausted:
                if not count:
                    raise
                return count
        return len(messages)

    def _put(self, channel: BlockingChannel, name: str, message: Message, headers: dict[str, object]) -> None:
        properties = pika.BasicProperties(
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=message.message_id.hex(),
            headers={_JOB: message.job_id.hex(), **headers},
            timestamp=int(time.time()),
        )
        for tries_left in reversed(range(_TRIES)):
            try:
                channel.basic_publish("", name, message.body, properties, mandatory=True)
                return
            except amqp.NackError as error:
                if not tries_left:
                    raise ResourceExhausted(self._settings.full) from error
                channel.connection.sleep(_BUSY_SECONDS)

    def put_dead(self, message: Message, reason: str, deliveries: int) -> None:
        """Publishes a dead letter."""
        headers = {_REASON: reason, _DELIVERIES: deliveries}
        self._call(lambda channel: self._put(channel, self._dead, message, headers))

    def _call(self, function: Callable[[BlockingChannel], Any]) -> Any:
        return self._publisher.call(function, self._settings.answer_seconds)

    def consumer(self, prefetch: int) -> RabbitConsumer:
        made = RabbitConsumer(self, self._broker, self._settings, prefetch)
        self._consumers.append(made)
        return made

    def dead_letters(self, job_id: bytes | None = None) -> list[DeadLetter]:
        found: dict[tuple[bytes, bytes], DeadLetter] = {}
        with self._browsing() as channel:
            for _, letter, _ in self._browse(channel):
                if job_id in (None, letter.job_id):
                    found[letter.job_id, letter.message_id] = letter
        return list(found.values())

    def requeue(self, job_id: bytes, message_id: bytes | None = None) -> int:
        require_id("job_id", job_id)
        moved: set[bytes] = set()
        with self._browsing() as channel:
            for tag, letter, body in self._browse(channel):
                if letter.job_id != job_id or message_id not in (None, letter.message_id):
                    continue
                if letter.message_id not in moved:
                    try:
                        self._put(channel, self._settings.name, Message(letter.message_id, job_id, body), {})
                    except ResourceExhausted:
                        if not moved:
                            raise
                        break
                moved.add(letter.message_id)
                channel.basic_ack(tag)
        return len(moved)

    def drop(self, job_id: bytes, message_id: bytes | None = None) -> int:
        require_id("job_id", job_id)
        dropped: set[bytes] = set()
        with self._browsing() as channel:
            for tag, letter, _ in self._browse(channel):
                if letter.job_id == job_id and message_id in (None, letter.message_id):
                    dropped.add(letter.message_id)
                    channel.basic_ack(tag)
        return len(dropped)

    @contextmanager
    def _browsing(self) -> Iterator[BlockingChannel]:
        """Opens the only connection that reads dead letters; they are back in place when the block ends.

        AMQP cannot read a message without taking it, so a second reader would miss it meanwhile.
        """
        with self._broker.explaining():
            connection = self._broker.dial()
            try:
                self._wait_for_turn(connection)
                yield self.open_channel(connection)
            finally:
                if connection.is_open:
                    connection.close()

    def _wait_for_turn(self, connection: BlockingConnection) -> None:
        """Waits until it can declare an exclusive queue, which only one connection can own: a lock."""
        deadline = time.monotonic() + self._settings.answer_seconds
        while True:
            try:
                connection.channel().queue_declare(f"{self._dead}.turn", exclusive=True)
            except amqp.ChannelClosedByBroker:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "another process has been reading the dead letters for too long"
                    ) from None
                connection.sleep(_BUSY_SECONDS)
            else:
                return

    def _browse(self, channel: BlockingChannel) -> Iterator[tuple[int, DeadLetter, bytes]]:
        """Yields the delivery tag, dead letter and body of each message; one body is in memory at a time."""
        while True:
            method, properties, body = channel.basic_get(self._dead)
            if method is None:
                return
            try:
                letter = self._dead_letter(properties)
            except (BlindsightError, LookupError, TypeError, ValueError):
                logs.get().warning("queue_message_malformed")
                channel.basic_ack(method.delivery_tag)
                continue
            yield method.delivery_tag, letter, body

    def _dead_letter(self, properties: pika.BasicProperties) -> DeadLetter:
        message_id, job_id = parse_ids(properties)
        headers = properties.headers
        if _REASON in headers:
            seconds, reason = properties.timestamp or 0, str(headers[_REASON])
            return DeadLetter(message_id, job_id, require_reason(reason), int(headers[_DELIVERIES]), seconds)
        deaths = headers.get("x-death") or [{}]
        when = deaths[0].get("time")
        seconds = int(when.timestamp()) if isinstance(when, datetime) else 0
        return DeadLetter(
            message_id, job_id, self._settings.exhausted, self._settings.max_deliveries, seconds
        )

    def purge(self, job_id: bytes) -> int:
        require_id("job_id", job_id)
        return 0

    def depth(self) -> Depth:
        def count(channel: BlockingChannel) -> Depth:
            ready, dead = (
                channel.queue_declare(name, passive=True).method.message_count
                for name in (self._settings.name, self._dead)
            )
            return Depth(ready, None, dead)

        counted: Depth = self._call(count)
        return counted

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()
        self._publisher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RabbitConsumer:
    """The `Consumer` of a `RabbitQueue`: a connection of its own, whose thread fills a buffer."""

    def __init__(self, owner: RabbitQueue, broker: Broker, settings: QueueOptions, prefetch: int) -> None:
        self.owner = owner
        self._name = settings.name
        self._prefetch = prefetch
        self._turn = threading.Lock()
        self._connection_number = 0
        self._buffer: queue.SimpleQueue[RabbitDelivery] = queue.SimpleQueue()
        self._closed = False
        self._link = Link(broker, self._prepare, self._lost)

    def _prepare(self, connection: BlockingConnection) -> BlockingChannel:
        channel = self.owner.open_channel(connection)
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.add_on_cancel_callback(_cancelled)
        channel.basic_consume(self._name, self._arrived)
        return channel

    def _arrived(
        self, channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes
    ) -> None:
        """Buffers a message; runs in the link's thread."""
        try:
            message = Message(*parse_ids(properties), body)
            count = 1 + int(properties.headers.get(_DELIVERY_COUNT, 0))
        except (BlindsightError, TypeError, ValueError):
            # Not a message of ours: anyone with write access to the broker can publish anything.
            logs.get().warning("queue_message_malformed")
            channel.basic_ack(method.delivery_tag)
            return
        self._buffer.put(RabbitDelivery(message, count, self, self._connection_number, method.delivery_tag))

    def _lost(self) -> None:
        """Gives up the messages of a lost connection, which belong to others; runs in the link's thread."""
        with self._turn:
            self._connection_number += 1

    def take_some(self, seconds: float, most: int) -> list[RabbitDelivery]:
        first = self.take(seconds)
        taken = [] if first is None else [first]
        while taken and len(taken) < most and (following := self._next(0)) is not None:
            taken.append(following)
        return taken

    def ack_all(self, deliveries: Sequence[Delivery]) -> list[bool]:
        return [delivery.ack() for delivery in deliveries]

    def take(self, seconds: float) -> RabbitDelivery | None:
        delivery = self._next(seconds)
        if delivery is None and self._link.trouble is not None:
            raise Unavailable(self._link.trouble.message)
        return delivery

    def _next(self, seconds: float) -> RabbitDelivery | None:
        """Returns the next buffered message that this consumer still holds."""
        deadline = time.monotonic() + seconds
        while not self._closed:
            try:
                delivery = self._buffer.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                break
            if self.holds(delivery.connection_number):
                return delivery
        return None

    def holds(self, connection_number: int) -> bool:
        """Returns whether the consumer still holds the messages of a connection, as far as it knows."""
        with self._turn:
            return not self._closed and connection_number == self._connection_number

    def settle(self, connection_number: int, function: Callable[[BlockingChannel], None]) -> bool:
        """Settles a message over the connection that delivered it; returns False if that is lost."""

        def run(channel: BlockingChannel) -> bool:
            if not self.holds(connection_number):
                return False
            function(channel)
            return True

        return self._link.call_once(run) is True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._link.close()


@dataclass(slots=True)
class RabbitDelivery:
    """The `Delivery` of a `RabbitConsumer`."""

    message: Message
    count: int
    _consumer: RabbitConsumer
    connection_number: int
    _tag: int
    _settled: bool = False

    def ack(self) -> bool:
        return self._settle(lambda channel: channel.basic_ack(self._tag))

    def nack(self) -> bool:
        return self._settle(lambda channel: channel.basic_nack(self._tag, requeue=True))

    def reject(self, reason: str) -> bool:
        if self._settled or not self._consumer.holds(self.connection_number):
            return False
        self._consumer.owner.put_dead(self.message, require_reason(reason), self.count)
        return self.ack()

    def _settle(self, function: Callable[[BlockingChannel], None]) -> bool:
        """Settles the message once: the broker closes a channel that settles a message twice."""
        if self._settled:
            return False
        self._settled = True
        return self._consumer.settle(self.connection_number, function)


def declare(channel: BlockingChannel, name: str, arguments: dict[str, object]) -> None:
    """Declares a durable quorum queue, which may exist already with the same arguments."""
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", **arguments})


def parse_ids(properties: pika.BasicProperties) -> tuple[bytes, bytes]:
    """Returns the message id and the job id of a message.

    Raises:
        InvalidArgument: if an id is missing or malformed.
    """
    try:
        message_id = bytes.fromhex(properties.message_id)
        job_id = bytes.fromhex(properties.headers[_JOB])
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidArgument("a message at the broker has no ids") from error
    require_id("message_id", message_id)
    require_id("job_id", job_id)
    return message_id, job_id


def _cancelled(_: Any) -> None:
    raise amqp.ConsumerCancelled("the queue was deleted")
