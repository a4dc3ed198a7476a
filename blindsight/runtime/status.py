"""The only place where exceptions become gRPC statuses, and statuses become exceptions again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from blindsight import errors

DOMAIN = "blindsight"
RETRY_SECONDS = 1
# A message travels twice in trailing metadata, of which gRPC takes 8 KiB; it may quote a caller's long words.
MAX_MESSAGE_CHARACTERS = 400

# What gRPC's core says when there was no connection to send a call over.
_NEVER_CONNECTED = "failed to connect to all addresses"
# What grpc.aio says when a message cannot be sent any more and the call's status is not there yet.
_BROKEN_WRITE = "Internal error from Core"

CODES: dict[type[errors.BlindsightError], grpc.StatusCode] = {
    errors.BlindsightError: grpc.StatusCode.INTERNAL,
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidVector: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidImage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidCiphertext: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SecretMaterialRefused: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.CutOff: grpc.StatusCode.UNAVAILABLE,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.KeyFileError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WrongPassphrase: grpc.StatusCode.FAILED_PRECONDITION,
}
REASONS = {error.reason: error for error in CODES}


def to_status(error: errors.BlindsightError) -> status_pb2.Status:
    """A google.rpc.Status with ErrorInfo, and RetryInfo where a retry may help."""
    metadata = {key: _shortened(value) for key, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    details: list[any_pb2.Any] = [_packed(info)]
    if isinstance(error, errors.Unavailable | errors.Conflict):
        delay = duration_pb2.Duration(seconds=RETRY_SECONDS)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    code, _ = CODES[type(error)].value
    return status_pb2.Status(code=code, message=_shortened(error.message), details=details)


def internal(request_id: str) -> status_pb2.Status:
    """The fixed text for an exception that nobody expected; the traceback is in the log."""
    message = f"internal error; the service's log has it under request id {request_id}"
    info = error_details_pb2.ErrorInfo(reason=errors.BlindsightError.reason, domain=DOMAIN)
    return status_pb2.Status(code=code_pb2.INTERNAL, message=message, details=[_packed(info)])


def from_rpc_error(error: grpc.RpcError, service: str) -> errors.BlindsightError:
    """The exception that a failed call stands for, as the peer raised it.

    Args:
        error: what grpc raised; it is also a `grpc.Call`.
        service: names the peer in messages about lost connections.
    """
    code = error.code()
    details = error.details() or code.name.lower()
    info = _error_info(error)
    if info is not None and info.reason in REASONS:
        return REASONS[info.reason](details, **dict(info.metadata))
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return errors.Unavailable(f"{service} does not answer: {_first_line(details)}")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.ResourceExhausted(f"{service}: {_first_line(details)}")
    if code == grpc.StatusCode.CANCELLED:
        return errors.Unavailable(f"{service} cancelled the call")
    if code == grpc.StatusCode.INTERNAL and details == _BROKEN_WRITE:
        return errors.Unavailable(f"{service} does not answer: the connection broke")
    return errors.BlindsightError(f"{service}: {_first_line(details)}")


def never_began(error: grpc.RpcError) -> bool:
    """Whether a failed call had no effect for certain: it was not sent, or a service that drains refused it.

    What a draining service did before it ended a stream, it has answered on that stream.
    """
    info = _error_info(error)
    if info is not None:
        return bool(info.reason == errors.Draining.reason)
    if error.code() is grpc.StatusCode.CANCELLED:
        # What gRPC makes of a call that reaches a server in the moment when it closes.  One that had begun
        # ends with a reason: see `interceptors`.
        return True
    details = str(error.details() or "")
    return details.startswith(_NEVER_CONNECTED)


def is_lost(error: grpc.RpcError) -> bool:
    """Whether a failed call may work when its service is back, however far this one came."""
    if never_began(error):
        return True
    broken = error.code() is grpc.StatusCode.INTERNAL and error.details() == _BROKEN_WRITE
    lost = broken or error.code() is grpc.StatusCode.UNAVAILABLE
    info = _error_info(error)
    return bool(lost) and (info is None or info.reason == errors.CutOff.reason)


def _error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    # Pairs in both of grpc's APIs, whatever their types are called.
    entries = dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))
    value = entries.get("grpc-status-details-bin")
    if not isinstance(value, bytes):
        return None
    for detail in status_pb2.Status.FromString(value).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info
    return None


def _shortened(text: str) -> str:
    if len(text) <= MAX_MESSAGE_CHARACTERS:
        return text
    half = MAX_MESSAGE_CHARACTERS // 2
    return f"{text[:half]} ... {text[-half:]}"


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else text


def metadata_of(status: status_pb2.Status) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata that carries the status."""
    converted = rpc_status.to_status(status)
    return tuple((key, value) for key, value in converted.trailing_metadata)
