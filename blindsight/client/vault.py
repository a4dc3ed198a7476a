"""A vault: the connection to its keyholder, and its collections."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import blindsight
from blindsight.client.calls import Connection
from blindsight.client.collection import UNARY_SECONDS, Collection
from blindsight.errors import InvalidArgument, Unavailable
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.backoff import RETRY_SECONDS
from blindsight.runtime.channels import (
    KEEPALIVE_SECONDS,
    LEAST_KEEPALIVE_SECONDS,
    MOST_KEEPALIVE_SECONDS,
    client_options,
)
from blindsight.wire.collections import CollectionInfo, CollectionRequest, Metric, VaultStatus

# What a method needs is imported when it is called: most processes search and ingest, and do nothing else.
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
    from blindsight.wire.combine import ImageMode
    from blindsight.wire.imaging import Border, DifferenceMode
    from blindsight.wire.imports import ImportInfo
    from blindsight.wire.verify import Verification

ADDRESS_VARIABLE = "BLINDSIGHT_ADDRESS"
_SERVICE = pb.DESCRIPTOR.services_by_name["KeyholderService"].full_name


def connect(
    address: str | None = None,
    *,
    timeout_seconds: float = 10.0,
    keepalive_seconds: float = KEEPALIVE_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
) -> Vault:
    """Opens a vault and makes sure that its keyholder answers.

    Args:
        address: HOST:PORT; else the variable BLINDSIGHT_ADDRESS, else 127.0.0.1:7420.
        timeout_seconds: how long the keyholder may take to answer.
        keepalive_seconds: a connection on which nothing comes for so long, not even the answer to a ping, is
            lost, and its calls raise Unavailable; however long a call takes, its keyholder answers pings.
        retry_seconds: how long the keyholder may be away, to restart, before calls raise Unavailable.
            Until then they are made again: those that may be made twice, and those that it did not begin.

    Raises:
        InvalidArgument: when the address is none, or the keepalive is not between a second and a day.
        Unavailable: when no keyholder answers there.
    """
    target = address or os.environ.get(ADDRESS_VARIABLE) or blindsight.DEFAULT_ADDRESS
    _check_address(target)
    if not LEAST_KEEPALIVE_SECONDS <= keepalive_seconds <= MOST_KEEPALIVE_SECONDS:
        raise InvalidArgument(
            f"keepalive of {keepalive_seconds:g} seconds, want {LEAST_KEEPALIVE_SECONDS:g} to "
            f"{MOST_KEEPALIVE_SECONDS:g}"
        )
    channel = grpc.insecure_channel(target, options=client_options(keepalive_seconds))
    try:
        _check_health(channel, target, timeout_seconds)
    except BaseException:
        channel.close()
        raise
    return Vault(Connection(channel, retry_seconds), target)


class Vault:
    """An open connection; also a context manager.  Use `blindsight.connect`."""

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
        """Closes the connection; running calls are cancelled."""
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
        """Adds a collection.

        Args:
            name: free, and none that is taken.
            scheme: "ckks" (approximate, fastest), "bfv" (exact on rounded values), or "paillier", which shows
                the query of a search to the server.
            parameter_set: one of the scheme's; else its default.
            embedder: what makes vectors of photos; "none" for vectors of your own.
            dimension: of a vector; needed for "none", else the embedder's own.
            metric: "cosine", "euclidean" (squared distance) or "dot"; "squared-cosine" with channels.
            expected_size: how many items it may have one day; decides the layout.
            max_norm: longest vector (dot and euclidean); else the first ingest decides.
            channels: "rgb" or "grey": embedder pixels keeps the raw pixels of these channels.
            size: side, in pixels, of the picture that embedder pixels makes; 64 for channels.

        Raises:
            AlreadyExists: when the name is taken.
            InvalidArgument: when the keyholder cannot make such a collection.
        """
        request = CollectionRequest(
            name=name,
            scheme=scheme,
            parameter_set=parameter_set or "",
            embedder=embedder,
            dimension=_natural("dimension", dimension),
            metric=metric or None,
            expected_size=_natural("expected_size", expected_size),
            max_norm=max_norm or 0.0,
            channels=channels or "",
            size=_natural("size", size),
        )
        create = partial(self._stub.CreateCollection, request.to_message(), timeout=UNARY_SECONDS)
        answer = self._connection.repeat(create, safe=False)
        return self.collection(answer.collection.name)

    def collection(self, name: str) -> Collection:
        """A handle on a collection; whether it exists shows when it is used."""
        return Collection(self._connection, name)

    def collections(self) -> list[CollectionInfo]:
        """All collections."""
        request = pb.ListCollectionsRequest()
        answer = self._connection.repeat(lambda: self._stub.ListCollections(request, timeout=UNARY_SECONDS))
        return list(map(CollectionInfo.from_message, answer.collections))

    def delete_collection(self, name: str) -> None:
        """Removes a collection and everything in it.

        Raises:
            NotFound: when there is none of that name.
        """
        request = pb.DeleteCollectionRequest(name=name)
        self._connection.repeat(lambda: self._stub.DeleteCollection(request), safe=False)

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
        """Whether two photos, or two vectors, are of the same thing.

        Both are encrypted, the evaluator computes their encrypted distance, the keyholder decides.

        Args:
            a, b: two photos (a path, bytes, a Pillow image, a uint8 array [height, width] or
                [height, width, 3]), or two vectors of numbers [d].
            metric: "cosine" (1 - similarity) or "euclidean" (squared distance).
            threshold: largest distance that is still the same; else a default, which the answer names.
            scheme: "ckks" or "bfv".
            parameter_set: one of the scheme's; else its default.
            embedder: what makes vectors of photos; "none" for vectors.

        Raises:
            InvalidArgument: when they are not two of a kind, or a setting is none.
            InvalidImage: when a photo is none.
            InvalidVector: when vectors are of different dimensions, or have a NaN.
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
        image_mode: ImageMode = "auto",
        insecure_small_keys: bool = False,
        progress: CombineCallback | None = None,
    ) -> Combination:
        """The sum of pictures or integer arrays, each times a weight, computed under encryption.

        The keyholder encrypts them under a key that it makes for this call, the evaluator adds up what it
        cannot read, the keyholder decrypts.  The weights are in the clear.

        Args:
            inputs: 2 to 16 of one shape: pictures (a path, bytes, a Pillow image), whose values are 0 to 255,
                or arrays of integers.
            weights: integers, one for each input; else all 1.
            scheme: an additive one; `blindsight schemes` lists them.
            key_bits: size of the key; else the scheme's default.
            image_mode: "grey" [height, width], "rgb" [height, width, 3], or "auto": grey when no picture has
                colour.
            insecure_small_keys: lets LightPHE's schemes have keys that anybody can break, for comparison.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: when shapes differ, the scheme cannot do it, or a result could overflow.
            InvalidImage: when a picture is none.
            ResourceExhausted: when there is too much of it, or it would take too long.
        """
        from blindsight.client import combining
        from blindsight.wire.combine import CombineHeader

        header = CombineHeader(
            scheme=scheme,
            key_bits=_natural("key_bits", key_bits),
            weights=tuple(_weights(weights or ())),
            image_mode=image_mode,
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
        """A picture filtered under encryption: linear filters on the evaluator, the rest on the keyholder.

        Of morphology the evaluator counts pixels in planes of levels, and the keyholder decides.

        Args:
            image: a path, bytes, a Pillow image, a uint8 array, or a `StoredPhoto`: its planes are computed
                with where they are when they are as the filter needs them, else the keyholder decrypts them
                and encrypts anew; `account.stored` says which, `account.remarks` why.
            operations: one after the other, such as "gaussian:5", "sobel:x", "sobel", "threshold:otsu",
                "open:5:disc", "erode:3:cross:16" (16 levels of grey, not all 256); an array is a kernel of
                your own.  Linear ones in a row are one kernel and one round trip.  An unknown one raises an
                error that lists the known.
            scheme: "bfv" (exact), "ckks" or "paillier" (slow); by default that of a stored photo's planes,
                else "bfv".
            border: what lies beyond the edge: "reflect" (OpenCV's BORDER_REFLECT_101), "constant" (black) or
                "replicate"; by default "reflect", and nothing for morphology, as in OpenCV.
            colours: "grey", "rgb", or "auto" for what the picture has.
            key_bits: of paillier's key, which is made for this and forgotten; 3072 unless stated.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: for an operation that there is not, or that would overflow.
            InvalidImage: when the picture is none.
            NotFound: for a photo that there is not, or that has no planes.
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
        """The difference of two pictures of one size, subtracted under encryption.

        Args:
            a, b: as for `filter`.
            mode: "signed" (A - B), "absolute", or "threshold": 255 where the magnitude is over the threshold.
            threshold: 0 to 254.
            scheme: "bfv", "ckks", "paillier", or "scramble", which is no encryption; by default that of a
                stored photo's planes, else "bfv".
            colours: as for `filter`.
            key_bits: of paillier; else its default.
            server_views: also answer with pictures of what the evaluator saw.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: for pictures of different sizes, among others.
            InvalidImage: when a picture is none.
            NotFound: for a photo that there is not, or that has no planes.
        """
        from blindsight.client import imaging
        from blindsight.wire.imaging import DiffHeader

        header = DiffHeader(
            scheme=scheme or "",
            mode=mode,
            threshold=threshold,
            colours=colours,
            key_bits=_natural("key_bits", key_bits),
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
        """SIFT keypoints of a picture: its scale space is computed under encryption, an octave a round trip.

        Args:
            image: as for `filter`.
            scheme: "ckks" or "bfv"; by default that of a stored photo's planes where they can be used, which
                is of a grey photo with a halo of 9 (at 3 scales), else "ckks".
            octaves: at most so many; None: all that the picture has.
            scales: levels of an octave in which keypoints are looked for, 2 to 5.
            side: a larger picture is made smaller first, so that no side is longer; at most 1600.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: for what cannot be, or when the keyholder has no OpenCV.
            InvalidImage: when the picture is none.
            NotFound: for a photo that there is not, or that has no planes.
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
        """Which keypoints of two pictures are the same, and which of these agree on one view.

        Args:
            a, b: as for `filter`.
            ratio: how much nearer the nearest descriptor must be than the second nearest (Lowe's ratio test).
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
        """All bulk ingests, the newest first.

        Raises:
            InvalidArgument: when the keyholder has no queue.
        """
        from blindsight.client import imports

        return imports.listed(self._connection)

    def get_import(self, import_id: str) -> Import:
        """A handle on a bulk ingest; whether it exists shows when it is used."""
        from blindsight.client.imports import Import

        return Import(self._connection, import_id)

    def status(self) -> VaultStatus:
        """The state of the three services."""
        request = pb.GetStatusRequest()
        ask = partial(self._stub.GetStatus, request, timeout=UNARY_SECONDS)
        return VaultStatus.from_message(self._connection.repeat(ask))


def _natural(name: str, value: int | None) -> int:
    if value is None:
        return 0
    if not 0 < value < 1 << 32:
        raise InvalidArgument(f"{name} is {value}, want 1 to {(1 << 32) - 1}")
    return value


def _weights(weights: Sequence[int]) -> list[int]:
    try:
        exact = [operator.index(weight) for weight in weights]
    except TypeError:
        raise InvalidArgument("weights are no integers, want whole numbers of either sign") from None
    for weight in exact:
        if not -(1 << 63) <= weight < 1 << 63:
            raise InvalidArgument("a weight of more than 63 bits, want less")
    return exact


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InvalidArgument(f"address {address!r}, want HOST:PORT")


def _check_health(channel: grpc.Channel, address: str, timeout_seconds: float) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its methods are set when it is made
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=_SERVICE), timeout=timeout_seconds)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED):
            raise Unavailable(f"the service at {address} is no keyholder") from None
        raise Unavailable(
            f"no keyholder answers at {address}; start one with `blindsight up --data DIR`"
        ) from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unavailable(f"the keyholder at {address} is not serving: it is starting or stopping")
