"""The owner's key set: one secret key per parameter set, and a master key for AES and HMAC."""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from blindsight.ciphertext.header import KEY_ID_BYTES
from blindsight.errors import KeyFileError
from blindsight.parameters import COLLECTION_SETS, AdditiveSet, Parameters
from blindsight.trusted import schemes
from blindsight.trusted.additive import packed
from blindsight.trusted.secrets import Secret

MASTER_KEY_BYTES = 32
HANDLE_BYTES = 16


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """All secrets of one owner.

    Attributes:
        key_id: 16 random bytes; public, part of every ciphertext's header.
        created_unix_seconds: time of creation.
        secret_keys: by the name of the parameter set: SEAL's serialised key, or an additive scheme's.
        master: the root of all AES and HMAC keys.
    """

    key_id: bytes
    created_unix_seconds: int
    secret_keys: Mapping[str, Secret] = field(repr=False)
    master: Secret = field(repr=False)

    def secret_key(self, parameter_set: str) -> Secret:
        """Returns the secret key of a parameter set.

        Raises:
            KeyFileError: if the key set was created before that parameter set existed.
        """
        if parameter_set not in self.secret_keys:
            known = ", ".join(self.secret_keys)
            raise KeyFileError(
                f"the key set has no key for {parameter_set}, it has {known}; "
                "a key set that `blindsight keys create` makes now has all"
            )
        return self.secret_keys[parameter_set]

    def subkey(self, purpose: str, context: bytes = b"") -> Secret:
        """Derives a 32-byte key for one purpose and context by HKDF-SHA256 (RFC 5869)."""
        info = b"blindsight/1/" + purpose.encode() + b"/" + context
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=self.key_id, info=info)
        return Secret(derive.derive(self.master.reveal_secret()))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeySet cannot be pickled or copied")


def create(report: Callable[[str, float], None] = lambda _name, _seconds: None) -> KeySet:
    """Creates a key set; SEAL draws its own secret keys, the other random bytes come from the OS.

    Args:
        report: called for every parameter set with its name and the seconds that its key took.
    """
    secrets, key_id = {}, os.urandom(KEY_ID_BYTES)
    for name, parameters in COLLECTION_SETS.items():
        started = time.perf_counter()
        secrets[name] = _secret_key(parameters, key_id)
        report(name, time.perf_counter() - started)
    return KeySet(
        key_id=key_id,
        created_unix_seconds=int(time.time()),
        secret_keys=secrets,
        master=Secret(os.urandom(MASTER_KEY_BYTES)),
    )


def _secret_key(parameters: Parameters, key_id: bytes) -> Secret:
    if isinstance(parameters, AdditiveSet):
        return packed.generate_secret_key(parameters, key_id)
    return schemes.generate_secret_key(parameters)


def keyed_hash(key: Secret, data: bytes) -> bytes:
    """Returns HMAC-SHA256 truncated to 16 bytes: an identifier that reveals nothing without the key."""
    return hmac.digest(key.reveal_secret(), data, "sha256")[:HANDLE_BYTES]
