"""Queues of sealed items that wait for workers.  Zone: TRUSTED; the store of a queue need not be.

A broker or disk that stores a queue sees sealed bodies, random ids, sizes and times.
A queue is one module here and one row in `QUEUES`; the test suite of `Queue` then runs over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from blindsight.errors import InvalidArgument
from blindsight.trusted.queue.messages import DeadLetter, Depth, Message, QueueOptions

if TYPE_CHECKING:
    from blindsight.runtime.tls import Certificates

__all__ = [
    "QUEUES",
    "Consumer",
    "DeadLetter",
    "Delivery",
    "Depth",
    "Message",
    "Queue",
    "QueueOptions",
    "open_queue",
    "require_scheme",
]


class Delivery(Protocol):
    """A message that a consumer holds until it is settled.

    Settling returns whether the consumer still held it.  After False, as after a crash, the message is
    delivered again, so a worker's commits must be idempotent for each item.
    """

    @property
    def message(self) -> Message:
        """The message as it was published."""

    @property
    def count(self) -> int:
        """The number of deliveries, 1 at the first.  Messages that a dead consumer had buffered count."""

    def ack(self) -> bool:
        """Removes the message; call it when its result is committed."""

    def nack(self) -> bool:
        """Requeues the message, or moves it to the dead letters after its last delivery."""

    def reject(self, reason: str) -> bool:
        """Moves the message to the dead letters.

        Args:
            reason: a few plain words, which the broker can read.

        Raises:
            Unavailable: if the broker does not take the dead letter; the consumer keeps the message.
        """


class Consumer(Protocol):
    """A receiver of messages.  Safe to use from several threads."""

    def take(self, seconds: float) -> Delivery | None:
        """Returns the next message, or None if none came in time or `prefetch` messages are unsettled.

        Raises:
            Unavailable: if nothing came because the queue cannot be reached; it keeps reconnecting.
        """

    def take_some(self, seconds: float, most: int) -> Sequence[Delivery]:
        """Returns the next message and those that are ready at once after it, at most `most` in all.

        Raises:
            Unavailable: if nothing came because the queue cannot be reached.
        """

    def ack_all(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Acknowledges deliveries of this consumer, for little more than the cost of one."""

    def close(self) -> None:
        """Gives unsettled messages back to the queue."""


class Queue(Protocol):
    """A durable queue with blocking calls.  Safe to use from several threads and processes.

    Messages are delivered at least once, approximately in the order of publishing.
    asyncio callers use `asyncio.to_thread`; the queue's own threads keep connections and leases alive.

    All methods raise Unavailable if the queue cannot be reached and DataLoss if it is damaged.
    """

    def publish(self, *messages: Message) -> int:
        """Publishes messages; returns how many, from the first on, are durable: fewer if the queue got full.

        After an error other than ResourceExhausted some may be durable, too.

        Raises:
            ResourceExhausted: if the queue or its disk is full; none of the messages is kept.
        """

    def consumer(self, prefetch: int) -> Consumer:
        """Opens a consumer that holds at most `prefetch` unsettled messages at a time, in memory."""

    def dead_letters(self, job_id: bytes | None = None) -> list[DeadLetter]:
        """Returns the dead letters of a job, or all of them; each message once."""

    def requeue(self, job_id: bytes, message_id: bytes | None = None) -> int:
        """Makes one dead letter of a job, or all of them, ordinary messages again; returns how many.

        Raises:
            ResourceExhausted: if the queue is full; those that did not fit stay dead letters.
        """

    def drop(self, job_id: bytes, message_id: bytes | None = None) -> int:
        """Removes one dead letter of a job, or all of them; returns how many."""

    def purge(self, job_id: bytes) -> int:
        """Removes a job's waiting messages, if the queue can; returns how many.

        RabbitMQ cannot remove selected messages: workers acknowledge those of a cancelled job when they come.
        """

    def depth(self) -> Depth:
        """Returns how many messages wait, are held by workers, and are dead letters."""

    def close(self) -> None:
        """Closes the queue and its consumers."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def _embedded(url: str, settings: QueueOptions, _: Certificates | None) -> Queue:
    from blindsight.trusted.queue.embedded import EmbeddedQueue

    return EmbeddedQueue(url, settings)


def _rabbitmq(url: str, settings: QueueOptions, certificates: Certificates | None) -> Queue:
    try:
        from blindsight.trusted.queue.rabbitmq import RabbitQueue
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            "RabbitMQ needs an extra: pip install 'blindsight-vault-trusted[rabbitmq]'"
        ) from error
    return RabbitQueue(url, settings, certificates)


QUEUES: dict[str, Callable[[str, QueueOptions, Certificates | None], Queue]] = {
    "embedded": _embedded,
    "amqp": _rabbitmq,
    "amqps": _rabbitmq,
}
"""Functions that open a queue, by the scheme of its URL."""


def require_scheme(url: str) -> str:
    """Returns the scheme of a queue's URL.

    Raises:
        InvalidArgument: if no queue has this scheme.
    """
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in QUEUES:
        # Not even the scheme is quoted, because the text before the colon may be a password.
        raise InvalidArgument(f"a queue is given as a URL with one of the schemes {', '.join(QUEUES)}")
    return scheme


def open_queue(
    url: str, settings: QueueOptions | None = None, certificates: Certificates | None = None
) -> Queue:
    """Opens a queue, and creates it if it does not exist.

    Args:
        url: `embedded:PATH` of a file, or `amqp://USER:PASSWORD@HOST:PORT/VHOST`, with TLS `amqps://`.
        settings: the same in all processes.
        certificates: by which a broker knows this process, and is known, see `amqp.Broker`.

    Raises:
        InvalidArgument: if the URL, name, password or virtual host is wrong, or the queue was created
            with other settings.
        Unavailable: if nothing answers there.
        DataLoss: if the file is damaged.
        CertificateError: if the certificate has expired, or was revoked.
    """
    return QUEUES[require_scheme(url)](url, settings or QueueOptions(), certificates)
