"""What docs/command.md says of the command is what it does."""

import re
from pathlib import Path

from blindsight import errors
from blindsight.cli import output

DOCUMENT = (Path(__file__).parents[2] / "docs" / "command.md").read_text()


def section(title):
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def reasons(kind):
    yield kind.reason
    for below in kind.__subclasses__():
        yield from reasons(below)


def test_every_reason_of_an_error_is_told():
    told = [
        name
        for row in re.findall(r"^\| (`.*?) \|", section("Errors"), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(told) == len(set(told))
    assert set(told) == {*map(str, output.Reason), *reasons(errors.BlindsightError)}
