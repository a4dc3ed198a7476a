"""1:1 verification: the encrypted distance of two inputs, compared with a threshold that stays here."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from blindsight.errors import DataLoss, InvalidArgument, InvalidVector, NotFound
from blindsight.packing.columns import Floats, widest_stride
from blindsight.packing.segments import SegmentId
from blindsight.parameters import Parameters, ParameterSet
from blindsight.trusted import embedders, similarity
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.crypto.tasks import Embedded
from blindsight.trusted.similarity import linear
from blindsight.trusted.similarity.crossing import CrossLayout
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.settings import MAX_DIMENSION, parameters_for
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.blocks import ProductsResult
from blindsight.wire.scores import ScoreResult
from blindsight.wire.vectors import VectorLabel
from services.keyholder import metrics
from services.keyholder.catalog.catalog import Catalog
from services.keyholder.operations.naming import of_photo
from services.keyholder.operations.products import Multiplier
from services.keyholder.operations.query_groups import Take
from services.keyholder.operations.scoring import Scorer, Timings
from services.keyholder.operations.turns import Part
from services.keyholder.operations.vectors import searchable

# Near duplicates of photos are no farther apart than this, 1 - cosine.  With embedder descriptor none of 528
# pairs of different scenes is, and the nearest is at 0.27; the same picture as JPEG of quality 10, half as
# large, 1.3 times as bright, cropped by a tenth or turned by 3 degrees is at 0.21 at most
# (bench/near_duplicates.py).  A crop by a fifth or a turn by 5 degrees may be missed.  Embedder pixels knows
# neither crops nor turns.
PHOTO_DISTANCE = 0.24
# DeepFace's thresholds for the same person with Facenet's 128 values: cosine 0.40, Euclidean 10.
FACENET_COSINE = 0.40
FACENET_EUCLIDEAN = 10.0

# A photo's file, or a vector [dimension].
Input = bytes | Floats
# Segment and slot of a row.
Place = tuple[SegmentId, int]


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """Settings of the comparison of a pair; empty or None means the default."""

    scheme: str
    parameter_set: str
    metric: Metric
    embedder: str
    threshold: float | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """The largest distance at which inputs count as the same, and a text that says where it is from."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Compared:
    """The decision of a verification, and its basis.

    Attributes:
        distance: squared Euclidean distance, or 1 - cosine similarity.
        threshold: the largest distance at which the inputs count as the same.
        metric: euclidean or cosine.
        parameters: parameter set of the computation.
        timings: times of the parts; `score` is the evaluator's, including the transfer there and back.
        vector: which of the item's vectors is the nearest; None: it has one without name and box, or a pair
            was compared.
    """

    distance: float
    threshold: Threshold
    metric: Metric
    parameters: ParameterSet
    timings: Timings
    vector: VectorLabel | None = None

    @property
    def verified(self) -> bool:
        """Whether the inputs count as the same."""
        return self.distance <= self.threshold.value


def choose_threshold(given: float | None, metric: Metric, embedder: str) -> Threshold:
    """Returns the given threshold, or the default for the metric and embedder.

    Raises:
        InvalidArgument: if the given threshold is negative or not finite.
    """
    if given is not None:
        if not 0 <= given < math.inf:
            raise InvalidArgument(f"threshold {given:g}, want a distance of 0 or more")
        return Threshold(given, "given")
    euclidean = metric is Metric.EUCLIDEAN
    if embedder in (embedders.NONE, embedders.EXTERNAL):
        value = FACENET_EUCLIDEAN**2 if euclidean else FACENET_COSINE
        return Threshold(value, "default for vectors: Facenet-128's in DeepFace")
    # Embedders give unit vectors: |a - b|^2 = 2 (1 - cos).
    return Threshold(2 * PHOTO_DISTANCE if euclidean else PHOTO_DISTANCE, f"default for photos, {embedder}")


def require_vectors_that_tell(embedder: str) -> None:
    """Refuses embedder sift, whose vectors only choose candidates.

    Raises:
        InvalidArgument: if it is sift; the message says how keypoints are compared.
    """
    if embedder == embedders.SIFT:
        raise InvalidArgument(
            "embedder sift has no distance to verify by, want descriptor or pixels; "
            "`match` compares the keypoints of two photos, `search` those of a collection"
        )


def require_distance(metric: Metric, what: str) -> None:
    """Refuses a metric that is not a distance.

    Raises:
        InvalidArgument: if it is neither cosine nor euclidean.
    """
    if metric not in (Metric.COSINE, Metric.EUCLIDEAN):
        raise InvalidArgument(f"{what} metric {metric}, want cosine or euclidean to verify")


class Verify:
    """The verification of pairs, and of inputs against items of collections.

    Args:
        vault: the collections.
        catalog: knows what is said of vectors of items.
        crypto: worker processes that embed.
        scorer: scores items of collections; pairs and photos take turns with what it does.
        multiplier: computes the product of a pair.
    """

    def __init__(
        self, vault: Vault, catalog: Catalog, crypto: Crypto, scorer: Scorer, multiplier: Multiplier
    ) -> None:
        self._vault = vault
        self._catalog = catalog
        self._crypto = crypto
        self._scorer = scorer
        self._multiplier = multiplier

    async def pair(self, settings: VerifySettings, inputs: Sequence[Input]) -> Compared:
        """Compares two photos or two vectors.

        Raises:
            InvalidArgument: if the inputs are not two of the same kind, or the settings do not fit them.
            InvalidImage: if a photo cannot be compared; `metadata` says which.
            InvalidVector: if a vector cannot be compared.
            Busy: if too many calls wait.
            Unavailable: if the evaluator does not answer.
        """
        if len(inputs) != 2:
            raise InvalidArgument(f"{len(inputs)} inputs, want two photos or two vectors")
        require_distance(settings.metric, "got")
        parameters = _hiding(parameters_for(settings.scheme, settings.parameter_set), "got")
        embedder = _embedder(settings.embedder, inputs)
        threshold = choose_threshold(settings.threshold, settings.metric, embedder)
        timings = Timings()
        vectors = await self._vectors(embedder, inputs, timings)
        _check_pair(vectors, settings.metric)
        async with self._scorer.turns.turn(Part(), cost=1):
            distance = await self._distance(settings.metric, parameters, vectors, timings)
        return Compared(distance, threshold, settings.metric, parameters, timings)

    async def _vectors(self, embedder: str, inputs: Sequence[Input], timings: Timings) -> Floats:
        """Returns the inputs as vectors [2, dimension]; embeds photos."""
        photos = [one for one in inputs if isinstance(one, bytes)]
        if not photos:
            return _stacked([one for one in inputs if not isinstance(one, bytes)])
        started = time.perf_counter()
        dimension = embedders.create(embedder).dimension
        async with self._scorer.turns.turn(Part(), cost=len(photos)):
            found = await asyncio.gather(
                *(self._embed(embedder, dimension, number, photo) for number, photo in enumerate(photos))
            )
        timings.embed = time.perf_counter() - started
        return np.stack([one.vector.astype(np.float64) for one in found])

    async def _embed(self, embedder: str, dimension: int, number: int, photo: bytes) -> Embedded:
        with of_photo(number):
            return await self._crypto.embed(embedder, dimension, "", photo)

    async def _distance(
        self, metric: Metric, parameters: ParameterSet, vectors: Floats, timings: Timings
    ) -> float:
        longest = float(np.linalg.norm(vectors, axis=1).max())
        made = linear.refined(similarity.make(metric, vectors.shape[1], longest), parameters)
        degree = parameters.ring_degree
        stride = widest_stride(made.fields, degree)
        layout = CrossLayout(made.fields, stride, rows=degree // stride, queries=1)
        products = self._multiplier.products(parameters, layout)
        form = made.form(vectors[1])
        labels = parameters.scheme.name.lower(), parameters.name
        started = time.perf_counter()
        with metrics.ENCRYPT_SECONDS.labels(*labels).time():
            row = await products.encrypt_rows(made.rows(vectors[:1]))
            query = await products.encrypt_queries(row, form.weights[None])
        encrypted = time.perf_counter()
        scores: list[float] = []

        def take(_: ProductsResult, found: Floats) -> None:
            scores.append(float(form.reading.scores(found[0, 0, :, 0, 0][None])[0]))

        timings.decrypt = await products.multiply(row, query, take)
        metrics.DECRYPT_SECONDS.labels(*labels).observe(timings.decrypt)
        timings.encrypt = encrypted - started
        timings.score = time.perf_counter() - encrypted - timings.decrypt
        return as_distance(metric, scores[0])

    async def item(
        self, collection: OpenCollection, item_id: str, vector: Floats, threshold: float | None
    ) -> Compared:
        """Compares a vector [dimension] with an item by a search of the whole collection.

        Only the score of the item's slot is read; the evaluator does not learn which it is, and the answer is
        checked as that of any search.

        Raises:
            NotFound: if there is no such item.
            InvalidArgument: if the collection's metric is not a distance, its embedder is sift, or its scheme
                shows the vector to the evaluator.
            InvalidVector: if the metric cannot take the vector.
            Unavailable: if the evaluator or storage does not answer.
        """
        config = collection.config
        require_vectors_that_tell(config.embedder)
        require_distance(config.metric, f"collection {config.name!r} has")
        parameters = _hiding(collection.parameters, f"collection {config.name!r} has")
        chosen = choose_threshold(threshold, config.metric, config.embedder)
        linear.check_vectors(vector[None], config.dimension)
        form = collection.linear().form(vector)
        handle = await searchable(self._vault, collection, item_id)
        timings = Timings()
        scores, slots = await self._scores(collection, handle, form, timings)
        distances = {place: as_distance(config.metric, score) for place, score in scores.items()}
        nearest = min(distances, key=lambda place: distances[place])
        label = await self._label(collection, handle, slots, nearest)
        return Compared(distances[nearest], chosen, config.metric, parameters, timings, label)

    async def _label(
        self, collection: OpenCollection, handle: bytes, slots: SlotMap, place: Place
    ) -> VectorLabel | None:
        """Returns which of an item's vectors one is, as it was when it was scored."""
        # Whatever is not known yet, as after a search: a look-up of this item alone would tell which it is.
        await self._catalog.reach(collection)
        row = slots.segments[place[0]].handles[place[1]].tobytes()
        _, index = slots.items_of([row])[row]
        known = (await self._catalog.known_at(collection, [handle], slots)).get(handle)
        if known is not None and index < len(known.vectors):
            return known.vectors[index]
        return VectorLabel(index) if index else None

    async def _scores(
        self, collection: OpenCollection, handle: bytes, form: linear.LinearForm, timings: Timings
    ) -> tuple[dict[Place, float], SlotMap]:
        """Returns the scores of an item's vectors by their places, and the slot map that has them."""
        scores: dict[Place, float] = {}
        places: list[Place] = []
        scored = SlotMap()

        def begin(slots: SlotMap) -> Take:
            nonlocal scored
            scored = slots
            scores.clear()
            places[:] = slots.ranked_rows(handle)
            if slots.find(handle) is None:
                raise NotFound("it was deleted meanwhile")
            return partial(_take, places, form.reading, scores)

        await self._scorer.run(collection, form.weights[None], begin, timings, Part())
        if len(scores) != len(places) or not scores:
            raise DataLoss("the evaluator did not score the item's segment")
        return scores, scored


def _take(
    places: Sequence[Place],
    reading: linear.Reading,
    scores: dict[Place, float],
    result: ScoreResult,
    products: Floats,
) -> None:
    """Reads the scores of those of these slots whose segments are among those of an answer."""
    for key, slot in places:
        if result.region is key.region and key.index in result.segments:
            of_slot = products[result.segments.index(key.index), 0, :, slot]
            scores[key, slot] = float(reading.scores(of_slot[None])[0])


def _hiding(parameters: Parameters, what: str) -> ParameterSet:
    """Refuses a scheme that would show one of the inputs to the evaluator.

    Raises:
        InvalidArgument: if the scheme is not ckks or bfv.
    """
    if isinstance(parameters, ParameterSet):
        return parameters
    raise InvalidArgument(
        f"{what} scheme {parameters.scheme.name.lower()}, which would show one side to the server; "
        "want ckks or bfv to verify"
    )


def _embedder(wanted: str, inputs: Sequence[Input]) -> str:
    """Returns the embedder for two inputs; `none` for vectors."""
    photos = sum(isinstance(one, bytes) for one in inputs)
    if photos == 1:
        raise InvalidArgument("got one photo and one vector, want two photos or two vectors")
    if photos == 0:
        if wanted and wanted != embedders.NONE:
            raise InvalidArgument(f"embedder {wanted[:40]!r} takes photos, got vectors (want none)")
        return embedders.NONE
    if wanted == embedders.NONE:
        raise InvalidArgument("embedder 'none' takes vectors only, got photos")
    require_vectors_that_tell(wanted)
    return wanted or embedders.DEFAULT


def _stacked(vectors: Sequence[Floats]) -> Floats:
    first, second = (len(vector) for vector in vectors)
    if first != second:
        raise InvalidVector(f"vectors of dimension {first} and {second}, want the same")
    if first > MAX_DIMENSION:
        raise InvalidVector(f"vectors of dimension {first}, want 1 to {MAX_DIMENSION}")
    return np.stack(vectors)


def _check_pair(vectors: Floats, metric: Metric) -> None:
    """Refuses vectors that the metric cannot take; the message says which of the two."""
    for name, vector in zip(("first", "second"), vectors, strict=True):
        if not np.isfinite(vector).all():
            raise InvalidVector(f"the {name} vector holds NaN or infinity, want finite numbers")
        if metric is Metric.COSINE and not vector.any():
            raise InvalidVector(
                f"the {name} vector is all zeros, want a direction: cosine is not defined for it"
            )


def as_distance(metric: Metric, score: float) -> float:
    """Converts a score to a distance; noise may make a distance of 0 slightly negative, which becomes 0."""
    return max(0.0, 1.0 - score if metric is Metric.COSINE else score)
