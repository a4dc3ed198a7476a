"""What every test shares."""

import os
import signal
import sys
import tempfile

from hypothesis import settings

# Before gRPC is imported: what its core says of servers that tests kill is no news.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# jsonschema's check of addresses by RFC 3987, which no schema here asks for: its grammar takes each process
# three seconds to build.
sys.modules.setdefault("rfc3987_syntax", None)

# The file of the user's own defaults is none of the tests'.
os.environ["BLINDSIGHT_CONFIG"] = ""

# Nor are the notes in their folder of state: those of tests are gone with them.
_state = tempfile.TemporaryDirectory(prefix="blindsight-tests-")
os.environ["XDG_STATE_HOME"] = _state.name

# A program that is started inherits signals that are ignored, as nohup, background jobs and CI runners leave
# them, and gets back those that are caught: Ctrl-C, with which tests end what they started, must reach it.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# The same examples on every run, and no deadline: a busy machine is not a fault in the code.
settings.register_profile("steady", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("steady")
