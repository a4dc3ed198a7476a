"""`blindsight ingest`: photos or vectors into a collection."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blindsight.cli import arrays, jobs, metadata, options, output
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json, Name
from blindsight.errors import BlindsightError, InvalidArgument, Unavailable

if TYPE_CHECKING:
    from blindsight.client import Collection, Import, ImportInfo, IngestProgress, IngestReport
    from blindsight.client.inputs import Sieve
    from blindsight.client.models import IngestCallback
    from blindsight.client.sources import Source

# More rejected files than this are counted, not listed.
LISTED = 20


Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH...", help="Photos, folders or globs.", show_default=False),
]
Vectors = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy",
        help="A float matrix: a row for each photo (embedder external), or rows without photos. "
        'Or lines of JSON with any number for each: {"path": or "id": ..., "vectors": [{"values": [...], '
        '"name": ..., "box": [left, top, width, height]}]}.',
        show_default=False,
    ),
]
IdsFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE.txt", help="Ids of the rows, one a line.", show_default=False),
]
ItemId = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="An id of your own for one photo.", show_default=False),
]
Upsert = Annotated[bool, typer.Option("--upsert", help="Take the places of items with the same ids.")]
Planes = Annotated[
    bool, typer.Option("--planes", help="Keep each photo as encrypted pixels too, up to 8 megapixels.")
]
Halo = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="With --planes: how many pixels `filter` may reach on them; 2 for gaussian:5.",
        min=0,
    ),
]
AnyFile = Annotated[bool, typer.Option("--any", help="Keep files that are no photos, too.")]
Exif = Annotated[
    bool,
    typer.Option(
        "--exif",
        help="Keep time, camera and place of photos as metadata: taken, camera, latitude, longitude.",
    ),
]
Sidecar = Annotated[
    bool,
    typer.Option(
        "--sidecar",
        help="Take what is said of a.jpg from a.jpg.json, else a.json, beside it: a JSON object of metadata.",
    ),
]
Bulk = Annotated[bool, typer.Option("--bulk", help="By way of the queue and its workers: for many photos.")]
Detach = Annotated[bool, typer.Option("--detach", help="With --bulk: end when all are in the queue.")]
RequestId = Annotated[
    str | None,
    typer.Option(
        "--request-id",
        metavar="TEXT",
        help="With --bulk: the same text and the same files continue what was cut off.",
        show_default=False,
    ),
]


def ingest(
    name: Name,
    paths: Paths = None,
    vectors: Vectors = None,
    ids: IdsFile = None,
    item_id: ItemId = None,
    given: metadata.Set = None,
    told: metadata.File = None,
    exif: Exif = False,
    sidecar: Sidecar = False,
    upsert: Upsert = False,
    planes: Planes = False,
    halo: Halo = 0,
    any: AnyFile = False,  # noqa: A002 - the option's name
    bulk: Bulk = False,
    detach: Detach = False,
    request_id: RequestId = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Encrypt photos (or vectors of your own) into a collection.

    A photo that cannot be decoded or described is stored with a remark: no search will find it.  Files in
    folders that are no photos by name and content are skipped and counted.  Repeating is safe.

    Encrypted pixels are those of the photo as it is displayed, eight bits of grey or RGB; a remark says what
    that leaves out.
    """
    if planes and not paths:
        raise InvalidArgument("--planes keeps the pixels of photos, and --vectors has none")
    if halo and not planes:
        raise InvalidArgument("--halo goes with --planes, which is missing")
    if any and not paths:
        raise InvalidArgument("--any goes with files, and --vectors has none")
    if ids is not None and vectors is None:
        raise InvalidArgument("--ids names the rows of --vectors, and there is none")
    if (detach or request_id) and not bulk:
        raise InvalidArgument("--detach and --request-id go with --bulk, which is missing")
    for option, is_given in (("--exif", exif), ("--sidecar", sidecar)):
        if is_given and not paths:
            raise InvalidArgument(f"{option} goes with photos, and --vectors has none")
    if bulk and (planes or upsert or not paths):
        raise InvalidArgument("--bulk takes photos: want PATH..., without --planes and --upsert")
    if item_id == "":
        raise InvalidArgument("--id is empty, want an id")
    said = _Said(item_id, metadata.parse(given), told, exif, sidecar, upsert, vectors, ids)
    with options.vault(address) as vault:
        collection = vault.collection(name)
        if bulk and paths:
            _bulk(collection, paths, said, request_id, any=any, detach=detach, as_json=as_json)
        elif paths:
            report, hidden = _photos(collection, paths, said, planes=planes, halo=halo, any=any)
            _answer(report, hidden, as_json=as_json)
        elif vectors is not None:
            _answer(_vectors(collection, vectors, said), 0, as_json=as_json)
        else:
            raise InvalidArgument(
                "nothing to ingest, want PATH..., --vectors FILE.npy, or both (embedder external)"
            )


def _answer(report: IngestReport, hidden: int, *, as_json: bool) -> None:
    nothing_taken = report.rejected and not report.stored and not report.duplicates
    if as_json:
        output.document(_as_document(report))
    elif not nothing_taken or len(report.items) > 1:  # for a single file the error message is enough
        _show(report, hidden)
    if nothing_taken:
        raise _nothing_taken(report)


@dataclass(frozen=True)
class _Said:
    """What the command line says of the items."""

    item_id: str | None
    of_all: dict[str, Any]
    file: Path | None
    exif: bool
    sidecar: bool
    upsert: bool
    vectors: Path | None
    ids: Path | None


def _photos(
    collection: Collection,
    paths: list[str],
    said: _Said,
    *,
    planes: bool,
    halo: int,
    any: bool,  # noqa: A002 - as above
) -> tuple[IngestReport, int]:
    """Returns the report, and how many hidden files were left out."""
    sources, rows, sieve = _taken(paths, said, any=any)
    with _following(collection.name) as follow, _of_file(said.vectors):
        report = collection.ingest(
            sources,
            planes=planes,
            plane_halo=halo,
            vectors=rows,
            metadata=said.of_all,
            exif=said.exif,
            upsert=said.upsert,
            any=True,
            progress=follow,
        )
    return replace(report, skipped=sieve.skipped), sieve.hidden


def _taken(
    paths: list[str],
    said: _Said,
    *,
    any: bool,  # noqa: A002 - as above
) -> tuple[list[Source], Any, Sieve]:
    """Returns photos with what is said of each, their vectors, and what knows how many files were skipped."""
    from blindsight.client.arguments import identifier
    from blindsight.client.inputs import Sieve, expand

    sieve = Sieve(any=any, sidecar=said.sidecar)
    sources = list(expand(paths, sieve)[0])
    if said.item_id is not None:
        if len(sources) != 1:
            raise InvalidArgument(f"--id for {output.count(len(sources), 'photo')}, want one")
        sources = [replace(sources[0], id=identifier("--id", said.item_id))]
    if said.ids is not None:
        sources = _identified(sources, arrays.load_ids(said.ids))
    if said.file is not None:
        sources = metadata.told(sources, said.file)
    rows = arrays.matrix_or_text(said.vectors) if said.vectors is not None else None
    if said.vectors is not None and isinstance(rows, str):
        return metadata.with_vectors(sources, said.vectors, rows), None, sieve
    if rows is not None and len(rows) != len(sources):
        skipped = f" ({output.count(sieve.skipped, 'other file')} skipped)" if sieve.skipped else ""
        got = f"{output.count(len(rows), 'row')} in {said.vectors} for {output.count(len(sources), 'photo')}"
        raise InvalidArgument(f"{got}{skipped}, want one for each, in the same order")
    return sources, rows, sieve


def _of_file(vectors: Path | None) -> AbstractContextManager[None]:
    return arrays.named(vectors) if vectors is not None else nullcontext()


def _identified(sources: list[Source], ids: list[str]) -> list[Source]:
    from blindsight.client import vectors

    named = vectors.checked_ids(ids, len(sources))
    return [replace(source, id=item_id) for source, item_id in zip(sources, named, strict=True)]


def _bulk(
    collection: Collection,
    paths: list[str],
    said: _Said,
    request_id: str | None,
    *,
    any: bool,  # noqa: A002 - as above
    detach: bool,
    as_json: bool,
) -> None:
    known_as = request_id or uuid.uuid4().hex
    sources, rows, sieve = _taken(paths, said, any=any)
    received = 0
    try:
        with output.meter(f"sending to {collection.name}", len(sources)) as meter:

            def on_sent(now: ImportInfo) -> None:
                nonlocal received
                received = now.received
                meter.update(received, remark=now.waiting)

            with _of_file(said.vectors):
                job = collection.ingest_bulk(
                    sources,
                    request_id=known_as,
                    vectors=rows,
                    metadata=said.of_all,
                    exif=said.exif,
                    any=True,
                    progress=on_sent,
                )
            job.skipped = sieve.skipped
    except (KeyboardInterrupt, Unavailable):
        output.note(f"cut off; the same command with --request-id {known_as} continues it")
        raise
    if not as_json:
        _list("not sent", "reason", [(item.path, item.message) for item in job.unreadable])
        _tell_skipped(job.skipped, sieve.hidden)
    if detach:
        _queued(job, as_json=as_json)
    else:
        jobs.follow(job, as_json=as_json)
    if job.unreadable and not received:
        first, every = job.unreadable[0], output.count(len(job.unreadable), "file")
        raise output.Failure(
            f"none of {every} could be sent; the first: {first.path}: {first.message}",
            output.Reason.NOTHING_TAKEN,
        )


def _queued(job: Import, *, as_json: bool) -> None:
    info = job.info()
    if as_json:
        output.document(jobs.document(info, job, [], []))
    jobs.require_not_cancelled(info)
    if not as_json:
        output.answer(f"{job.import_id} is in the queue; {jobs.following(job)}.")


def _vectors(collection: Collection, matrix: Path, said: _Said) -> IngestReport:
    if said.item_id is not None:
        raise InvalidArgument("--id is of a photo; --ids FILE.txt names the rows of --vectors")
    rows = arrays.matrix_or_text(matrix)
    if isinstance(rows, str):
        raise InvalidArgument(f"{matrix} is no .npy file; lines of JSON go with photos, want PATH... too")
    names = arrays.load_ids(said.ids) if said.ids is not None else None
    about: Any = said.of_all
    if said.file is not None:
        about = [{**said.of_all, **one} for one in metadata.of_rows(names, len(rows), said.file)]
    with _following(collection.name) as follow, _of_file(matrix):
        return collection.ingest_vectors(rows, names, metadata=about, upsert=said.upsert, progress=follow)


@contextmanager
def _following(name: str) -> Iterator[IngestCallback]:
    with output.meter(f"ingesting into {name}") as meter:

        def follow(now: IngestProgress) -> None:
            meter.update(now.done, now.total, f"{now.rejected:,} rejected" if now.rejected else "")

        try:
            yield follow
        except BlindsightError as error:
            kept = int(error.metadata.get("stored", 0))
            if kept:
                # Acknowledged items are safe: tell the user, who may repeat the command.
                raise output.Failure(
                    f"{error.message} (at least {output.count(kept, 'item')} stored before)",
                    error.reason,
                    metadata=error.metadata,
                ) from error
            raise


def _as_document(report: IngestReport) -> dict[str, object]:
    return {
        "stored": report.stored,
        "duplicates": report.duplicates,
        "rejected": report.rejected,
        "skipped": report.skipped,
        "items": [asdict(item) for item in report.items],
        "seconds": round(report.seconds, 3),
        "per_second": round(report.per_second, 3),
    }


def _show(report: IngestReport, hidden: int) -> None:
    _list("rejected", "reason", [(item.path, item.message) for item in report.items if item.message])
    _list("photo", "remark", [(item.path, item.remark) for item in report.items if item.remark])
    counts = output.text(
        (f"{report.stored:,} stored", "green"),
        f", {output.count(report.duplicates, 'duplicate')}, ",
        (f"{report.rejected:,} rejected", "yellow" if report.rejected else ""),
        f" in {output.duration(report.seconds)} ({report.per_second:,.1f} a second)",
    )
    output.show(counts)
    _tell_skipped(report.skipped, hidden)


def _list(what: str, why: str, rows: list[tuple[str, str]]) -> None:
    output.listing((what, why), rows, LISTED)


def _tell_skipped(skipped: int, hidden: int) -> None:
    """Says what was left out of folders: other files, and among what was skipped hidden ones."""
    if others := skipped - hidden:
        output.answer(f"{output.count(others, 'other file')} skipped: no photos; --any keeps them, too.")
    if hidden:
        output.answer(f"{output.count(hidden, 'hidden name')} skipped; name what shall be taken.")


def _nothing_taken(report: IngestReport) -> output.Failure:
    first = next((item for item in report.items if item.outcome == "rejected"), None)
    if first is None:
        return output.Failure(
            f"none of {output.count(report.rejected, 'item')} could be taken", output.Reason.NOTHING_TAKEN
        )
    if len(report.items) == 1:
        return output.Failure(f"{first.path}: {first.message}", output.Reason.NOTHING_TAKEN)
    every = output.count(report.rejected, "file")
    return output.Failure(
        f"none of {every} could be taken; the first: {first.path}: {first.message}",
        output.Reason.NOTHING_TAKEN,
    )
