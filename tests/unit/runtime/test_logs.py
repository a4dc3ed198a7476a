"""Where logs go that nobody has set up, and those that somebody has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SAY = "from blindsight.runtime import logs; {}logs.get().warning('said', number=1)"


@pytest.mark.parametrize("configure", ["", "logs.configure('bench'); "], ids=["not set up", "set up"])
def test_standard_output_is_the_programs_own(configure: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAY.format(configure)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["number"]) for line in lines] == ([("said", 1)] if configure else [])
