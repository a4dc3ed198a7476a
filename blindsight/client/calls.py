"""Calls to the keyholder: statuses become exceptions again, streams are fed with back-pressure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import grpc

from blindsight.errors import BlindsightError
from blindsight.status import from_rpc_error

PEER = "the keyholder"

Request = TypeVar("Request")
Response = TypeVar("Response")


@contextmanager
def translated() -> Iterator[None]:
    """Raises the keyholder's own errors in place of gRPC's."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, PEER) from None


class _Feed(Generic[Request]):
    """Hands requests to gRPC's sending thread and keeps an exception that making one raised.

    gRPC asks for the next request when the connection has room for it, so no more than one chunk
    waits here.
    """

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests = requests
        self._call: Any = None
        self._attached = threading.Event()
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        try:
            return next(self._requests)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised in the caller's thread, not lost
            self.error = error
            # Cancelled first: an orderly end would tell the keyholder that this was all.
            self._attached.wait()
            self._call.cancel()
            raise StopIteration from None

    def attach(self, call: Any) -> None:
        self._call = call
        self._attached.set()


def exchange(
    method: Callable[[Iterator[Request]], Any],
    requests: Iterator[Request],
    *,
    expects: type[Response],
) -> Iterator[Response]:
    """Sends a stream and yields what comes back, while it is still being sent.

    Raises:
        BlindsightError: what the keyholder raised.
        Exception: what making a request raised.
    """
    feed = _Feed(requests)
    call = method(feed)
    feed.attach(call)
    try:
        yield from answers(call, expects=expects)
    except BlindsightError as error:
        raise (feed.error or error) from None


def answers(call: Any, *, expects: type[Response]) -> Iterator[Response]:  # noqa: ARG001 - the type of what is yielded
    """Yields what a call answers with.

    Raises:
        BlindsightError: what the keyholder raised.
    """
    try:
        with translated():
            yield from call
    finally:
        # Also when the caller stops reading, or Ctrl-C ends the wait.
        call.cancel()


def incomplete(what: str) -> BlindsightError:
    """The error for a stream that ended well but too early."""
    return BlindsightError(f"{PEER} ended the {what} without its last message")
