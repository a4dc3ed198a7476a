"""Users whom an issuer vouches for: tokens that hold, those that do not, and an issuer that is away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.api_jws import PyJWS
from jwt.warnings import InsecureKeyLengthWarning
from support.bulk import BulkServices
from support.issuers import AUDIENCE, ISSUER, Jwks, SigningKey, claims, part, signed
from support.photos import small_photo
from support.services import Services, failed_start

import blindsight
from blindsight.client import Vault
from blindsight.errors import NotFound, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1.keyholder_pb2_grpc import KeyholderServiceStub
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE
from blindsight.wire.tokens import METADATA_KEY, SCHEME, Reveal, TokenRole
from services.keyholder.tokens.oidc import keys as oidc_keys
from services.keyholder.tokens.oidc.claims import ClaimRules, parsed_roles
from services.keyholder.tokens.oidc.fetching import reader
from services.keyholder.tokens.oidc.issuer import ALGORITHMS, LEEWAY_SECONDS, MOST_BYTES, Issuer
from services.keyholder.tokens.oidc.keys import IssuerKeys

KEYS = {algorithm: SigningKey(algorithm, f"{algorithm} of today") for algorithm in ALGORITHMS}
RSA, EC = KEYS["RS256"], KEYS["ES256"]
# As the issuer's, and by nobody published.
FORGED = SigningKey("RS256", RSA.key_id)
NOW = int(time.time())


@dataclass(frozen=True)
class World:
    """A keyholder with two collections, that trusts an issuer."""

    services: BulkServices
    jwks: Jwks
    folder: Path
    owner: Vault

    def ask(self, token: str) -> tuple[grpc.StatusCode, str]:
        """How a call ends that shows a token."""
        metadata = ((METADATA_KEY, f"{SCHEME}{token}"),)
        with grpc.insecure_channel(self.services.address()) as channel:
            try:
                KeyholderServiceStub(channel).ListCollections(
                    pb.ListCollectionsRequest(), metadata=metadata, timeout=20
                )
            except grpc.RpcError as error:
                return error.code(), error.details()  # type: ignore[attr-defined]
        return grpc.StatusCode.OK, ""

    def open(self, **more: Any) -> Vault:
        file = self.folder / f"token-{len(list(self.folder.iterdir()))}"
        file.write_text(signed(RSA, **more))
        return blindsight.connect(self.services.address(), token_file=file)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    jwks = Jwks(tmp_path_factory.mktemp("issuer"), list(KEYS.values())).start()
    settings = {
        "require_tokens": "true",
        "oidc_issuer": ISSUER,
        "oidc_audience": AUDIENCE,
        "oidc_jwks": jwks.address,
        "oidc_authority": str(jwks.authority),
        "oidc_queries_per_day": "3",
    }
    running = BulkServices(tmp_path_factory.mktemp("services"), settings={"keyholder": settings})
    try:
        running.start()
        with blindsight.connect(
            running.address(), token_file=running.folder / "keyholder" / OWNER_TOKEN_FILE
        ) as owner:
            for name in ("holiday", "private"):
                made = owner.create_collection(name, embedder="pixels", dimension=64)
                made.ingest([(f"{name}.png", small_photo(len(name)))])
            yield World(running, jwks, tmp_path_factory.mktemp("tokens"), owner)
    finally:
        running.stop()
        jwks.stop()


def by_hmac(key: SigningKey) -> str:
    """A token that is signed with the public key, as if it were a shared secret."""
    pem = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = f"{part({'alg': 'HS256', 'kid': key.key_id})}.{part(claims())}"
    mac = hmac.digest(pem, text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def with_header(**header: Any) -> str:
    """A token of the issuer's, under another header."""
    _, body, signature = signed(RSA).split(".")
    return f"{part({'alg': 'RS256', 'kid': RSA.key_id, **header})}.{body}.{signature}"


HOLDING: dict[str, Callable[[], str]] = {
    **{algorithm: lambda key=key: signed(key) for algorithm, key in KEYS.items()},  # type: ignore[misc]
    "for several audiences": lambda: signed(EC, aud=["somebody else", AUDIENCE]),
    "without the id of its key": lambda: signed(EC, {"kid": None}),
    "expired just now, by our clock": lambda: signed(EC, exp=int(time.time()) - 5),
    "from just after now, by our clock": lambda: signed(
        EC, nbf=int(time.time()) + 5, iat=int(time.time()) + 5
    ),
}
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "unsigned": (
        lambda: f"{part({'alg': 'none'})}.{part(claims())}.",
        "algorithm 'none', want ES256, EdDSA, RS256",
    ),
    "unsigned, of a known key": (lambda: with_header(alg="none"), "algorithm 'none'"),
    "signed with the public key": (lambda: by_hmac(RSA), "algorithm 'HS256'"),
    "of an algorithm that is no text": (lambda: with_header(alg=["RS256"]), ""),
    "of an algorithm that was not allowed": (lambda: with_header(alg="RS512"), "algorithm 'RS512'"),
    "of the algorithm of another key": (lambda: with_header(alg="ES256"), "no key of its issuer"),
    "of a forged key": (lambda: signed(FORGED), "not what its issuer signed"),
    "that brings its key along": (
        lambda: signed(FORGED, {"jwk": FORGED.published, "jku": "https://127.0.0.1:1/"}),
        "not what its issuer signed",
    ),
    "of an unknown key": (lambda: signed(SigningKey("ES256", "of nobody")), "no key of its issuer"),
    "with an extension that must be understood": (lambda: signed(EC, {"crit": ["exp"], "exp": 1}), ""),
    "expired": (lambda: signed(EC, exp=NOW - LEEWAY_SECONDS - 60), "the token has expired, want another"),
    "of tomorrow": (lambda: signed(EC, nbf=NOW + 86_400), "does not hold yet"),
    "issued tomorrow": (lambda: signed(EC, iat=NOW + 86_400), "does not hold yet"),
    "of another issuer": (lambda: signed(EC, iss=f"{ISSUER}/"), f"another issuer, want {ISSUER}"),
    "for others": (lambda: signed(EC, aud="somebody else"), "for others, want audience 'blindsight'"),
    "for no audience": (lambda: signed(EC, aud=None), "without the claim 'aud'"),
    "that never ends": (lambda: signed(EC, exp=None), "without the claim 'exp'"),
    "of nobody": (lambda: signed(EC, sub=None), "without the claim 'sub'"),
    "that ends at no time": (lambda: signed(EC, exp="soon"), "not what its issuer signed"),
    "that ends at no time of a clock": (lambda: signed(EC, exp=10**400), "not what its issuer signed"),
    "whose subject is no text": (lambda: signed(EC, sub="\ud800"), "not what its issuer signed"),
    "that ends at infinity": (lambda: signed(EC, exp=float("inf")), "not what its issuer signed"),
    "whose claims are a list": (
        lambda: PyJWS().encode(b"[1]", EC.private, "ES256", {"kid": EC.key_id}),
        "not what its issuer signed",
    ),
    "in which a letter was changed": (
        lambda: signed(EC, sub="a")[:-10] + "AAAAAAAAAA",
        "not what its issuer signed",
    ),
    "of nested lists": (lambda: f"{part(b'[' * 5000)}.e30.e30", "no token of this kind"),
    "too long": (lambda: signed(EC, more="x" * MOST_BYTES), "want at most 8192"),
    "of two parts": (lambda: "e30.e30", "no token of this kind, want bs1_ID_SECRET or a JWT"),
    "of nothing": (lambda: "..", "no token of this kind"),
    "of the vault's own, made up": (lambda: f"bs1_{12 * '0'}_{64 * '0'}", "not known here"),
}


@pytest.mark.parametrize("token", HOLDING.values(), ids=HOLDING)
def test_a_token_of_the_issuer_holds(world: World, token: Callable[[], str]) -> None:
    assert world.ask(token()) == (grpc.StatusCode.OK, "")


@pytest.mark.parametrize(("token", "said"), REFUSED.values(), ids=REFUSED)
def test_another_token_is_refused(world: World, token: Callable[[], str], said: str) -> None:
    code, told = world.ask(token())
    assert code is grpc.StatusCode.UNAUTHENTICATED, told
    assert told.startswith("unauthenticated: ")
    assert said in told


def test_the_claims_of_a_token_say_what_its_bearer_may_do(world: World) -> None:
    with world.open(blindsight_role="searcher", blindsight_collections=["holiday", "of nobody"]) as vault:
        assert [one.name for one in vault.collections()] == ["holiday"]
        (hit,) = vault.collection("holiday").search(small_photo(7), k=1).results[0]
        assert (hit.name, hit.score) == ("holiday.png", None)
        with pytest.raises(NotFound):
            vault.collection("private").describe()
        with pytest.raises(PermissionDenied, match="a token of role searcher may not call CreateCollection"):
            vault.create_collection("more", embedder="none", dimension=4)
    with world.open(blindsight_role="editor", blindsight_collections=[]) as vault:
        assert vault.collections() == []
    with (
        world.open(blindsight_role=None) as vault,
        pytest.raises(PermissionDenied, match="claims give no role"),
    ):
        vault.collections()


def test_a_user_has_so_many_queries_whatever_tokens_they_show(world: World) -> None:
    for left in (True, False):
        with world.open(sub="curious", jti=str(left), blindsight_role="searcher") as vault:
            search = vault.collection("holiday").search
            if left:
                search([small_photo(7)] * 2, k=1)
            else:
                with pytest.raises(ResourceExhausted, match="3 of 3 queries of this day are used"):
                    search([small_photo(7)] * 2, k=1)
    assert "jwt_" + hashlib.sha256(f"{ISSUER} curious".encode()).hexdigest()[:12] in {
        record.token for record in world.owner.audit_page().records
    }


def test_a_token_of_a_tenant_s_user_opens_the_tenant_s_vault_alone(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [EC.published]}))
    settings = {
        "require_tokens": "true",
        "oidc_issuer": ISSUER,
        "oidc_audience": AUDIENCE,
        "oidc_jwks": str(tmp_path / "jwks.json"),
        "oidc_tenant_claim": "org",
    }
    running = Services(tmp_path, settings={"keyholder": settings})

    def opened(**more: Any) -> Vault:
        file = tmp_path / f"{sorted(more.items())}.token".replace("/", "")
        file.write_text(signed(EC, **more))
        return blindsight.connect(running.address(), token_file=file)

    try:
        running.start()
        with blindsight.connect(
            running.address(), token_file=tmp_path / "keyholder" / OWNER_TOKEN_FILE
        ) as owner:
            owner.create_collection("private", embedder="none", dimension=4)
            owner.create_tenant("guests")
            with opened(org="guests", blindsight_role="owner") as guests:
                for name in ("shared", "own"):
                    guests.create_collection(name, embedder="none", dimension=4)
                with pytest.raises(NotFound):
                    guests.collection("private").describe()
                with pytest.raises(PermissionDenied, match="a token of a tenant may not"):
                    guests.create_tenant("more")
            with opened(org=["guests"], blindsight_collections=["shared", "private"]) as one:
                assert [made.name for made in one.collections()] == ["shared"]
            assert [made.name for made in owner.collections()] == ["private"]
        with (
            opened(org="strangers") as nobody,
            pytest.raises(Unauthenticated, match="a tenant that is none here"),
        ):
            nobody.collections()
        for orgs in (None, [], ["guests", "strangers"]):
            with opened(org=orgs) as nobody, pytest.raises(PermissionDenied, match="want one in claim 'org'"):
                nobody.collections()
    finally:
        running.stop()


def test_a_call_that_runs_ends_with_the_token_that_it_shows(world: World) -> None:
    job = world.owner.collection("private").ingest_bulk([("b.png", small_photo(4))])
    with world.open(exp=int(time.time()) - LEEWAY_SECONDS + 3) as vault:
        states = vault.get_import(job.import_id).watch()
        next(states)  # no worker runs: there is no other until it ends
        with pytest.raises(Unauthenticated, match="the token has expired"):
            next(states)
    job.cancel()


def test_tokens_of_an_issuer_are_in_no_log(world: World) -> None:
    token = signed(RSA, sub="a name that nobody else has")
    assert world.ask(token)[0] is grpc.StatusCode.OK
    for log in world.services.folder.rglob("*.log*"):
        text = log.read_text(errors="replace")
        assert token.split(".")[1] not in text
        assert "a name that nobody else has" not in text


RULES = ClaimRules(
    "groups", parsed_roles("vault admins=owner,photo=editor,look=searcher,push=uploader"), "c", "r"
)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"groups": "photo"}, (TokenRole.EDITOR, None, Reveal.SCORES)),
        ({"groups": ["others", "look"], "c": "one"}, (TokenRole.SEARCHER, ("one",), Reveal.RANKS)),
        ({"groups": ["look"], "r": "rounded"}, (TokenRole.SEARCHER, None, Reveal.ROUNDED)),
        ({"groups": ["look", "photo"]}, (TokenRole.EDITOR, None, Reveal.SCORES)),
        ({"groups": ["photo", "vault admins"]}, (TokenRole.OWNER, None, Reveal.SCORES)),
        (
            {"groups": ["look", "push"]},
            "several roles, of which none includes the others, want one of vault admins,",
        ),
        ({"groups": ["owner"]}, "no role"),
        (
            {"groups": {"photo": True}},
            "roles in another form, want a text or a list of texts in claim 'groups'",
        ),
        ({"groups": [1]}, "roles in another form"),
        ({"groups": "vault admins", "c": ["one"]}, "the role owner for some collections, want no claim 'c'"),
        ({"groups": "photo", "c": ["x"] * 1001}, "1001 collections, want at most 1000"),
        (
            {"groups": "look", "r": "everything"},
            "an unknown value of 'r', want one of ranks, rounded, scores",
        ),
    ],
)
def test_claims_give_one_role_or_none(given: dict[str, Any], allowed: object) -> None:
    if isinstance(allowed, str):
        with pytest.raises(PermissionDenied) as told:
            RULES.allowed(given)
        assert told.value.message.startswith(f"permission denied: the token's claims give {allowed}")
    else:
        found = RULES.allowed(given)
        assert (found.role, found.collections, found.reveal) == allowed


def test_a_claim_may_lie_in_an_object() -> None:
    nested = ClaimRules("realm_access.roles", parsed_roles(""), "c", "r")
    assert nested.allowed({"realm_access": {"roles": ["auditor"]}}).role is TokenRole.AUDITOR
    named = ClaimRules("https://vault.example/role", parsed_roles(""), "c", "r")
    assert named.allowed({"https://vault.example/role": "owner"}).role is TokenRole.OWNER


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def jwks(tmp_path: Path) -> Iterator[Jwks]:
    made = Jwks(tmp_path, [EC])
    yield made
    made.stop()


def issuer_of(jwks: Jwks, clock: Clock) -> Issuer:
    keys = IssuerKeys(reader(jwks.address, jwks.authority), clock=clock)
    return Issuer(
        ISSUER, AUDIENCE, ALGORITHMS, keys, ClaimRules("blindsight_role", parsed_roles(""), "c", "r")
    )


async def test_keys_are_rotated_and_an_issuer_that_is_away_is_borne(jwks: Jwks) -> None:
    clock = Clock()
    issuer = issuer_of(jwks, clock)
    await issuer.start()  # nobody serves there yet
    with pytest.raises(Unavailable, match="the keys of its issuer cannot be had now"):
        await issuer.bearer(signed(EC))
    jwks.start()
    with pytest.raises(Unavailable):  # it was just tried
        await issuer.bearer(signed(EC))
    assert jwks.asked == 0
    clock.now += oidc_keys.PAUSE_SECONDS
    assert (await issuer.bearer(signed(EC))).grant.role is TokenRole.EDITOR
    # Another key, which the issuer publishes from now on beside the one before, and then alone.
    new = SigningKey("RS256", "of tomorrow")
    jwks.keys.append(new)
    clock.now += oidc_keys.PAUSE_SECONDS
    await issuer.bearer(signed(new))
    await issuer.bearer(signed(EC))
    jwks.keys.remove(EC)
    clock.now += oidc_keys.FRESH_SECONDS + 1
    await issuer.bearer(signed(new))  # which has the keys read again, and does not wait for it
    await issuer._keys.close()
    with pytest.raises(Unauthenticated, match="no key of its issuer"):
        await issuer.bearer(signed(EC))
    # Away for hours, and for longer than its keys are trusted.
    jwks.stop()
    clock.now += oidc_keys.TRUSTED_SECONDS - 10
    await issuer.bearer(signed(new))
    clock.now += 20
    with pytest.raises(Unavailable):
        await issuer.bearer(signed(new))
    jwks.start()
    clock.now += oidc_keys.PAUSE_SECONDS
    await issuer.bearer(signed(new))


async def test_however_many_ask_an_issuer_is_asked_once_in_a_while(jwks: Jwks) -> None:
    jwks.start()
    clock = Clock()
    issuer = issuer_of(jwks, clock)
    made_up = [signed(SigningKey("ES256", f"made up {number}")) for number in range(40)]
    for rounds in range(1, 4):
        told = await asyncio.gather(*(issuer.bearer(one) for one in made_up), return_exceptions=True)
        assert {type(one) for one in told} == {Unauthenticated}
        assert jwks.asked == rounds
        clock.now += oidc_keys.PAUSE_SECONDS


def _redirects(to: BaseHTTPRequestHandler) -> None:
    to.send_response(302)
    to.send_header("Location", "/elsewhere")
    to.end_headers()


def _floods(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    to.wfile.write(b" " * (1 << 20))


def _hangs(to: BaseHTTPRequestHandler) -> None:
    Event().wait(6)


def _errs(to: BaseHTTPRequestHandler) -> None:
    to.send_error(500)


@pytest.mark.parametrize("answer", [_redirects, _floods, _hangs, _errs])
async def test_an_answer_that_is_none_leaves_the_keys_as_they_were(
    jwks: Jwks, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    jwks.start()
    clock = Clock()
    issuer = issuer_of(jwks, clock)
    await issuer.start()
    jwks.answer = answer
    clock.now += oidc_keys.FRESH_SECONDS + 1
    begun = time.monotonic()
    await issuer._keys.refresh()
    assert time.monotonic() - begun < 9
    await issuer.bearer(signed(EC))
    assert jwks.asked >= 2


async def test_an_issuer_whom_nobody_vouches_for_gives_no_keys(jwks: Jwks) -> None:
    jwks.start()
    keys = IssuerKeys(reader(jwks.address, None))
    with pytest.raises(Unavailable):
        await keys.find(EC.key_id, "ES256")
    assert jwks.asked == 0


async def test_keys_that_sign_nothing_here_are_passed_over(tmp_path: Path) -> None:
    weak = SigningKey("RS256", "weak", rsa.generate_private_key(65537, 1024))
    shared = {"kty": "oct", "k": part(bytes(32)), "kid": "shared", "alg": "HS256"}
    jwks = tmp_path / "jwks.json"
    others = [shared, {**EC.published, "use": "enc", "kid": "enc"}, {"kty": "new"}, "nonsense"]
    jwks.write_text(json.dumps({"keys": [*others, weak.published, EC.published]}))
    keys = IssuerKeys(reader(str(jwks), None))
    issuer = Issuer(
        ISSUER, AUDIENCE, ALGORITHMS, keys, ClaimRules("blindsight_role", parsed_roles(""), "c", "r")
    )
    assert (await keys.find(None, "ES256")).key_id == EC.key_id
    for key_id, algorithm in (("shared", "HS256"), ("enc", "ES256")):
        with pytest.raises(Unauthenticated):
            await keys.find(key_id, algorithm)
    with pytest.warns(InsecureKeyLengthWarning):
        token = signed(weak)
    with pytest.raises(Unauthenticated, match="not what its issuer signed"):
        await issuer.bearer(token)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"oidc_issuer": ISSUER}, "_OIDC_ISSUER, want BLINDSIGHT_KEYHOLDER_OIDC_AUDIENCE, too"),
        ({"oidc_jwks": "x"}, "_OIDC_JWKS, want BLINDSIGHT_KEYHOLDER_OIDC_ISSUER, too"),
        ({"oidc_jwks": "http://127.0.0.1/"}, "want a file, or an address with https://"),
        ({"oidc_jwks": "/nowhere/jwks"}, "/nowhere/jwks: No such file or directory"),
        ({"oidc_jwks": "/dev/null"}, "/dev/null: no document of keys, want a JWKS"),
        ({"oidc_algorithms": "RS256,HS256"}, "got 'HS256', want of RS256, ES256, EdDSA"),
        ({"oidc_roles": "a=owner,b"}, "got 'b', want VALUE=ROLE with a role of owner,"),
        ({"oidc_authority": "/nowhere"}, "cannot read certificates of /nowhere: No such file or directory"),
    ],
)
def test_settings_that_do_not_fit_are_one_clear_line(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    needed = {"data": str(tmp_path), "storage_address": "127.0.0.1:1", "evaluator_address": "127.0.0.1:1"}
    if len(settings) == 1 and "oidc_issuer" not in settings and "want BLIND" not in said:
        needed |= {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, "oidc_jwks": "https://127.0.0.1:1/"}
    line = failed_start("keyholder", {**needed, "passphrase_file": "/nowhere", **settings})
    assert line.startswith("blindsight keyholder: setting BLINDSIGHT_KEYHOLDER_OIDC_")
    assert said in line
