"""What calls of both services share: errors, request ids, limits of time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc
import grpc.aio

from blindsight import logs, server
from blindsight.interceptors import REQUEST_ID_KEY
from blindsight.status import from_rpc_error

CALL_SECONDS = 30.0
STATUS_SECONDS = 3.0
# Writes hold their collection's lock.  Half a gigabyte over a slow line onto a slow disk takes less; a peer
# that answers pings and not the call does not keep the lock for ever.
LONG_CALL_SECONDS = 600.0


@contextmanager
def errors_of(service: str) -> Iterator[None]:
    """What a service raised becomes what it stands for."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, service) from error


@asynccontextmanager
async def calling(service: str, channel: grpc.aio.Channel) -> AsyncIterator[None]:
    """A call of a service, which may just be starting again; its errors become ours."""
    await server.connected(channel, service)
    with errors_of(service):
        yield


def metadata() -> tuple[tuple[str, str], ...]:
    """Carries the request id on."""
    return ((REQUEST_ID_KEY, logs.request_id.get()),)
