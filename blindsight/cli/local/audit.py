"""The verification of an audit log without a keyholder, from a copy of its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from blindsight.cli.local.keys import KEY_FILE_NAME, ask_passphrase, open_key_set, read_passphrase

if TYPE_CHECKING:
    from blindsight.wire.audit import AuditVerification


def offline(
    folder: Path,
    passphrase_file: Path | None,
    expected: str | None,
    progress: Callable[[AuditVerification], None],
) -> AuditVerification:
    """Verifies the audit log in a keyholder's folder, which must not be in use.

    Args:
        passphrase_file: None: the one beside the key file, if there is one, else it is asked for.
        expected: see `Vault.verify_audit`.
        progress: called again and again.

    Raises:
        KeyFileError: if there is no key file that the passphrase opens.
    """
    from blindsight.client.audit import place
    from blindsight.errors import DataLoss
    from blindsight.trusted.audit.files import HeadFile, chain_key, record_files
    from blindsight.trusted.audit.records import Point
    from blindsight.trusted.audit.verifying import Fault, Verification
    from blindsight.wire.audit import AuditFault, AuditVerification

    file = passphrase_file or folder / "passphrase"
    known = passphrase_file is not None or file.exists()
    secret = read_passphrase(file) if known else ask_passphrase(twice=False)
    keys = open_key_set(folder / KEY_FILE_NAME, secret)
    before = list[Fault]()
    head_file = HeadFile(folder, keys)
    try:
        head = head_file.read()
    except DataLoss as error:
        head = None
        before.append(Fault(0, "head", error.message))
    point = None
    if expected is not None:
        number, chain = place(expected)
        point = Point(number, bytes.fromhex(chain))
    verification = Verification(
        record_files(folder),
        head,
        chain_key(keys),
        point,
        half_damaged=head_file.half_damaged and head is not None,
    )
    total = verification.head.point.number - verification.head.first + 1
    for records in verification.run():
        progress(AuditVerification(records, max(total, records)))
    end = verification.head
    faults = [AuditFault(one.number, one.kind, one.what) for one in (*before, *verification.faults)]
    return AuditVerification(
        verification.records,
        total,
        complete=True,
        faults=tuple(faults),
        first=end.first,
        last=end.point.number,
        chain=end.point.chain.hex(),
    )
