"""Searches: the request stream and the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

from blindsight.client import calls, inputs
from blindsight.client.calls import Connection
from blindsight.client.models import SearchAnswer, SearchCallback
from blindsight.client.sources import Source
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime import transfer
from blindsight.wire.collections import METRIC
from blindsight.wire.items import FileHeader
from blindsight.wire.search import Hit, MatchDrawing, SearchHeader, SearchProgress, SearchTimings

# Makes the queries anew for every attempt.
Queries = Callable[[], Iterator[pb.SearchRequest]]


def search(
    connection: Connection,
    header: SearchHeader,
    queries: Queries,
    count: int,
    progress: SearchCallback | None,
) -> SearchAnswer:
    """Requests one search.

    Args:
        queries: their messages.
        count: number of queries.

    Raises:
        DataLoss: if the answer is not complete.
        BlindsightError: the error that the keyholder raised.
    """

    def requests() -> Iterator[pb.SearchRequest]:
        yield pb.SearchRequest(header=header.to_message())
        yield from queries()

    def attempt() -> SearchAnswer:
        answer = _Answer(progress)
        stream = calls.exchange(connection.keyholder.Search, requests(), expects=pb.SearchResponse)
        for response in stream:
            answer.take(response)
        return answer.whole(count, draw=header.draw)

    return connection.repeat(attempt)


class _Answer:
    """The messages of an answer as they come."""

    def __init__(self, progress: SearchCallback | None) -> None:
        self._progress = progress
        self._results: list[list[Hit]] = []
        self._passes: list[bool] = []
        self._more = False
        self._drawings: list[MatchDrawing] = []
        self._last: pb.SearchResponse | None = None

    def take(self, response: pb.SearchResponse) -> None:
        """Records a message.

        Raises:
            DataLoss: if it comes after the last, or has no part.
        """
        part = response.WhichOneof("part")
        if self._last is not None:
            transfer.require_end(response)
        elif part == "progress":
            if self._progress is not None:
                self._progress(SearchProgress.from_message(response.progress))
        elif part == "timings":
            self._last = response
        elif part == "drawing":
            self._drawings.append(MatchDrawing.from_message(response.drawing))
        else:
            found = transfer.part_of(response, "hits")
            if not self._more:
                self._results.append([])
                self._passes += [found.passes] if found.HasField("passes") else []
            self._results[-1] += map(Hit.from_message, found.hits)
            self._more = found.more

    def whole(self, queries: int, *, draw: bool) -> SearchAnswer:
        """Returns the answer to so many queries.

        Raises:
            DataLoss: if it ended too early.
        """
        last, drawings = self._last, sorted(self._drawings, key=attrgetter("rank"))
        if last is None or self._more or len(self._results) != queries:
            raise calls.incomplete("search")
        drawn = sum(hit.keypoints is not None for hit in self._results[0]) + 1 if draw else 0
        if [one.rank for one in drawings] != list(range(drawn)):
            raise calls.incomplete("search")
        return SearchAnswer(
            self._results,
            SearchTimings.from_message(last.timings),
            last.query_visible_to_server,
            tuple(drawings),
            last.quarantined_items,
            METRIC.from_message(last.metric) or "cosine",
            tuple(self._passes),
        )


def photos(sources: Sequence[Source]) -> Iterator[pb.SearchRequest]:
    """Yields the messages of photos that are looked for."""
    for source in sources:
        data = inputs.load(source) if len(sources) > 1 else source.load()
        yield pb.SearchRequest(image=FileHeader.of(data).to_message())  # without the file's name: not needed
        for chunk in transfer.chunks(data):
            yield pb.SearchRequest(chunk=chunk)
