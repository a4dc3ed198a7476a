"""The last step of a process: all is said, and nothing that still runs in it holds it back."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wheels import ROOT

HELD = """
import atexit, sys, threading, time
from blindsight.runtime.leaving import at_last, leave

at_last(lambda: print("last", flush=True))
threading.Thread(target=time.sleep, args=(600,)).start()  # which an interpreter waits for at its end
atexit.register(time.sleep, 600)
sys.stdout.write("answer " * 2000)
sys.stderr.write("note")


def main():
    END


leave(main)
"""


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("return 3", 3, ""),
        ("raise SystemExit(143)", 143, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('why')", 1, "why\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_a_process_says_all_and_ends_at_once_however_it_ends(end, code, said):
    program = HELD.replace("END", end)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "answer " * 2000 + "last\n", "note" + said)


def test_an_error_that_nobody_expected_is_shown_and_ends_the_process_too():
    program = HELD.replace("END", "raise ValueError('strange')")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: strange\n")


@pytest.mark.parametrize("closed", ["sys.stdout.close()", "sys.stdout = None", "sys.stderr = None"])
def test_a_closed_stream_does_not_change_the_exit_code(closed):
    code = f"import sys; from blindsight.runtime.leaving import leave; {closed}; leave(lambda: 3)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 3


@pytest.mark.parametrize(
    "program",
    [
        *sorted(ROOT.glob("services/*/__main__.py")),
        ROOT / "blindsight/cli/__init__.py",
        ROOT / "blindsight/runtime/health.py",
        ROOT / "demo/__main__.py",
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_program_that_speaks_grpc_ends_so(program: Path):
    text = program.read_text()
    assert "    leave(" in text
    assert "sys.exit(" not in text
