"""Settings of a service: from the environment, built once in `__main__`, unknown names refused."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic_settings import BaseSettings, SettingsConfigDict

from blindsight.errors import InvalidArgument
from blindsight.runtime import addresses, logs
from blindsight.runtime.access import Access
from blindsight.runtime.backoff import RETRY_SECONDS
from blindsight.runtime.channels import KEEPALIVE_SECONDS, LEAST_KEEPALIVE_SECONDS, MOST_KEEPALIVE_SECONDS
from blindsight.runtime.limits import USUAL, Limits
from blindsight.runtime.peer import Connection
from blindsight.runtime.server import Listener
from blindsight.runtime.tls import Certificates

SECRETS_DIR = "BLINDSIGHT_SECRETS_DIR"
DRAIN_SECONDS = 10.0
# The values of these are not repeated in messages: they may hold a password.
_PRIVATE_NAMES = ("URL", "PASSPHRASE", "PASSWORD", "SECRET")


def _checked(address: str) -> str:
    try:
        addresses.parse(address)
    except InvalidArgument:
        raise ValueError("want HOST:PORT") from None
    return address


Address = Annotated[str, pydantic.AfterValidator(_checked)]
"""The address of a service, HOST:PORT."""


class ProcessSettings(BaseSettings):
    """Settings of every process.  A subclass sets `model_config` with its `env_prefix`.

    Attributes:
        keepalive_seconds: a peer that is silent for so long, and answers no ping, is lost: calls to it fail.
        retry_seconds: how long a peer may be away, to restart, before calls of it fail.
        tls: folder of `ca.crt`, `tls.crt` and `tls.key`, by which services know each other; None: no TLS.
        drain_seconds: after SIGTERM, for what has begun; what is not done then is cut off.
        metrics_port: where to serve /metrics; 0 for not at all.
        metrics_host: the address it is served at; in a container, 0.0.0.0 for the network of its own.
        metrics_tls: serve it with `tls`, to who scrapes metrics and shows a certificate that says so.
        log_level: as Python's logging names it.
        die_with_parent: end when the process that started this one ends.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    keepalive_seconds: float = pydantic.Field(
        default=KEEPALIVE_SECONDS, ge=LEAST_KEEPALIVE_SECONDS, le=MOST_KEEPALIVE_SECONDS
    )
    retry_seconds: float = pydantic.Field(default=RETRY_SECONDS, ge=0, le=3600)
    tls: Path | None = None
    drain_seconds: float = pydantic.Field(default=DRAIN_SECONDS, ge=0, le=3600)
    metrics_port: int = pydantic.Field(default=0, ge=0, le=65535)
    metrics_host: str = "127.0.0.1"
    metrics_tls: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    die_with_parent: bool = False

    @cached_property
    def certificates(self) -> Certificates | None:
        """This process's certificate, shown to its peers; None without `tls`.

        Raises:
            CertificateError: see `Certificates`.
        """
        if self.tls is None:
            return None
        return Certificates(
            self.tls, lambda error: logs.get().warning("certificate_refused", reason=error.message)
        )

    @property
    def connection(self) -> Connection:
        """How to connect to other services."""
        return Connection(self.keepalive_seconds, self.retry_seconds, self.certificates)

    @classmethod
    def described(cls) -> list[str]:
        """Returns a line for each variable: its name and default."""
        prefix = str(cls.model_config.get("env_prefix", ""))
        lines = []
        for name, field in cls.model_fields.items():
            value = "required" if field.is_required() else field.get_default(call_default_factory=True)
            lines.append(f"  {prefix}{name.upper()} ({value})")
        return lines

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the environment, then files of the folder BLINDSIGHT_SECRETS_DIR that are named as settings.

        They are for what holds a password: `blindsight_keyholder_queue_url`.

        Raises:
            InvalidArgument: for an unknown name with the service's prefix, a bad value, or a folder that is
                not there.
        """
        prefix = str(cls.model_config.get("env_prefix", ""))
        known = {prefix + name.upper() for name in cls.model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(prefix) and name not in known)
        if unknown:
            raise InvalidArgument(f"unknown setting {unknown[0]}, want one of {', '.join(sorted(known))}")
        secrets = os.environ.get(SECRETS_DIR)
        if secrets is not None and not Path(secrets).is_dir():
            raise InvalidArgument(f"setting {SECRETS_DIR}: {secrets} is not a folder")
        try:
            return cls(_secrets_dir=secrets)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            name = prefix + "_".join(str(part) for part in first["loc"]).upper()
            raise InvalidArgument(f"setting {name}: {_explained(name, first)}") from error


def _explained(name: str, error: Any) -> str:
    """Returns what is wrong with a setting, from what pydantic says of it."""
    if error["type"] == "missing":
        return "not set, want a value"
    wanted = error["msg"].removeprefix("Value error, ").replace("Input should be", "want", 1)
    if any(private in name for private in _PRIVATE_NAMES):
        return str(wanted)
    return f"got {str(error['input'])[:100]!r}, {wanted}"


class ServiceSettings(ProcessSettings):
    """Settings of every service that serves rpcs.

    Attributes:
        address: where to serve, HOST:PORT; port 0 takes a free one.
        data: the service's own folder; zones never share one.
        max_connections, max_connections_per_peer, max_calls, max_calls_per_caller, handshake_seconds,
            stall_seconds, idle_seconds: see `Limits`.
    """

    address: str = "127.0.0.1:0"
    data: Path
    max_connections: int = pydantic.Field(default=USUAL.connections, ge=1, le=1 << 20)
    max_connections_per_peer: int = pydantic.Field(default=USUAL.connections_per_peer, ge=1)
    max_calls: int = pydantic.Field(default=USUAL.calls, ge=1)
    max_calls_per_caller: int = pydantic.Field(default=USUAL.calls_per_caller, ge=1, le=1 << 20)
    handshake_seconds: float = pydantic.Field(default=USUAL.handshake_seconds, gt=0, le=3600)
    stall_seconds: float = pydantic.Field(default=USUAL.stall_seconds, gt=0)
    idle_seconds: float = pydantic.Field(default=USUAL.idle_seconds, gt=0)

    @property
    def limits(self) -> Limits:
        """What is taken from callers at once, and how long they are waited for."""
        return Limits(
            self.max_connections,
            self.max_connections_per_peer,
            self.max_calls,
            self.max_calls_per_caller,
            self.handshake_seconds,
            self.stall_seconds,
            self.idle_seconds,
        )

    @property
    def listeners(self) -> list[Listener]:
        """Where to serve."""
        return [Listener("address", self.address, self.certificates)]

    @property
    def access(self) -> Access | None:
        """Whether a caller may make a call; None without `tls`: everybody may."""
        own = self.certificates
        return Access(lambda: own.current) if own is not None else None
