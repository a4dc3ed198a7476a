"""What each command prints with --json, as types; `tools/json_schema.py` makes the published schema of them.

A field may be added without another version.  One that goes, is renamed or means something else makes
another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

from blindsight.backup.manifest import Entry
from blindsight.cli.compare.results import Images, LeftOut, Query, Row
from blindsight.client.models import IngestItem
from blindsight.wire.audit import AuditFault, AuditRecord
from blindsight.wire.collections import Alarm, CheckProgress, CollectionInfo, ServiceStatus
from blindsight.wire.imaging import Keypoint
from blindsight.wire.imports import FailedItem, ImportInfo, RemarkedItem
from blindsight.wire.listing import Updated
from blindsight.wire.search import KeypointAgreement
from blindsight.wire.vectors import VectorLabel

VERSION = 1

Seconds = dict[str, float]
Metadata = dict[str, str | float | bool | list[str]]


class Error(TypedDict):
    """Why a command failed, on standard error.

    Attributes:
        reason: stable, for programs; docs/command.md lists them.
        message: one line for people.
        metadata: short strings, such as the request id under which the services logged the call.
    """

    reason: str
    message: str
    metadata: dict[str, str]


# --- the services ------------------------------------------------------------------------------


class RunningService(TypedDict):
    """A service of `up`.

    Attributes:
        metrics: URL of its metrics; null without --metrics-port.
    """

    address: str
    zone: str
    process_id: int
    log: str
    metrics: str | None


class RunningWorker(TypedDict):
    """A worker of `up`; it serves nothing."""

    process_id: int
    log: str
    metrics: str | None


class Ready(TypedDict):
    """What `up` prints when everything serves.

    Attributes:
        address: the keyholder's.
        services: by name.
    """

    event: Literal["ready"]
    address: str
    services: dict[str, RunningService]
    workers: list[RunningWorker]


class Stopped(TypedDict):
    """What `down` found.

    Attributes:
        stopped: whether anything ran.
    """

    data: str
    stopped: bool


class Status(TypedDict):
    """The state of a vault.

    Attributes:
        address: the keyholder's.
        key_id: in hex.
        lost: names of collections that storage should have and does not.
        alarms: those that were not acknowledged before, the newest last.
        unreadable: number of collections whose settings storage has changed.
        fenced: whether another keyholder of these keys has taken over.
        acknowledged: number of alarms that --acknowledge has ended.
    """

    address: str
    services: list[ServiceStatus]
    key_id: str
    collections: list[CollectionInfo]
    lost: list[str]
    alarms: list[Alarm]
    unreadable: int
    fenced: bool
    acknowledged: int


class Checked(TypedDict):
    """What a check found.

    Attributes:
        damaged: number of segments and items that are damaged or lost.
        quarantined: number of items that no search ranks.
        collections: by name.
    """

    damaged: int
    quarantined: int
    collections: dict[str, CheckProgress]


class Backup(TypedDict):
    """A whole backup.

    Attributes:
        version: version of the program that made it.
        created: time of the snapshot.
    """

    folder: str
    version: str
    created: datetime
    files: list[Entry]
    size_bytes: int


class Backups(TypedDict):
    """Backups that were made, read or restored.

    Attributes:
        data: the folder that was restored to.
    """

    data: NotRequired[str]
    backups: list[Backup]
    seconds: float


class TokenDocument(TypedDict):
    """A token, without what proves it.

    Attributes:
        id: 12 hex digits.
        role: what its bearer may do: owner, editor, uploader, searcher or auditor.
        collections: for which alone it holds, by the names they have now; empty: for all.
        label: what its owner called it.
        created: when.
        expires: when; null: never.
        reveal: what searches tell its bearer: decisions, ranks, rounded or scores.
        requests_per_second: calls in the long run; null: any number.
        burst: calls at once; null: those of a second, and at least 1.
        queries_per_day: of searches and verifications, in a day of UTC; null: any number.
        threshold: of decisions: the worst score that passes; null: they are told more.
        queries_today: that were asked since midnight in UTC.
    """

    id: str
    role: str
    collections: list[str]
    label: str
    created: datetime
    expires: datetime | None
    reveal: str
    requests_per_second: float | None
    burst: int | None
    queries_per_day: int | None
    threshold: float | None
    queries_today: int


class CreatedToken(TokenDocument):
    """A token that was made.

    Attributes:
        token: the secret that its bearer shows, without --output; nobody can tell it again.
        path: of the file that it was written to, with --output.
    """

    token: NotRequired[str]
    path: NotRequired[str]


class AuditRecords(TypedDict):
    """Records of the audit log, the oldest first."""

    records: list[AuditRecord]


class VerifiedAudit(TypedDict):
    """What a verification of the audit log found.

    Attributes:
        records: number that was looked at.
        faults: the first hundred; empty: all is right.
        first: number of the oldest record that is kept.
        last: number of the newest.
        chain: of the newest, in hex; LAST:CHAIN is what --expect takes.
    """

    records: int
    faults: list[AuditFault]
    first: int
    last: int
    chain: str


class Tokens(TypedDict):
    """All tokens, the oldest first."""

    tokens: list[TokenDocument]


class ProfileDocument(TypedDict):
    """A keyholder that the user noted.

    Attributes:
        profile: its name.
        address: HOST:PORT.
        token_file: of the token that is shown to it; null: the one of `up`, where this user runs it there.
        tls: folder of the certificate that is shown to it; null: the connection is not encrypted.
        usual: whether commands use it that name none.
    """

    profile: str
    address: str
    token_file: str | None
    tls: str | None
    usual: bool


class LoggedIn(ProfileDocument):
    """A keyholder that was noted just now.

    Attributes:
        collections: number of those that the token is for.
    """

    collections: int


class Profiles(TypedDict):
    """All profiles, as the configuration file has them."""

    profiles: list[ProfileDocument]


class LoggedOut(TypedDict):
    """A profile that was forgotten.

    Attributes:
        logged_out: its name.
    """

    logged_out: str


class RevokedToken(TypedDict):
    """A token that was revoked.

    Attributes:
        revoked: its id.
    """

    revoked: str


class QuotasDocument(TypedDict):
    """What a tenant may use; null: no limit.

    Attributes:
        items: of all its collections; each vector of an item counts.
        size_bytes: that storage has of all its collections.
        requests_per_second: on average.
        heavy_jobs: ingests, image processing, weighted sums, checks and repacks at once.
        max_collections: at once, empty ones too.
    """

    items: int | None
    size_bytes: int | None
    requests_per_second: float | None
    heavy_jobs: int | None
    max_collections: int | None


class TenantDocument(TypedDict):
    """A tenant.

    Attributes:
        id: 32 hex digits.
        name: for the operator alone.
        created: when.
        quotas: what it may use.
        items: that it has; null: storage does not answer.
        size_bytes: that storage has of it; null: storage does not answer.
        heavy_jobs: that run.
        deleting: whether its keys are destroyed, and collections may be left.
    """

    id: str
    name: str
    created: datetime
    quotas: QuotasDocument
    items: int | None
    size_bytes: int | None
    heavy_jobs: int
    deleting: bool


class CreatedTenant(TenantDocument):
    """A tenant that was made.

    Attributes:
        token: the secret that its owner shows; nobody can tell it again; not if it was written to a file.
        path: the file that the token was written to, if there is one.
        token_id: of the token, as its owner's `tokens list` has it.
    """

    token: NotRequired[str]
    path: NotRequired[str]
    token_id: str


class Tenants(TypedDict):
    """All tenants, the oldest first."""

    tenants: list[TenantDocument]


class DeletedTenant(TypedDict):
    """A tenant that was deleted.

    Attributes:
        deleted: its name.
        collections: how many went with it.
    """

    deleted: str
    collections: int


class CertificateAuthority(TypedDict):
    """A certificate authority that was made.

    Attributes:
        folder: of its key and certificate.
        vault: its name in certificates.
        expires: its end, and that of all that it issues.
    """

    folder: str
    vault: str
    expires: datetime


class Certificate(TypedDict):
    """A certificate that was issued.

    Attributes:
        role: whom it is of.
        hosts: names and addresses of machines that it is also for.
        serial: its number in hex.
        issued: from when it is valid.
        expires: until when.
        folder: where it was written.
        revoked: whether it was taken back.
    """

    role: str
    hosts: list[str]
    serial: str
    issued: datetime
    expires: datetime
    folder: str
    revoked: bool


class Certificates(TypedDict):
    """What an authority has issued, in the order of time."""

    certificates: list[Certificate]


class Renewed(TypedDict):
    """Certificates that took the place of others.

    Attributes:
        renewed: the new ones; those that had time left are not in it.
    """

    renewed: list[Certificate]


class Revoked(TypedDict):
    """Certificates that services refuse from now on.

    Attributes:
        revoked: also those that were revoked before; none that has expired.
    """

    revoked: list[Certificate]


class KeySet(TypedDict):
    """A key set that was made.

    Attributes:
        key_id: in hex.
        keygen_seconds: by key.
    """

    file: str
    key_id: str
    keygen_seconds: Seconds


class KeyFile(TypedDict):
    """A key file that was written.

    Attributes:
        key_id: of the key set in it, in hex.
    """

    file: str
    key_id: str


class RewrappedKeys(TypedDict):
    """A key file that has another passphrase.

    Attributes:
        key_id: of the key set in it, in hex.
        removed: the file with the old passphrase, where `up` had made it; or null.
    """

    file: str
    key_id: str
    removed: str | None


class KeyRotation(TypedDict):
    """How far a rotation of keys is.

    Attributes:
        state: what it does; `none` once it has ended, or if there is none.
        key_id: of the keys that count, in hex.
        new_key_id: of those that will, in hex; or null.
        message: what it waits for; or null.
    """

    state: Literal["none", "copying", "switching", "clearing"]
    key_id: str
    new_key_id: str | None
    items_copied: int
    items_total: int
    message: str | None


class DestroyedKeys(TypedDict):
    """A key set that is gone.

    Attributes:
        key_id: in hex.
        removed: files that were overwritten and removed, the key file first.
    """

    key_id: str
    removed: list[str]


# --- collections and items ---------------------------------------------------------------------


class Collections(TypedDict):
    """All collections."""

    collections: list[CollectionInfo]


class DeletedCollection(TypedDict):
    """A collection that is gone.

    Attributes:
        deleted: its name.
        items: how many items it had; null if it was damaged.
    """

    deleted: str
    items: int | None


class RenamedCollection(TypedDict):
    """A collection that has another name.

    Attributes:
        collection: its name now.
        before: what it was called by.
    """

    collection: str
    before: str


class GivenAlias(TypedDict):
    """A collection and the alias that means it now."""

    collection: str
    alias: str


class RemovedAlias(TypedDict):
    """A collection and the alias that it has no more."""

    collection: str
    removed: str


class TruncatedCollection(TypedDict):
    """A collection that is empty, and how many items it had."""

    collection: str
    removed: int


class AcceptedRollback(TypedDict):
    """A collection that may have been set back.

    Attributes:
        writes_before: number of writes of the newest state that the keyholder had seen.
        writes: number of writes of the state that it has now.
        items: number of items in it.
        set_back: whether it is another history than was seen; if not, nothing changed.
    """

    collection: str
    writes_before: int
    writes: int
    items: int
    set_back: bool


class Ingested(TypedDict):
    """The result of an ingest.

    Attributes:
        skipped: number of files of folders that are no photos, or hidden, and were left out.
        items: photos in the order in which they were found; no vectors.
    """

    stored: int
    duplicates: int
    rejected: int
    skipped: int
    items: list[IngestItem]
    seconds: float
    per_second: float


class ItemDocument(TypedDict):
    """An item of a collection.

    Attributes:
        name, media_type: of its file; empty for a vector.
        added: when it was stored; null for a vector that is nothing but its id.
        size_bytes: size of its file; 0: it has none.
        remark: what a search does not find of it, or what it lacks; mostly empty.
        metadata: what its owner says of it; times are texts as of RFC 3339.
        vectors: its vectors in order, if it has several, or one with a name or a box.
    """

    id: str
    name: str
    media_type: str
    added: datetime | None
    size_bytes: int
    remark: str
    metadata: Metadata
    vectors: list[VectorLabel]


class Items(TypedDict):
    """A page of items.

    Attributes:
        next: for --after, if there are more; else null.
    """

    items: list[ItemDocument]
    next: str | None


class VectorOfItem(TypedDict):
    """The vector of an item, as it can be told from its encrypted columns.

    Attributes:
        precision: what is lost of its values.
        vector: which of the item's vectors it is; null: it has one without a name and a box.
        values: without -o.
        file: with -o.
    """

    id: str
    dimension: int
    precision: str
    vector: VectorLabel | None
    values: NotRequired[list[float]]
    file: NotRequired[str]


class ItemCount(TypedDict):
    """The number of items."""

    items: int


class HitDocument(TypedDict):
    """A hit of a search.

    Attributes:
        score: by the collection's metric; null for who may know ranks alone.
        name: file name; empty for vectors.
        channels: the squared cosine of each colour channel, 0 to 1 (metric squared-cosine).
        keypoints: agreement with the query; embedder sift only.
        damage: why id and name are empty, or keypoints are missing.
        metadata: what its owner says of it; times are texts as of RFC 3339.
        vector: which of the item's vectors is the best match; null: it has one without a name and a box.
    """

    id: str
    score: float | None
    name: str
    channels: list[float]
    keypoints: KeypointAgreement | None
    damage: str
    metadata: Metadata
    vector: VectorLabel | None


class Found(TypedDict):
    """The hits of every query.

    Attributes:
        warnings: what the answer lacks, for people.
        report: path of the page of --report.
        query_visible_to_server: whether the server saw the numbers of the queries.
        quarantined_items: number of items that were not ranked, since their vectors were lost.
        metric: of the scores.
        higher_is_better: whether a higher score is a better one.
        passes: of each query, whether there are hits, to a token that reveals decisions; else empty.
        results: hits by query, best first; to such a token none.
    """

    warnings: list[str]
    report: NotRequired[str]
    query_visible_to_server: bool
    quarantined_items: int
    metric: str
    higher_is_better: bool
    passes: list[bool]
    results: list[list[HitDocument]]
    timings_seconds: Seconds


class Verified(TypedDict):
    """The decision of a verification.

    Attributes:
        verified: whether distance <= threshold.
        distance: squared Euclidean, or 1 - cosine similarity; null to a token that reveals decisions.
        threshold_source: "given", or which default it is.
        vector: which of the item's vectors is the nearest; null: it has one without a name and a box, or a
            pair was compared.
    """

    verified: bool
    distance: float | None
    threshold: float
    threshold_source: str
    metric: str
    scheme: str
    parameter_set: str
    vector: VectorLabel | None
    timings_seconds: Seconds


class WrittenPhoto(TypedDict):
    """A photo, or its pixels, in a file.

    Attributes:
        name, media_type: of the photo as it was put in; without --planes.
        width, height, channels: of its pixels; with --planes.
    """

    id: str
    name: NotRequired[str]
    media_type: NotRequired[str]
    width: NotRequired[int]
    height: NotRequired[int]
    channels: NotRequired[int]
    size_bytes: int
    file: str


class Deleted(TypedDict):
    """How many items are gone, and which ids were not there."""

    deleted: int
    unknown_ids: list[str]


class Repacked(TypedDict):
    """The result of a repack."""

    items_done: int
    items_total: int
    segments_retired: int
    segments_written: int


# --- bulk ingests ------------------------------------------------------------------------------


class Imports(TypedDict):
    """All bulk ingests, the newest first."""

    imports: list[ImportInfo]


class ImportDocument(TypedDict):
    """A bulk ingest.

    Attributes:
        import_id: identifies it in `blindsight jobs`.
        collection: its name; empty if the collection has been deleted.
        request_id: idempotency key chosen by the caller; the same key is the same import.
        received: number of items that the keyholder accepted.
        next_number: number of the first item that has not been accepted.
        done: number of items stored by this import.
        duplicates: number of items that were in the collection already.
        waiting: why the keyholder takes no photo at the moment; empty if it does.
        unreadable: files that `ingest` could not send.
        skipped: number of files of folders that are no photos, or hidden, and were left out by `ingest`.
    """

    import_id: str
    collection: str
    request_id: str
    state: str
    created: datetime
    received: int
    next_number: int
    done: int
    duplicates: int
    failed: int
    waiting: str
    failed_items: list[FailedItem]
    remarked_items: list[RemarkedItem]
    unreadable: NotRequired[list[IngestItem]]
    skipped: NotRequired[int]


class Retried(TypedDict):
    """How many failed items are tried again."""

    import_id: str
    retried: int


class Dropped(TypedDict):
    """How many sealed originals of failed items are gone."""

    import_id: str
    dropped: int


# --- pictures ----------------------------------------------------------------------------------


class WrittenArray(TypedDict):
    """The file of a combination.

    Attributes:
        pixels: how values became pixels; null for numbers as they are.
        clipped_values: number of values that did not fit.
    """

    path: str
    pixels: str | None
    clipped_values: int


class Combined(TypedDict):
    """A weighted sum.

    Attributes:
        shape: of its values.
        warning: to be shown with the result wherever it is shown, if not empty.
        ciphertexts: number for each input.
        output: the file of -o; null without.
    """

    shape: list[int]
    minimum: int
    maximum: int
    scheme: str
    key_bits: int
    description: str
    warning: str
    weights: list[int]
    ciphertexts: int
    sent_bytes: int
    received_bytes: int
    timings_seconds: Seconds
    output: WrittenArray | None


class WrittenPicture(TypedDict):
    """A picture in a file, and how values became its pixels."""

    path: str
    pixels: str


class Account(TypedDict):
    """How a picture was computed.

    Attributes:
        parameter_set: of the owner's key; empty for a key that was made for this call.
        key_bits: size of a key that was made for this call, else 0.
        warning: to be shown with the result wherever it is shown, if not empty.
        round_trips: number of round trips to the evaluator.
        ciphertexts, results: number of ciphertexts sent to the evaluator, and received from it.
        remarks: changes made to a picture on the way, for people.
        stored: how the planes of stored photos were used; empty if there were none.
    """

    scheme: str
    parameter_set: str
    key_bits: int
    description: str
    warning: str
    round_trips: int
    ciphertexts: int
    results: int
    sent_bytes: int
    received_bytes: int
    remarks: list[str]
    stored: str
    timings_seconds: Seconds


class Filtered(Account):
    """A filtered picture.

    Attributes:
        shape: height, width, and 3 for RGB.
        kind: "pixels", "signed" or "degrees".
        error_bound: largest error of a value, in grey levels, before rounding.
        clipped_values: number of results outside 0 to 255 that were clipped.
        levels: largest number of grey levels of a morphological operation; 0 without one.
    """

    operations: list[str]
    shape: list[int]
    kind: str
    minimum: int
    maximum: int
    error_bound: float
    clipped_values: int
    levels: int
    output: WrittenPicture


class Subtracted(Account):
    """A difference of two pictures.

    Attributes:
        shape: height, width, and 3 for RGB.
        over_threshold: number of values; null without --mode threshold.
        report: path of the page of --report; null without.
    """

    mode: str
    shape: list[int]
    minimum: int
    maximum: int
    differing_values: int
    over_threshold: int | None
    output: WrittenPicture
    report: str | None


class Keypoints(Account):
    """The keypoints of a picture.

    Attributes:
        width, height: of the picture as it was processed.
        output: the drawing.
        descriptors: path of their file; null without.
    """

    width: int
    height: int
    keypoints: list[Keypoint]
    output: WrittenPicture
    descriptors: str | None


class Match(TypedDict):
    """A match of two keypoints.

    Attributes:
        a, b: x and y in each picture.
        distance: of their descriptors, which are unit vectors.
        inlier: whether it agrees with the homography.
    """

    a: list[float]
    b: list[float]
    distance: float
    inlier: bool


class Matched(Account):
    """What two pictures have in common.

    Attributes:
        keypoints_a, keypoints_b: number of keypoints.
        inliers: number of matches that agree with one homography.
        verified: whether these are too many to be chance.
        homography: three rows, from A to B; null if there is none.
        output: the drawing.
    """

    keypoints_a: int
    keypoints_b: int
    inliers: int
    verified: bool
    homography: list[list[float]] | None
    matches: list[Match]
    output: WrittenPicture


# --- schemes -----------------------------------------------------------------------------------


# A word of Python's own is no name of a field in a class.
_Uses = TypedDict("_Uses", {"for": list[str]})


class Scheme(_Uses):
    """A scheme, with one of its parameter sets if it is of a ring.

    Attributes:
        kind: "ring" or "additive".
        for: what it can do.
        query_visible_to_server: whether a search shows its query to the server.
        quantum_bits: security against quantum computers; 0 for none.
        extra: the package extra that it needs; null for none.
        warning: to be shown wherever the scheme is, if not empty.
    """

    name: str
    kind: str
    query_visible_to_server: bool
    parameter_set: str | None
    quantum_safe: bool
    warning: str
    default: NotRequired[bool]
    security: NotRequired[str]
    security_bits: NotRequired[int]
    quantum_bits: NotRequired[int]
    precision: NotRequired[str]
    operations: NotRequired[list[str]]
    default_key_bits: NotRequired[int | None]
    least_key_bits: NotRequired[int]
    most_key_bits: NotRequired[int]
    message_bits: NotRequired[int | None]
    description: NotRequired[str]
    extra: NotRequired[str | None]


class Schemes(TypedDict):
    """All schemes."""

    schemes: list[Scheme]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedScheme(Row):
    """The measurements of a scheme.

    Attributes:
        search_seconds: from the photo to the best match.
        right: number of queries with the right answer.
    """

    search_seconds: float
    right: int


class Compared(TypedDict):
    """The comparison of schemes, as in results.json.

    Attributes:
        version: of this document.
        verdict: what came of it, for people.
        left_out: schemes that could not be measured.
    """

    benchmark: Literal["compare-schemes"]
    version: int
    verdict: list[str]
    machine: dict[str, Any]
    images: Images
    queries: list[Query]
    schemes: list[ComparedScheme]
    left_out: list[LeftOut]


ANSWERS: dict[str, Any] = {
    "up": Ready,
    "down": Stopped,
    "status": Status,
    "check": Checked,
    "backup": Backups,
    "restore": Backups,
    "keys create": KeySet,
    "keys rotate": KeyRotation,
    "keys rewrap": RewrappedKeys,
    "keys export": KeyFile,
    "keys import": KeyFile,
    "keys destroy": DestroyedKeys,
    "certificates init": CertificateAuthority,
    "certificates issue": Certificate,
    "certificates list": Certificates,
    "certificates renew": Renewed,
    "certificates revoke": Revoked,
    "audit show": AuditRecords,
    "audit verify": VerifiedAudit,
    "login": LoggedIn,
    "logout": LoggedOut,
    "profiles list": Profiles,
    "tokens create": CreatedToken,
    "tokens list": Tokens,
    "tokens revoke": RevokedToken,
    "tenants create": CreatedTenant,
    "tenants list": Tenants,
    "tenants set": TenantDocument,
    "tenants delete": DeletedTenant,
    "collection create": CollectionInfo,
    "collection list": Collections,
    "collection describe": CollectionInfo,
    "collection delete": DeletedCollection,
    "collection rename": RenamedCollection,
    "collection alias": GivenAlias,
    "collection unalias": RemovedAlias,
    "collection truncate": TruncatedCollection,
    "collection accept-rollback": AcceptedRollback,
    "ingest": Ingested | ImportDocument,
    "search": Found,
    "verify": Verified,
    "get": WrittenPhoto,
    "delete": Deleted,
    "repack": Repacked,
    "items list": Items,
    "items show": ItemDocument,
    "items vector": VectorOfItem,
    "items count": ItemCount,
    "items set": Updated,
    "jobs list": Imports,
    "jobs show": ImportDocument,
    "jobs watch": ImportDocument,
    "jobs cancel": ImportInfo,
    "jobs retry": Retried,
    "jobs drop": Dropped,
    "combine": Combined,
    "filter": Filtered,
    "diff": Subtracted,
    "keypoints": Keypoints,
    "match": Matched,
    "schemes": Schemes,
    "compare-schemes": Compared,
}
"""By command; `Error` is what any of them prints instead."""
