"""What every queue carries and tells of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from blindsight.ciphertext.header import SEALED_MAGIC
from blindsight.errors import InvalidArgument

ID_BYTES = 16
# Room for a sealed original of the largest size.  RabbitMQ takes 128 MiB unless it is told otherwise.
MAX_BODY_BYTES = 96 << 20
# The broker reads it: words of ours, never a file name.
_REASON = re.compile(r"[A-Za-z][A-Za-z0-9_ ]{0,63}")


@dataclass(frozen=True, slots=True)
class Message:
    """One sealed item on its way to a worker.

    Attributes:
        message_id: 16 random bytes; a worker knows an item by them when it comes a second time.
        job_id: 16 random bytes of the job that the item belongs to.
        body: sealed bytes, at most `MAX_BODY_BYTES`.

    Raises:
        InvalidArgument: for ids of another size, a body that is too large, or one that is not sealed:
            the broker must not get it.
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
    """A message that is delivered no more until it is requeued.

    Attributes:
        reason: a worker's word for it, or `delivered N times`.
        deliveries: how often it was delivered.
        dead_unix_seconds: when it was given up.
    """

    message_id: bytes
    job_id: bytes
    reason: str
    deliveries: int
    dead_unix_seconds: int


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages there are.

    Attributes:
        ready: waiting for a worker.
        unacknowledged: with a worker; None where the broker does not tell.
        dead: among the dead letters.
    """

    ready: int
    unacknowledged: int | None
    dead: int


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """What may differ from one queue to another; all processes of a queue need the same.

    Attributes:
        name: of the queue at the broker; an embedded queue is named by its file.
        max_messages: that may wait; then `publish` refuses.
        max_bytes: of bodies that may wait.
        max_deliveries: of one message; then it is a dead letter.  Many: what a consumer that is killed held
            counts as delivered, whatever it died of.
        silence_seconds: a consumer that shows no sign of life for so long is taken for dead.  Signs come
            from a thread of the queue's own, however long the work takes.
        answer_seconds: how long a call waits for an answer, reconnecting meanwhile.

    Raises:
        InvalidArgument: for a number that is too small.
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
        """The reason of a message that was delivered too often."""
        return f"delivered {self.max_deliveries} times"

    @property
    def full(self) -> str:
        """What a publisher is told."""
        return (
            f"the queue is full: it takes {self.max_messages} messages and {self.max_bytes} bytes that wait; "
            "publish again when workers have caught up"
        )


def require_id(name: str, value: bytes) -> None:
    """Refuses an id that is not one.

    Raises:
        InvalidArgument: when it has not 16 bytes.
    """
    if len(value) != ID_BYTES:
        raise InvalidArgument(f"{name} has {len(value)} bytes, want {ID_BYTES}")


def require_reason(reason: str) -> str:
    """Returns the reason for which a worker gives up.

    Raises:
        InvalidArgument: when it is not of a few plain words: the broker reads it.
    """
    if not _REASON.fullmatch(reason):
        raise InvalidArgument("a reason is 1 to 64 letters, digits, blanks and underscores, a letter first")
    return reason
