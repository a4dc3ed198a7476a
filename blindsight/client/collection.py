"""A collection: ingesting photos or vectors, searching, reading originals, keeping it in order."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from blindsight.client import arguments, calls, inputs, originals, searching, uploads
from blindsight.client.contents import UNARY_SECONDS, Contents
from blindsight.client.inputs import Inputs, QueryInput, Values
from blindsight.client.items import Filters, filter_of, ids_of, metadata_of
from blindsight.client.models import (
    CheckCallback,
    IngestCallback,
    IngestReport,
    Original,
    RepackCallback,
    SearchAnswer,
    SearchCallback,
    TruncateCallback,
)
from blindsight.client.sources import Source
from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.collections import CheckProgress, RepackProgress, TruncateProgress
from blindsight.wire.search import SearchHeader

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from blindsight.client.calls import AwayCallback
    from blindsight.client.imports import Import, ImportCallback
    from blindsight.client.verifying import VerifyInput
    from blindsight.wire.verify import Verification

DEFAULT_K = 5


@arguments.checked
class Collection(Contents):
    """A handle on a collection by name or alias; creating one makes no call.

    Use `Vault.collection` or `Vault.create_collection`.  What it holds is in `Contents`.
    """

    def __repr__(self) -> str:
        return f"Collection({self.name!r})"

    def rename(self, new: str) -> None:
        """Gives the collection another name, which this handle has then; all that is under way goes on.

        Args:
            new: 1 to 128 printable characters, no dash first, no space at an end; an alias of its own may
                become its name.

        Raises:
            NotFound: if there is no such collection.
            AlreadyExists: if another collection has the name, also as an alias.
        """
        request = pb.RenameCollectionRequest(name=self.name, new_name=new)
        rename = partial(self._stub.RenameCollection, request, timeout=UNARY_SECONDS)
        self.name = str(self._connection.repeat(rename, safe=False).collection.name)

    def ingest(
        self,
        photos: Inputs,
        *,
        planes: bool = False,
        plane_halo: int = 0,
        vectors: npt.ArrayLike | None = None,
        metadata: Values | None = None,
        exif: bool = False,
        sidecar: bool = False,
        upsert: bool = False,
        any: bool = False,  # noqa: A002 - as the command calls it
        progress: IngestCallback | None = None,
    ) -> IngestReport:
        """Ingests photos; one that is rejected does not stop the others.

        A photo that cannot be decoded or described is stored with a remark: `get` returns it, and no search
        finds it.  A file is a photo if its name or its first bytes say so.  Of others, those that are named
        are rejected, and those in folders are left out and counted.  Repeating an ingest is safe: a photo
        that is there already counts as a duplicate.

        Args:
            photos: one or many of: a path of a file or folder, a glob, bytes, a PIL image, a uint8 array
                [height, width] or [height, width, 3], a pair of a name and one of these, or a `Photo`, which
                has an id of one's own, metadata, or a vector.
            planes: whether each photo, of up to 8 megapixels, is kept as encrypted pixel planes too; storage
                then learns its width and height, and whether it is grey.
            plane_halo: largest radius in pixels of a filter on these planes that the evaluator can apply
                without the keyholder re-encrypting them: 2 for a Gaussian of size 5.  It costs storage: tiles
                of 64 x 64 pixels overlap by twice as much.
            vectors: numbers [n, d] of one's own, row i of photo i, from a model of one's choice: embedder
                external needs them.
            metadata: of all photos: texts, numbers, true and false, lists of texts, times with a time zone;
                what a `Photo` brings itself goes before.
            exif: whether what EXIF says of photos is kept as metadata, where nothing else is said: `taken`
                (a time; one without its offset counts as UTC), `camera`, `latitude` and `longitude`.
            sidecar: whether files beside photos say more of them: of `a.jpg` a JSON object of metadata in
                `a.jpg.json`, else in `a.json`.  It goes before `metadata`, and after what a `Photo` brings.
                A photo whose file holds none is rejected.
            upsert: whether a photo with the id of an item takes its place, file, vector and metadata at once;
                otherwise it is a duplicate.
            any: whether files that are no photos are kept, too.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidArgument: if a path does not exist, or there are not as many vectors as photos, before
                anything is sent.
            InvalidVector: if a vector has a NaN, or the dimension is not the collection's; names the row.
            NotFound: if there is no such collection.
            Unavailable: if a service is gone; `metadata` has the counts until then.
        """
        sieve = inputs.Sieve(any=any, sidecar=sidecar)
        sources, total = inputs.expand(photos, sieve)
        if vectors is not None:
            sources = self._with_vectors(sources, total, vectors)
        upload = uploads.PhotoUpload(
            self.name,
            sources,
            total,
            planes=planes,
            halo=plane_halo,
            metadata=metadata_of(metadata),
            upsert=upsert,
            exif=exif,
        )
        return replace(uploads.run(self._connection, upload, progress), skipped=sieve.skipped)

    def _with_vectors(
        self, sources: Iterable[Source], total: int | None, matrix: npt.ArrayLike
    ) -> Iterator[Source]:
        from blindsight.client import vectors  # imported late, as below

        rows, about = vectors.as_matrix(matrix), self.describe()
        vectors.check(rows, dimension=about.dimension, nonzero=about.metric == "cosine")
        return vectors.beside(sources, total, rows)

    def ingest_bulk(
        self,
        photos: Inputs,
        *,
        request_id: str | None = None,
        vectors: npt.ArrayLike | None = None,
        metadata: Values | None = None,
        exif: bool = False,
        sidecar: bool = False,
        any: bool = False,  # noqa: A002 - as above
        progress: ImportCallback | None = None,
        away: AwayCallback | None = None,
    ) -> Import:
        """Adds photos to the keyholder's queue, from which workers ingest them; returns when all are queued.

        The queue survives the restart of any process.  If the keyholder goes away, the call waits for it and
        continues.  `Import.wait` of the result waits until all photos are ingested.

        Args:
            photos: as for `ingest`.
            request_id: idempotency key, up to 128 characters.  To continue a call that broke off, repeat it
                with the same photos in the same order and the same key.  None: a new key.
            vectors, metadata, exif, sidecar, any: as for `ingest`; a photo whose sidecar file is wrong is
                not sent.
            progress: called when the keyholder has accepted a photo.
            away: called whenever the keyholder was away, before the next attempt; None: that of `connect`.

        Raises:
            InvalidArgument: if a path does not exist, before anything is sent.
            NotFound: if there is no such collection.
            Conflict: if the import was cancelled meanwhile.
            Unavailable: if the keyholder stays away; `metadata` has the request id.
        """
        from blindsight.client import imports  # imported late, as in `Vault`

        sieve = inputs.Sieve(any=any, sidecar=sidecar)
        sources, total = inputs.expand(photos, sieve)
        if vectors is not None:
            sources = list(self._with_vectors(sources, total, vectors))
        known_as = request_id or uuid.uuid4().hex
        submission = imports.Submission(self.name, known_as, sources, metadata_of(metadata), exif=exif)
        job = imports.submit(self._connection, submission, progress, away)
        job.skipped = sieve.skipped
        return job

    def ingest_vectors(
        self,
        matrix: npt.ArrayLike,
        ids: Sequence[str | int] | None = None,
        *,
        metadata: Values | Sequence[Values] | None = None,
        upsert: bool = False,
        progress: IngestCallback | None = None,
    ) -> IngestReport:
        """Ingests vectors; all are checked before the first is sent.

        Args:
            matrix: numbers [n, d]; sent as float32.  A memory-mapped file is read in blocks.
            ids: one for each row; without them the keyholder numbers the rows consecutively.
            metadata: of all rows, or a list with those of each; see `ingest`.
            upsert: whether a row with the id of an item takes its place; otherwise it is an error.
            progress: called after every answer of the keyholder.

        Raises:
            InvalidVector: if a row has a NaN, or the dimension is not the collection's; names the row, or the
                dimension that is wanted.
            InvalidArgument: if ids are missing or repeated.
            AlreadyExists: if an id is in the collection already.
        """
        from blindsight.client import vectors  # imported late: numpy is slow to import, photos do not need it

        rows = vectors.as_matrix(matrix)
        if ids is not None:
            ids = vectors.checked_ids(ids, len(rows))
        about = self.describe()
        vectors.check(rows, dimension=about.dimension, nonzero=about.metric == "cosine")
        of_all = metadata if isinstance(metadata, Mapping) else None
        each = None
        if metadata is not None and not isinstance(metadata, Mapping):
            each = vectors.metadata_of_rows(metadata, len(rows))
        upload = uploads.VectorUpload(
            self.name, rows, ids, metadata=metadata_of(of_all), each=each, upsert=upsert
        )
        return uploads.run(self._connection, upload, progress)

    def search(
        self,
        image: QueryInput | Sequence[QueryInput],
        k: int = DEFAULT_K,
        *,
        threshold: float | None = None,
        where: Filters | None = None,
        offset: int = 0,
        query_visible_to_server: bool = False,
        draw: bool = False,
        progress: SearchCallback | None = None,
    ) -> SearchAnswer:
        """Returns the `k` photos most similar to `image`; `results` has one list for each photo.

        A collection with embedder sift ranks by geometrically consistent keypoints, see `Hit.keypoints`.

        Args:
            image: a photo, as for `ingest`, or a list of up to 256.
            k: maximum number of hits.
            threshold: the worst score that is still a hit; scores count within the collection's error bound.
            where: only items that this filter passes are ranked, such as `year >= 2020 and place = "Rome"`;
                the keyholder decides it, and the server learns nothing of it.
            offset: number of the best hits that are left out: those of the pages before.
            query_visible_to_server: agrees that the server sees the numbers of the query, which a collection
                of scheme paillier requires; see `describe`.  The photos of the collection stay encrypted.
            draw: whether to return `drawings` of the matching keypoints (embedder sift, one photo).
            progress: called while the gallery is made ready, which takes seconds after a long ingest, or
                while the keyholder loads metadata for the first filter after its start.

        Raises:
            NotFound: if there is no such collection.
            InvalidImage: if the data is not a decodable image.
            InvalidArgument: if `query_visible_to_server` differs from the collection's.
        """
        sources = inputs.queries(image)
        header = self._header(k, threshold, where, offset, query_visible_to_server, draw=draw)
        with inputs.query_named(sources):
            photos = partial(searching.photos, sources)
            return searching.search(self._connection, header, photos, len(sources), progress)

    def search_like(
        self,
        ids: str | int | Sequence[str | int],
        k: int = DEFAULT_K,
        *,
        threshold: float | None = None,
        where: Filters | None = None,
        offset: int = 0,
        query_visible_to_server: bool = False,
        vector_name: str = "",
        progress: SearchCallback | None = None,
    ) -> SearchAnswer:
        """Returns the `k` items most similar to an item of the collection, which is not among them.

        The query is the item's vector as `vector` returns it; storage learns in which segment the item is.

        Args:
            ids: of one item, or of up to 256; `results` has one list for each.
            k, threshold, where, offset, query_visible_to_server, progress: as for `search`.
            vector_name: only vectors of photos that have this name are ranked; empty: all.

        Raises:
            NotFound: if there is no such collection or item, or the item has no vector.
            InvalidArgument: if the collection shows queries to the server (scheme paillier), of which the
                item's vector would be one.
        """
        wanted = ids_of(ids)
        if not wanted:
            raise InvalidArgument("no id to look for, want at least one")
        header = self._header(k, threshold, where, offset, query_visible_to_server, vector_name=vector_name)

        def parts() -> Iterator[pb.SearchRequest]:
            return (pb.SearchRequest(item=item_id) for item_id in wanted)

        return searching.search(self._connection, header, parts, len(wanted), progress)

    def search_vectors(
        self,
        queries: npt.ArrayLike,
        k: int = DEFAULT_K,
        *,
        threshold: float | None = None,
        where: Filters | None = None,
        offset: int = 0,
        query_visible_to_server: bool = False,
        vector_name: str = "",
        progress: SearchCallback | None = None,
    ) -> SearchAnswer:
        """Returns the best hits of each query vector.

        Args:
            queries: numbers [n, d], or [d] for one.
            k: maximum number of hits for each query.
            threshold: the worst score that is still a hit; scores count within the collection's error bound.
            where, offset, query_visible_to_server, progress: as for `search`.
            vector_name: only vectors of photos that have this name are ranked; empty: all.

        Raises:
            NotFound: if there is no such collection.
            InvalidVector: if a row is invalid; names the row.
            InvalidArgument: if `query_visible_to_server` differs from the collection's.
        """
        from blindsight.client import vectors

        rows = vectors.as_matrix(queries)
        vectors.check(rows)

        def parts() -> Iterator[pb.SearchRequest]:
            return (pb.SearchRequest(vectors=block.to_message()) for block in vectors.blocks(rows))

        header = self._header(k, threshold, where, offset, query_visible_to_server, vector_name=vector_name)
        return searching.search(self._connection, header, parts, len(rows), progress)

    def verify(
        self,
        id: str | int,  # noqa: A002 - the word that everybody expects
        image_or_vector: VerifyInput,
        *,
        threshold: float | None = None,
    ) -> Verification:
        """Decides whether a photo or a vector shows the same thing as an item, which stays encrypted.

        Args:
            id: id of the item.
            image_or_vector: as for `Vault.verify`.
            threshold: largest distance at which both are the same; None: a default, which the answer names.

        Raises:
            NotFound: if there is no such collection or item.
            InvalidArgument: if the collection's metric is not a distance.
            InvalidVector: if the vector has another dimension.
        """
        from blindsight.client import verifying
        from blindsight.wire.verify import VerifyHeader

        header = VerifyHeader(collection=self.name, id=str(id), threshold=threshold)
        return verifying.verify(self._connection, header, image_or_vector)

    def get(self, id: str | int) -> Original:  # noqa: A002 - the word that everybody expects
        """Returns a photo as it was ingested.

        Raises:
            NotFound: if there is no such item, or it is a vector.
            DataLoss: if the received data is not complete, or does not match its digest.
        """
        return self._connection.repeat(lambda: originals.get(self._connection, self.name, str(id)))

    def planes(self, id: str | int) -> npt.NDArray[np.uint8]:  # noqa: A002 - the word that everybody expects
        """Returns the pixels of a photo that was ingested with `planes=True`, decrypted from its planes.

        Returns:
            uint8 [height, width] for a grey photo, else [height, width, 3]: the pixels of the photo as it is
            displayed, with its orientation applied and transparency on white.

        Raises:
            NotFound: if there is no such item, or it has no planes.
            InvalidArgument: if the collection holds vectors.
            DataLoss: if the received data is not complete, or does not match its digest.
        """
        return self._connection.repeat(lambda: originals.planes(self._connection, self.name, str(id)))

    def truncate(self, *, progress: TruncateCallback | None = None) -> int:
        """Removes all items at one moment, and returns how many; name and settings stay.

        Args:
            progress: called with the number of items before, and when they are gone.

        Raises:
            NotFound: if there is no such collection.
            InvalidArgument: if the handle's name is an alias.
        """
        request = pb.TruncateCollectionRequest(name=self.name)

        def attempt() -> int:
            last: TruncateProgress | None = None
            for message in calls.answers(
                self._stub.TruncateCollection(request), expects=pb.TruncateCollectionResponse
            ):
                last = TruncateProgress.from_message(message)
                if progress is not None:
                    progress(last)
            if last is None or last.items_done < last.items_total:
                raise calls.incomplete("truncation")
            return last.items_done

        # What others have added since a lost answer must not go with it.
        return self._connection.repeat(attempt, safe=False)

    def repack(self, *, progress: RepackCallback | None = None) -> RepackProgress:
        """Re-encrypts the tail and segments with deleted items into full segments.

        Raises:
            NotFound: if there is no such collection.
        """
        request = pb.RepackRequest(collection=self.name)

        def attempt() -> RepackProgress:
            last: RepackProgress | None = None
            for response in calls.answers(self._stub.Repack(request), expects=pb.RepackResponse):
                last = RepackProgress.from_message(response)
                if progress is not None:
                    progress(last)
            if last is None or last.items_done != last.items_total:
                raise calls.incomplete("repack")
            return last

        return self._connection.repeat(attempt)

    def check(self, *, repair: bool = False, progress: CheckCallback | None = None) -> CheckProgress:
        """Reads all that storage has of the collection, and says what is not as it was written.

        It changes nothing, unless a repair is asked for.  Repeating a repair is safe.

        Args:
            repair: whether damaged segments are written anew.  Photos whose originals open are made anew;
                what else is lost is quarantined: it stays, and no search ranks it.
            progress: called after every answer of the keyholder.

        Returns:
            The result; `damaged` and `quarantined` are 0 if all is right.

        Raises:
            NotFound: if there is no such collection.
            Conflict: if others write again and again.
        """
        request = pb.CheckRequest(collection=self.name, repair=repair)

        def attempt() -> CheckProgress:
            last: CheckProgress | None = None
            for response in calls.answers(self._stub.Check(request), expects=pb.CheckResponse):
                last = CheckProgress.from_message(response)
                if progress is not None:
                    progress(last)
            if last is None or not last.complete:
                raise calls.incomplete("check")
            return last

        return self._connection.repeat(attempt)

    def _header(
        self,
        k: int,
        threshold: float | None,
        where: Filters | None,
        offset: int,
        visible: bool,
        *,
        draw: bool = False,
        vector_name: str = "",
    ) -> SearchHeader:
        return SearchHeader(
            self.name,
            k,
            threshold,
            visible,
            draw,
            where=filter_of(where),
            offset=offset,
            vector_name=vector_name,
        )
