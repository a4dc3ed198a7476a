"""Handles, by which storage knows the items of a collection: they reveal nothing without the key.

The handle of a short id is the id itself, encrypted: one block of AES-256, the same for the same id.  So an
item that is nothing but a vector needs no sealed metadata beside it.  Longer ids have a keyed hash.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blindsight.trusted.keyring.keys import HANDLE_BYTES, keyed_hash
from blindsight.trusted.secrets import Secret

# A block begins with the length of the id and ends with zeros, at least six: the handle of a longer id, which
# is as good as random, looks like that of a short one with probability 2^-56.
SHORT_ID_BYTES = 9


class HandleKey:
    """Makes handles of ids.

    Args:
        short: 32-byte key of short ids.
        long: key of longer ones.
    """

    def __init__(self, short: Secret, long: Secret) -> None:
        # Single blocks, each of another id: equal blocks are equal ids, which is what a handle is for.
        self._cipher = Cipher(algorithms.AES(short.reveal_secret()), modes.ECB())  # noqa: S305
        self._long = long

    def of(self, ids: Sequence[str]) -> list[bytes]:
        """Returns the handles of ids."""
        encoded = [item_id.encode() for item_id in ids]
        blocks = [block_of(one) for one in encoded if is_short(one)]
        sealed = self._cipher.encryptor().update(b"".join(blocks))
        short = (sealed[start : start + HANDLE_BYTES] for start in range(0, len(sealed), HANDLE_BYTES))
        return [next(short) if is_short(one) else keyed_hash(self._long, b"id:" + one) for one in encoded]

    def blocks(self, handles: bytes) -> bytes:
        """Decrypts handles of short ids, side by side, to blocks, whose order has shorter ids first."""
        return self._cipher.decryptor().update(handles)

    def short_id(self, handle: bytes) -> str | None:
        """Returns the short id of a handle; None if it is not the handle of one."""
        return id_of_block(self.blocks(handle))


def block_of(item_id: bytes) -> bytes:
    """Returns the block of a short id."""
    return (bytes([len(item_id)]) + item_id).ljust(HANDLE_BYTES, b"\0")


def id_of_block(block: bytes) -> str | None:
    """Returns the short id of a decrypted handle; None if it is not one of a short id."""
    length, rest = block[0], block[1:]
    if length > SHORT_ID_BYTES or any(rest[length:]):
        return None
    try:
        return rest[:length].decode()
    except UnicodeDecodeError:
        return None


def is_short(item_id: bytes) -> bool:
    """Returns whether the handle of an id can be turned back into it."""
    return len(item_id) <= SHORT_ID_BYTES
