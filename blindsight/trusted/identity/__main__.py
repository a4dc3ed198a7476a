"""Issues the certificates of the services of one machine.

    python -P -m blindsight.trusted.identity DIR ROLE=FOLDER...

`blindsight up` has it do so in a process of its own, as it lives long and must not hold the authority's key.
The first time it makes the authority in DIR.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from blindsight.errors import BlindsightError
from blindsight.runtime.roles import DAYS, Role
from blindsight.runtime.tls import AUTHORITY_FILE
from blindsight.trusted.identity.authority import Authority


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0, or 1 with one line on standard error."""
    folder, *wanted = arguments
    place = Path(folder)
    try:
        authority = Authority.open(place) if (place / AUTHORITY_FILE).exists() else Authority.create(place)
        for one in wanted:
            role, _, to = one.partition("=")
            authority.issue(Role(role), Path(to), [], DAYS)
    except BlindsightError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
