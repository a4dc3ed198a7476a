"""Commands and calls of the SDK while `blindsight up` restarts a keyholder that was killed."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import Popen

import numpy as np
import psutil
import pytest
from support.command import Up, run, started
from support.photos import many
from support.services import wait_until

import blindsight
from blindsight.client import AsyncVault
from blindsight.errors import Unavailable

PHOTOS = many(6)
# A restart takes some seconds, and many times as long beside other tests.
PATIENCE_SECONDS = 240.0
STARTING = "`blindsight up` has not started it yet, try again"
WAITING = "blindsight: waiting for the keyholder at {}, which does not answer\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up") / "data") as running:
        with blindsight.connect(running.address) as vault:
            vault.create_collection("photos").ingest(PHOTOS[:3])
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("photos")
    for name, data in PHOTOS:
        (made / name).write_bytes(data)
    return made


def keyholder(up: Up) -> psutil.Process | None:
    """The process that is the keyholder at the moment."""
    for child in psutil.Process(up.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # one that was killed a moment ago
            if "services.keyholder" in child.cmdline():
                return child
    return None


def kill(up: Up) -> psutil.Process:
    """kill -9; returns the process that comes next, which has not begun to serve."""
    killed = keyholder(up)
    assert killed is not None
    killed.kill()
    wait_until(lambda: keyholder(up) not in (None, killed), seconds=30, what="the next keyholder")
    found = keyholder(up)
    assert found is not None
    return found


@contextmanager
def down(up: Up) -> Iterator[None]:
    """Keeps the keyholder from its restart while the block runs."""
    restarting = kill(up)
    restarting.suspend()
    try:
        yield
    finally:
        restarting.resume()


def wait_for(line: str, process: Popen[str]) -> None:
    """Reads what a command says until a line comes; who is slow to connect tells of that before."""
    assert process.stderr is not None
    assert line in iter(process.stderr.readline, "")


def test_every_command_that_is_begun_meanwhile_is_answered(up: Up, folder: Path) -> None:
    one, other = (str(folder / name) for name, _ in PHOTOS[:2])
    commands = {
        "status": ("status",),
        "collections": ("collection", "list"),
        "create": ("collection", "create", "made", "--embedder", "none", "--dimension", "4"),
        "search": ("search", "photos", one, "-k", "1"),
        "items": ("items", "list", "photos"),
        "ingest": ("ingest", "photos", str(folder)),
        "bulk": ("ingest", "photos", str(folder), "--bulk"),
        "verify": ("verify", one, other),
    }
    patience = {"BLINDSIGHT_WAIT_SECONDS": str(PATIENCE_SECONDS)}
    with ExitStack() as running:
        with down(up):
            processes = {
                what: running.enter_context(started(*words, "--json", address=up.address, **patience))
                for what, words in commands.items()
            }
            for process in processes.values():
                wait_for(WAITING.format(up.address), process)
        told = {}
        for what, process in processes.items():
            answer, said = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0, (what, said)
            told[what] = json.loads(answer)
    assert told["status"]["services"][0]["reachable"]
    assert "photos" in [one["name"] for one in told["collections"]["collections"]]
    assert told["create"]["name"] == "made"
    (hit,) = told["search"]["results"][0]
    assert hit["name"] == PHOTOS[0][0]
    assert len(told["items"]["items"]) >= 3
    assert told["ingest"]["stored"] + told["ingest"]["duplicates"] == len(PHOTOS)
    assert told["bulk"]["done"] + told["bulk"]["duplicates"] == len(PHOTOS)
    assert told["verify"]["verified"] is False
    with blindsight.connect(up.address) as vault:
        assert vault.collection("photos").count() == len(PHOTOS)


def test_without_a_word_of_how_long_a_command_waits_for_a_restart_and_no_longer(up: Up) -> None:
    kill(up)
    done = run("collection", "list", address=up.address)
    assert done.returncode == 0, done.stderr
    assert "photos" in done.stdout


def test_every_call_that_is_begun_meanwhile_is_answered(up: Up) -> None:
    patient = {"retry_seconds": PATIENCE_SECONDS}
    away: dict[str, threading.Event] = {}

    def told(of: str):
        away[of] = threading.Event()
        return lambda error: away[of].set()

    def connected() -> int:
        with blindsight.connect(up.address, away=told("connected"), **patient) as vault:
            return vault.collection("photos").count()

    async def awaited() -> int:
        async with AsyncVault(up.address, away=told("awaited"), **patient) as vault:
            return await vault.collection("photos").count()

    def bulk() -> int:
        done = photos.ingest_bulk(PHOTOS, away=told("bulk")).wait()
        return done.done + done.duplicates

    with (
        blindsight.connect(up.address, away=told("open"), **patient) as vault,
        ThreadPoolExecutor(8) as threads,
    ):
        photos, before = vault.collection("photos"), vault.collection("photos").count()
        name, data = PHOTOS[0]
        with down(up):
            said = run("status", address=up.address, BLINDSIGHT_WAIT_SECONDS="2")
            with pytest.raises(Unavailable, match=STARTING):
                blindsight.connect(up.address, retry_seconds=0.5)
            calls = {
                "search": threads.submit(lambda: photos.search(data, k=1).results[0][0].name),
                "items": threads.submit(lambda: len(list(photos.items()))),
                "ingest": threads.submit(lambda: photos.ingest(PHOTOS[:3]).duplicates),
                "create": threads.submit(lambda: vault.create_collection("by sdk").name),
                "connected": threads.submit(connected),
                "awaited": threads.submit(lambda: asyncio.run(awaited())),
                "bulk": threads.submit(bulk),
            }
            wait_until(
                lambda: len(away) == 4 and all(one.is_set() for one in away.values()),
                seconds=60,
                what="calls of nobody",
            )
        answers = {what: call.result(PATIENCE_SECONDS) for what, call in calls.items()}
    assert said.returncode == 1
    assert WAITING.format(up.address) in said.stderr
    assert said.stderr.splitlines()[-1] == (
        f"blindsight: error: no keyholder answers at {up.address}; {STARTING}"
    )
    assert answers.pop("bulk") == len(PHOTOS)
    assert answers == {
        "search": name,
        "items": pytest.approx(before, abs=len(PHOTOS)),
        "ingest": 3,
        "create": "by sdk",
        "connected": pytest.approx(before, abs=len(PHOTOS)),
        "awaited": pytest.approx(before, abs=len(PHOTOS)),
    }


def test_a_kill_in_the_midst_of_calls_repeats_what_may_be_repeated_and_says_of_the_rest_what_is_unknown(
    up: Up,
) -> None:
    rows = np.random.default_rng(7).normal(size=(20_000, 8))
    ids = [f"row-{number}" for number in range(len(rows))]
    with blindsight.connect(up.address, retry_seconds=PATIENCE_SECONDS) as vault:
        named, numbered = (
            vault.create_collection(name, embedder="none", dimension=8, expected_size=len(rows))
            for name in ("named", "numbered")
        )
        begun, killed = threading.Barrier(3), threading.Event()

        def once(progress: object) -> None:
            if not killed.is_set():
                begun.wait(PATIENCE_SECONDS)
                killed.wait(PATIENCE_SECONDS)

        def repeated() -> int:
            return named.ingest_vectors(rows, ids, upsert=True, progress=once).stored

        def lost() -> str:
            with pytest.raises(Unavailable) as caught:
                numbered.ingest_vectors(rows, progress=once)
            return str(caught.value)

        with ThreadPoolExecutor(2) as threads:
            calls = threads.submit(repeated), threads.submit(lost)
            begun.wait(PATIENCE_SECONDS)
            try:
                kill(up)
            finally:
                killed.set()
            assert calls[0].result(PATIENCE_SECONDS) == len(rows)
            said = calls[1].result(PATIENCE_SECONDS)
        assert said.startswith("the keyholder does not answer: ")
        assert said.endswith("; what was asked may have been done or not")
        assert named.count() == len(rows)
        assert numbered.count() <= len(rows)
        found = named.search_vectors(rows[17], k=1).results[0][0]
        assert found.id == ids[17]
