"""Tenants at a running keyholder: their quotas, their end, a restart, a backup; the operator's commands."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.command import run
from support.photos import small_photo
from support.services import Services, wait_until
from support.storage import Client

import blindsight
from blindsight.client import Collection, Vault
from blindsight.errors import (
    AlreadyExists,
    BlindsightError,
    Busy,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
)
from blindsight.rpc.keyholder.v1 import keyholder_pb2
from blindsight.rpc.keyholder.v1.keyholder_pb2_grpc import KeyholderServiceStub
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE
from blindsight.wire.tokens import METADATA_KEY, SCHEME

VECTORS = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)


@dataclass
class World:
    """Services, and the operator's vault."""

    services: Services
    folder: Path
    vault: Vault

    @property
    def data(self) -> Path:
        return self.services.folder / "keyholder"

    def file(self, token: str) -> Path:
        path = self.folder / f"token-{len(list(self.folder.iterdir()))}"
        path.touch(mode=0o600)
        path.write_text(f"{token}\n")
        return path

    def open(self, token: str) -> Vault:
        return blindsight.connect(self.services.address(), token_file=self.file(token))

    def records(self) -> list[storage_pb2.Collection]:
        """What storage has of all collections."""
        with Client(self.services.address("storage")) as storage:
            return list(storage.stub.ListCollections(storage_pb2.ListCollectionsRequest()).collections)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = Services(tmp_path_factory.mktemp("services"), {"keyholder": {"require_tokens": "true"}})
    try:
        running.start()
        owner = running.folder / "keyholder" / OWNER_TOKEN_FILE
        with blindsight.connect(running.address(), token_file=owner) as vault:
            yield World(running, tmp_path_factory.mktemp("tokens"), vault)
    finally:
        running.stop()


@pytest.fixture
def tenant(world: World) -> Iterator[tuple[str, Vault]]:
    """A tenant, and its owner's vault."""
    name = f"tenant {os.urandom(4).hex()}"
    with world.open(world.vault.create_tenant(name).token) as vault:
        yield name, vault
    world.vault.delete_tenant(name)


def vectors(vault: Vault, name: str = "vectors") -> Collection:
    return vault.create_collection(name, embedder="none", dimension=8)


@contextmanager
def streaming(world: World, vault: Vault) -> Iterator[Callable[[], grpc.StatusCode]]:
    """An ingest of a tenant's that goes on while the block runs; gives what waits for its end."""
    over = threading.Event()
    shown = ((METADATA_KEY, f"{SCHEME}{vault.create_token('owner').token}"),)

    def requests() -> Iterator[keyholder_pb2.IngestRequest]:
        yield keyholder_pb2.IngestRequest(header={"collection": "vectors"})
        over.wait(60)

    with grpc.insecure_channel(world.services.address()) as channel:
        call = KeyholderServiceStub(channel).Ingest(requests(), metadata=shown)

        def ended() -> grpc.StatusCode:
            with suppress(grpc.RpcError):
                for _ in call:
                    pass
            return call.code()

        yield ended
        over.set()
        ended()


def running(world: World, name: str) -> int:
    """How many heavy jobs of a tenant run."""
    return next(one.heavy_jobs for one in world.vault.tenants() if one.name == name)


def test_items_end_at_the_quota_and_nothing_that_was_acknowledged_is_lost(
    world: World, tenant: tuple[str, Vault]
) -> None:
    name, vault = tenant
    world.vault.set_quotas(name, items=30)
    one, other = vectors(vault), vectors(vault, "others")
    one.ingest_vectors(VECTORS[:10], ids=[f"a{number}" for number in range(10)])
    said: list[str] = []

    def fill(collection: Collection) -> int:
        for number, vector in enumerate(VECTORS):
            try:
                collection.ingest_vectors(vector[None], ids=[f"b{number}"])
            except ResourceExhausted as error:
                said.append(error.message)
                return number
        return len(VECTORS)

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(fill, (one, other))) == 20
    assert said == 2 * ["quota of 30 items: 30 are stored, want fewer; delete some, or ask for more"]
    assert one.count() + other.count() == 30
    assert one.search_vectors(VECTORS[3], k=1).results[0][0].id in ("a3", "b3")  # which are alike
    one.ingest_vectors(VECTORS[20:25], ids=[f"a{number}" for number in range(5)], upsert=True)
    one.delete(ids=["a0", "a1"])
    with pytest.raises(ResourceExhausted):
        one.ingest_vectors(VECTORS[:7], ids=[f"c{number}" for number in range(7)])
    assert one.count() + other.count() == 30
    (told,) = [found for found in world.vault.tenants() if found.name == name]
    assert (told.items, told.quotas.items) == (30, 30)
    world.vault.set_quotas(name)
    one.ingest_vectors(VECTORS, ids=[f"d{number}" for number in range(40)])


def test_bytes_end_at_the_quota(world: World, tenant: tuple[str, Vault]) -> None:
    name, vault = tenant
    photos = vault.create_collection("photos", embedder="pixels", dimension=64)
    photos.ingest([("1.png", small_photo(1))])
    (told,) = [one for one in world.vault.tenants() if one.name == name]
    assert told.size_bytes
    world.vault.set_quotas(name, size_bytes=told.size_bytes)
    with pytest.raises(ResourceExhausted, match=f"quota of {told.size_bytes} bytes: {told.size_bytes} are"):
        photos.ingest([("2.png", small_photo(2))])
    assert photos.count() == 1
    changed = world.vault.set_quotas(name, items=1 << 40, size_bytes=1 << 50)
    assert (changed.quotas.items, changed.quotas.size_bytes) == (1 << 40, 1 << 50)


def test_requests_and_heavy_jobs_are_limited(world: World, tenant: tuple[str, Vault]) -> None:
    name, vault = tenant
    collection = vectors(vault)
    world.vault.set_quotas(name, heavy_jobs=1)
    with streaming(world, vault):
        wait_until(lambda: running(world, name) == 1)
        with pytest.raises(ResourceExhausted, match="1 heavy jobs run, want at most 1"):
            collection.repack()
        collection.count()
    wait_until(lambda: running(world, name) == 0)
    collection.repack()
    world.vault.set_quotas(name, requests_per_second=0.01)
    collection.count()
    with pytest.raises(Busy, match=r"more than 0\.01 requests a second, want the next one in \d"):
        collection.count()
    world.vault.set_quotas(name)
    collection.count()


def test_collections_are_limited_also_of_calls_at_once(world: World, tenant: tuple[str, Vault]) -> None:
    name, vault = tenant
    had = len(vault.collections())
    world.vault.set_quotas(name, max_collections=had + 2)

    def make(number: int) -> bool:
        try:
            vault.create_collection(f"empty {number}", embedder="none", dimension=8)
        except ResourceExhausted:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(make, range(8))) == 2
    with pytest.raises(ResourceExhausted, match=f"quota of {had + 2} collections: there are {had + 2}, want"):
        vault.create_collection("one more", embedder="none", dimension=8)
    vault.delete_collection(next(one for one in vault.collections() if one.name.startswith("empty")).name)
    assert make(9)
    world.vault.set_quotas(name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"heavy_jobs": 0},
        {"max_collections": 0},
        {"requests_per_second": 0.0},
        {"requests_per_second": -1.0},
        {"requests_per_second": 1e9},
        {"items": -1},
    ],
)
def test_what_is_no_quota_is_refused(
    world: World, tenant: tuple[str, Vault], wrong: dict[str, float]
) -> None:
    for call in (world.vault.create_tenant, world.vault.set_quotas):
        with pytest.raises(InvalidArgument):
            call(tenant[0], **wrong)  # type: ignore[arg-type]


def test_names_of_tenants_are_of_one_each(world: World, tenant: tuple[str, Vault]) -> None:
    with pytest.raises(AlreadyExists):
        world.vault.create_tenant(tenant[0])
    for name in ("", " ", "a\n", "a ", "x" * 129):
        with pytest.raises(InvalidArgument):
            world.vault.create_tenant(name)
    for call in (world.vault.set_quotas, world.vault.delete_tenant):
        with pytest.raises(NotFound, match="no tenant 'nobody'"):
            call("nobody")


def test_the_end_of_a_tenant_ends_its_calls_tokens_keys_and_collections(world: World) -> None:
    made = world.vault.create_tenant("short-lived")
    folder = world.data / "tenants" / made.tenant.id
    before = {one.collection_id for one in world.records()}
    with world.open(made.token) as vault:
        collection = vectors(vault)
        collection.ingest_vectors(VECTORS)
        (key_id,) = {one.key_id for one in world.records() if one.collection_id not in before}
        assert key_id.hex() == vault.status().key_id
        with streaming(world, vault) as code:
            wait_until(lambda: running(world, "short-lived") == 1)
            assert folder.exists()
            assert world.vault.delete_tenant("short-lived") == 1
            assert code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(Unauthenticated, match="not known here, or was revoked"):
            vault.collections()
    assert not folder.exists()
    assert {one.collection_id for one in world.records()} == before
    assert "short-lived" not in [one.name for one in world.vault.tenants()]


def test_nothing_of_a_tenant_is_told_to_storage_or_written_in_the_clear(
    world: World, tenant: tuple[str, Vault]
) -> None:
    name, vault = tenant
    vectors(vault, "a telling name").ingest_vectors(VECTORS)
    told = [name.encode(), b"a telling name", next(iter(one.id for one in world.vault.tenants())).encode()]
    for service in ("storage", "evaluator"):
        for path in (world.services.folder / service).rglob("*"):
            if path.is_file():
                assert not [one for one in told if one in path.read_bytes()], path
    for path in (world.data / "tenants.db", *world.services.folder.glob("*.log")):
        assert not [one for one in told[:2] if one in path.read_bytes()], path


def test_a_restart_and_a_restored_backup_have_the_tenants(
    world: World, tenant: tuple[str, Vault], tmp_path: Path
) -> None:
    name, vault = tenant
    world.vault.set_quotas(name, items=50)
    vectors(vault).ingest_vectors(VECTORS, ids=[f"v{number}" for number in range(40)])
    copy, data = tmp_path / "copy", tmp_path / "data"
    done = run("backup", str(copy), "--data", str(world.services.folder), "--json")
    assert done.returncode == 0, done.stderr
    (folder,) = [one.id for one in world.vault.tenants() if one.name == name]
    named = {one["path"] for one in json.loads(done.stdout)["backups"][0]["files"]}
    of_tenant = {f"keyholder/tenants/{folder}/{file}" for file in ("keys.bsky", "heads.db", "alarms.db")}
    assert named >= {"keyholder/tenants.db", *of_tenant}
    assert run("restore", str(copy), "--data", str(data)).returncode == 0
    for file in of_tenant:
        assert (data / file).stat().st_mode & 0o777 == 0o600
    world.services["keyholder"].stop()
    kept = world.data.with_name("kept")
    world.data.rename(kept)
    shutil.copytree(data / "keyholder", world.data)
    try:
        world.services["keyholder"].start()
        assert vault.collection("vectors").count() == 40
        assert vault.collection("vectors").search_vectors(VECTORS[7], k=1).results[0][0].id == "v7"
        with pytest.raises(ResourceExhausted):
            vault.collection("vectors").ingest_vectors(VECTORS[:20], ids=[f"w{n}" for n in range(20)])
    finally:
        world.services["keyholder"].stop()
        shutil.rmtree(world.data)
        kept.rename(world.data)
        world.services["keyholder"].start()
    assert vault.collection("vectors").count() == 50


@pytest.mark.parametrize("file", ["keys.bsky", "heads.db"])
def test_a_tenant_whose_files_are_damaged_harms_no_other(
    world: World, tenant: tuple[str, Vault], file: str
) -> None:
    made = world.vault.create_tenant("damaged")
    (world.data / "tenants" / made.tenant.id / file).write_bytes(1000 * b"damage")
    with world.open(made.token) as vault, pytest.raises(BlindsightError) as told:
        vault.collections()
    assert made.tenant.id not in told.value.message
    assert str(world.data) not in told.value.message
    assert tenant[1].collections() == []
    assert world.vault.delete_tenant("damaged") == 0


def test_the_operator_commands(world: World) -> None:
    def blind(*arguments: str, token: Path | None = None) -> dict[str, object]:
        file = ("--token-file", str(token or world.data / OWNER_TOKEN_FILE))
        done = run(*arguments, *file, "--address", world.services.address(), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = blind("tenants", "create", "acme", "--items", "5", "--heavy-jobs", "2")
    token = world.file(str(made["token"]))
    assert blind("tokens", "list", token=token)["tokens"][0]["id"] == made["token_id"]  # type: ignore[index]
    blind("collection", "create", "photos", token=token)
    changed = blind(
        "tenants", "set", "acme", "--items", "none", "--requests-per-second", "50", "--max-collections", "3"
    )
    assert changed["quotas"] == {
        "items": None,
        "size_bytes": None,
        "requests_per_second": 50.0,
        "heavy_jobs": 2,
        "max_collections": 3,
    }
    assert "acme" in [one["name"] for one in blind("tenants", "list")["tenants"]]  # type: ignore[attr-defined]
    refused = run(
        *("tenants", "list", "--token-file", str(token), "--address", world.services.address()),
    )
    assert refused.returncode == 1
    assert "permission denied: a token of a tenant may not call ListTenants" in refused.stderr
    file = world.folder / "written.token"
    blind("tenants", "create", "other", "-o", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert blind("collection", "list", token=file) == {"collections": []}
    for name, collections in (("acme", 1), ("other", 0)):
        assert blind("tenants", "delete", name, "--yes") == {"deleted": name, "collections": collections}
