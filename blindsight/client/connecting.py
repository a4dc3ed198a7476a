"""Connecting to a keyholder: where it is, what is shown to it, and whether it is waited for."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

import blindsight
from blindsight.client.arguments import checked, duration
from blindsight.client.calls import AwayCallback, Connection, cancelled, nobody
from blindsight.client.channels import Channels
from blindsight.client.tokens import FILE_VARIABLE, token_for
from blindsight.client.vault import Vault
from blindsight.errors import InvalidArgument, Unavailable
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime import addresses
from blindsight.runtime.announcing import is_announced
from blindsight.runtime.backoff import RETRY_SECONDS, Backoff
from blindsight.runtime.channels import (
    KEEPALIVE_SECONDS,
    LEAST_KEEPALIVE_SECONDS,
    MOST_KEEPALIVE_SECONDS,
    client_options,
)
from blindsight.runtime.profiles import PROFILE_VARIABLE, Profile, find
from blindsight.runtime.status import nobody_listens
from blindsight.runtime.transfer import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from blindsight.runtime.tls import Certificates

ADDRESS_VARIABLE, TLS_VARIABLE = "BLINDSIGHT_ADDRESS", "BLINDSIGHT_TLS"
WAIT_VARIABLE = "BLINDSIGHT_WAIT_SECONDS"
# Why nobody could be asked, in the metadata of the error: what starts or restarts is worth waiting for.
_NOT_READY, _NOBODY, _BROKEN = "not ready", "nobody listens", "broken"
# For a connection that broke while it was made: the next attempt tells whether the keyholder was killed.
_BROKEN_SECONDS = 0.5
_SERVICE = pb.DESCRIPTOR.services_by_name["KeyholderService"].full_name


@checked
def connect(
    address: str | None = None,
    *,
    profile: str | None = None,
    tls: str | Path | None = None,
    token_file: str | Path | None = None,
    timeout_seconds: float = 10.0,
    keepalive_seconds: float = KEEPALIVE_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
    wait_seconds: float | None = None,
    away: AwayCallback | None = None,
) -> Vault:
    """Opens a vault, and checks that its keyholder is ready; waits for one that starts or restarts.

    Where no process listens, a keyholder is expected if `blindsight up` keeps one at this port of this
    machine, and at any address of another machine.  None is expected at other ports of this machine, behind a
    name that does not resolve, and where something else answers: these are errors at once.

    Args:
        address: HOST:PORT; None: the profile's, or the variable BLINDSIGHT_ADDRESS, or that of the profile in
            the variable BLINDSIGHT_PROFILE, else 127.0.0.1:7420.
        profile: name of a keyholder in the user's configuration file, as `blindsight login` notes it, with
            its certificate and its token; those of variables are not shown to it.
        tls: folder of an owner's certificate (`ca.crt`, `tls.crt`, `tls.key`), by which the connection is
            encrypted; None: the variable BLINDSIGHT_TLS, else it is not.  Later calls show what renewed it.
        token_file: a file with a token, in one line, which says what its bearer may do; None: the variable
            BLINDSIGHT_TOKEN_FILE, else the one of `blindsight up`, where this user runs it at the address.
        timeout_seconds: how long the keyholder may take to answer this check.
        keepalive_seconds: how long a connection may be silent, pings included, before it counts as lost and
            its calls raise Unavailable.  Long calls are not affected: the keyholder answers pings meanwhile.
        retry_seconds: how long the keyholder may be away, to restart, before calls raise Unavailable.
            Until then calls are repeated, if they are idempotent or had not begun.
        wait_seconds: how long to wait for a keyholder where none answers yet, whatever the reason; None: the
            variable BLINDSIGHT_WAIT_SECONDS, else `retry_seconds` where one is expected, and 0 elsewhere.
        away: called whenever the keyholder was away, here or in a call of the vault, before the next attempt.

    Raises:
        InvalidArgument: if there is no such profile, the address is not HOST:PORT, or the keepalive not
            between a second and a day, or a variable has no number, or the token file no token.
        CertificateError: if the certificate is not right, as when it has expired.
        Unavailable: if no keyholder answers at the address, or it is not ready.
    """
    set_address = os.environ.get(ADDRESS_VARIABLE)
    named = _profile(address, profile, set_address)
    target = named.address if named is not None else address or set_address or blindsight.DEFAULT_ADDRESS
    if addresses.parse(target, ADDRESS_VARIABLE if target == set_address else "address").port == 0:
        raise InvalidArgument(f"address {target!r} has port 0, want that of a keyholder")
    if not LEAST_KEEPALIVE_SECONDS <= keepalive_seconds <= MOST_KEEPALIVE_SECONDS:
        raise InvalidArgument(
            f"keepalive of {keepalive_seconds:g} seconds, want {LEAST_KEEPALIVE_SECONDS:g} to "
            f"{MOST_KEEPALIVE_SECONDS:g}"
        )
    folder = tls or (named.tls if named is not None else os.environ.get(TLS_VARIABLE))
    shown = token_file or (named.token_file if named is not None else os.environ.get(FILE_VARIABLE))
    options = client_options(keepalive_seconds, MAX_ANSWER_BYTES)
    token = token_for(target, Path(shown) if shown else None, encrypted=bool(folder))
    channels = Channels(target, _certificates(folder), options)
    connection = Connection(channels, target, retry_seconds, away, token)
    try:
        _wait_until_ready(connection, target, timeout_seconds, (retry_seconds, _wait(wait_seconds)), away)
    except BaseException:
        connection.close()
        raise
    return Vault(connection, target)


def _profile(address: str | None, given: str | None, set_address: str | None) -> Profile | None:
    if given is not None and address is not None:
        raise InvalidArgument("an address and a profile, want one of them: a profile has its address")
    name = (
        given if given is not None else None if address or set_address else os.environ.get(PROFILE_VARIABLE)
    )
    return find(name) if name else None


def _wait(given: float | None) -> float | None:
    said = os.environ.get(WAIT_VARIABLE)
    if given is not None or not said:
        return given
    try:
        return duration(WAIT_VARIABLE, float(said))
    except ValueError:
        raise InvalidArgument(f"{WAIT_VARIABLE} is {said!r}, want a number of seconds") from None


def _certificates(folder: str | Path | None) -> Certificates | None:
    if not folder:
        return None
    from blindsight.runtime.tls import Certificates

    return Certificates(Path(folder))


def _wait_until_ready(
    connection: Connection,
    address: str,
    timeout_seconds: float,
    patience_seconds: tuple[float, float | None],
    away: AwayCallback | None,
) -> None:
    """Checks the keyholder's health, again and again while it is starting, and while one is expected."""
    starting, absent = patience_seconds
    least = absent or 0.0
    seconds = {_NOT_READY: max(starting, least), _BROKEN: max(min(starting, _BROKEN_SECONDS), least)}
    seconds[_NOBODY] = starting if absent is None else absent
    waiting = {state: Backoff(seconds.get(state, least)) for state in (*seconds, "")}
    while True:
        try:
            _check_health(connection, address, timeout_seconds)
        except Unavailable as error:
            state = error.metadata.get("state", "")
            hopeless = state == _NOBODY and absent is None and not _expected(address)
            pause = None if hopeless or cancelled() else waiting[state].pause_in_time()
            if pause is None:
                raise
            if away is not None:
                away(error)
            time.sleep(pause)
        else:
            return


def _wanted(address: str) -> str:
    """Returns what would help where something else than a keyholder answers, or nothing."""
    host, port = addresses.parse(address)
    try:
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError):
        return f"no address is known for {host!r}, want the name of its machine"
    return f"show it the certificate of an owner: {TLS_VARIABLE}=FOLDER"


def _expected(address: str) -> bool:
    return is_announced(address) or not addresses.is_loopback(address)


def _check_health(connection: Connection, address: str, timeout_seconds: float) -> None:
    request = health_pb2.HealthCheckRequest(service=_SERVICE)
    try:
        answer = connection.health.Check(request, timeout=timeout_seconds)
    except grpc.RpcError as error:
        raise _no_answer(error, address) from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unavailable(
            f"the keyholder at {address} is not serving: it is starting or stopping", state=_NOT_READY
        )


def _no_answer(error: grpc.RpcError, address: str) -> Unavailable:
    if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED):
        return Unavailable(f"the service at {address} is not a keyholder")
    if nobody_listens(error):
        return nobody(address, state=_NOBODY)
    said = Unavailable(f"no keyholder answers at {address}; {_wanted(address)}")
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        said.metadata["state"] = _BROKEN
    return said
