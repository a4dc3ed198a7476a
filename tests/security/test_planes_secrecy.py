"""Filters and differences from the evaluator's side: neither pixels nor keys come through its door."""

import numpy as np
import pytest
from support.canaries import Needles, contents, picture, windows
from support.services import Services
from support.tap import Tap

import blindsight
from blindsight.additive.keys import PUBLIC_MAGIC, SECRET_MAGIC
from blindsight.ciphertext import SECRET_MAGICS
from blindsight.client import StoredPhoto
from blindsight.trusted.keyholder.imaging.images import decode

# Pieces of two pictures: each row holds a canary, and the rest is no less recognisable.
FIRST, SECOND = (np.asarray(decode(picture(seed)[0]))[:70, :90] for seed in (1, 2))
# Elsewhere their difference is zeros, which are everywhere.
CANARY = slice(8, 24)


@pytest.fixture(scope="module")
def taps():
    made = {}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture(scope="module")
def services(tmp_path_factory, taps):
    def way(client, server, address):
        taps[client, server] = Tap(address)
        return taps[client, server].address

    workers = {name: {"workers": "1"} for name in ("keyholder", "evaluator")}
    running = Services(tmp_path_factory.mktemp("secrecy"), settings=workers, way=way)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected


@pytest.fixture
def passed(taps):
    """What passes over a connection from now on, in both directions."""
    before = {name: [len(record) for record in tap.recorded] for name, tap in taps.items()}

    def since(client, server):
        recorded = taps[client, server].recorded
        starts = before[client, server] + [0] * (len(recorded) - len(before[client, server]))
        return b"".join(record[start:] for record, start in zip(recorded, starts, strict=True))

    return since


def needles(*arrays):
    """Values in a row and channel by channel, as bytes and as integers of other sizes."""
    flat = [one.ravel() for array in arrays for one in (array, *np.moveaxis(array, 2, 0))]
    return Needles(
        {
            f"array {number} as {kind}": windows(one.astype(kind).tobytes(), 400)
            for kind in ("u1", "<i2", "<i4", "<i8")
            for number, one in enumerate(flat)
        }
    )


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_neither_pixels_nor_results_pass_to_or_from_the_evaluator(vault, services, passed, scheme):
    filtered = vault.filter(FIRST, ["box:3", "brightness:9"], scheme=scheme)
    difference = vault.diff(FIRST, SECOND, scheme=scheme)
    looked_for = needles(FIRST, SECOND, filtered.values, difference.values[:, CANARY])
    seen = passed("keyholder", "evaluator")
    for account in (filtered.account, difference.account):
        assert min(account.sent_bytes, account.received_bytes) > 100_000
    assert len(seen) > sum(
        account.sent_bytes + account.received_bytes for account in (filtered.account, difference.account)
    )
    assert not looked_for.found(seen)
    assert not looked_for.found_in(contents(services.folder / "evaluator"))
    assert not any(magic in seen for magic in SECRET_MAGICS if len(magic) > 2)


def test_under_paillier_neither_pixels_nor_the_key_of_the_job_pass(vault, services, passed):
    filtered = vault.filter(FIRST, ["box:3", "brightness:9"], scheme="paillier", key_bits=2048)
    account = filtered.account
    seen = passed("keyholder", "evaluator")
    assert len(seen) > account.sent_bytes + account.received_bytes > 50_000
    assert not needles(FIRST, filtered.values).found(seen)
    assert PUBLIC_MAGIC in seen
    assert SECRET_MAGIC not in seen


def test_stored_planes_go_from_storage_to_the_evaluator_and_only_results_come_back(vault, services, passed):
    album = vault.create_collection("album", scheme="bfv", embedder="pixels")
    ids = [
        album.ingest([("photo", picture(seed)[0])], planes=True, plane_halo=1).items[0].id for seed in (1, 2)
    ]
    whole = [np.asarray(decode(picture(seed)[0])) for seed in (1, 2)]
    stored = [StoredPhoto("album", one) for one in ids]
    difference = vault.diff(*stored)
    smoothed = vault.filter(stored[0], "box:3")
    looked_for = needles(*whole, difference.values[:, CANARY], smoothed.values)
    assert difference.account.sent_bytes == smoothed.account.sent_bytes == 0
    fetched = passed("evaluator", "storage")
    assert len(fetched) > 1_000_000
    for seen in (fetched, passed("keyholder", "evaluator"), passed("keyholder", "storage")):
        assert not looked_for.found(seen)
    assert not looked_for.found_in(contents(services.folder / "storage"))
