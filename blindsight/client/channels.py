"""The channel to a keyholder: another one whenever the certificate that it shows was renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from blindsight.runtime.channels import Options
from blindsight.runtime.roles import Role

if TYPE_CHECKING:
    from blindsight.runtime.tls import Certificates, Identity


class Channels:
    """The newest channel, and the one before it, on which calls may still run.  For one thread at a time.

    Args:
        address: HOST:PORT.
        certificates: what is shown to the keyholder; None: unencrypted.
        options: of each channel.

    Raises:
        CertificateError: if the certificate has expired, or was revoked.
    """

    def __init__(self, address: str, certificates: Certificates | None, options: Options) -> None:
        self._address = address
        self._certificates = certificates
        self._options = options
        self._retired: list[grpc.Channel] = []
        self._shown = self._identity()
        self._channel = self._open(self._shown)

    def _identity(self) -> Identity | None:
        return self._certificates.require_valid() if self._certificates is not None else None

    def _open(self, shown: Identity | None) -> grpc.Channel:
        if shown is None:
            return grpc.insecure_channel(self._address, self._options)
        from blindsight.runtime.tls import channel_credentials, channel_options

        options = [*self._options, *channel_options(Role.KEYHOLDER)]
        return grpc.secure_channel(self._address, channel_credentials(shown), options)

    @property
    def current(self) -> grpc.Channel:
        """The channel for a call that begins now.

        Raises:
            CertificateError: if the certificate has expired, or was revoked.
        """
        identity = self._identity()
        if identity != self._shown:
            # Calls that run end where they began: those of the one before the last have long ended.
            while self._retired:
                self._retired.pop().close()
            self._retired.append(self._channel)
            self._shown, self._channel = identity, self._open(identity)
        return self._channel

    def close(self) -> None:
        """Closes them; calls that run are cancelled."""
        for channel in (self._channel, *self._retired):
            channel.close()
