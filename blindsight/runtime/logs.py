"""Structured logs: one JSON object per line, constant event names, request ids.

Never log bytes, vectors, scores or file names: people and machines that read logs may not see them.
"""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from blindsight.runtime import request_ids


class _Lossy:
    """A stream that drops what it cannot write, as on a full disk: no call may fail because of its log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure(service: str, *, level: str = "INFO", stream: TextIO = sys.stderr) -> None:
    """Sets up logging for a process, including that of libraries; call it once, in `__main__`."""
    lossy = cast("TextIO", _Lossy(stream))

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
        logger_factory=structlog.WriteLoggerFactory(file=lossy),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lossy)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_of_library, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_last_error
    threading.excepthook = lambda failed: _log_last_error(
        failed.exc_type, failed.exc_value, failed.exc_traceback
    )


def _log_last_error(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    """Logs an error that nobody caught, and that Python would print."""
    if error is not None:
        get().critical("not_caught", exc_info=(kind, error, trace))


def _of_library(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["message"], event["event"] = event["event"], "library"
    event["library"] = event["_record"].name
    return event


def _drop(_: Any, __: str, ___: structlog.typing.EventDict) -> structlog.typing.EventDict:
    raise structlog.DropEvent


_UNHEARD: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(None, processors=[_drop])


def get() -> structlog.typing.FilteringBoundLogger:
    """Returns the process's logger: `logs.get().info("event_name", key=value)`.

    What is logged before anybody has set logs up goes nowhere: a program's standard output is its own.
    """
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger if structlog.is_configured() else _UNHEARD
