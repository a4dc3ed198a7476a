"""Whom a connection waits for: a keyholder that restarts, and none at an address that is wrong."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.ports import free_ports

import blindsight
from blindsight.client import AsyncVault
from blindsight.errors import InvalidArgument, Unavailable
from blindsight.runtime.announcing import announced, is_announced

# A connection that waits takes as long; one that does not is far from it, also on a busy machine.
WAIT_SECONDS = 3.0
# What a connection that breaks is given to tell a keyholder that is killed from something else.
AT_ONCE_SECONDS = 2.0


@pytest.fixture
def nobody() -> str:
    """An address of this machine at which no process listens."""
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def closing() -> Iterator[str]:
    """An address at which something listens that is no keyholder: it closes every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=close, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def failed(address: str, **settings: object) -> tuple[str, float, int]:
    """What is said in the end, after how many seconds, and how often it was told meanwhile."""
    told: list[Unavailable] = []
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        blindsight.connect(address, away=told.append, **settings)  # type: ignore[arg-type]
    return str(caught.value), time.monotonic() - started, len(told)


def test_a_keyholder_that_is_announced_is_waited_for_as_long_as_one_that_restarts(nobody: str) -> None:
    with announced(nobody):
        said, seconds, told = failed(nobody, retry_seconds=WAIT_SECONDS)
    assert said == f"no keyholder answers at {nobody}; `blindsight up` has not started it yet, try again"
    assert seconds >= WAIT_SECONDS
    assert told > 1


def test_one_at_another_address_than_this_machines_is_expected_there() -> None:
    elsewhere = f"0.0.0.0:{free_ports(1)[0]}"  # which leads here, but is no loopback address
    said, seconds, _ = failed(elsewhere, retry_seconds=WAIT_SECONDS)
    assert said == f"no keyholder answers at {elsewhere}; is it started there?"
    assert seconds >= WAIT_SECONDS


def test_the_wait_ends_when_nobody_keeps_the_keyholder_any_more(nobody: str) -> None:
    with ExitStack() as announcing:
        announcing.enter_context(announced(nobody))
        ending = threading.Timer(1.0, announcing.close)
        ending.start()
        said, seconds, _ = failed(nobody, retry_seconds=60)
        ending.join()
    assert said == f"no keyholder answers at {nobody}; start one with `blindsight up --data DIR`"
    assert 1.0 <= seconds < 30


def test_a_port_of_this_machine_that_nobody_speaks_for_is_an_error_at_once(nobody: str) -> None:
    other = f"127.0.0.1:{free_ports(1)[0]}"
    with announced(other):
        said, _, told = failed(nobody, retry_seconds=60)
    assert said == f"no keyholder answers at {nobody}; start one with `blindsight up --data DIR`"
    assert told == 0
    with announced(nobody):
        assert failed(nobody, retry_seconds=60, wait_seconds=0)[2] == 0


def test_what_is_no_keyholder_is_not_waited_for_even_where_one_is_announced(closing: str) -> None:
    with announced(closing):
        said, seconds, _ = failed(closing, retry_seconds=60)
    assert seconds < AT_ONCE_SECONDS
    assert said.startswith(f"no keyholder answers at {closing}; show it the certificate of an owner")


def test_the_environment_says_how_long_to_wait_and_the_call_goes_over_it(
    nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLINDSIGHT_WAIT_SECONDS", str(WAIT_SECONDS))
    assert failed(nobody)[1] >= WAIT_SECONDS
    assert failed(nobody, wait_seconds=0)[2] == 0
    for wrong, said in {"soon": "'soon', want a number", "-1": "-1.0, want 0 or more", "nan": ""}.items():
        monkeypatch.setenv("BLINDSIGHT_WAIT_SECONDS", wrong)
        with pytest.raises(InvalidArgument, match=f"BLINDSIGHT_WAIT_SECONDS.*{said}"):
            blindsight.connect(nobody)


async def test_who_closes_an_asynchronous_vault_does_not_wait_for_its_keyholder(nobody: str) -> None:
    waiting = asyncio.Event()
    vault = AsyncVault(nobody, wait_seconds=600, away=lambda _: waiting.set())
    asking = asyncio.create_task(vault.status())
    await asyncio.wait_for(waiting.wait(), 30)
    await asyncio.wait_for(vault.close(), 30)
    with pytest.raises(Unavailable, match="no keyholder answers"):
        await asking


def test_an_announcement_is_of_one_port_and_ends_with_its_block(nobody: str) -> None:
    assert not is_announced(nobody)
    with announced(nobody), announced(nobody):  # the second finds the name taken, and goes on without
        assert is_announced(nobody)
        assert is_announced(nobody.replace("127.0.0.1", "[::1]"))
    assert not is_announced(nobody)
