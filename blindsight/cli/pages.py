"""HTML pages of one file each, in a common style.

Templates escape all that they are given, since names of photos and collections are untrusted text.
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
        parts: the template's variables; escaped.
    """
    return _environment().get_template(template).render(parts)


def unbroken(text: str) -> str:
    """Joins a number and its unit by a no-break space, so that they stay on one line."""
    return re.sub(r"(?<=\d) (?=(?:µs|ms|s|min|h|×)\b|×)|(?<=×) (?=10)", "\N{NO-BREAK SPACE}", text)


def data_url(data: bytes, media_type: str) -> str:
    """Returns data as a URL to embed in a page, which then needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
