"""`blindsight backup` in the middle of all that a vault does, and the vault that `restore` makes of it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from support.backups import files, rewrite
from support.command import Up, run, run_on_terminal
from support.photos import encoded, many, photo
from support.services import wait_until

import blindsight
from blindsight.errors import NotFound

pytestmark = pytest.mark.timeout(240)
PHOTOS = many(12)
VECTORS = np.random.default_rng(3).standard_normal((300, 16))
IMPORT_SIZE = 4
# What the old vault's worker and keyholder held is given on soon.
SHORT = {
    "BLINDSIGHT_STORAGE_LEASE_SECONDS": "1",
    "BLINDSIGHT_KEYHOLDER_QUEUE_SILENCE_SECONDS": "2",
    "BLINDSIGHT_WORKER_QUEUE_SILENCE_SECONDS": "2",
    "BLINDSIGHT_WORKER_PROCESSES": "1",
}


def numbered(number: int, of: str) -> tuple[str, bytes]:
    """A small photo that is like no other."""
    image = photo("coffee", 64).copy()
    image.putpixel((0, 0), (number % 256, number // 256, len(of)))
    return f"{of}-{number}.png", encoded(image, "PNG", compress_level=1)


@dataclass
class Load:
    """What goes on while a vault is copied, and what of it its owner was told.

    Attributes:
        stored: ids of photos of `plain`, by name.
        deleted: of those.
        imports: numbers of the imports that the keyholder has taken whole.
        searches: how many were answered.
    """

    address: str
    stored: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    imports: list[int] = field(default_factory=list)
    searches: int = 0
    failures: list[BaseException] = field(default_factory=list)

    def store_and_delete(self, vault: blindsight.Vault, number: int) -> None:
        name, data = numbered(number, "plain")
        (item,) = vault.collection("plain").ingest([(name, data)]).items
        self.stored[name] = item.id
        if is_deleted_later(number):
            vault.collection("plain").delete(item.id)
            self.deleted.add(name)

    def give_to_the_queue(self, vault: blindsight.Vault, number: int) -> None:
        vault.collection("bulk").ingest_bulk(of_import(number), request_id=f"import {number}")
        self.imports.append(number)

    def search(self, vault: blindsight.Vault, number: int) -> None:
        vault.collection("vectors").search_vectors(VECTORS[number % len(VECTORS)], k=3)
        self.searches += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        """All three at once, over and over, for as long as a block takes."""
        ended = threading.Event()

        def repeat(work: Callable[[blindsight.Vault, int], None]) -> None:
            try:
                with blindsight.connect(self.address) as vault:
                    for number in count():
                        if ended.is_set():
                            return
                        work(vault, number)
            except BaseException as error:
                self.failures.append(error)

        kinds = (self.store_and_delete, self.give_to_the_queue, self.search)
        threads = [threading.Thread(target=repeat, args=(work,)) for work in kinds]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def is_deleted_later(number: int) -> bool:
    """Of a photo of `plain`."""
    return number % 3 == 0


def of_import(number: int) -> list[tuple[str, bytes]]:
    first = number * IMPORT_SIZE
    return [numbered(one, "imported") for one in range(first, first + IMPORT_SIZE)]


@dataclass(frozen=True)
class Copied:
    """A vault that was copied in the middle of its work.

    Attributes:
        data: its folder; it runs no more.
        backup: the copy.
        told: what the command answered.
        before: what the owner had been told when the copy began.
        answers, likenesses: of searches in what nobody changed.
        originals: by id, of the same.
    """

    data: Path
    backup: Path
    told: dict
    before: Load
    answers: list
    likenesses: dict[str, float]
    originals: dict[str, bytes]


def answers(address: str) -> list:
    """Rankings and scores, of a scheme whose scores are exact."""
    with blindsight.connect(address) as vault:
        found = vault.collection("vectors").search_vectors(VECTORS[:3] + 0.1, k=10).results
    return [[(hit.id, hit.score) for hit in hits] for hits in found]


def likenesses(address: str) -> dict[str, float]:
    """Scores of photos by id, of a scheme whose scores have noise."""
    with blindsight.connect(address) as vault:
        (found,) = vault.collection("photos").search(PHOTOS[0][1], k=len(PHOTOS)).results
    return {hit.id: hit.score for hit in found}


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Copied:
    folder = tmp_path_factory.mktemp("vault")
    data, backup = folder / "data", folder / "backup"
    with Up(data, **SHORT) as up:
        with blindsight.connect(up.address) as vault:
            photos = vault.create_collection("photos").ingest(PHOTOS)
            created = vault.create_collection("vectors", scheme="bfv", embedder="none", dimension=16)
            created.ingest_vectors(VECTORS)
            for name in ("plain", "bulk"):
                vault.create_collection(name)
        originals = {item.id: data for item, (_, data) in zip(photos.items, PHOTOS, strict=True)}
        found, scores = answers(up.address), likenesses(up.address)
        load = Load(up.address)
        with load.running():
            wait_until(lambda: len(load.stored) > 5 and len(load.imports) > 5, what="some work")
            deleted, stored, imports = set(load.deleted), dict(load.stored), list(load.imports)
            before = Load(up.address, stored, deleted, imports, load.searches)
            done = run("backup", str(backup), "--data", str(data), "--json")
            assert done.returncode == 0, done.stderr
            searched = load.searches
            wait_until(lambda: load.searches > searched, what="a search after the copy")
        assert load.failures == []
    return Copied(data, backup, json.loads(done.stdout), before, found, scores, originals)


@pytest.fixture(scope="module")
def restored(copied) -> Iterator[str]:
    """The address of the vault that came of it."""
    data = copied.data.with_name("restored")
    done = run("restore", str(copied.backup), "--data", str(data), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backups"] == copied.told["backups"]
    with Up(data, **SHORT) as up:
        yield up.address


@pytest.fixture
def vault(restored) -> Iterator[blindsight.Vault]:
    with blindsight.connect(restored) as opened:
        yield opened


def test_the_copy_was_taken_in_the_middle_of_an_import(copied):
    (backup,) = copied.told["backups"]
    counts = {name: number for entry in backup["files"] for name, number in entry["counts"].items()}
    assert counts["waiting"] > 0
    assert counts["messages"] > 0
    assert counts["imports"] >= len(copied.before.imports)


def test_searches_in_the_restored_vault_find_the_same_with_the_same_scores(copied, restored):
    assert answers(restored) == copied.answers
    assert likenesses(restored) == pytest.approx(copied.likenesses, abs=2e-4)


def test_every_original_comes_back_byte_for_byte(copied, vault):
    for identity, data in copied.originals.items():
        assert vault.collection("photos").get(identity).data == data


def test_what_was_stored_is_there_once_and_what_was_deleted_is_gone(copied, vault):
    plain = vault.collection("plain")
    numbers = [number for number in range(len(copied.before.stored)) if not is_deleted_later(number)]
    again = plain.ingest([numbered(number, "plain") for number in numbers])
    assert (again.stored, again.duplicates) == (0, len(numbers))
    assert {item.id for item in again.items} <= set(copied.before.stored.values())
    for name in copied.before.deleted:
        with pytest.raises(NotFound):
            plain.get(copied.before.stored[name])


def test_imports_that_were_taken_end_by_themselves_with_every_photo_once(copied, vault):
    jobs = {job.request_id: job for job in vault.imports()}
    for number in copied.before.imports:
        end = vault.get_import(jobs[f"import {number}"].import_id).wait()
        assert (end.state, end.done, end.duplicates, end.failed) == ("finished", IMPORT_SIZE, 0, 0)
    # Of others the copy may have a part; sent again under the same ids, they end like these.
    last = max(int(name.partition(" ")[2]) for name in jobs)
    bulk = vault.collection("bulk")
    for number in range(last + 1):
        end = bulk.ingest_bulk(of_import(number), request_id=f"import {number}").wait()
        assert (end.state, end.done, end.duplicates, end.failed) == ("finished", IMPORT_SIZE, 0, 0)
    everything = [one for number in range(last + 1) for one in of_import(number)]
    assert bulk.describe().items == len(everything)
    report = bulk.ingest(everything)
    assert (report.stored, report.duplicates) == (0, len(everything))
    for item, (_, data) in zip(report.items, everything, strict=True):
        assert bulk.get(item.id).data == data


# --- the command -------------------------------------------------------------------------------


def test_a_terminal_sees_what_a_backup_holds_and_who_may_not_have_it(copied, tmp_path):
    shown = run_on_terminal("backup", str(tmp_path / "copy"), "--data", str(copied.data))
    assert shown.returncode == 0
    for word in (
        "storage/storage.sqlite3",
        "keyholder/keys.bsky",
        "anyone who has it can read the whole vault",
        "backed up to",
    ):
        assert word in shown.output
    shown = run_on_terminal("backup", "--verify", str(tmp_path / "copy"))
    assert shown.returncode == 0
    assert "whole: " in shown.output


def test_each_zone_is_copied_without_the_others(copied, tmp_path):
    held = {}
    for zone in ("trusted", "untrusted"):
        options = ("--zone", zone, "--no-passphrase", "--json")
        done = run("backup", str(tmp_path / zone), "--data", str(copied.data), *options)
        assert done.returncode == 0, done.stderr
        held[zone] = files(tmp_path / zone) - {"manifest.json"}
    assert held["untrusted"] == {"storage/storage.sqlite3"}
    assert held["trusted"] == {
        "queue/ingest.db",
        "keyholder/alarms.db",
        "keyholder/tokens.db",
        "keyholder/limits.db",
        "keyholder/tenants.db",
        "keyholder/heads.db",
        "keyholder/jobs.db",
        "keyholder/keys.bsky",
    }
    both = (str(tmp_path / "untrusted"), str(tmp_path / "trusted"))
    done = run("restore", *both, "--data", str(tmp_path / "data"))
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "data") == held["trusted"] | held["untrusted"]
    done = run("up", "--data", str(tmp_path / "data"), "--port", "0")
    assert "want --passphrase-file FILE" in done.stderr
    rewrite(tmp_path / "untrusted", lambda content: content.update(created_unix_seconds=1))
    done = run("restore", *both, "--data", str(tmp_path / "again"))
    assert done.returncode == 0
    assert "storage's backup is older than the keyholder's" in done.stderr


def test_photos_that_wait_in_a_queue_elsewhere_are_told_of(copied, tmp_path):
    assert run("restore", str(copied.backup), "--data", str(tmp_path / "data")).returncode == 0
    shutil.rmtree(tmp_path / "data" / "queue")
    done = run("backup", str(tmp_path / "copy"), "--data", str(tmp_path / "data"))
    assert done.returncode == 0
    assert "photos wait in a queue that is not in this data folder, nor in the backup" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("backup", "{tmp}/copy"), 2, "want --data DIR to back up, or --verify to read a backup"),
        (("backup", "{tmp}/copy", "--data", "{data}", "--verify"), 2, "want --data DIR to back up"),
        (("backup", "{tmp}/copy", "--data", "{tmp}"), 1, "storage.sqlite3 is missing"),
        (("backup", "{backup}", "--data", "{data}"), 1, "is not empty"),
        (("backup", "--verify", "{tmp}"), 1, "it is not a backup, or one that was not finished"),
        (("restore", "{backup}", "--data", "{data}"), 1, "is not empty: it has authority"),
        (("restore", "{backup}", "{backup}", "--data", "{tmp}/new"), 2, "is in two of the backups"),
        (("restore", "{tmp}", "--data", "{tmp}/new"), 1, "it is not a backup, or one that was not finished"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_made(copied, tmp_path, arguments, code, said):
    places = {"tmp": tmp_path, "data": copied.data, "backup": copied.backup}
    done = run(*(argument.format(**places) for argument in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_vault_that_is_running_is_not_restored_over(copied, restored):
    running = copied.data.with_name("restored")
    done = run("restore", str(copied.backup), "--data", str(running))
    assert done.returncode == 1
    assert done.stderr == f"blindsight: error: {running} is in use by a running service\n"
    assert answers(restored) == copied.answers
