"""The owner's keys in a worker process, which receives them once, when it starts."""

from __future__ import annotations

from functools import cache

from blindsight.parameters import ADDITIVE_SETS, PARAMETER_SETS
from blindsight.runtime import host
from blindsight.trusted import schemes
from blindsight.trusted.additive import AdditiveKey
from blindsight.trusted.columns import compiling
from blindsight.trusted.crypto import tasks
from blindsight.trusted.imaging import tile_checks
from blindsight.trusted.keyring.shield import raise_shield
from blindsight.trusted.schemes import encryption, seal
from blindsight.trusted.secrets import Secret

_keys: dict[str, tuple[bytes, bytes]] = {}


def prepare(_: tasks.Prepare) -> None:
    """Loads the compiled code of encryption, and SEAL's tables."""
    for parameters in PARAMETER_SETS.values():
        seal.context(parameters)
        encryption.compile_all(parameters)
        compiling.compile_all(parameters)
        tile_checks.compile_all(parameters)


def start(task: tasks.Start) -> None:
    """Stores the owner's keys in this process, and shields it."""
    raise_shield()
    host.keep_photos()
    for name, secret_key in task.secret_keys.items():
        _keys[name] = (task.key_id, secret_key)


def warm(_: tasks.Warm) -> None:
    """Loads every scheme's key."""
    for name in _keys:
        if name in ADDITIVE_SETS:
            additive_key(name)
        else:
            scheme(name)


@cache
def scheme(parameter_set: str) -> schemes.SecretScheme:
    """Returns the secret-key operations of a lattice scheme."""
    return schemes.load(PARAMETER_SETS[parameter_set], Secret(_keys[parameter_set][1]))


@cache
def additive_key(parameter_set: str) -> AdditiveKey:
    """Returns the key of an additive scheme."""
    return AdditiveKey.from_secret(Secret(_keys[parameter_set][1]))


def key_id(parameter_set: str) -> bytes:
    """Returns the id by which ciphertexts name the key set."""
    return _keys[parameter_set][0]
