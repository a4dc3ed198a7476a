"""A server between a client and a gRPC server: passes every call on, keeps its messages, changes answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, Self

import grpc

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_AT_ONCE = 16


# Makes the answers of a method out of those that the server gave.
Change = Callable[[str, Iterable[bytes]], Iterable[bytes]]


@dataclass
class Call:
    """One call.

    Attributes:
        method: /SERVICE/METHOD.
        metadata: what came with the request.
        asked, answered: messages of either direction, in their order, as their sender sent them.
    """

    method: str
    metadata: list[tuple[str, str]]
    asked: list[bytes] = field(default_factory=list)
    answered: list[bytes] = field(default_factory=list)

    @property
    def sizes(self) -> tuple[str, list[int], list[int]]:
        """All that somebody knows of it who sees but sizes."""
        return self.method, list(map(len, self.asked)), list(map(len, self.answered))


class Relay(grpc.GenericRpcHandler):
    """Knows nothing of what it passes on.

    Args:
        server: HOST:PORT; calls to `address` are passed on to it.

    Attributes:
        calls: that were made so far, in the order in which they began.
        change: of answers; as they are, unless a test sets another.
        instead: of asking the server, the answers to a method; None: it is asked.
    """

    def __init__(self, server: str) -> None:
        self.calls: list[Call] = []
        self.change: Change = lambda _, answers: answers
        self.instead: Callable[[str], Iterable[bytes] | None] = lambda _: None
        self._channel = grpc.insecure_channel(server, _OPTIONS)
        self._server = grpc.server(futures.ThreadPoolExecutor(_AT_ONCE), options=_OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def service(self, handler_call_details: Any) -> Any:
        """Every method: on the wire, one message is a stream of one."""
        method = handler_call_details.method

        def passed_on(requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
            sent = [
                (key, value) for key, value in context.invocation_metadata() if not key.startswith("user-")
            ]
            call = Call(method, sent)
            self.calls.append(call)
            if (given := self.instead(method)) is not None:
                yield from given
                return
            answers = self._channel.stream_stream(method)(_kept(requests, call.asked), metadata=sent)
            context.add_callback(answers.cancel)
            try:
                # Some clients wait for these before they go on to ask.
                context.send_initial_metadata(answers.initial_metadata())
                yield from self.change(method, _kept(answers, call.answered))
            except grpc.RpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())
                context.abort(error.code(), error.details())

        return grpc.stream_stream_rpc_method_handler(passed_on)

    def close(self) -> None:
        """Ends all calls."""
        self._server.stop(None).wait()
        self._channel.close()


def _kept(messages: Iterable[bytes], record: list[bytes]) -> Iterator[bytes]:
    for message in messages:
        record.append(message)
        yield message
