"""What the SDK makes of several messages: plain immutable values, as those of `blindsight.wire` are."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blindsight.wire.collections import RepackProgress
from blindsight.wire.ingest import IngestCounts, Outcome
from blindsight.wire.search import Hit, MatchDrawing, SearchTimings

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class IngestProgress(IngestCounts):
    """How far an ingest is; items count once storage has committed them.

    Attributes:
        total: how many there are, None when the inputs came from an iterator.
    """

    total: int | None = None


@dataclass(frozen=True, slots=True)
class IngestItem:
    """What became of one photo.

    Attributes:
        path: as it was given or found; the name, for inputs that are no files.
        id: of the item, empty when it was rejected.
        reason: one of `blindsight.errors`, empty unless rejected.
        message: one line for people, empty unless rejected.
        remark: what of the photo its planes do not hold, or why no search will find it; one line for people,
            mostly empty.
    """

    path: str
    outcome: Outcome
    id: str
    reason: str
    message: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The end of an ingest; `items` lists photos in the order they were given, and no vectors."""

    stored: int
    duplicates: int
    rejected: int
    items: tuple[IngestItem, ...]
    seconds: float

    @property
    def per_second(self) -> float:
        """Items taken in a second, duplicates and rejects included."""
        done = self.stored + self.duplicates + self.rejected
        return done / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Hits of every query, in the order of the queries, best first.

    Attributes:
        drawings: of the query and of every hit, where they were asked for.
        query_visible_to_server: whether the server saw the numbers of the queries.
    """

    results: list[list[Hit]]
    timings: SearchTimings
    query_visible_to_server: bool = False
    drawings: tuple[MatchDrawing, ...] = ()


@dataclass(frozen=True, slots=True)
class Original:
    """A photo as it was given to the vault."""

    id: str
    name: str
    media_type: str
    data: bytes

    def image(self) -> Image.Image:
        """The photo, opened; its EXIF orientation is not applied."""
        from PIL import Image

        return Image.open(io.BytesIO(self.data))


IngestCallback = Callable[[IngestProgress], None]
RepackCallback = Callable[[RepackProgress], None]
