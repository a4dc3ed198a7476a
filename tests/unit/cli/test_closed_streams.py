"""Standard streams that nobody reads, or that are not open: the command says by its code how it ended."""

import os
import subprocess
import sys

import pytest

TELLS = (
    "import sys; from blindsight.cli import app, output;"
    "app.app = lambda *_, **__: [output.note('working'), output.{0}];"
    "sys.exit(app.run([]))"
)
ANSWERS = {"text": "answer('done')", "json": "document({'done': list(range(99999))})"}
BROKEN_PIPE = 141


def run(answer: str, **streams: object) -> subprocess.CompletedProcess[str]:
    code = TELLS.format(ANSWERS[answer])
    return subprocess.run([sys.executable, "-c", code], text=True, check=False, timeout=60, **streams)


def unread() -> int:
    """The end to write to of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_given_though_nobody_reads_the_notes(answer: str) -> None:
    done = run(answer, stdout=subprocess.PIPE, stderr=unread())
    assert done.returncode == 0
    assert "done" in done.stdout


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_nobody_reads_ends_the_command_with_its_own_code(answer: str) -> None:
    done = run(answer, stdout=unread(), stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "blindsight: working\n")


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_command_without_an_open_standard_output_says_nothing(answer: str) -> None:
    code = TELLS.format(ANSWERS[answer])
    command = ["sh", "-c", '"$0" -c "$1" >&-', sys.executable, code]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "blindsight: working\n")
