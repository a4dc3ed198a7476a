"""The command line; it imports what it needs only when it runs, so that other commands start fast."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from blindsight.cli.options import Json
from blindsight.errors import InvalidArgument

# The maximum k of a search: one search returns all photos, to check all of their errors.
MOST_IMAGES = 10_000


Paths = Annotated[
    list[str], typer.Argument(metavar="PATH...", help="Photos, folders or globs.", show_default=False)
]
Out = Annotated[
    Path, typer.Option("--report", metavar="DIR", help="Where the report goes.", show_default=False)
]
Images = Annotated[
    int, typer.Option("--images", metavar="N", min=4, max=MOST_IMAGES, help="How many photos are compared.")
]


def compare_schemes(
    paths: Paths,
    out: Out,
    images: Images = 100,
    as_json: Json = False,
) -> None:
    """Measure CKKS, BFV and others on your photos, and write a report: report.html, plots, results.json.

    Photos are compared by squared cosines of raw pixels. If there are fewer than --images, more are made by
    altering them. Everything runs on this machine, in a temporary folder that is removed.
    """
    if find_spec("matplotlib") is None:
        raise InvalidArgument("the report is drawn by matplotlib: pip install 'blindsight-vault[report]'")
    from blindsight.cli.compare import run

    run.run(paths, out, images, as_json=as_json)
