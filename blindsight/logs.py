"""Structured logs: one JSON object a line, constant event names, request ids.

Never log bytes, vectors, scores or file names: a log is read by people and machines that may not
see them.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

request_id: ContextVar[str] = ContextVar("request_id", default="")


def _add_request_id(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    current = request_id.get()
    if current:
        event["request_id"] = current
    return event


def configure(service: str, *, level: str = "INFO", stream: TextIO = sys.stderr) -> None:
    """Sets logging up for a process; call it once, in `__main__`."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def get() -> structlog.typing.FilteringBoundLogger:
    """The process's logger: `logs.get().info("event_name", key=value)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
