"""The tenants: made, opened when they are first asked for, limited, deleted."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from blindsight.errors import (
    AlreadyExists,
    BlindsightError,
    DataLoss,
    Draining,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from blindsight.runtime import callers, logs
from blindsight.runtime.backoff import RETRY_SECONDS
from blindsight.trusted.keyring import keyfile, keys
from blindsight.trusted.keyring.erasing import erase
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.secrets import Secret
from blindsight.wire.tenants import Quotas
from blindsight.wire.tokens import TokenRole
from services.keyholder.lease import Lease, holder_id
from services.keyholder.limits.limits import Limiter, Limits
from services.keyholder.machine import Machine
from services.keyholder.quotas import Allowance
from services.keyholder.service import Keyholder
from services.keyholder.settings import KEY_FILE_NAME
from services.keyholder.tenants.store import FILE_NAME, FOLDER_NAME, Entry, TenantStore
from services.keyholder.tokens.running import Running
from services.keyholder.tokens.store import Grant
from services.keyholder.tokens.tokens import Tokens

MOST_TENANTS = 1000
MOST_NAME_CHARACTERS = 128
# A tenant's worker processes that have nothing to do for so long end.
IDLE_SECONDS = 60.0
_ID_BYTES, _SECRET_BYTES = 16, 32
_GONE = "unauthenticated: the token is not known here, or was revoked"


class Tenants:
    """The key sets of one keyholder: the operator's own, and each tenant's.

    A tenant's keyholder opens with the first call of its users, and stays.

    Args:
        folder: the keyholder's.
        own: the operator's keyholder; its keys seal what is kept of tenants.
        machine: shared by all.
        tokens, running, limiter: of all users.
        wait_seconds: how long a write waits for a lease; see `Lease`.
        report: see `keys.create`.
    """

    def __init__(
        self,
        folder: Path,
        own: Keyholder,
        machine: Machine,
        tokens: Tokens,
        running: Running,
        limiter: Limiter,
        wait_seconds: float = RETRY_SECONDS,
        report: Callable[[str, float], None] = lambda _name, _seconds: None,
    ) -> None:
        self._folder = folder / FOLDER_NAME
        self._own = own
        self._machine = machine
        self._tokens = tokens
        self._running = running
        self._limiter = limiter
        self._wait_seconds = wait_seconds
        self._report = report
        self._store = TenantStore(folder / FILE_NAME, Sealer(own.keys.subkey("tenants")))
        self._entries = {entry.tenant_id: entry for entry in self._store.load()}
        self._allowances = {one.tenant_id: self._allowance(one.quotas) for one in self._entries.values()}
        self._open: dict[str, Keyholder] = {}
        # Opening takes 128 MiB of memory, and a lease: one at a time.
        self._changing = asyncio.Lock()
        self._draining = False

    def current(self) -> Keyholder:
        """Returns the keyholder of the current call's caller, which `enter` has opened."""
        tenant = callers.tenant.get()
        found = self._own if not tenant else self._open.get(tenant)
        if found is None:
            raise Unauthenticated(_GONE)
        return found

    def id_of(self, name: str) -> str:
        """Returns the id of a tenant, as whose user an issuer vouches for somebody.

        Raises:
            Unauthenticated: if there is none of this name.
        """
        try:
            return self._named(name).tenant_id
        except NotFound:
            raise Unauthenticated("unauthenticated: the token is of a tenant that is none here") from None

    async def collections(self, names: Sequence[str]) -> frozenset[bytes]:
        """Returns the ids of collections of these names of the current call's caller."""
        return await self.current().vault.ids(names)

    async def enter(self) -> None:
        """Opens the keyholder of the current call's caller, and counts the call.

        Raises:
            Busy: if the tenant makes too many calls.
            Unauthenticated: if it was deleted meanwhile.
            BlindsightError: if its keyholder cannot be opened.
        """
        tenant = callers.tenant.get()
        if not tenant:
            return
        entry = self._entries.get(tenant)
        if entry is None or entry.secret is None:
            raise Unauthenticated(_GONE)
        self._limiter.call(_key(tenant), Limits(entry.quotas.requests_per_second))
        if tenant not in self._open:
            async with self._changing:
                if tenant not in self._open:
                    await self._opened(tenant)

    async def _opened(self, tenant: str) -> None:
        entry = self._entries.get(tenant)
        if entry is None or entry.secret is None:
            raise Unauthenticated(_GONE)
        if self._draining:  # it would open while others close
            raise Draining("the service is stopping; call again when it is back")
        folder = self._folder / tenant
        try:
            opened = await asyncio.to_thread(keyfile.read, folder / KEY_FILE_NAME, entry.secret)
            lease = Lease(opened.key_id, holder_id(folder), self._wait_seconds)
            made = Keyholder(opened, self._machine, folder, lease, IDLE_SECONDS, self._allowances[tenant])
        except BlindsightError as error:  # which names places that are the operator's
            logs.get().error("tenant_not_opened", tenant=tenant, reason=error.reason)
            raise DataLoss("what is kept of this vault is damaged; tell who runs it") from None
        try:
            await made.start()
        except BaseException:
            await made.close()
            raise
        self._open[tenant] = made

    async def create(self, name: str, quotas: Quotas) -> tuple[Entry, Grant, Secret]:
        """Makes a tenant; returns it, and the first token of its owner.

        Raises:
            InvalidArgument: if name or quotas are not such.
            AlreadyExists: if there is a tenant of this name.
            ResourceExhausted: if there are too many.
        """
        if not 1 <= len(name) <= MOST_NAME_CHARACTERS or not name.isprintable() or name != name.strip():
            raise InvalidArgument(
                f"name of {len(name)} characters, want 1 to {MOST_NAME_CHARACTERS} that print, and no space "
                "around them"
            )
        _require_possible(quotas)
        self._require_room(name)
        made = await asyncio.to_thread(keys.create, self._report)
        async with self._changing:
            self._require_room(name)
            tenant, secret = os.urandom(_ID_BYTES).hex(), Secret(os.urandom(_SECRET_BYTES))
            folder = self._folder / tenant
            try:
                await asyncio.to_thread(keyfile.write, folder / KEY_FILE_NAME, made, secret)
                entry = Entry(tenant, int(time.time()), name, quotas, made.key_id, secret)
                await asyncio.to_thread(self._store.save, entry)
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, folder, True)
                raise
            self._allowances[tenant] = self._allowance(quotas)
            self._entries[tenant] = entry
        grant, token = await asyncio.to_thread(
            partial(self._tokens.create, TokenRole.OWNER, None, "", None, tenant=tenant)
        )
        return entry, grant, token

    def _allowance(self, quotas: Quotas) -> Allowance:
        return Allowance(quotas, self._machine.turns.make_way)

    def _require_room(self, name: str) -> None:
        if any(entry.name == name for entry in self._entries.values()):
            raise AlreadyExists(f"there is a tenant {name!r} already")
        if len(self._entries) >= MOST_TENANTS:
            raise ResourceExhausted(f"{len(self._entries)} tenants, want fewer: delete some")

    def all(self) -> list[Entry]:
        """Returns all tenants, the oldest first."""
        return list(self._entries.values())

    async def used(self) -> dict[bytes, tuple[int, int]] | None:
        """Returns the items and bytes that storage has of each key set, by key id; None: it is away."""
        found: dict[bytes, tuple[int, int]] = {}
        try:
            records = await self._machine.storage.list_collections()
        except Unavailable:
            return None
        for one in records:
            items, size_bytes = found.get(one.key_id, (0, 0))
            found[one.key_id] = items + one.items, size_bytes + one.size_bytes
        return found

    def heavy_jobs(self, tenant: str) -> int:
        """Returns how many heavy jobs of a tenant run."""
        return self._allowances[tenant].heavy_jobs

    async def set_quotas(self, name: str, quotas: Quotas) -> Entry:
        """Changes what a tenant may use; what it has already stays.

        Raises:
            NotFound: if there is none of this name.
            InvalidArgument: if one of the quotas is none.
        """
        _require_possible(quotas)
        async with self._changing:
            entry = replace(self._named(name), quotas=quotas)
            await asyncio.to_thread(self._store.save, entry)
            self._entries[entry.tenant_id] = entry
            self._allowances[entry.tenant_id].quotas = quotas
        return entry

    def _named(self, name: str) -> Entry:
        for entry in self._entries.values():
            if entry.name == name:
                return entry
        raise NotFound(f"no tenant {name!r}; see `blindsight tenants list`")

    async def delete(self, name: str) -> int:
        """Deletes a tenant: its tokens, its keys, then its collections; returns how many these were.

        What fails is done by another call; the keys are destroyed before anything of storage's.

        Raises:
            NotFound: if there is none of this name.
            Unavailable: if storage is away.
        """
        async with self._changing:
            entry = self._named(name)
            tenant = entry.tenant_id
            for token_id in await asyncio.to_thread(self._tokens.revoke_all, tenant):
                self._running.revoked(token_id)
                await asyncio.to_thread(self._limiter.forget, token_id)
            entry = replace(entry, secret=None)
            self._entries[tenant] = entry
            await asyncio.to_thread(self._store.save, entry)
            opened = self._open.pop(tenant, None)
            if opened is not None:
                await opened.close()
            await asyncio.to_thread(_destroy, self._folder / tenant)
            deleted = await self._delete_collections(entry.key_id)
            await asyncio.to_thread(self._store.remove, tenant)
            del self._entries[tenant], self._allowances[tenant]
            await asyncio.to_thread(self._limiter.forget, _key(tenant))
        return deleted

    async def _delete_collections(self, key_id: bytes) -> int:
        """Deletes the collections of a key set, of which nobody needs to know more than its id."""
        lease = Lease(key_id, os.urandom(_ID_BYTES), self._wait_seconds)
        storage = self._machine.storage.fenced_by(lease)
        await lease.start(storage)
        try:
            found = [one for one in await storage.list_collections() if one.key_id == key_id]
            for one in found:
                await storage.delete_collection(one.collection_id)
                with suppress(Unavailable):  # it only drops its copy later
                    await self._machine.evaluator.drop_collection(one.collection_id)
        finally:
            await lease.close(storage)
        return len(found)

    def drain(self) -> None:
        """Ends streams of all users that last as long as their clients send; see `Keyholder.drain`."""
        self._draining = True
        for one in (self._own, *self._open.values()):
            one.drain()

    async def close(self) -> None:
        """Closes the tenants' keyholders, and the store."""
        async with self._changing:
            for one in self._open.values():
                await one.close()
            self._open.clear()
        await asyncio.to_thread(self._store.close)


def _key(tenant: str) -> str:
    """Returns under which name a tenant's calls are counted."""
    return f"tenant {tenant}"


def _destroy(folder: Path) -> None:
    """Overwrites the keys of a tenant, and removes its folder."""
    with suppress(FileNotFoundError):
        erase(folder / KEY_FILE_NAME)
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _require_possible(quotas: Quotas) -> None:
    """Checks that quotas allow something.

    Raises:
        InvalidArgument: if not.
    """
    per_second = quotas.requests_per_second
    if per_second is not None and not 0.001 <= per_second <= 1e6:  # nor nan
        raise InvalidArgument(f"requests_per_second {per_second}, want 0.001 to 1000000")
    for name in ("heavy_jobs", "max_collections"):
        if getattr(quotas, name) == 0:
            raise InvalidArgument(f"{name} 0, want at least 1")
