"""The SDK for asyncio: the methods of `Vault`, `Collection` and `Import`, each awaited.

    async with AsyncVault() as vault:
        photos = vault.collection("photos")
        for hit in (await photos.search("query.jpg", k=5)).results[0]:
            print(hit.score, hit.name)

Every call runs in a thread of the vault's own; callbacks of progress run in the event loop.  A call whose
task is cancelled is cancelled at the keyholder, too: what it had changed until then stays changed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from blindsight.client.arguments import text
from blindsight.client.calls import AwayCallback, Calls, closed
from blindsight.client.collection import Collection
from blindsight.client.connecting import connect
from blindsight.client.imports import Import
from blindsight.client.vault import Vault
from blindsight.errors import InvalidArgument
from blindsight.runtime.backoff import RETRY_SECONDS
from blindsight.runtime.channels import KEEPALIVE_SECONDS

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
# Parameters that are called while a call runs.
_CALLBACKS = ("progress", "away")


class _Asynchronous(Protocol):
    """What has methods of a synchronous class, each awaited."""

    async def _run(self, calls: Calls, method: Callable[..., R], /, *arguments: Any, **named: Any) -> R:
        """Calls a method of the synchronous object in a thread; its calls are among `calls`."""


def _awaited(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Returns a method that awaits a synchronous one."""

    @wraps(method)
    async def call(self: _Asynchronous, /, *arguments: P.args, **named: P.kwargs) -> R:
        return await self._run(Calls(), method, *arguments, **named)

    return call


def _made(
    method: Callable[Concatenate[Any, P], R], make: Callable[[Any, R], S]
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, S]]:
    """Returns a method that awaits a synchronous one, and makes something else of its result."""

    @wraps(method)
    async def call(self: _Asynchronous, /, *arguments: P.args, **named: P.kwargs) -> S:
        return make(self, await self._run(Calls(), method, *arguments, **named))

    return call


def _each(
    method: Callable[Concatenate[Any, P], Iterator[R]],
) -> Callable[Concatenate[Any, P], AsyncIterator[R]]:
    """Returns a method that yields what a synchronous one yields."""

    @wraps(method)
    async def iterate(self: _Asynchronous, /, *arguments: P.args, **named: P.kwargs) -> AsyncIterator[R]:
        calls = Calls()
        values = await self._run(calls, method, *arguments, **named)
        try:
            while found := await self._run(calls, lambda _: list(islice(values, 1))):
                yield found[0]
        finally:
            calls.cancel()  # of one that is not read to its end

    return iterate


class AsyncVault:
    """A vault of which every call is awaited; also an asynchronous context manager.

    It connects at its first call, or on entering its context.

    Args:
        address, profile, tls, token_file, timeout_seconds, keepalive_seconds, retry_seconds, wait_seconds,
            away: as of `blindsight.connect`.
        calls_at_once: number of calls that are in progress at most; others wait.
    """

    def __init__(
        self,
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
        calls_at_once: int = 32,
    ) -> None:
        if not 1 <= calls_at_once <= 1024:
            raise InvalidArgument(f"{calls_at_once} calls at once, want 1 to 1024")
        self._connect = partial(
            connect,
            address,
            profile=profile,
            tls=tls,
            token_file=token_file,
            timeout_seconds=timeout_seconds,
            keepalive_seconds=keepalive_seconds,
            retry_seconds=retry_seconds,
            wait_seconds=wait_seconds,
        )
        self._threads = ThreadPoolExecutor(calls_at_once, "blindsight-call")
        self._away = away
        self._opening = asyncio.Lock()
        self._connecting = Calls()
        self._vault: Vault | None = None
        self._closed = threading.Event()

    def __repr__(self) -> str:
        return f"AsyncVault({self._vault.address if self._vault is not None else 'not connected'!r})"

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; running calls are cancelled, and later ones raise InvalidArgument."""
        self._closed.set()
        self._connecting.cancel()
        if self._vault is not None:
            self._vault.close()
        await asyncio.to_thread(self._threads.shutdown)

    async def _opened(self) -> Vault:
        async with self._opening:
            if self._closed.is_set():
                raise closed()
            if self._vault is None:
                self._connecting = Calls()
                opened = await self._in_thread(self._connecting, self._connect, away=self._away)
                if self._closed.is_set():  # meanwhile
                    opened.close()
                    raise closed()
                self._vault = opened
        return self._vault

    async def _run(self, calls: Calls, method: Callable[..., R], /, *arguments: Any, **named: Any) -> R:
        vault = await self._opened()
        return await self._in_thread(calls, method, vault, *arguments, **named)

    async def _in_thread(
        self, calls: Calls, function: Callable[..., R], /, *arguments: Any, **named: Any
    ) -> R:
        if self._closed.is_set():
            raise closed()
        loop = asyncio.get_running_loop()
        for name in _CALLBACKS:
            if callable(named.get(name)):
                named[name] = partial(loop.call_soon_threadsafe, named[name])
        with calls.current():
            context = copy_context()
        try:
            work = partial(context.run, function, *arguments, **named)
            return await loop.run_in_executor(self._threads, work)
        except asyncio.CancelledError:
            calls.cancel()
            raise

    def collection(self, name: str) -> AsyncCollection:
        """Returns a handle on a collection, without checking that it exists."""
        return AsyncCollection(self, name)

    @wraps(Vault.set_alias)
    async def set_alias(self, alias: str, collection: str | AsyncCollection) -> None:
        name = collection.name if isinstance(collection, AsyncCollection) else collection
        await self._run(Calls(), Vault.set_alias, alias, name)

    def get_import(self, import_id: str) -> AsyncImport:
        """Returns a handle on a bulk ingest, without checking that it exists."""
        return AsyncImport(self, import_id)

    create_collection = _made(Vault.create_collection, lambda vault, one: AsyncCollection(vault, one.name))
    collections = _awaited(Vault.collections)
    delete_collection = _awaited(Vault.delete_collection)
    remove_alias = _awaited(Vault.remove_alias)
    accept_rollback = _awaited(Vault.accept_rollback)
    acknowledge_alarms = _awaited(Vault.acknowledge_alarms)
    create_token = _awaited(Vault.create_token)
    tokens = _awaited(Vault.tokens)
    revoke_token = _awaited(Vault.revoke_token)
    audit_page = _awaited(Vault.audit_page)
    verify_audit = _awaited(Vault.verify_audit)
    create_tenant = _awaited(Vault.create_tenant)
    tenants = _awaited(Vault.tenants)
    set_quotas = _awaited(Vault.set_quotas)
    delete_tenant = _awaited(Vault.delete_tenant)
    rotate_keys = _awaited(Vault.rotate_keys)
    rotation = _awaited(Vault.rotation)
    verify = _awaited(Vault.verify)
    combine = _awaited(Vault.combine)
    filter = _awaited(Vault.filter)
    diff = _awaited(Vault.diff)
    keypoints = _awaited(Vault.keypoints)
    match = _awaited(Vault.match)
    imports = _awaited(Vault.imports)
    status = _awaited(Vault.status)


class AsyncCollection:
    """A handle on a collection by name, of which every call is awaited.  Use `AsyncVault.collection`."""

    def __init__(self, vault: AsyncVault, name: str) -> None:
        self._vault = vault
        self.name = text("collection name", name)

    def __repr__(self) -> str:
        return f"AsyncCollection({self.name!r})"

    async def _run(self, calls: Calls, method: Callable[..., R], /, *arguments: Any, **named: Any) -> R:
        def call(vault: Vault, *given: Any, **by_name: Any) -> R:
            return method(vault.collection(self.name), *given, **by_name)

        return await self._vault._run(calls, call, *arguments, **named)

    @wraps(Collection.rename)
    async def rename(self, new: str) -> None:
        def renamed(collection: Collection) -> str:
            collection.rename(new)
            return collection.name

        self.name = await self._run(Calls(), renamed)

    describe = _awaited(Collection.describe)
    truncate = _awaited(Collection.truncate)
    ingest = _awaited(Collection.ingest)
    ingest_bulk = _made(Collection.ingest_bulk, lambda own, job: AsyncImport(own._vault, job))
    ingest_vectors = _awaited(Collection.ingest_vectors)
    search = _awaited(Collection.search)
    search_like = _awaited(Collection.search_like)
    search_vectors = _awaited(Collection.search_vectors)
    verify = _awaited(Collection.verify)
    get = _awaited(Collection.get)
    planes = _awaited(Collection.planes)
    items = _each(Collection.items)
    page = _awaited(Collection.page)
    count = _awaited(Collection.count)
    item = _awaited(Collection.item)
    vector = _awaited(Collection.vector)
    exists = _awaited(Collection.exists)
    update = _awaited(Collection.update)
    delete = _awaited(Collection.delete)
    repack = _awaited(Collection.repack)
    check = _awaited(Collection.check)


class AsyncImport:
    """A bulk ingest, of which every call is awaited; see `Import`.

    Attributes:
        import_id: its id.
        unreadable: files that could not be read, and were not sent.
        skipped: number of files that are no photos, and were left out.
    """

    def __init__(self, vault: AsyncVault, job: Import | str) -> None:
        self._vault = vault
        self.import_id = job.import_id if isinstance(job, Import) else text("import id", job)
        self.unreadable = job.unreadable if isinstance(job, Import) else ()
        self.skipped = job.skipped if isinstance(job, Import) else 0

    def __repr__(self) -> str:
        return f"AsyncImport({self.import_id!r})"

    async def _run(self, calls: Calls, method: Callable[..., R], /, *arguments: Any, **named: Any) -> R:
        def call(vault: Vault, *given: Any, **by_name: Any) -> R:
            return method(vault.get_import(self.import_id), *given, **by_name)

        return await self._vault._run(calls, call, *arguments, **named)

    info = _awaited(Import.info)
    failed = _each(Import.failed)
    remarked = _each(Import.remarked)
    watch = _each(Import.watch)
    wait = _awaited(Import.wait)
    cancel = _awaited(Import.cancel)
    retry = _awaited(Import.retry)
    drop_failed = _awaited(Import.drop_failed)
