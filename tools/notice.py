"""Writes NOTICE: every package that ours ask for, its licence, and the native libraries inside its wheel.

    python tools/notice.py NOTICE

Reads what is installed beside it, which is what the locks have; see `make release`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

OURS = "blindsight-vault"
HEAD = """Blindsight
Copyright the Blindsight developers
Licensed under the Apache License, Version 2.0: see LICENSE.

Blindsight asks for the packages below, which are other people's, under licences of their own. None is part of
our wheels; images have them as their publishers built them, each with the texts of its licence in its folder
*.dist-info. What a wheel has are native libraries that it brings with it, on Linux and this machine's kind.
"""
COPYLEFT = re.compile(r"\b(A|L)?GPL|\bMPL")
# Libraries whose licence is another than that of the package that brings them, by how their files begin.
LIBRARIES = {
    "libgmp": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libmpfr": "LGPL-3.0-or-later",
    "libmpc": "LGPL-3.0-or-later",
    "libavcodec": "LGPL-2.1-or-later (FFmpeg)",
    "libavformat": "LGPL-2.1-or-later (FFmpeg)",
    "libavutil": "LGPL-2.1-or-later (FFmpeg)",
    "libsw": "LGPL-2.1-or-later (FFmpeg)",
    "libquadmath": "LGPL-2.1-or-later",
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1",
}
# Of packages whose metadata name none, by the texts in their wheels and what they are built of.
UNSTATED = {"sqlcipher3": "Zlib; within it SQLCipher (BSD-3-Clause) and OpenSSL (Apache-2.0)"}


def plain(name: str) -> str:
    """Returns a distribution's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for() -> list[Distribution]:
    """Returns what our distributions ask for with all of their extras, directly or not, in order of name."""
    installed = {plain(one.name): one for one in distributions()}
    todo = [(name, _extras(one)) for name, one in installed.items() if name.startswith(OURS)]
    found: set[tuple[str, str]] = set()
    while todo:
        name, extras = todo.pop()
        for extra in extras - {extra for other, extra in found if other == name}:
            found.add((name, extra))
            for line in installed[name].requires or ():
                wanted = Requirement(line)
                if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                    todo.append((plain(wanted.name), {"", *wanted.extras}))
    names = {name for name, _ in found if not name.startswith(OURS)}
    return [installed[name] for name in sorted(names)]


def _extras(one: Distribution) -> set[str]:
    return {"", *(one.metadata.get_all("Provides-Extra") or ())}


def licence(one: Distribution) -> str:
    """Returns a package's licence as it says itself, or as `UNSTATED` does.

    Raises:
        SystemExit: if it says none.
    """
    said = one.metadata.get("License-Expression") or ""
    stated = (one.metadata.get("License") or "").strip()
    if not said and stated and len(stated) < 80 and stated.upper() != "UNKNOWN":
        said = stated
    if not said:
        classifiers = one.metadata.get_all("Classifier") or []
        said = "; ".join(line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::"))
    if not said and stated:
        said = stated.splitlines()[0]
    said = said or UNSTATED.get(plain(one.name), "")
    if not said:
        sys.exit(f"{one.name} says no licence")
    return said


def native(one: Distribution) -> list[str]:
    """Returns the native libraries that a package's wheel brings, without the marks of its maker."""
    files = [Path(str(file)) for file in one.files or ()]
    names = {
        re.sub(r"-(r\d+-)?[0-9a-f]{8}(?=[.-])", "", file.name) for file in files if ".libs" in file.parts[0]
    }
    return sorted(name for name in names if ".so" in name)


def _lines(found: list[Distribution]) -> Iterator[str]:
    yield HEAD
    yield "## Copyleft\n"
    for one in found:
        if COPYLEFT.search(licence(one)):
            yield f"{one.name} {one.version}: {licence(one)}"
        for library in native(one):
            for begin, terms in LIBRARIES.items():
                if library.startswith(begin):
                    yield f"{library}, in the wheel of {one.name} {one.version}: {terms}"
    yield "\n## All\n"
    for one in found:
        yield f"{one.name} {one.version}: {licence(one)}"
        if native(one):
            yield f"    wheel has {', '.join(native(one))}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(_lines(asked_for())) + "\n")
