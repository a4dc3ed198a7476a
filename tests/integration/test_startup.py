"""A service that cannot start says why in one line, ends with 1, and leaves what is there as it is."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.keysets import shared_key_set
from support.services import failed_start, variables

from blindsight.trusted.keyring import keyfile, passphrase

NOBODY = "127.0.0.1:1"


@dataclass(frozen=True)
class Case:
    """A start that must fail.

    Attributes:
        service: which.
        settings: beside a complete set; None leaves one out.
        says: part of the line.
        key_file: what becomes of a good key file before the start.
    """

    service: str
    says: str
    settings: dict[str, str | None] = field(default_factory=dict)
    key_file: str = "good"


DAMAGES = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[: len(good) // 2],
    "junk": lambda good: b"junk" * 1000,
    "flipped in the middle": lambda good: good[:2000] + bytes([good[2000] ^ 1]) + good[2001:],
    "other header": lambda good: good.replace(b'"p": 1', b'"p": 2', 1),
    "greedy header": lambda good: good.replace(b'"n": 131072', b'"n": 1 << 30', 1),
}

CASES = {
    "wrong passphrase": Case(
        "keyholder", "the passphrase does not open", {"passphrase_file": "{folder}/wrong"}
    ),
    "missing passphrase file": Case(
        "keyholder", "cannot read the passphrase file", {"passphrase_file": "{folder}/none"}
    ),
    "empty passphrase file": Case(
        "keyholder", "passphrase of 0 characters", {"passphrase_file": "/dev/null"}
    ),
    "missing key file": Case("keyholder", "no key file at", key_file="missing"),
    **{
        f"key file {damage}": Case("keyholder", "key", {"create_keys": "true"}, key_file=damage)
        for damage in DAMAGES
    },
    "no passphrase file set": Case(
        "keyholder", "PASSPHRASE_FILE: not set, want a value", {"passphrase_file": None}
    ),
    "keyholder at a taken port": Case("keyholder", "is another process", {"address": "{taken}"}),
    "evaluator at a taken port": Case("evaluator", "is another process", {"address": "{taken}"}),
    "storage by a name": Case("storage", "is not loopback", {"address": "example.org:7420"}),
    "storage at no port": Case("storage", "want HOST:PORT", {"address": "127.0.0.1"}),
    "no workers": Case("keyholder", "WORKERS: got '0', want greater than or equal to 1", {"workers": "0"}),
    "a switch that is none": Case(
        "keyholder", "CREATE_KEYS: got 'maybe', want a valid boolean", {"create_keys": "maybe"}
    ),
    "a queue whose name is no secret": Case(
        "keyholder", "QUEUE_MAX_MESSAGES: got '-1'", {"queue_max_messages": "-1"}
    ),
    **{
        f"{name} with no address of {peer}": Case(
            name, f"{peer.upper()}_ADDRESS: got 'nonsense', want HOST:PORT", {f"{peer}_address": "nonsense"}
        )
        for name, peer in (
            ("evaluator", "storage"),
            ("keyholder", "storage"),
            ("keyholder", "evaluator"),
        )
    },
    **{
        f"{name} with {peer} on another machine": Case(
            name, f"{peer.upper()}_ADDRESS: far.lan:7 is not loopback", {f"{peer}_address": "far.lan:7"}
        )
        for name, peer in (("evaluator", "storage"), ("keyholder", "storage"), ("keyholder", "evaluator"))
    },
    **{
        f"{name} {problem}": Case(name, says, settings)
        for name in ("keyholder", "evaluator", "storage")
        for problem, says, settings in (
            ("beyond this machine", "is not loopback", {"address": "0.0.0.0:0"}),
            ("with an unknown setting", "unknown setting", {"adress": NOBODY}),
            ("in a folder that cannot be", "Not a directory", {"data": "{folder}/wrong/data"}),
            ("with metrics at a taken port", "ddress already in use", {"metrics_port": "{taken_port}"}),
            (
                "with metrics at another machine's address",
                "annot assign requested address",
                {"metrics_host": "203.0.113.1", "metrics_port": "{taken_port}"},
            ),
        )
    },
}


@dataclass
class Start:
    """One failed start."""

    line: Future[str]
    folder: Path
    key_file: bytes | None

    def files(self) -> set[str]:
        return {path.name for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Start]]:
    """All of them, as many at a time as there are processors: most of a start is imports."""
    root = tmp_path_factory.mktemp("starts")
    secret = passphrase.generate(root / "right")
    (root / "wrong").write_text("not the passphrase\n")
    keyfile.write(root / "keys.bsky", shared_key_set(), secret)
    good = (root / "keys.bsky").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as taken, ThreadPoolExecutor(2) as executor:
        port = taken.getsockname()[1]
        words = {"folder": str(root), "taken": f"127.0.0.1:{port}", "taken_port": str(port)}
        yield {
            name: _begin(executor, root / str(number), case, good, words)
            for number, (name, case) in enumerate(CASES.items())
        }


def _begin(
    executor: ThreadPoolExecutor, folder: Path, case: Case, good: bytes, words: dict[str, str]
) -> Start:
    settings: dict[str, str | None] = {"data": str(folder)}
    data: bytes | None = None
    if case.service != "storage":
        settings["storage_address"] = NOBODY
    if case.service == "keyholder":
        settings |= {"evaluator_address": NOBODY, "passphrase_file": "{folder}/right"}
        folder.mkdir()
        if case.key_file != "missing":
            data = DAMAGES.get(case.key_file, lambda good: good)(good)
            (folder / "keys.bsky").write_bytes(data)
    settings |= case.settings
    given = {name: value.format(**words) for name, value in settings.items() if value is not None}
    return Start(executor.submit(failed_start, case.service, given), folder, data)


@pytest.mark.parametrize("name", CASES)
def test_a_start_that_cannot_be_is_one_line_and_changes_nothing(starts: dict[str, Start], name: str) -> None:
    case, start = CASES[name], starts[name]
    line = start.line.result(100)
    assert case.says in line
    assert case.service in line.split(":")[0]
    if case.service == "keyholder":
        kept = {"keys.bsky", "lock", "holder", "answer_keys.db", "heads.db", "alarms.db", "catalog.db"}
        kept |= {
            "tokens.db",
            "owner.token",
            "audit.head",
            "limits.db",
            "000000000001.jsonl",
            "reserve",
            "tenants.db",
        }
        assert start.files() <= kept
        if start.key_file is not None:
            assert (start.folder / "keys.bsky").read_bytes() == start.key_file


def test_every_damage_is_one(tmp_path: Path) -> None:
    keyfile.write(tmp_path / "keys.bsky", shared_key_set(), passphrase.generate(tmp_path / "passphrase"))
    good = (tmp_path / "keys.bsky").read_bytes()
    assert all(damage(good) != good for damage in DAMAGES.values())


def test_no_new_keys_are_made_beside_data_that_they_could_not_open(tmp_path: Path) -> None:
    passphrase.generate(tmp_path / "passphrase")
    data = tmp_path / "keyholder"
    data.mkdir()
    (data / "jobs.db").write_bytes(b"put back by a restore that was cut off before the key file")
    settings = {
        "data": str(data),
        "storage_address": NOBODY,
        "evaluator_address": NOBODY,
        "passphrase_file": str(tmp_path / "passphrase"),
        "create_keys": "true",
    }
    line = failed_start("keyholder", settings)
    assert line.endswith(": want the key file of that data, or a new folder for new keys")
    assert not (data / "keys.bsky").exists()
    assert (data / "jobs.db").read_bytes().startswith(b"put back")


@pytest.mark.parametrize(
    ("argument", "code", "says"),
    [
        ("--help", 0, "BLINDSIGHT_STORAGE_DATA (required)"),
        ("--address", 2, "got the argument '--address', want none"),
    ],
)
def test_arguments_are_answered_and_never_ignored(
    tmp_path: Path, argument: str, code: int, says: str
) -> None:
    command = [sys.executable, "-P", "-m", "services.storage", argument]
    environment = variables("storage", {"data": str(tmp_path / "data")})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert says in (done.stderr if code else done.stdout)
    assert not (tmp_path / "data").exists()
