"""Results of the SDK that combine several messages: immutable values like those of `blindsight.wire`."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blindsight.wire.collections import CheckProgress, Metric, RepackProgress, TruncateProgress
from blindsight.wire.ingest import IngestCounts, Outcome
from blindsight.wire.search import Hit, MatchDrawing, SearchProgress, SearchTimings

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class IngestProgress(IngestCounts):
    """The progress of an ingest; items count once storage has committed them.

    Attributes:
        total: number of items; None if the inputs came from an iterator.
    """

    total: int | None = None


@dataclass(frozen=True, slots=True)
class IngestItem:
    """The outcome of one photo.

    Attributes:
        path: the path as it was given or found; for other inputs their name.
        id: id of the item; empty if it was rejected.
        reason: a reason of `blindsight.errors`; empty unless rejected.
        message: human-readable, one line; empty unless rejected.
        remark: what of the photo is missing in its planes, or why it has none, or why no search will find
            it, as human-readable text in one line; usually empty.
    """

    path: str
    outcome: Outcome
    id: str
    reason: str
    message: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The result of an ingest.

    Attributes:
        items: photos in the order they were given, and no vectors.
        skipped: number of files of folders and globs that were left out: no photos, or hidden (also folders).
    """

    stored: int
    duplicates: int
    rejected: int
    items: tuple[IngestItem, ...]
    seconds: float
    skipped: int = 0

    @property
    def per_second(self) -> float:
        """The number of items per second, duplicates and rejected ones included."""
        done = self.stored + self.duplicates + self.rejected
        return done / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """The hits of every query, in the order of the queries, best first.

    Attributes:
        drawings: pictures of the query and of every hit, if requested.
        query_visible_to_server: whether the server saw the numbers of the queries.
        quarantined_items: number of items that were not ranked, since their vectors were lost; see
            `Collection.check`.
        metric: of the scores: "cosine", "dot", "euclidean" (squared distance) or "squared-cosine" (distance).
        passes: of each query, whether there are hits, to a token that reveals decisions, which is told no
            hits; else empty.
    """

    results: list[list[Hit]]
    timings: SearchTimings
    query_visible_to_server: bool = False
    drawings: tuple[MatchDrawing, ...] = ()
    quarantined_items: int = 0
    metric: Metric = "cosine"
    passes: tuple[bool, ...] = ()

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher score is a better one; hits of embedder sift are in the order of their inliers."""
        return self.metric in ("cosine", "dot")

    def warnings(self, collection: str) -> list[str]:
        """Returns what the answer lacks, as human-readable lines; usually none.

        Args:
            collection: its name.
        """
        told = []
        if count := self.quarantined_items:
            items = "1 item" if count == 1 else f"{count:,} items"
            told.append(f"not ranked: {items} of {collection}, which are quarantined; see blindsight check")
        damaged = [hit for hits in self.results for hit in hits if hit.damage]
        if damaged:
            them = "1 match" if len(damaged) == 1 else f"{len(damaged):,} matches"
            told.append(f"{them} cannot be told in full: {damaged[0].damage}")
        return told


@dataclass(frozen=True, slots=True)
class Original:
    """A photo as it was ingested."""

    id: str
    name: str
    media_type: str
    data: bytes

    def image(self) -> Image.Image:
        """Returns the photo as a Pillow image; its EXIF orientation is not applied."""
        from PIL import Image

        return Image.open(io.BytesIO(self.data))


IngestCallback = Callable[[IngestProgress], None]
RepackCallback = Callable[[RepackProgress], None]
TruncateCallback = Callable[[TruncateProgress], None]
CheckCallback = Callable[[CheckProgress], None]
SearchCallback = Callable[[SearchProgress], None]
