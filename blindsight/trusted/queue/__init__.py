"""Where sealed items wait for workers.  Zone: TRUSTED; what a queue is kept in need not be.

Whoever holds a queue's bytes, a broker or a disk, sees sealed bodies, random ids, sizes and times.
A queue is one module here and one row in `QUEUES`; the suite over `Queue` then runs over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from blindsight.errors import InvalidArgument
from blindsight.trusted.queue.messages import DeadLetter, Depth, Message, QueueOptions

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
    """A message that is this consumer's until it is settled.

    Settling tells whether it was still this consumer's.  After False, as after a crash, it is delivered
    again: what a worker commits must bear repetition, item by item.
    """

    @property
    def message(self) -> Message:
        """What was published."""

    @property
    def count(self) -> int:
        """1 at the first delivery.  What waited in a consumer that died counts as delivered."""

    def ack(self) -> bool:
        """Removes the message; call it when its result is committed."""

    def nack(self) -> bool:
        """Puts the message back for another try, or to the dead letters after the last."""

    def reject(self, reason: str) -> bool:
        """Puts the message to the dead letters.

        Args:
            reason: a few plain words, which the broker can read.

        Raises:
            Unavailable: when the broker does not take the dead letter; the message stays this consumer's.
        """


class Consumer(Protocol):
    """Takes messages.  Safe to use from several threads."""

    def take(self, seconds: float) -> Delivery | None:
        """The next message; None when none came in time, or when `prefetch` are not settled yet.

        Raises:
            Unavailable: when nothing came because the queue cannot be reached; it is tried again meanwhile.
        """

    def take_some(self, seconds: float, most: int) -> Sequence[Delivery]:
        """The next message, and with it those that are there at once, `most` in all.

        Raises:
            Unavailable: as `take`.
        """

    def ack_all(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Acknowledges deliveries of this consumer, for little more than the cost of one."""

    def close(self) -> None:
        """Gives back what was not settled."""


class Queue(Protocol):
    """Durable, blocking.  Safe to use from several threads and by any number of processes.

    Nothing is delivered exactly once: a message comes at least once, in about the order of publishing.
    asyncio callers use `asyncio.to_thread`; threads of the queue's own keep connections and leases alive.

    All methods raise Unavailable when the queue cannot be reached and DataLoss when it is damaged.
    """

    def publish(self, *messages: Message) -> int:
        """Returns how many of the messages, the first of them, are durable: fewer when the queue got full.

        After an error other than ResourceExhausted some may be durable, too.

        Raises:
            ResourceExhausted: when the queue or its disk is full; nothing of the messages is kept.
        """

    def consumer(self, prefetch: int) -> Consumer:
        """A consumer that has at most `prefetch` unsettled messages at a time, and holds them in memory."""

    def dead_letters(self, job_id: bytes | None = None) -> list[DeadLetter]:
        """The dead letters of a job, or all of them; each message once."""

    def requeue(self, job_id: bytes, message_id: bytes | None = None) -> int:
        """Makes one dead letter of a job, or all, ordinary messages again; returns how many.

        Raises:
            ResourceExhausted: when the queue is full; those that did not fit stay dead letters.
        """

    def drop(self, job_id: bytes, message_id: bytes | None = None) -> int:
        """Removes one dead letter of a job, or all; returns how many."""

    def purge(self, job_id: bytes) -> int:
        """Removes what waits of a job, as far as the queue can; returns how many.

        RabbitMQ cannot pick messages out: the workers of a cancelled job acknowledge what they are given.
        """

    def depth(self) -> Depth:
        """How many messages wait, are with workers, and are dead."""

    def close(self) -> None:
        """Closes the consumers too."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def _embedded(url: str, settings: QueueOptions) -> Queue:
    from blindsight.trusted.queue.embedded import EmbeddedQueue

    return EmbeddedQueue(url, settings)


def _rabbitmq(url: str, settings: QueueOptions) -> Queue:
    try:
        from blindsight.trusted.queue.rabbitmq import RabbitQueue
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            "RabbitMQ needs an extra: pip install 'blindsight-vault-trusted[rabbitmq]'"
        ) from error
    return RabbitQueue(url, settings)


QUEUES: dict[str, Callable[[str, QueueOptions], Queue]] = {
    "embedded": _embedded,
    "amqp": _rabbitmq,
    "amqps": _rabbitmq,
}
"""Opens a queue by the scheme of its URL."""


def require_scheme(url: str) -> str:
    """The scheme of a queue's URL.

    Raises:
        InvalidArgument: when no queue has it.
    """
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in QUEUES:
        # Not even the scheme is quoted: what stands before the colon may be a password.
        raise InvalidArgument(f"a queue is given as a URL with one of the schemes {', '.join(QUEUES)}")
    return scheme


def open_queue(url: str, settings: QueueOptions | None = None) -> Queue:
    """Opens a queue, and makes it where there is none.

    Args:
        url: `embedded:PATH` of a file, or `amqp://USER:PASSWORD@HOST:PORT/VHOST`, with TLS `amqps://`.
        settings: the same in all processes.

    Raises:
        InvalidArgument: for a URL, name, password or virtual host that is wrong, or a queue that was made
            with other settings.
        Unavailable: when nothing answers there.
        DataLoss: when the file is damaged.
    """
    return QUEUES[require_scheme(url)](url, settings or QueueOptions())
