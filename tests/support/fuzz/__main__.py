"""Fuzzes all targets, guided by coverage; in `tests`, with atheris installed:

    python -m support.fuzz --seconds 60 [--corpus] [NAME ...]

Each target runs in a process of its own; what it must not raise is shown with the bytes that did it.
`--corpus` keeps the smallest of the cases that reached something new, for the tests.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MOST_CASES, MOST_BYTES = 12, 200


def run_one(name: str, folder: str, seconds: int) -> None:
    """Fuzzes one target in this process."""
    import atheris

    with atheris.instrument_imports(include=["blindsight", "services", "support"]):
        from support.fuzz import tried
        from support.fuzz.targets import targets

        target = targets()[name]
    arguments = [sys.argv[0], folder, f"-max_total_time={seconds}", "-max_len=4096", "-print_final_stats=1"]
    atheris.Setup(arguments, lambda data: tried(target, data) and None)
    atheris.Fuzz()


def main() -> int:
    """Fuzzes the targets of these names, or all; returns how many failed."""
    parser = argparse.ArgumentParser(prog="python -m support.fuzz")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--corpus", action="store_true", help="keep small cases for the tests")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(*options.names, options.one, options.seconds)  # ends the process
    from support.fuzz import CORPUS, corpus
    from support.fuzz.targets import targets

    failed, kept = 0, corpus()
    for name in options.names or targets():
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "support.fuzz",
                name,
                "--one",
                folder,
                "--seconds",
                str(options.seconds),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            runs = [
                line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line
            ]
            print(
                f"{'ok' if not done.returncode else 'FAILED'} {name}: {runs[0] if runs else '?'} runs",
                flush=True,
            )
            if done.returncode:
                failed += 1
                print(done.stdout[-2000:], done.stderr[-4000:], flush=True)
            cases = sorted(
                (path.read_bytes() for path in Path(folder).iterdir()), key=lambda case: (len(case), case)
            )
            kept[name] = [case for case in cases if len(case) <= MOST_BYTES][:MOST_CASES]
    if options.corpus:
        listed = {
            name: [base64.b64encode(case).decode() for case in cases] for name, cases in sorted(kept.items())
        }
        CORPUS.write_text(json.dumps(listed, indent=1) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
