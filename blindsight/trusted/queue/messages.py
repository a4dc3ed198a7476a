"""Messages, dead letters, depths and options, common to all queues."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from blindsight.ciphertext.header import SEALED_MAGIC
from blindsight.errors import InvalidArgument

ID_BYTES = 16
# Enough for a sealed original of the largest size.  RabbitMQ's default limit is 128 MiB.
MAX_BODY_BYTES = 96 << 20
# The broker can read a reason, so it is made of fixed words and never holds a file name.
_REASON = re.compile(r"[A-Za-z][A-Za-z0-9_ ]{0,63}")


@dataclass(frozen=True, slots=True)
class Message:
    """One sealed item on its way to a worker.

    Attributes:
        message_id: 16 random bytes, by which a worker recognises an item that is delivered again.
        job_id: 16 random bytes of the job that the item belongs to.
        body: sealed bytes, at most `MAX_BODY_BYTES`.

    Raises:
        InvalidArgument: if an id has another size, or the body is too large or not sealed: the broker must
            not see unsealed bytes.
    """

    message_id: bytes
    job_id: bytes
    body: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name, value in (("message_id", self.message_id), ("job_id", self.job_id)):
            require_id(name, value)
        if not self.body.startswith(SEALED_MAGIC):
            raise InvalidArgument("the body of a message is not sealed")
        if len(self.body) > MAX_BODY_BYTES:
            raise InvalidArgument(f"the body has {len(self.body)} bytes, want at most {MAX_BODY_BYTES}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that is not delivered again until it is requeued.

    Attributes:
        reason: the worker's reason, or `delivered N times`.
        deliveries: number of deliveries.
        dead_unix_seconds: time at which it became a dead letter.
    """

    message_id: bytes
    job_id: bytes
    reason: str
    deliveries: int
    dead_unix_seconds: int


@dataclass(frozen=True, slots=True)
class Depth:
    """The numbers of messages in a queue.

    Attributes:
        ready: waiting for a worker.
        unacknowledged: held by workers; None if the broker does not report it.
        dead: dead letters.
    """

    ready: int
    unacknowledged: int | None
    dead: int


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """Options of one queue; all its processes need the same.

    Attributes:
        name: the queue's name at the broker; an embedded queue is named by its file.
        max_messages: number of messages that may wait before `publish` refuses more.
        max_bytes: total size of bodies that may wait before `publish` refuses more.
        max_deliveries: deliveries of a message before it becomes a dead letter.  High, because messages that
            a killed consumer held count as delivered, whatever it died of.
        silence_seconds: time without a sign of life after which a consumer is considered dead.  The queue's
            own thread sends these signs, however long the work takes.
        answer_seconds: how long a call waits for an answer, reconnecting meanwhile.

    Raises:
        InvalidArgument: if a number is too small.
    """

    name: str = "blindsight.ingest"
    max_messages: int = 100_000
    max_bytes: int = 16 << 30
    max_deliveries: int = 1000
    silence_seconds: int = 30
    answer_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_messages", "max_bytes", "max_deliveries", "silence_seconds"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)}, want at least 1")

    @property
    def exhausted(self) -> str:
        """The dead letter's reason for a message that was delivered too often."""
        return f"delivered {self.max_deliveries} times"

    @property
    def full(self) -> str:
        """The error message for publishers when the queue is full."""
        return (
            f"the queue is full: it takes {self.max_messages} messages and {self.max_bytes} bytes that wait; "
            "publish again when workers have caught up"
        )


def require_id(name: str, value: bytes) -> None:
    """Checks the size of an id.

    Raises:
        InvalidArgument: if it does not have 16 bytes.
    """
    if len(value) != ID_BYTES:
        raise InvalidArgument(f"{name} has {len(value)} bytes, want {ID_BYTES}")


def require_reason(reason: str) -> str:
    """Checks a worker's reason for rejecting a message, and returns it.

    Raises:
        InvalidArgument: if it is anything but a few plain words, because the broker can read it.
    """
    if not _REASON.fullmatch(reason):
        raise InvalidArgument("a reason is 1 to 64 letters, digits, blanks and underscores, a letter first")
    return reason
