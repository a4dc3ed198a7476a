"""docs/rented-server.md, line by line, on two machines."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.command import COMMAND, FEW_WORKERS, PATIENCE_SECONDS, environment
from support.machines import Machine, two_machines
from support.photos import encoded, photo

PAGE = Path(__file__).parents[2] / "docs" / "rented-server.md"
SERVER, HOME = "203.0.113.5", "203.0.113.6"
LINE = re.compile(r"^(home|server)\$ (.*)$", re.MULTILINE)


@dataclass
class Reader:
    """Somebody with two machines who types what the page says.

    Attributes:
        said: (machine, line, what it printed) of all lines.
    """

    machines: dict[str, Machine]
    folders: dict[str, Path]
    said: list[tuple[str, str, str]] = field(default_factory=list)

    def type(self, machine: str, line: str) -> subprocess.CompletedProcess[str]:
        """Runs a line on a machine, in its folder."""
        if (copy := re.fullmatch(rf"scp -r (\S+) {re.escape(SERVER)}:", line)) is not None:
            shutil.copytree(
                self.folders["home"] / copy[1], self.folders["server"] / copy[1], dirs_exist_ok=True
            )
            return subprocess.CompletedProcess(line, 0, "", "")
        done = subprocess.run(
            [*self.machines[machine].within, "bash", "-c", line],
            cwd=self.folders[machine],
            env={
                **environment(**FEW_WORKERS),
                "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
                "XDG_STATE_HOME": str(self.folders[machine] / "state"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        self.said.append((machine, line, done.stdout + done.stderr))
        return done


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One who has followed the whole page."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("home", "server")}
    (folders["home"] / "Pictures").mkdir()
    for name in ("coffee", "astronaut"):
        (folders["home"] / "Pictures" / f"{name}.jpg").write_bytes(encoded(photo(name, 320)))
    (folders["home"] / "query.jpg").write_bytes(encoded(photo("coffee", 240)))
    with two_machines({"home": HOME, "server": SERVER}) as machines:
        made = Reader(machines, folders)
        for machine, line in LINE.findall(PAGE.read_text()):
            done = made.type(machine, line)
            assert done.returncode == 0, (line, done.stderr)
        yield made
        for machine, data in (("home", "vault"), ("server", "rented")):
            assert made.type(machine, f"blindsight down --data {data}").returncode == 0


def test_the_page_makes_a_vault_whose_searches_find_what_is_on_the_server(reader: Reader) -> None:
    answer = reader.type("home", "blindsight search holiday query.jpg -k 1 --json")
    assert json.loads(answer.stdout)["results"][0][0]["name"] == "coffee.jpg"
    told = json.loads(reader.type("home", "blindsight status --json").stdout)
    assert [one["reachable"] for one in told["services"]] == [True] * 3


def test_nothing_secret_is_on_the_server(reader: Reader) -> None:
    home, server = reader.folders["home"] / "vault", reader.folders["server"]
    assert {path.name for path in (server / "rented").iterdir() if path.is_dir()} == {"storage", "evaluator"}
    secrets = [
        home / "authority" / "ca.key",
        home / "keyholder" / "passphrase",
        home / "keyholder" / "keys.bsky",
    ]
    everything = [path.read_bytes() for path in server.rglob("*") if path.is_file()]
    assert len(everything) > 8
    for secret in secrets:
        assert not any(secret.read_bytes() in one for one in everything)
    assert not any(b"coffee" in one for one in everything)


def test_who_has_no_certificate_of_the_authority_gets_no_vault_there(reader: Reader) -> None:
    done = reader.type("home", f"blindsight up --zone trusted --data other --port 0 --server {SERVER}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"blindsight: error: storage at {SERVER}:7421 does not answer, or not to this vault's certificate; "
        "tried for 30 seconds: start it there with `blindsight up --zone untrusted`"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            "--zone untrusted --data empty",
            "/empty/storage/tls is missing: issue a certificate for storage where",
        ),
        (
            "--zone untrusted --data rented --passphrase-file x",
            "--passphrase-file with --zone untrusted, want none",
        ),
        ("--zone untrusted --data empty --port 65535", "port 65535 for storage, want 1 to 65534"),
        ("--zone trusted --data empty", "--zone trusted, want --server HOST, too"),
        ("--server there --data empty", "--server with --zone all, want --zone trusted"),
        ("--zone trusted --server :1 --data empty", "--server ':1', want HOST:PORT"),
    ],
)
def test_what_cannot_be_is_one_line(reader: Reader, options: str, said: str) -> None:
    done = reader.type("home", f"blindsight up {options}")
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert said in line


def test_a_certificate_of_another_role_serves_nothing(reader: Reader) -> None:
    home = reader.folders["home"]
    shutil.copytree(home / "rented" / "evaluator" / "tls", home / "mixed" / "storage" / "tls")
    done = reader.type("home", "blindsight up --zone untrusted --data mixed")
    assert done.returncode == 1
    assert done.stderr.endswith("/mixed/storage/tls has a certificate for evaluator, want one for storage\n")


def test_a_lost_key_file_is_not_made_anew_although_storage_is_elsewhere(reader: Reader) -> None:
    folder = reader.folders["home"] / "lost" / "keyholder"
    shutil.copytree(reader.folders["home"] / "vault" / "keyholder", folder)
    (folder / "keys.bsky").unlink()
    done = reader.type("home", f"blindsight up --zone trusted --data lost --port 0 --server {SERVER}")
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"{folder}/keys.bsky is missing, and {folder} holds what it sealed: restore it\n"
    )
