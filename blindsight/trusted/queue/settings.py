"""Settings of the queue, the same in the keyholder and in every worker."""

from __future__ import annotations

from pydantic import BaseModel, Field

from blindsight.trusted.queue import QueueOptions

_DEFAULTS = QueueOptions()


class QueueSettings(BaseModel):
    """Part of a settings class.

    Attributes:
        queue_url: `embedded:PATH` or `amqp://...`, see `open_queue`; empty: no bulk ingest.
        queue_name, queue_max_messages, queue_max_bytes, queue_max_deliveries, queue_silence_seconds: see
            `QueueOptions`.
    """

    queue_url: str = Field(default="", repr=False)  # may hold a password
    queue_name: str = _DEFAULTS.name
    queue_max_messages: int = Field(default=_DEFAULTS.max_messages, ge=1)
    queue_max_bytes: int = Field(default=_DEFAULTS.max_bytes, ge=1)
    queue_max_deliveries: int = Field(default=_DEFAULTS.max_deliveries, ge=1)
    queue_silence_seconds: int = Field(default=_DEFAULTS.silence_seconds, ge=1)

    @property
    def queue(self) -> QueueOptions:
        """The settings in the form that `queue` takes."""
        return QueueOptions(
            name=self.queue_name,
            max_messages=self.queue_max_messages,
            max_bytes=self.queue_max_bytes,
            max_deliveries=self.queue_max_deliveries,
            silence_seconds=self.queue_silence_seconds,
        )
