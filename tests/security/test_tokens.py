"""Tokens at a running keyholder: every rpc, by every role, with every token that is not right."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.bulk import BulkServices
from support.photos import small_photo

import blindsight
from blindsight.client import Collection, Hit, Vault
from blindsight.errors import (
    BlindsightError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)
from blindsight.parameters import Scheme
from blindsight.rpc.keyholder.v1 import (
    audit_pb2,
    imaging_pb2,
    imports_pb2,
    keyholder_pb2,
    keys_pb2,
    tenants_pb2,
    tokens_pb2,
)
from blindsight.rpc.keyholder.v1.imports_pb2_grpc import ImportServiceStub
from blindsight.rpc.keyholder.v1.keyholder_pb2_grpc import KeyholderServiceStub
from blindsight.runtime.channels import client_options
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE
from blindsight.trusted.similarity.linear import Metric
from blindsight.wire.search import Hit as WireHit
from blindsight.wire.search import SearchHeader
from blindsight.wire.tokens import METADATA_KEY, SCHEME, Reveal, TokenRole
from services.keyholder.tokens.reveal import shown
from services.keyholder.tokens.roles import MAY_CALL, OF_DECISIONS, callers, of_tenants
from services.keyholder.tokens.store import Grant

CONTRACTS = (
    keyholder_pb2,
    imports_pb2,
    imaging_pb2,
    tokens_pb2,
    audit_pb2,
    tenants_pb2,
    keys_pb2,
)
METHODS = sorted(
    f"/{service.full_name}/{method.name}"
    for contract in CONTRACTS
    for service in contract.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
PAGE = (Path(__file__).parents[2] / "docs" / "tokens.md").read_text()
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


@dataclass(frozen=True)
class World:
    """Services with two collections, an owner's vault, and tokens of two tenants with one collection each."""

    services: BulkServices
    folder: Path
    vault: Vault
    tenants: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.services.address()

    def open(self, token: str) -> Vault:
        """A vault for the bearer of a token."""
        file = self.folder / f"token-{len(list(self.folder.iterdir()))}"
        file.write_text(f"{token}\n")
        return blindsight.connect(self.address, token_file=file)

    def token(self, role: str, *collections: str, **more: object) -> str:
        return self.vault.create_token(role, collections=collections or None, **more).token  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = {"keyholder": {"require_tokens": "true"}}
    running = BulkServices(tmp_path_factory.mktemp("services"), settings=settings)
    try:
        running.start()
        owner = running.folder / "keyholder" / OWNER_TOKEN_FILE
        with blindsight.connect(running.address(), token_file=owner) as vault:
            for name in ("holiday", "private"):
                vault.create_collection(name, embedder="pixels", dimension=64)
                vault.collection(name).ingest([(f"{name}.png", small_photo(len(name)))])
            tenants = tuple(vault.create_tenant(f"tenant {number}").token for number in range(2))
            made = World(running, tmp_path_factory.mktemp("tokens"), vault, tenants)
            for number, token in enumerate(tenants):
                with made.open(token) as of_tenant:
                    album = of_tenant.create_collection(
                        f"of tenant {number}", embedder="pixels", dimension=64
                    )
                    album.ingest([(f"{number}.png", small_photo(number))])
            yield made
    finally:
        running.stop()


def outcome(
    address: str, method: str, token: str | None, message: bytes = b"", scheme: str = SCHEME
) -> tuple[grpc.StatusCode, str]:
    """How a call ends that is sent one message: its code, and what is said."""
    shown = ((METADATA_KEY, f"{scheme}{token}"),) if token is not None else ()
    with grpc.insecure_channel(address, client_options()) as channel:
        call = channel.stream_stream(method)(iter([message]), timeout=20, metadata=shown)
        try:
            for _ in call:
                pass
        except grpc.RpcError as error:
            return error.code(), error.details()  # type: ignore[attr-defined]
    return grpc.StatusCode.OK, ""


def test_every_rpc_of_users_has_a_row_and_no_other() -> None:
    rows = {f"/blindsight.keyholder.v1.{service}/{rpc}" for service, of in MAY_CALL.items() for rpc in of}
    assert rows == set(METHODS)


def test_the_page_says_what_the_table_says() -> None:
    said: dict[str, set[str]] = {}
    _, *roles = re.search(r"^\| rpc \|(.*)\|$", PAGE, re.MULTILINE)[0].strip("| ").split(" | ")  # type: ignore[index]
    for names, cells in re.findall(r"^\| (`[A-Z].*?`) \|((?:[ yes]*\|){5})$", PAGE, re.MULTILINE):
        may = {role for role, cell in zip(roles, cells.split("|"), strict=False) if cell.strip() == "yes"}
        said |= dict.fromkeys(re.findall(r"`(\w+)`", names), may)
    assert said == {
        rpc: {role.name.lower() for role in allowed}
        for of in MAY_CALL.values()
        for rpc, allowed in of.items()
    }


def _none(_: World) -> None:
    return None


def _empty(_: World) -> str:
    return ""


def _unknown(_: World) -> str:
    return f"bs1_{12 * '0'}_{64 * '0'}"


def _wrong(world: World) -> str:
    return world.token("owner")[:-8] + 8 * "0"


def _expired(world: World) -> str:
    made = world.token("owner", expires=datetime.now(UTC) + timedelta(seconds=1.5))
    time.sleep(2)
    return made


def _revoked(world: World) -> str:
    made = world.vault.create_token("owner")
    world.vault.revoke_token(made.about.id)
    return made.token


@pytest.mark.parametrize("credentials", [_none, _empty, _unknown, _wrong, _expired, _revoked])
def test_without_a_token_that_holds_nothing_can_be_called(
    world: World, credentials: Callable[[World], str | None]
) -> None:
    token = credentials(world)
    for method in METHODS:
        code, said = outcome(world.address, method, token)
        assert code is UNAUTHENTICATED, (method, code)
        assert said.startswith("unauthenticated: ")


@pytest.mark.parametrize("role", TokenRole)
def test_a_role_is_refused_what_it_may_not_call_and_nothing_else(world: World, role: TokenRole) -> None:
    seeing = {"reveal": "scores"} if role is TokenRole.SEARCHER else {}  # less may call less
    token = world.token(role.name.lower(), **seeing)
    for method in METHODS:
        code, said = outcome(world.address, method, token)
        assert code is not UNAUTHENTICATED, method
        assert (code is DENIED) == (role not in callers(method)), (method, code, said)
        if code is DENIED:
            assert said.startswith(f"permission denied: a token of role {role.name.lower()} may not call ")


def _named(method: str, name: str) -> bytes | None:
    """A message that names a collection as the rpc does; None: it names none, or not at the beginning."""
    service, rpc = method.rpartition("/")[0].rpartition(".")[2], method.rpartition("/")[2]
    (found,) = (one.DESCRIPTOR for one in CONTRACTS if service in one.DESCRIPTOR.services_by_name)
    descriptor = found.services_by_name[service].methods_by_name[rpc].input_type
    message = descriptor._concrete_class()
    for path in (("collection",), ("name",), ("header", "collection"), ("settings", "collection")):
        at, *_ = path
        if at in descriptor.fields_by_name and (len(path) == 1 or descriptor.fields_by_name[at].message_type):
            place = message if len(path) == 1 else getattr(message, at)
            if path[-1] in place.DESCRIPTOR.fields_by_name:
                setattr(place, path[-1], name)
                return message.SerializeToString()
    return None


def test_a_collection_that_a_token_is_not_for_is_as_one_that_is_not_there(world: World) -> None:
    token = world.token("editor", "holiday")
    compared = 0
    for method in METHODS:
        if TokenRole.EDITOR not in callers(method) or _named(method, "x") is None:
            continue
        code, said = outcome(world.address, method, token, _named(method, "private"))
        absent = outcome(world.address, method, token, _named(method, "nowhere"))
        assert (code, said.replace("private", "nowhere")) == absent, method
        compared += code is grpc.StatusCode.NOT_FOUND
    assert compared >= 10


def test_a_tenant_is_refused_what_is_the_operators_and_nothing_else(world: World) -> None:
    for method in METHODS:
        code, said = outcome(world.address, method, world.tenants[0])
        assert code is not UNAUTHENTICATED, method
        assert (code is DENIED) == (not of_tenants(method)), (method, code, said)
    assert not any(of_tenants(method) for method in METHODS if "TenantService" in method)


def test_what_another_tenant_has_is_as_what_is_not_there(world: World) -> None:
    owner = (world.services.folder / "keyholder" / OWNER_TOKEN_FILE).read_text().strip()
    everybody = {owner: "holiday", world.tenants[0]: "of tenant 0", world.tenants[1]: "of tenant 1"}
    compared = 0
    for token, own in everybody.items():
        for method in METHODS:
            if (message := _named(method, "nowhere")) is None or "Tenant" in method:
                continue
            absent = outcome(world.address, method, token, message)
            for other in set(everybody.values()) - {own}:
                code, said = outcome(world.address, method, token, _named(method, other))
                assert (code, said.replace(other, "nowhere")) == absent, (method, own, other)
                compared += code is grpc.StatusCode.NOT_FOUND
    assert compared >= 60


def test_a_tenant_sees_tokens_imports_and_the_state_of_its_own_alone(world: World) -> None:
    with world.open(world.tenants[0]) as one, world.open(world.tenants[1]) as other:
        made = one.create_token("searcher", collections=["of tenant 0"])
        assert made.about.id in [token.id for token in one.tokens()]
        for vault in (other, world.vault):
            assert made.about.id not in [token.id for token in vault.tokens()]
            with pytest.raises(NotFound) as told:
                vault.revoke_token(made.about.id)
            assert told.value.message.replace(made.about.id, 12 * "0") == _refusal(
                lambda vault=vault: vault.revoke_token(12 * "0")
            )
            with pytest.raises(NotFound):
                vault.create_token("searcher", collections=["of tenant 0"])
        with world.open(made.token) as searching:
            assert [found.name for found in searching.collections()] == ["of tenant 0"]
            with pytest.raises(PermissionDenied):
                searching.tokens()
        import_ = world.vault.collection("private").ingest_bulk([("b.png", small_photo(4))])
        assert _refusal(one.get_import(import_.import_id).info) == _refusal(one.get_import(32 * "0").info)
        import_.cancel()
        state = one.status()
        assert [found.name for found in state.collections] == ["of tenant 0"]
        assert state.services[0].items == 1
        assert state.key_id not in (other.status().key_id, world.vault.status().key_id)
        for service in state.services[1:]:
            assert service.reachable
            told_of_others = service.items, service.collections, service.disk_bytes, service.memory_bytes
            assert told_of_others == (0, 0, 0, 0)


def _refusal(call: Callable[[], object]) -> str:
    with pytest.raises(BlindsightError) as told:
        call()
    return told.value.message


def test_the_bearer_of_a_token_for_one_collection_uses_that_and_sees_no_other(world: World) -> None:
    with world.open(world.token("editor", "holiday")) as vault:
        assert [one.name for one in vault.collections()] == ["holiday"]
        assert vault.collection("holiday").search(small_photo(7), k=3).results[0][0].name == "holiday.png"
        refused: list[Callable[[Collection], object]] = [
            lambda one: one.search(small_photo(7), k=3),
            lambda one: one.ingest([("a.png", small_photo(3))]),
            lambda one: one.ingest_bulk([("a.png", small_photo(3))]),
            lambda one: one.describe(),
            lambda one: one.count(),
            lambda one: one.truncate(),
        ]
        for call in refused:
            with pytest.raises(NotFound) as told:
                call(vault.collection("private"))
            assert "'private'; it has 'holiday'" in told.value.message
        with pytest.raises(PermissionDenied, match="may not see the status"):
            vault.status()
    assert world.vault.collection("private").count() == 1


def test_imports_of_another_collection_are_not_there(world: World) -> None:
    of_private = world.vault.collection("private").ingest_bulk([("b.png", small_photo(4))])
    of_holiday = world.vault.collection("holiday").ingest_bulk([("b.png", small_photo(4))])
    with world.open(world.token("editor", "holiday")) as vault:
        assert [one.import_id for one in vault.imports()] == [of_holiday.import_id]
        for call in (
            lambda one: one.info(),
            lambda one: one.cancel(),
            lambda one: one.retry(),
            lambda one: one.drop_failed(),
            lambda one: one.wait(),
        ):
            with pytest.raises(NotFound, match="no import"):
                call(vault.get_import(of_private.import_id))
        vault.get_import(of_holiday.import_id).cancel()
    of_private.cancel()


def test_an_uploader_stores_and_replaces_nothing(world: World) -> None:
    with world.open(world.token("uploader", "holiday")) as vault:
        album = vault.collection("holiday")
        (stored,) = album.ingest([("c.png", small_photo(5))]).items
        with pytest.raises(PermissionDenied, match="may not replace items"):
            album.ingest([("c.png", small_photo(6))], upsert=True)
        for call in (lambda: album.search(small_photo(5)), lambda: album.get(stored.id)):
            with pytest.raises(PermissionDenied):
                call()


def test_an_auditor_checks_and_repairs_nothing(world: World) -> None:
    with world.open(world.token("auditor", "holiday")) as vault:
        assert vault.collection("holiday").check().damaged == 0
        with pytest.raises(PermissionDenied, match="auditor may not repair"):
            vault.collection("holiday").check(repair=True)


def test_no_collections_are_not_all(world: World) -> None:
    with pytest.raises(InvalidArgument, match="want some, or None for all"):
        world.vault.create_token("searcher", collections=[])


def test_a_call_that_shows_two_tokens_is_refused(world: World) -> None:
    metadata = [(METADATA_KEY, f"{SCHEME}{world.token(role)}") for role in ("searcher", "owner")]
    with grpc.insecure_channel(world.address) as channel, pytest.raises(grpc.RpcError) as told:
        KeyholderServiceStub(channel).ListCollections(
            keyholder_pb2.ListCollectionsRequest(), metadata=metadata
        )
    assert told.value.code() is UNAUTHENTICATED  # type: ignore[attr-defined]


def test_a_token_follows_a_collection_that_is_renamed(world: World) -> None:
    world.vault.create_collection("before", embedder="none", dimension=8)
    with world.open(world.token("searcher", "before")) as vault:
        world.vault.collection("before").rename("after")
        assert [one.name for one in vault.collections()] == ["after"]
        world.vault.create_collection("before", embedder="none", dimension=8)
        with pytest.raises(NotFound):
            vault.collection("before").describe()
        world.vault.delete_collection("after")
        assert vault.collections() == []
    (listed,) = [one for one in world.vault.tokens() if "deleted" in "".join(one.collections)]
    assert listed.role is TokenRole.SEARCHER


def test_a_token_is_refused_from_the_call_after_its_revocation_on(world: World) -> None:
    made = world.vault.create_token("searcher", label="lost phone")
    with world.open(made.token) as vault:
        vault.collections()
        world.vault.revoke_token(made.about.id)
        with pytest.raises(Unauthenticated, match="revoked"):
            vault.collections()


def test_a_budget_of_queries_holds_over_a_restart(scored: World) -> None:
    made = scored.vault.create_token("searcher", queries_per_day=10)
    with scored.open(made.token) as vault:
        vault.collection("bfv").search_vectors(np.tile(QUERY, (7, 1)), k=1)
        with pytest.raises(ResourceExhausted, match="7 of 10 queries of this day are used and 4 more came"):
            vault.collection("bfv").search_vectors(np.tile(QUERY, (4, 1)), k=1)
        scored.services["keyholder"].kill()
        scored.services["keyholder"].start()
        with pytest.raises(ResourceExhausted, match="10 of 10 queries of this day are used"):
            vault.collection("bfv").search_vectors(QUERY, k=1)
        vault.collections()
    (listed,) = [one for one in scored.vault.tokens() if one.id == made.about.id]
    assert (listed.queries_per_day, listed.queries_today) == (
        10,
        10,
    )  # after a kill, what may have been asked


def test_a_search_by_photo_by_id_and_by_vectors_counts_each_query(scored: World) -> None:
    made = scored.vault.create_token("searcher", queries_per_day=100)

    def used() -> int:
        (listed,) = [one for one in scored.vault.tokens() if one.id == made.about.id]
        return listed.queries_today

    with scored.open(made.token) as vault:
        vault.collection("bfv").search_vectors(np.tile(QUERY, (3, 1)), k=1)
        assert used() == 3
        vault.collection("bfv").search_like(["v0", "v1"], k=1)
        assert used() == 5
        vault.collection("holiday").search(small_photo(7), k=1)
        assert used() == 6
        with pytest.raises(NotFound):
            vault.collection("nowhere").search_vectors(QUERY)
    request = keyholder_pb2.SearchVectorsRequest(
        settings=keyholder_pb2.SearchHeader(collection="bfv", k=1),
        vectors=[keyholder_pb2.Vector(values=QUERY)] * 4,
    )
    before = used()
    method = "/blindsight.keyholder.v1.KeyholderService/SearchVectors"
    assert outcome(scored.address, method, made.token, request.SerializeToString())[0] is grpc.StatusCode.OK
    assert used() == before + 4


def test_more_calls_than_a_token_may_make_are_refused_until_their_time(world: World) -> None:
    made = world.token("auditor", requests_per_second=0.5, burst=3)
    method = "/blindsight.keyholder.v1.KeyholderService/ListCollections"
    codes = [outcome(world.address, method, made) for _ in range(6)]
    assert [code for code, _ in codes[:3]] == [grpc.StatusCode.OK] * 3
    assert codes[5][0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert re.fullmatch(r"more than 0.5 requests a second, want the next one in [0-9.]+ s", codes[5][1])
    assert outcome(world.address, method, world.token("auditor"))[0] is grpc.StatusCode.OK
    with world.open(made) as vault:  # the SDK comes again by itself
        vault.collections()
        vault.collections()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"requests_per_second": 0.0}, "0 requests per second, want 0.001 to 1e"),
        ({"burst": 3}, "a burst without requests per second"),
        ({"queries_per_day": 0}, "queries per day is 0, want 1 to"),
    ],
)
def test_limits_that_are_none_are_said(world: World, limits: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        world.token("searcher", **limits)
    with pytest.raises(InvalidArgument, match="a token of role owner with limits"):
        world.token("owner", queries_per_day=5)


@pytest.mark.parametrize("how", ["is revoked", "expires"])
def test_a_stream_that_runs_ends_with_its_token(world: World, how: str) -> None:
    job = world.vault.collection("holiday").ingest_bulk([("d.png", small_photo(8))])
    expires = datetime.now(UTC) + timedelta(seconds=3) if how == "expires" else None
    made = world.vault.create_token("uploader", expires=expires)
    watch = imports_pb2.WatchImportRequest(import_id=job.import_id)
    with grpc.insecure_channel(world.address, client_options()) as channel:
        shown = ((METADATA_KEY, f"{SCHEME}{made.token}"),)
        states = ImportServiceStub(channel).WatchImport(watch, metadata=shown, timeout=20)
        next(states)  # no worker runs: there is no other until it ends
        if how == "is revoked":
            world.vault.revoke_token(made.about.id)
        with pytest.raises(grpc.RpcError) as ended:
            next(states)
    assert ended.value.code() is UNAUTHENTICATED, ended.value.details()  # type: ignore[attr-defined]
    assert how.rsplit(maxsplit=1)[-1].removesuffix("s") in ended.value.details()  # type: ignore[attr-defined]
    world.vault.get_import(job.import_id).cancel()


@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "Bearer  "])
def test_the_name_of_the_scheme_may_have_any_case(world: World, scheme: str) -> None:
    token = world.token("owner")
    assert (
        outcome(
            world.address, "/blindsight.keyholder.v1.TokenService/ListTokens", f"{scheme}{token}", scheme=""
        )[0]
        is grpc.StatusCode.OK
    )


def test_tokens_are_in_no_log_and_no_listing(world: World) -> None:
    made = world.token("searcher", label="tablet")
    with world.open(made) as vault:
        vault.collections()
    secret = made.rpartition("_")[2]
    owner = (world.services.folder / "keyholder" / OWNER_TOKEN_FILE).read_text().strip().rpartition("_")[2]
    assert secret not in repr(world.vault.tokens())
    for log in world.services.folder.rglob("*.log*"):
        assert not {one for one in (secret, owner) if one in log.read_text(errors="replace")}, log


def _hits(vault: Vault, name: str, query: np.ndarray, **more: object) -> list[Hit]:
    return list(vault.collection(name).search_vectors(query, k=6, **more).results[0])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scored(world: World) -> World:
    """Collections of the same vectors, of the schemes whose scores have noise, and have none."""
    vectors = np.random.default_rng(1).normal(size=(6, 16)).astype(np.float32)
    for scheme in ("ckks", "bfv"):
        made = world.vault.create_collection(scheme, scheme=scheme, embedder="none", dimension=16)
        made.ingest_vectors(vectors, ids=[f"v{number}" for number in range(6)])
    return world


QUERY = np.random.default_rng(2).normal(size=16).astype(np.float32)


@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_a_searcher_sees_ranks_and_no_score_on_any_way(scored: World, scheme: str) -> None:
    exact = _hits(scored.vault, scheme, QUERY)
    token = scored.token("searcher", scheme)
    with scored.open(token) as vault:
        assert [hit.id for hit in _hits(vault, scheme, QUERY)] == [hit.id for hit in exact]
        assert {hit.score for hit in _hits(vault, scheme, QUERY)} == {None}
        with pytest.raises(PermissionDenied, match="reveals ranks may not set a threshold"):
            _hits(vault, scheme, QUERY, threshold=0.1)
        with pytest.raises(PermissionDenied, match="reveals ranks may not call Verify"):
            vault.verify(QUERY, QUERY)
        with pytest.raises(PermissionDenied):
            vault.collection(scheme).verify("v0", QUERY)
    request = keyholder_pb2.SearchVectorsRequest(
        settings=keyholder_pb2.SearchHeader(collection=scheme, k=6),
        vectors=[keyholder_pb2.Vector(values=QUERY)],
    )
    with grpc.insecure_channel(scored.address) as channel:
        answer = KeyholderServiceStub(channel).SearchVectors(
            request, metadata=((METADATA_KEY, f"{SCHEME}{token}"),)
        )
    (hits,) = answer.results
    assert [hit.id for hit in hits.hits] == [hit.id for hit in exact]
    assert not any(hit.HasField("score") for hit in hits.hits)


def test_scores_are_for_searchers_where_they_have_no_noise_alone(scored: World) -> None:
    exact = _hits(scored.vault, "bfv", QUERY)
    with scored.open(scored.token("searcher", reveal="scores")) as vault:
        assert _hits(vault, "bfv", QUERY) == exact
        with pytest.raises(PermissionDenied, match="may not search a collection of scheme ckks"):
            _hits(vault, "ckks", QUERY)
        assert vault.verify(QUERY, QUERY, scheme="bfv").verified
        assert vault.collection("bfv").verify("v0", QUERY).scheme == "bfv"
        for verify in (
            lambda: vault.verify(QUERY, QUERY),
            lambda: vault.verify(QUERY, QUERY, scheme="ckks"),
            lambda: vault.collection("ckks").verify("v0", QUERY),
        ):
            with pytest.raises(PermissionDenied, match="may not verify under scheme ckks"):
                verify()
    with scored.open(scored.token("searcher", reveal="rounded")) as vault:
        for rounded, hit in zip(_hits(vault, "bfv", QUERY), exact, strict=True):
            assert rounded.id == hit.id
            assert rounded.score is not None
            assert hit.score is not None
            assert 0 <= hit.score - rounded.score < 0.01
            assert round(rounded.score, 2) == rounded.score
        assert {hit.id for hit in _hits(vault, "bfv", QUERY, threshold=0.1)} == {
            hit.id for hit in exact if hit.score is not None and hit.score >= 0.1
        }
        with pytest.raises(PermissionDenied, match="a threshold of more than 2 decimals"):
            _hits(vault, "bfv", QUERY, threshold=0.101)
    with scored.open(scored.token("editor")) as vault:
        assert _hits(vault, "ckks", QUERY) == _hits(scored.vault, "ckks", QUERY)
    with pytest.raises(InvalidArgument, match="others than searchers see scores"):
        scored.token("editor", reveal="ranks")


@pytest.mark.parametrize("metric", ["cosine", "squared-cosine"])
def test_a_threshold_tells_no_more_than_a_rounded_score(metric: str) -> None:
    nearest = metric == "squared-cosine"
    grant = Grant("", b"", TokenRole.SEARCHER, None, "", 0, None, Reveal.ROUNDED)
    hits = [WireHit(f"{number}", number / 10_000, "") for number in range(-300, 10_000, 7)]

    def told(threshold: float | None) -> dict[str, float | None]:
        asked = SearchHeader("", threshold=threshold)
        found = shown(grant, asked, Scheme.BFV, Metric(metric))(hits).hits
        return {hit.id: hit.score for hit in found}

    rounded = told(None)
    assert all(0 <= (rounded[one.id] - one.score) * (1 if nearest else -1) < 0.01 for one in hits)  # type: ignore[operator]
    assert len(set(rounded.values())) < len(hits) / 10
    for threshold in (-0.01, 0.0, 0.29, 0.57, 0.58):
        passing = {
            key: score
            for key, score in rounded.items()
            if score is not None and (score <= threshold if nearest else score >= threshold)
        }
        assert told(threshold) == passing


@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_a_decision_is_told_and_nothing_else(scored: World, scheme: str) -> None:
    scores = [hit.score or 0.0 for hit in _hits(scored.vault, scheme, QUERY)]
    between = (scores[0] + scores[1]) / 2  # the best passes, and for the opposite of the query nothing does
    token = scored.token("searcher", scheme, reveal="decisions", threshold=between)
    with scored.open(token) as vault:
        answer = vault.collection(scheme).search_vectors(np.stack([QUERY, -QUERY]), k=6)
        assert (answer.passes, answer.results) == ((True, False), [[], []])
        best, *others = [hit.id for hit in _hits(scored.vault, scheme, QUERY)]
        for one in (best, *others):
            decided = vault.collection(scheme).verify(one, QUERY)
            assert (decided.verified, decided.distance, decided.vector) == (one == best, None, None)
        for refused in (
            lambda: vault.collection(scheme).search_vectors(QUERY, threshold=0.5),
            lambda: vault.collection(scheme).search_vectors(QUERY, k=1, offset=1),
            lambda: vault.collection(scheme).search_like(best),
            lambda: vault.collection(scheme).verify(best, QUERY, threshold=0.1),
            lambda: vault.collection(scheme).get(best),
            lambda: vault.collection(scheme).item(best),
            lambda: vault.verify(QUERY, QUERY),
            lambda: vault.filter(small_photo(3), ["blur"]),
        ):
            with pytest.raises(PermissionDenied, match="a token that reveals decisions may not"):
                refused()
    request = keyholder_pb2.SearchVectorsRequest(
        settings=keyholder_pb2.SearchHeader(collection=scheme, k=6),
        vectors=[keyholder_pb2.Vector(values=QUERY), keyholder_pb2.Vector(values=-QUERY)],
    )
    with grpc.insecure_channel(scored.address) as channel:
        told = KeyholderServiceStub(channel).SearchVectors(
            request, metadata=((METADATA_KEY, f"{SCHEME}{token}"),)
        )
    assert [(one.passes, len(one.hits)) for one in told.results] == [(True, 0), (False, 0)]


def test_a_photo_is_decided_too(world: World) -> None:
    token = world.token("searcher", "holiday", reveal="decisions", threshold=0.99)
    with world.open(token) as vault:
        for number, passes in ((7, True), (2, False)):
            answer = vault.collection("holiday").search(small_photo(number))
            assert (answer.passes, answer.results) == ((passes,), [[]]), number
    for photo in (small_photo(7), small_photo(2)):
        request = keyholder_pb2.SearchImageRequest(
            settings=keyholder_pb2.SearchHeader(collection="holiday"), image=photo
        )
        with grpc.insecure_channel(world.address) as channel:
            told = KeyholderServiceStub(channel).SearchImage(
                request, metadata=((METADATA_KEY, f"{SCHEME}{token}"),)
            )
        assert (told.passes, len(told.hits)) == (photo == small_photo(7), 0)


def test_decisions_may_be_asked_for_and_nothing_else(world: World) -> None:
    token = world.token("searcher", reveal="decisions", threshold=0.9)
    for method in METHODS:
        code, said = outcome(world.address, method, token)
        assert (code is DENIED) == (method.rpartition("/")[2] not in OF_DECISIONS), (method, code, said)
    for given, said in (
        ({"reveal": "decisions"}, "decisions are by a threshold"),
        ({"threshold": 0.5}, "decisions are by a threshold"),
        ({"reveal": "ranks", "threshold": 0.5}, "decisions are by a threshold"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            world.token("searcher", **given)
