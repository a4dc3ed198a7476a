"""Generates the stubs, as ``python protos/hatch_build.py`` does; gone when no script calls this any more."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parent / "protos" / "hatch_build.py"), run_name="__main__")
