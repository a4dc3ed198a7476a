"""Pages for a browser: one file each, in the one style that all of them share."""

from __future__ import annotations

from importlib.resources import files
from string import Template


def render(package: str, parts: dict[str, str]) -> str:
    """The `page.html` of a package, filled.

    Args:
        package: its name.
        parts: markup by name; the shared style is `$style`.
    """
    style = files("blindsight.cli").joinpath("page.css").read_text(encoding="utf-8").rstrip()
    page = Template(files(package).joinpath("page.html").read_text(encoding="utf-8"))
    return page.substitute(parts, style=style)
