"""Conversions between exceptions and gRPC statuses; they happen nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from blindsight import errors
from blindsight.runtime.printable import printable, shortened

DOMAIN = "blindsight"
RETRY_SECONDS = 1
# Metadata of an error that says when a retry may help.
RETRY_KEY = "retry_seconds"
# A message is sent twice in the trailing metadata, which gRPC limits to 8 KiB, and may quote long input.
MAX_MESSAGE_CHARACTERS = 400
MAX_METADATA = 16

# Message of gRPC's core if there was no connection to send a call over.
_NEVER_CONNECTED = "failed to connect to all addresses"
_REFUSED = "Connection refused"
# Message of grpc.aio if a message can no longer be sent, and the call's status has not arrived yet.
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
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.Fenced: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Busy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.CutOff: grpc.StatusCode.UNAVAILABLE,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.MissingPackage: grpc.StatusCode.FAILED_PRECONDITION,
    errors.KeyFileError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WrongPassphrase: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CertificateError: grpc.StatusCode.FAILED_PRECONDITION,
}
REASONS = {error.reason: error for error in CODES}


def to_status(error: errors.BlindsightError) -> status_pb2.Status:
    """Returns a google.rpc.Status with ErrorInfo, and with RetryInfo if a retry may help."""
    metadata = {key: shortened(value, MAX_MESSAGE_CHARACTERS) for key, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    details: list[any_pb2.Any] = [_packed(info)]
    again = error.metadata.get(RETRY_KEY)
    if again or isinstance(error, errors.Unavailable | errors.Conflict | errors.Busy):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(float(again or RETRY_SECONDS) * 1e9))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    code, _ = CODES[type(error)].value
    return status_pb2.Status(
        code=code, message=shortened(error.message, MAX_MESSAGE_CHARACTERS), details=details
    )


def internal(request_id: str) -> status_pb2.Status:
    """Returns the status of an unexpected exception, with a fixed text; the traceback is in the log."""
    message = f"internal error; the service's log has it under request id {request_id}"
    info = error_details_pb2.ErrorInfo(reason=errors.BlindsightError.reason, domain=DOMAIN)
    return status_pb2.Status(code=code_pb2.INTERNAL, message=message, details=[_packed(info)])


def from_rpc_error(error: grpc.RpcError, service: str) -> errors.BlindsightError:
    """Returns the exception that the called service raised, or one for a lost connection.

    The service may be one that is not trusted: its words are one short line that does nothing to a terminal.

    Args:
        error: exception of grpc; it is also a `grpc.Call`.
        service: name of the called service, for messages about lost connections.
    """
    code = error.code()
    details = _harmless(error.details() or code.name.lower())
    info = _error_info(error)
    if info is not None and info.reason in REASONS:
        raised = REASONS[info.reason](details)
        pairs = islice(info.metadata.items(), MAX_METADATA)
        raised.metadata = {_harmless(key): _harmless(value) for key, value in pairs}
        return raised
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return errors.Unavailable(f"{service} does not answer: {details}")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.ResourceExhausted(f"{service}: {details}")
    if code == grpc.StatusCode.CANCELLED:
        return errors.Unavailable(f"{service} cancelled the call")
    if code == grpc.StatusCode.INTERNAL and error.details() == _BROKEN_WRITE:
        return errors.Unavailable(f"{service} does not answer: the connection broke")
    return errors.BlindsightError(f"{service}: {details}")


def never_began(error: grpc.RpcError) -> bool:
    """Returns whether a call certainly had no effect: never sent, or refused by a busy or draining service.

    A draining service that ends a stream has already answered on it for all that it did.
    """
    info = _error_info(error)
    if info is not None:
        return info.reason in (errors.Draining.reason, errors.Busy.reason)
    if error.code() is grpc.StatusCode.CANCELLED:
        # The status of a call that reaches a server just as it closes.  A call that had begun would have
        # ended with a reason: see `interceptors`.
        return True
    details = str(error.details() or "")
    return details.startswith(_NEVER_CONNECTED)


def nobody_listens(error: grpc.RpcError) -> bool:
    """Returns whether a call failed because no process listens at the address, as while one restarts."""
    details = str(error.details() or "")
    return details.startswith(_NEVER_CONNECTED) and _REFUSED in details


def is_lost(error: grpc.RpcError) -> bool:
    """Returns whether a failed call may succeed once its service is back; it may have had an effect."""
    if never_began(error):
        return True
    broken = error.code() is grpc.StatusCode.INTERNAL and error.details() == _BROKEN_WRITE
    lost = broken or error.code() is grpc.StatusCode.UNAVAILABLE
    info = _error_info(error)
    return bool(lost) and (info is None or info.reason == errors.CutOff.reason)


def _error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    # Both APIs of grpc return pairs, though under different types.
    entries = dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))
    value = entries.get("grpc-status-details-bin")
    if not isinstance(value, bytes):
        return None
    info = error_details_pb2.ErrorInfo()
    with suppress(DecodeError):
        for detail in status_pb2.Status.FromString(value).details:
            if detail.Unpack(info):
                return info
    return None


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _harmless(text: str) -> str:
    return shortened(printable(" ".join(text.split())), MAX_MESSAGE_CHARACTERS)


def metadata_of(status: status_pb2.Status) -> tuple[tuple[str, str | bytes], ...]:
    """Returns the trailing metadata that carries a status."""
    converted = rpc_status.to_status(status)
    return tuple((key, value) for key, value in converted.trailing_metadata)
