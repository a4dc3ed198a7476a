"""`blindsight search`: the best matches of a photo or of vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import arrays, files, listing, options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json, Name, Where
from blindsight.errors import BlindsightError, DataLoss, InvalidArgument, NotFound
from blindsight.runtime import paths

if TYPE_CHECKING:
    from blindsight.client import Collection, Hit, Original, SearchAnswer, SearchTimings
    from blindsight.wire.search import SearchProgress

SIFT = "sift"
# A match without a photo, or with one that storage has lost or damaged, is on the page all the same.
_LOST = (NotFound, DataLoss)
_STAGES = ("embed", "encrypt", "score", "decrypt", "rank", "match")


Images = Annotated[
    list[str] | None, typer.Argument(metavar="IMAGE...", help="Photos to look for.", show_default=False)
]
Like = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID", help="Look for what is most like this item; may be repeated.", show_default=False
    ),
]
Vectors = Annotated[
    Path | None,
    typer.Option(metavar="FILE.npy", help="Query vectors instead, one a row.", show_default=False),
]
K = Annotated[int, typer.Option("-k", metavar="N", min=1, help="How many matches.")]
Threshold = Annotated[
    float | None,
    typer.Option(metavar="SCORE", help="The worst score that is still a match.", show_default=False),
]
Offset = Annotated[
    int, typer.Option(metavar="N", min=0, help="How many of the best are left out: pages before.")
]
Save = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write the matching photos there.", show_default=False)
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="A page with pictures of the matches: the weaker, the smaller; of one IMAGE and embedder sift "
        "with keypoints.",
        show_default=False,
    ),
]
VectorName = Annotated[
    str,
    typer.Option(metavar="TEXT", help="Only vectors of photos that have this name.", show_default=False),
]
Visible = Annotated[
    bool,
    typer.Option(
        "--query-visible-to-server",
        help="Agree that the server sees the query's numbers: collections of scheme paillier only.",
    ),
]


def search(
    name: Name,
    images: Images = None,
    like: Like = None,
    vectors: Vectors = None,
    k: K = 5,
    threshold: Threshold = None,
    where: Where = None,
    offset: Offset = 0,
    vector_name: VectorName = "",
    save: Save = None,
    report: Report = None,
    visible: Visible = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Find the photos that are most like IMAGE, or like an item, or the best matches of vectors.

    A collection of embedder sift finds photos that show the same thing, however it is turned, cut or lit.
    The server sees neither; only of a collection of scheme paillier it sees the numbers of the query, and
    --query-visible-to-server agrees to that.
    """
    if report is not None:
        files.require_folder(report)
    if vector_name and images:
        raise InvalidArgument("--vector-name goes with --vectors or --like, and IMAGE is a photo")
    if sum(map(bool, (images, like, vectors))) > 1:
        raise InvalidArgument(
            "several kinds of queries, want one of IMAGE..., --like ID and --vectors FILE.npy"
        )
    with options.vault(address) as vault:
        collection = vault.collection(name)
        with output.spinner(f"searching {name}") as say:
            asked: dict[str, Any] = {
                "threshold": threshold,
                "where": where,
                "offset": offset,
                "query_visible_to_server": visible,
                "progress": lambda ready: say(_readying(name, ready)),
            }
            by_keypoints = (
                report is not None and len(images or ()) == 1 and collection.describe().embedder == SIFT
            )
            try:
                if images:
                    answer = collection.search(images, k, draw=by_keypoints, **asked)
                elif like:
                    answer = collection.search_like(like, k, vector_name=vector_name, **asked)
                else:
                    rows = _matrix(vectors)
                    with arrays.named(Path(vectors or "")):
                        answer = collection.search_vectors(rows, k, vector_name=vector_name, **asked)
            except DataLoss as error:
                raise DataLoss(f"{error.message}; blindsight check tells what is damaged") from error
        if save is not None:
            _save(collection, answer, save)
        page = None if report is None else _report(report, collection, images or [], like or [], answer)
    for line in answer.warnings(name):
        output.warning(line)
    if as_json:
        output.document({"warnings": answer.warnings(name), **as_document(answer, page)})
    else:
        _show(answer, [Path(one).name for one in images] if images else like or [], page)


def _readying(name: str, ready: SearchProgress) -> str:
    if ready.items_total:
        return f"loading what is said of items: {ready.items_done:,} of {ready.items_total:,}"
    return f"making {name} ready: {ready.batches_done} of {ready.batches_total} batches"


def _matrix(path: Path | None) -> Any:
    if path is None:
        raise InvalidArgument("nothing to look for, want IMAGE..., --like ID or --vectors FILE.npy")
    return arrays.load_matrix(path)


def as_document(answer: SearchAnswer, page: Path | None = None) -> dict[str, object]:
    """Returns what --json prints."""
    return {
        **({"report": str(page)} if page is not None else {}),
        "query_visible_to_server": answer.query_visible_to_server,
        "metric": answer.metric,
        "higher_is_better": answer.higher_is_better,
        "quarantined_items": answer.quarantined_items,
        "passes": list(answer.passes),
        "results": [[_document(hit) for hit in hits] for hits in answer.results],
        "timings_seconds": {name: round(value, 6) for name, value in answer.timings.seconds().items()},
    }


def _document(hit: Hit) -> dict[str, object]:
    from blindsight.wire.metadata import to_json

    return {**asdict(hit), "metadata": to_json(hit.metadata)}


def _save(collection: Collection, answer: SearchAnswer, folder: Path) -> None:
    files.make_folder(folder)
    wanted: dict[str, list[str]] = {}
    for number, hits in enumerate(answer.results, 1):
        query = f"{number:04}-" if len(answer.results) > 1 else ""
        for rank, hit in enumerate(hits, 1):
            if not hit.id:  # of which storage has lost the record
                continue
            wanted.setdefault(hit.id, []).append(f"{query}{rank:02}-")
    for original in _originals(collection, wanted, f"saving to {folder}"):
        safe = files.safe_name(original.name or original.id, original.media_type)
        for place in wanted[original.id]:
            files.write(folder / f"{place}{safe}", original.data)


def _originals(
    collection: Collection, ids: Iterable[str], what: str, lost: tuple[type[BlindsightError], ...] = ()
) -> Iterator[Original]:
    """Yields the photos of items, each once.

    In an order of chance: storage sees every fetch, and would learn which photo was most alike.

    Args:
        collection: where they are.
        ids: of the items.
        what: what is being done, for the display.
        lost: errors for which a photo is left out.
    """
    shuffled = list(dict.fromkeys(ids))
    SystemRandom().shuffle(shuffled)
    with output.meter(what, len(shuffled)) as meter:
        for done, item_id in enumerate(shuffled, 1):
            with suppress(*lost):
                yield collection.get(item_id)
            meter.update(done)


def _report(
    folder: Path, collection: Collection, images: list[str], like: list[str], answer: SearchAnswer
) -> Path:
    # Imported late: most searches do not need them.
    from blindsight.cli.search import gallery, report

    if answer.drawings:
        return report.write(folder, collection.name, answer)
    found = like + [hit.id for hits in answer.results for hit in hits if hit.id]
    photos = {one.id: one.data for one in _originals(collection, found, "fetching the matches", _LOST)}
    asked: list[tuple[str, bytes | None]] = [(item_id, photos.get(item_id)) for item_id in like]
    for image in images:
        with paths.opened(Path(image)) as file:
            asked.append((Path(image).name, file.read()))
    asked = asked or [(f"vector {row}", None) for row in range(len(answer.results))]
    return gallery.write(folder, collection.name, asked, answer, photos)


def _show(answer: SearchAnswer, queries: list[str], page: Path | None) -> None:
    batch = len(answer.results) > 1
    columns = ["query"] if batch else []
    by_channel = any(hit.channels for hits in answer.results for hit in hits)
    by_keypoint = any(hit.keypoints for hits in answer.results for hit in hits)
    parts = ["channels"] if by_channel else []
    parts += ["inliers", "matches", "verified"] if by_keypoint else []
    by_vector = any(hit.vector for hits in answer.results for hit in hits)
    right = ("rank", "score", "channels", "inliers", "matches")
    which = ["vector"] if by_vector else []
    found = output.table(*columns, "rank", "score", *parts, "id", *which, "name", right=right)
    for number, hits in enumerate(answer.results):
        for rank, hit in enumerate(hits, 1):
            query = queries[number] if queries else str(number)
            first = [query if rank == 1 else ""] if batch else []
            style = "bold green" if rank == 1 else ""
            score = output.text((output.score(hit.score), style))
            values = [" ".join(output.score(value) for value in hit.channels)] if by_channel else []
            values += _common(hit) if by_keypoint else []
            vector = [listing.label(hit.vector) if hit.vector else ""] if by_vector else []
            name = output.text((hit.name, style))
            found.add_row(*first, str(rank), score, *values, hit.id, *vector, name)
    if answer.passes:
        passing = output.table("query", "passes")
        for number, passes in enumerate(answer.passes):
            said = output.text(("yes", "bold green") if passes else ("no", "bold red"))
            passing.add_row(queries[number] if queries else str(number), said)
        output.show(passing)
    elif any(answer.results):
        output.show(found)
    else:
        output.answer("No matches.")
    if answer.query_visible_to_server:
        output.answer("The server saw the numbers of the query.")
    if page is not None:
        output.answer(f"Report: {page}")
    output.show(_latency(answer.timings))


def _common(hit: Hit) -> list[str]:
    made = hit.keypoints
    return [str(made.inliers), str(made.matches), "yes" if made.verified else "no"] if made else [""] * 3


def _latency(timings: SearchTimings) -> output.Cell:
    seconds = timings.seconds()
    stages = [f"{stage} {output.duration(seconds[stage])}" for stage in _STAGES if seconds[stage] > 0]
    return output.text(
        (f"{output.duration(timings.total_seconds)}", "bold"), (f"  ({', '.join(stages)})", "dim")
    )
