"""What every test shares."""

import os

from hypothesis import settings

# Before gRPC is imported: what its core says of servers that tests kill is no news.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# The same examples on every run, and no deadline: a busy machine is not a fault in the code.
settings.register_profile("steady", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("steady")
