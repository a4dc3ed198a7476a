"""Pages for a browser: one file each, in the one style that all of them share.

Templates escape whatever they are given: names of photos and collections are other people's text.
"""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("blindsight.cli", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    return environment


def render(template: str, **parts: object) -> str:
    """Fills a template of this folder, such as "diff/page.html"; it extends page.html.

    Args:
        parts: what the template names; escaped.
    """
    return _environment().get_template(template).render(parts)


def unbroken(text: str) -> str:
    """Keeps a figure and its unit on one line."""
    return re.sub(r"(?<=\d) (?=(?:µs|ms|s|min|h|×)\b|×)|(?<=×) (?=10)", "\N{NO-BREAK SPACE}", text)


def data_url(data: bytes, media_type: str) -> str:
    """A picture within the page, so that the page needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
