"""A vault: the connection to its keyholder, and its collections."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from blindsight.client import audit, keys, tenants, tokens
from blindsight.client.arguments import checked, text
from blindsight.client.audit import AuditCallback
from blindsight.client.calls import Connection
from blindsight.client.collection import Collection
from blindsight.client.contents import UNARY_SECONDS
from blindsight.client.tenants import NewTenant
from blindsight.client.tokens import NewToken
from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.audit import AuditPage, AuditVerification
from blindsight.wire.collections import CollectionInfo, CollectionRequest, Metric, Rollback, VaultStatus
from blindsight.wire.keys import Rotation
from blindsight.wire.tenants import Quotas, Tenant
from blindsight.wire.tokens import Token

# Methods import what they need when they are called: most processes only search and ingest.
if TYPE_CHECKING:
    from blindsight.client.combining import Combination, CombineCallback, CombineInput
    from blindsight.client.imaging import (
        Difference,
        Filtered,
        ImagingCallback,
        Keypoints,
        Matching,
        OperationInput,
        PictureInput,
    )
    from blindsight.client.imports import Import
    from blindsight.client.verifying import VerifyInput
    from blindsight.wire.common import ImageMode
    from blindsight.wire.imaging import Border, DifferenceMode
    from blindsight.wire.imports import ImportInfo
    from blindsight.wire.verify import Verification


@checked
class Vault:
    """A vault with an open connection to its keyholder; also a context manager.  Use `blindsight.connect`."""

    def __init__(self, connection: Connection, address: str) -> None:
        self._connection = connection
        self._stub = connection.keyholder
        self.address = address

    def __repr__(self) -> str:
        return f"Vault({self.address!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; running calls are cancelled, and later ones raise InvalidArgument."""
        self._connection.close()

    def create_collection(
        self,
        name: str,
        *,
        scheme: str = "ckks",
        parameter_set: str | None = None,
        embedder: str = "descriptor",
        dimension: int | None = None,
        metric: Metric | None = None,
        expected_size: int | None = None,
        max_norm: float | None = None,
        channels: str | None = None,
        size: int | None = None,
    ) -> Collection:
        """Creates a collection.

        Args:
            name: one that is not taken: 1 to 128 printable characters, no dash first, no space at an end.
                Both spellings of an accented letter (NFC, NFD) are one.
            scheme: "ckks" (approximate, fastest), "bfv" (exact on rounded values), or "paillier", which shows
                the query of a search to the server.
            parameter_set: one of the scheme's; None: its default.
            embedder: computes vectors of photos; "external": photos come with vectors of your own; "none":
                for vectors alone.
            dimension: number of values of a vector; required for "external" and "none", else the
                embedder's own.
            metric: "cosine", "euclidean" (squared distance) or "dot"; "squared-cosine" with channels.
            expected_size: number of items that the collection may grow to; decides the layout.
            max_norm: largest norm of a vector (dot and euclidean); None: set by the first ingest.
            channels: "rgb" or "grey": embedder pixels keeps the raw pixels of these channels.
            size: side, in pixels, of the thumbnail that embedder pixels makes; 64 for channels.

        Raises:
            AlreadyExists: if the name is taken, also as an alias.
            InvalidArgument: if the keyholder cannot make such a collection.
        """
        request = CollectionRequest(
            name=name,
            scheme=scheme,
            parameter_set=parameter_set or "",
            embedder=embedder,
            dimension=dimension or 0,
            metric=metric or None,
            expected_size=expected_size or 0,
            max_norm=max_norm or 0.0,
            channels=channels or "",
            size=size or 0,
        )
        create = partial(self._stub.CreateCollection, request.to_message(), timeout=UNARY_SECONDS)
        answer = self._connection.repeat(create, safe=False)
        return self.collection(answer.collection.name)

    def collection(self, name: str) -> Collection:
        """Returns a handle on a collection by name or alias, without checking that it exists."""
        return Collection(self._connection, name)

    def collections(self) -> list[CollectionInfo]:
        """Returns all collections."""
        request = pb.ListCollectionsRequest()
        answer = self._connection.repeat(lambda: self._stub.ListCollections(request, timeout=UNARY_SECONDS))
        return list(map(CollectionInfo.from_message, answer.collections))

    def delete_collection(self, name: str) -> None:
        """Deletes a collection and everything in it.

        Raises:
            NotFound: if there is no such collection; one that is damaged is deleted.
            InvalidArgument: if the name is an alias.
        """
        request = pb.DeleteCollectionRequest(name=name)
        self._connection.repeat(lambda: self._stub.DeleteCollection(request), safe=False)

    def set_alias(self, alias: str, collection: str | Collection) -> None:
        """Gives a collection another name by which it is found, too.

        One that another collection has moves, at one moment: who searches by it meanwhile searches one or the
        other.  Deletion and truncation want a collection's own name.

        Args:
            alias: 1 to 128 printable characters, no dash first, no space at an end.
            collection: a handle, or a name or alias.

        Raises:
            NotFound: if there is no such collection.
            AlreadyExists: if a collection has the alias as its own name.
            ResourceExhausted: if the collection has too many aliases.
        """
        name = collection.name if isinstance(collection, Collection) else collection
        request = pb.SetAliasRequest(alias=alias, collection=text("collection name", name))
        self._connection.repeat(lambda: self._stub.SetAlias(request, timeout=UNARY_SECONDS))

    def remove_alias(self, alias: str) -> str:
        """Takes an alias from its collection; returns the collection's name.

        Raises:
            NotFound: if no collection has it.
        """
        request = pb.RemoveAliasRequest(alias=alias)
        remove = partial(self._stub.RemoveAlias, request, timeout=UNARY_SECONDS)
        return str(self._connection.repeat(remove, safe=False).collection.name)

    def accept_rollback(self, name: str) -> Rollback:
        """Accepts that storage has an older state of a collection than the keyholder has seen.

        Until then, a collection that was set back is refused: a restored backup looks like an attack.

        Raises:
            NotFound: if there is no such collection.
            DataLoss: if storage's state was never written, or storage has lost the collection.
        """
        request = pb.AcceptRollbackRequest(name=name)
        return Rollback.from_message(self._connection.repeat(lambda: self._stub.AcceptRollback(request)))

    def acknowledge_alarms(self, status: VaultStatus) -> int:
        """Ends the alarms of a status, because their owner has seen them; returns how many stood until now.

        One that was raised again since then stands on.
        """
        newest = max((one.number for one in status.alarms), default=0)
        request = pb.AcknowledgeAlarmsRequest(up_to_number=newest)
        return int(self._connection.repeat(lambda: self._stub.AcknowledgeAlarms(request)).acknowledged)

    def create_token(
        self,
        role: str,
        *,
        collections: Sequence[str] | None = None,
        label: str = "",
        expires: datetime | None = None,
        reveal: str | None = None,
        requests_per_second: float | None = None,
        burst: int | None = None,
        queries_per_day: int | None = None,
        threshold: float | None = None,
    ) -> NewToken:
        """Makes a token, by which others may use the vault within limits.

        Args:
            role: "owner", "editor" (store, change, delete, search), "uploader" (store what is not there yet),
                "searcher" (search, compare, fetch what was found) or "auditor" (see that all is there).
            collections: for which alone it holds, others do not exist for its bearer; None: for all.
            label: to tell it from others.
            expires: when it ends; None: never.
            reveal: what searches tell a searcher: "decisions" (of each query, whether anything passes the
                threshold), "ranks" (the order of hits), "rounded" or "scores" (of collections of scheme bfv
                alone); None: ranks.
            requests_per_second: calls in the long run; None: any number.
            burst: calls at once; None: those of a second, and at least 1.
            queries_per_day: of searches and verifications, in a day of UTC; None: any number.
            threshold: of decisions, and for them alone: the worst score that passes.

        Raises:
            InvalidArgument: if there is no such role, the time has passed, an owner's is to be limited, or
                another than a searcher's is to reveal less, or a limit is none.
            NotFound: if there is no such collection.
        """
        return tokens.create(
            self._connection,
            role,
            collections,
            label,
            expires,
            reveal,
            requests_per_second,
            burst,
            queries_per_day,
            threshold,
        )

    def tokens(self) -> list[Token]:
        """Returns all tokens, the oldest first, without what proves them."""
        return tokens.all_tokens(self._connection)

    def revoke_token(self, token_id: str) -> None:
        """Revokes a token: calls that show it fail from now on.

        Raises:
            NotFound: if there is none of this id.
        """
        tokens.revoke(self._connection, token_id)

    def audit_page(
        self,
        *,
        since: datetime | None = None,
        token_id: str = "",
        collection: str = "",
        page_size: int = 100,
        page_token: str | None = None,
    ) -> AuditPage:
        """Returns a page of the audit log: who did what with which outcome, the newest first.

        Args:
            since: only records from then on; None: all.
            token_id: only those of this token; empty: all.
            collection: only those about this collection, by its name, or its id in hex; empty: all.
            page_size: at most 1000.
            page_token: `next_page_token` of the page before; None: the first.

        Raises:
            NotFound: if there is no such collection.
            PermissionDenied: if the caller is neither an owner nor an auditor of the whole vault.
        """
        about = text("collection name", collection)
        return audit.page(self._connection, since, token_id, about, page_size, page_token)

    def verify_audit(
        self, *, expected: str | None = None, progress: AuditCallback | None = None
    ) -> AuditVerification:
        """Reads the whole audit log, and says what of it was altered, dropped, moved or cut off.

        Args:
            expected: "NUMBER:CHAIN" of an earlier verification, `last` and `chain`: that the log was set back
                since is noticed; None: that is not asked.
            progress: called after every answer of the keyholder.

        Returns:
            The result; `faults` is empty if all is right.
        """
        return audit.verify(self._connection, expected, progress)

    def create_tenant(
        self,
        tenant: str,
        *,
        items: int | None = None,
        size_bytes: int | None = None,
        requests_per_second: float | None = None,
        heavy_jobs: int | None = None,
        max_collections: int | None = None,
    ) -> NewTenant:
        """Makes a tenant: a vault of its own with keys, collections and tokens of its own.

        Args:
            tenant: its name, for the operator alone.
            items: of all its collections; each vector of an item counts; None: no limit.
            size_bytes: that storage has of all its collections; None: no limit.
            requests_per_second: on average; None: no limit.
            heavy_jobs: ingests, image processing, weighted sums, checks and repacks at once; None: no limit.
            max_collections: empty ones too; None: no limit.

        Raises:
            AlreadyExists: if there is a tenant of this name.
            InvalidArgument: if name or quotas are not such.
            PermissionDenied: if the caller is no operator, as all methods of tenants.
        """
        quotas = Quotas(items, size_bytes, requests_per_second, heavy_jobs, max_collections)
        return tenants.create(self._connection, tenant, quotas)

    def tenants(self) -> list[Tenant]:
        """Returns all tenants, the oldest first, with what they use."""
        return tenants.all_tenants(self._connection)

    def set_quotas(
        self,
        tenant: str,
        *,
        items: int | None = None,
        size_bytes: int | None = None,
        requests_per_second: float | None = None,
        heavy_jobs: int | None = None,
        max_collections: int | None = None,
    ) -> Tenant:
        """Changes what a tenant may use; what it has already stays.

        Args:
            tenant: its name.
            items, size_bytes, requests_per_second, heavy_jobs, max_collections: as of `create_tenant`; None:
                no limit.

        Raises:
            NotFound: if there is none of this name.
            InvalidArgument: if one of the quotas is none.
        """
        quotas = Quotas(items, size_bytes, requests_per_second, heavy_jobs, max_collections)
        return tenants.set_quotas(self._connection, tenant, quotas)

    def delete_tenant(self, tenant: str) -> int:
        """Deletes a tenant: its tokens, its keys, then its collections; returns how many these were.

        Raises:
            NotFound: if there is none of this name.
            Unavailable: if storage is away; its keys are destroyed, another call removes its collections.
        """
        return tenants.delete(self._connection, tenant)

    def rotate_keys(self) -> Rotation:
        """Begins to move everything to new keys, or goes on with it; returns how far it is.

        The vault serves meanwhile. At the end the old keys are destroyed; see docs/keys.md.
        """
        return keys.rotate(self._connection)

    def rotation(self) -> Rotation:
        """Returns how far a rotation of keys is."""
        return keys.rotation(self._connection)

    def verify(
        self,
        a: VerifyInput,
        b: VerifyInput,
        *,
        metric: Metric = "cosine",
        threshold: float | None = None,
        scheme: str = "ckks",
        parameter_set: str | None = None,
        embedder: str | None = None,
    ) -> Verification:
        """Decides whether two photos, or two vectors, show the same thing.

        Both are encrypted, the evaluator computes their encrypted distance, the keyholder decides.

        Args:
            a, b: two photos (a path, bytes, a Pillow image, a uint8 array [height, width] or
                [height, width, 3]), or two vectors of numbers [d].
            metric: "cosine" (1 - similarity) or "euclidean" (squared distance).
            threshold: largest distance at which both are the same; None: a default, which the answer names.
            scheme: "ckks" or "bfv".
            parameter_set: one of the scheme's; None: its default.
            embedder: computes vectors of photos; "none": for vectors.

        Raises:
            InvalidArgument: if one is a photo and the other a vector, or a setting is unknown.
            InvalidImage: if the data of a photo is not a decodable image.
            InvalidVector: if the vectors have different dimensions, or a NaN.
        """
        from blindsight.client import verifying
        from blindsight.wire.verify import VerifyHeader

        header = VerifyHeader(
            scheme=scheme,
            parameter_set=parameter_set or "",
            metric=metric,
            embedder=embedder or "",
            threshold=threshold,
        )
        return verifying.verify(self._connection, header, a, b)

    def combine(
        self,
        inputs: Sequence[CombineInput],
        *,
        weights: Sequence[int] | None = None,
        scheme: str = "paillier",
        key_bits: int | None = None,
        colours: ImageMode = "auto",
        insecure_small_keys: bool = False,
        progress: CombineCallback | None = None,
    ) -> Combination:
        """Computes a weighted sum of pictures or integer arrays under encryption.

        The keyholder encrypts the inputs under a key that it generates for this call, the evaluator adds the
        ciphertexts, and the keyholder decrypts the sum.  The weights are in the clear.

        Args:
            inputs: 2 to 16 of one shape: pictures (a path, bytes, a Pillow image), whose values are 0 to 255,
                or arrays of integers.
            weights: integers, one for each input; None: all 1.
            scheme: an additive scheme; `blindsight schemes` lists them.
            key_bits: size of the key; None: the scheme's default.
            colours: "grey" [height, width], "rgb" [height, width, 3], or "auto": grey if no picture has
                colour.
            insecure_small_keys: lets LightPHE's schemes use keys too small to be secure, for comparison.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: if shapes differ, the scheme does not support it, or a result could overflow.
            InvalidImage: if the data of a picture is not a decodable image.
            ResourceExhausted: if the inputs are too large, or the computation would take too long.
        """
        from blindsight.client import combining
        from blindsight.wire.combine import CombineHeader

        header = CombineHeader(
            scheme=scheme,
            key_bits=key_bits or 0,
            weights=tuple(_weights(weights or [])),
            colours=colours,
            insecure_small_keys=insecure_small_keys,
        )
        return combining.combine(self._connection, header, inputs, progress)

    def filter(
        self,
        image: PictureInput,
        operations: str | Sequence[OperationInput],
        *,
        scheme: str | None = None,
        border: Border | None = None,
        colours: ImageMode = "auto",
        key_bits: int | None = None,
        progress: ImagingCallback | None = None,
    ) -> Filtered:
        """Filters a picture under encryption: linear filters on the evaluator, the rest on the keyholder.

        For morphology the evaluator counts pixels in threshold planes of grey levels, and the keyholder
        compares the counts.

        Args:
            image: a path, bytes, a Pillow image, a uint8 array, or a `StoredPhoto`.  The evaluator computes
                on the planes of a stored photo in place if they fit the filter; else the keyholder decrypts
                and re-encrypts them.  `account.stored` says which, `account.remarks` why.
            operations: applied one after the other, such as "gaussian:5", "sobel:x", "sobel",
                "threshold:otsu", "open:5:disc", "erode:3:cross:16" (16 levels of grey, not all 256); an array
                is a custom kernel.  Consecutive linear ones are merged into one kernel and one round trip.
                The error for an unknown operation lists the known ones.
            scheme: "bfv" (exact), "ckks" or "paillier" (slow); by default that of a stored photo's planes,
                else "bfv".
            border: how pixels beyond the edge are made: "reflect" (OpenCV's BORDER_REFLECT_101), "constant"
                (black) or "replicate"; by default "reflect", and none for morphology, as in OpenCV.
            colours: "grey", "rgb", or "auto" for those of the picture.
            key_bits: size of paillier's key, which is generated for this call and discarded; default 3072.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: if an operation is unknown or would overflow.
            InvalidImage: if the data is not a decodable image.
            NotFound: if there is no such stored photo, or it has no planes.
        """
        from blindsight.client import imaging

        return imaging.filtered(
            self._connection, image, operations, scheme or "", border, colours, key_bits or 0, progress
        )

    def diff(
        self,
        a: PictureInput,
        b: PictureInput,
        *,
        mode: DifferenceMode = "signed",
        threshold: int = 0,
        scheme: str | None = None,
        colours: ImageMode = "auto",
        key_bits: int | None = None,
        server_views: bool = False,
        progress: ImagingCallback | None = None,
    ) -> Difference:
        """Computes the difference of two pictures of the same size under encryption.

        Args:
            a, b: as for `filter`.
            mode: "signed" (A - B), "absolute", or "threshold": 255 where the magnitude is over the threshold.
            threshold: 0 to 254.
            scheme: "bfv", "ckks", "paillier", or "scramble", which is not encryption; by default that of a
                stored photo's planes, else "bfv".
            colours: as for `filter`.
            key_bits: size of paillier's key; None: the default.
            server_views: also return pictures of what the evaluator saw.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: if the pictures differ in size, or a setting is invalid.
            InvalidImage: if the data of a picture is not a decodable image.
            NotFound: if there is no such stored photo, or it has no planes.
        """
        from blindsight.client import imaging
        from blindsight.wire.imaging import DiffHeader

        header = DiffHeader(
            scheme=scheme or "",
            mode=mode,
            threshold=threshold or 0,
            colours=colours,
            key_bits=key_bits or 0,
            server_views=server_views,
        )
        return imaging.difference(self._connection, a, b, header, progress)

    def keypoints(
        self,
        image: PictureInput,
        *,
        scheme: str | None = None,
        octaves: int | None = None,
        scales: int = 3,
        side: int = 800,
        progress: ImagingCallback | None = None,
    ) -> Keypoints:
        """Finds SIFT keypoints; the scale space is computed under encryption, one round trip per octave.

        Args:
            image: as for `filter`.
            scheme: "ckks" or "bfv"; by default that of a stored photo's planes if they can be used in place,
                which needs a grey photo with a halo of 9 (at 3 scales), else "ckks".
            octaves: maximum number of octaves; None: all that the picture has.
            scales: number of levels of an octave in which keypoints are detected, 2 to 5.
            side: longest side in pixels, at most 1600; larger pictures are scaled down first.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: if a setting is invalid, or the keyholder has no OpenCV.
            InvalidImage: if the data is not a decodable image.
            NotFound: if there is no such stored photo, or it has no planes.
        """
        from blindsight.client import imaging

        settings = imaging.settings(scheme or "", octaves, scales, side)
        return imaging.keypoints(self._connection, image, settings, progress)

    def match(
        self,
        a: PictureInput,
        b: PictureInput,
        *,
        ratio: float = 0.75,
        encrypted: bool = False,
        scheme: str | None = None,
        octaves: int | None = None,
        scales: int = 3,
        side: int = 800,
        progress: ImagingCallback | None = None,
    ) -> Matching:
        """Matches the keypoints of two pictures, and finds those that agree with one homography.

        Args:
            a, b: as for `filter`.
            ratio: largest ratio of the distances to the nearest and second nearest descriptor (Lowe's ratio
                test).
            encrypted: the evaluator compares descriptors under encryption, the 1,000 strongest of each
                picture; otherwise the keyholder does, with FLANN.
            scheme, octaves, scales, side, progress: as for `keypoints`.

        Raises:
            InvalidArgument, InvalidImage, NotFound: as `keypoints`.
        """
        from blindsight.client import imaging

        settings = imaging.settings(scheme or "", octaves, scales, side)
        return imaging.matching(self._connection, a, b, settings, ratio, encrypted, progress)

    def imports(self) -> list[ImportInfo]:
        """Returns all bulk ingests, the newest first.

        Raises:
            InvalidArgument: if the keyholder has no queue.
        """
        from blindsight.client import imports

        return imports.listed(self._connection)

    def get_import(self, import_id: str) -> Import:
        """Returns a handle on a bulk ingest, without checking that it exists."""
        from blindsight.client.imports import Import

        return Import(self._connection, import_id)

    def status(self) -> VaultStatus:
        """Returns the status of the three services, the key id, and all collections."""
        request = pb.GetStatusRequest()
        ask = partial(self._stub.GetStatus, request, timeout=UNARY_SECONDS)
        return VaultStatus.from_message(self._connection.repeat(ask))


def _weights(weights: Sequence[int]) -> list[int]:
    try:
        exact = [operator.index(weight) for weight in weights]
    except TypeError:
        raise InvalidArgument("weights are not integers, want whole numbers of either sign") from None
    for weight in exact:
        if not -(1 << 63) <= weight < 1 << 63:
            raise InvalidArgument("a weight of more than 63 bits, want less")
    return exact
