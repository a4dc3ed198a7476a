"""Structured logs: one JSON object per line, constant event names, request ids.

Never log bytes, vectors, scores or file names: people and machines that read logs may not see them.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from blindsight.runtime import request_ids


def configure(service: str, *, level: str = "INFO", stream: TextIO = sys.stderr) -> None:
    """Sets up logging for a process, including that of libraries; call it once, in `__main__`."""

    def add_origin(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        current = request_ids.current.get()
        if current:
            event["request_id"] = current
        return event

    common: list[structlog.typing.Processor] = [
        add_origin,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.processors.JSONRenderer(sort_keys=True)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *common, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_of_library, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def _of_library(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["message"], event["event"] = event["event"], "library"
    event["library"] = event["_record"].name
    return event


def get() -> structlog.typing.FilteringBoundLogger:
    """Returns the process's logger: `logs.get().info("event_name", key=value)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
