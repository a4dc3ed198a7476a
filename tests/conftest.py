"""What every test shares."""

from hypothesis import settings

# The same examples on every run, and no deadline: a busy machine is not a fault in the code.
settings.register_profile("steady", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("steady")
