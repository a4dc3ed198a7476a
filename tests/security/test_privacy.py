"""What the untrusted zone sees while an owner works: no pixel, no name, no vector and no secret."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.canaries import Needles, contents, floats, key_material, picture, spelled
from support.photos import encoded, photo
from support.services import Services
from support.tap import Tap

import blindsight
from blindsight.client import Vault
from blindsight.errors import BlindsightError, InvalidVector, NotFound
from blindsight.parameters import CKKS_4096
from blindsight.trusted import embedders
from blindsight.trusted.imaging import images
from blindsight.trusted.keyring import keyfile, passphrase

UNTRUSTED = ("storage", "evaluator")
CLIENT = "client to keyholder"
WAYS = ("keyholder to storage", "keyholder to evaluator", "evaluator to storage")
MOMENTS = ("after searching", "after deleting", "after repacking", "after stopping")
DIMENSION = 24
RNG = np.random.default_rng(20)
VECTORS = RNG.normal(size=(40, DIMENSION)).astype(np.float32)
QUERY_VECTOR = RNG.normal(size=DIMENSION).astype(np.float32)
IDS = [f"canary-item-{uuid.UUID(bytes=RNG.bytes(16))}" for _ in VECTORS]
PHOTO, PHOTO_PIXELS = picture(1)
DELETED_PHOTO, DELETED_PIXELS = picture(2)
QUERY_PHOTO, QUERY_PIXELS = picture(3)
REJECTED_FILE = b"no photo but canary " + RNG.bytes(48)
ALBUM, TABLE, MISSING = "canary album of aunt Vera", "canary table of face prints", "canary that is not there"
NAMES = ["canary-holiday-in-Lisbon.bmp", "canary-deleted-photo.bmp", "canary-notes-on-taxes.txt"]


@dataclass(frozen=True)
class Seen:
    """What the operating system says of one process.

    Attributes:
        told: its command line and its environment.
        files: that it has open.
        mapped: into its memory, native libraries among them.
    """

    told: str
    files: list[str]
    mapped: str

    @classmethod
    def of(cls, process: psutil.Process) -> Seen:
        environment = process.environ()
        told = " ".join([*process.cmdline(), *environment.keys(), *environment.values()])
        links = Path(f"/proc/{process.pid}/fd").iterdir()
        files = [str(link.readlink()) for link in links if link.is_symlink()]
        return cls(told, files, Path(f"/proc/{process.pid}/maps").read_text())


@dataclass
class Run:
    """One owner's session, and everything that somebody else may have seen of it."""

    folder: Path
    taps: dict[str, Tap]
    key_id: bytes
    secrets: dict[str, list[bytes]]
    canaries: dict[str, list[bytes]]
    files: dict[str, dict[str, bytes]] = field(default_factory=lambda: {name: {} for name in UNTRUSTED})
    processes: dict[str, list[Seen]] = field(default_factory=dict)

    @cached_property
    def needles(self) -> Needles:
        """All that must not be found."""
        return Needles({**self.canaries, **self.secrets})

    def keep(self, moment: str) -> None:
        """Notes the untrusted services' files as they are now."""
        for name in UNTRUSTED:
            found = contents(self.folder / name)
            self.files[name] |= {f"{moment}: {path}": data for path, data in found.items()}

    def look(self, services: Services) -> None:
        """Notes what the processes are, service and workers."""
        for name in ("keyholder", *UNTRUSTED):
            process = services[name].process()
            self.processes[name] = [Seen.of(one) for one in (process, *process.children(recursive=True))]

    def wire(self, name: str) -> dict[str, bytes]:
        """What passed through a tap."""
        return {f"{name}, record {number}": data for number, data in enumerate(self.taps[name].recorded)}

    def log(self, name: str) -> bytes:
        """All that a service and its workers said."""
        return (self.folder / f"{name}.log").read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    taps: dict[str, Tap] = {}

    def tapped(client: str, server: str, address: str) -> str:
        tap = taps[f"{client} to {server}"] = Tap(address)
        return tap.address

    # Python then writes down every import: what a process could name is seen in its log.
    services = Services(
        tmp_path_factory.mktemp("private"), extra={"PYTHONPROFILEIMPORTTIME": "1"}, way=tapped
    )
    try:
        services.start()
        taps[CLIENT] = Tap(services.address())
        secret = passphrase.from_file(services.folder / "keyholder.passphrase")
        key_set = keyfile.read(services.folder / "keyholder" / "keys.bsky", secret)
        made = Run(
            services.folder, taps, key_set.key_id, key_material(key_set, secret, CKKS_4096), _canaries()
        )
        with blindsight.connect(taps[CLIENT].address) as vault:
            _session(vault, made)
        made.look(services)
        assert set(services.stop().values()) == {0}
        made.keep("after stopping")
        yield made
    finally:
        services.stop()
        for tap in taps.values():
            tap.close()


def _session(vault: Vault, run: Run) -> None:
    """Everything that an owner does, and some of what goes wrong."""
    album = vault.create_collection(ALBUM, embedder="pixels", dimension=64)
    photos = zip(NAMES, (PHOTO, DELETED_PHOTO, REJECTED_FILE), strict=True)
    report = album.ingest([*photos, ("other.png", encoded(photo("coins"), "PNG"))], planes=True, any=True)
    assert (report.stored, report.rejected) == (4, 0)
    run.canaries["a photo's id"] = [
        form for one in report.items if one.id for form in spelled(one.id.encode())
    ]
    table = vault.create_collection(TABLE, embedder="none", dimension=DIMENSION)
    table.ingest_vectors(VECTORS, IDS)
    (hits,) = album.search(QUERY_PHOTO, k=3).results
    assert {hit.name for hit in hits} >= set(NAMES[:2])
    assert len(table.search_vectors(np.stack([QUERY_VECTOR, VECTORS[0]]), k=3).results) == 2
    run.keep("after searching")
    assert album.get(report.items[0].id).data == PHOTO
    assert _in_rgb(PHOTO_PIXELS) in album.planes(report.items[0].id).tobytes()
    assert album.delete(report.items[1].id).deleted == 1
    assert table.delete(IDS[:5]).deleted == 5
    run.keep("after deleting")
    assert album.repack().segments_retired == table.repack().segments_retired == 1
    assert album.search(QUERY_PHOTO, k=1).results[0]
    assert table.search_vectors(QUERY_VECTOR, k=1).results[0]
    vault.verify(PHOTO, QUERY_PHOTO, embedder="pixels")
    vault.verify(VECTORS[0], QUERY_VECTOR, metric="euclidean")
    assert table.verify(IDS[6], VECTORS[6]).verified
    _mistakes(vault)
    vault.status()
    run.keep("after repacking")


def _in_rgb(pixels: bytes) -> bytes:
    """BMP writes blue first; planes are handed out red first."""
    return np.frombuffer(pixels, np.uint8).reshape(-1, 3)[:, ::-1].tobytes()


def _channels(pixels: bytes) -> list[bytes]:
    """As the pixels lie in planes before they are encrypted."""
    values = np.frombuffer(pixels, np.uint8).reshape(-1, 3)
    return [values[:, channel].tobytes() for channel in range(3)]


def _mistakes(vault: Vault) -> None:
    for mistake, error in (
        (lambda: vault.collection(MISSING).describe(), NotFound),
        (lambda: vault.create_collection(ALBUM), BlindsightError),
        (lambda: vault.collection(ALBUM).get(IDS[0]), NotFound),
        (lambda: vault.collection(ALBUM).planes(IDS[0]), NotFound),
        (lambda: vault.collection(TABLE).search_vectors(VECTORS[:, 1:]), InvalidVector),
        (lambda: vault.collection(TABLE).ingest_vectors(VECTORS[6:], IDS[6:]), BlindsightError),
        (lambda: vault.collection(ALBUM).search(REJECTED_FILE), BlindsightError),
        (lambda: vault.collection(TABLE).verify(IDS[0], QUERY_VECTOR), NotFound),
        (lambda: vault.verify(REJECTED_FILE, PHOTO), BlindsightError),
    ):
        with pytest.raises(error):
            mistake()


def _canaries() -> dict[str, list[bytes]]:
    embedder = embedders.create("pixels", 64)
    embedded = [embedder.embed(images.decode(data)) for data in (PHOTO, DELETED_PHOTO, QUERY_PHOTO)]
    unit = [vector / np.linalg.norm(vector) for vector in VECTORS]
    texts = {"a collection's name": [ALBUM, TABLE, MISSING], "a file's name": NAMES, "an item's id": IDS}
    return {
        "a photo's pixels": spelled(PHOTO_PIXELS),
        "a deleted photo's pixels": spelled(DELETED_PIXELS),
        "a photo's pixels in RGB": spelled(_in_rgb(PHOTO_PIXELS)),
        "a channel of a photo's pixels": [
            form
            for pixels in (PHOTO_PIXELS, DELETED_PIXELS)
            for channel in _channels(pixels)
            for form in (*spelled(channel), np.frombuffer(channel, np.uint8).astype("<f8").tobytes())
        ],
        "a query's pixels": spelled(QUERY_PIXELS),
        "a file that is no photo": spelled(REJECTED_FILE[-48:]),
        "a vector": [form for vector in VECTORS for form in floats(vector)],
        "a query vector": floats(QUERY_VECTOR),
        "a vector of unit length": [form for vector in unit for form in floats(vector)],
        "a photo's vector": [form for vector in embedded for form in floats(vector)],
        **{
            name: [form for text in group for form in spelled(text.encode())] for name, group in texts.items()
        },
    }


# --- that the search would find them ---------------------------------------------------------------


def test_every_canary_that_a_client_sends_is_found_on_its_own_wire(run: Run) -> None:
    found = set().union(*map(run.needles.found, run.wire(CLIENT).values()))
    never_sent = {"a vector of unit length", "a photo's vector", "a channel of a photo's pixels"}
    assert found == set(run.canaries) - never_sent


def test_every_needle_is_found_wherever_it_stands(run: Run) -> None:
    for name, needles in run.secrets.items():
        for shift, needle in enumerate(needles):
            assert run.needles.found(bytes(shift % 8) + needle + b"!") == {name}


@pytest.mark.parametrize("way", WAYS)
def test_the_tap_of_an_untrusted_service_holds_the_calls_and_ciphertexts_that_passed(
    run: Run, way: str
) -> None:
    assert run.taps[way].size_bytes > 100_000
    server = way.rsplit(maxsplit=1)[-1]
    called = f"/blindsight.{server}.v1.{server.title()}Service/".encode()  # headers can be read, too
    public = Needles({"key id": [run.key_id], "call": [called]})
    assert set().union(*map(public.found, run.wire(way).values())) == {"key id", "call"}


@pytest.mark.parametrize("name", UNTRUSTED)
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_files_of_an_untrusted_service_are_searched_as_they_are(run: Run, name: str, moment: str) -> None:
    public = Needles({"key id": [run.key_id, run.key_id.hex().encode()]})
    now = {path: data for path, data in run.files[name].items() if path.startswith(moment)}
    assert public.found_in(now)


# --- that they are not there -----------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_no_canary_and_no_secret_passes_to_an_untrusted_service(run: Run, way: str) -> None:
    assert run.needles.found_in(run.wire(way)) == {}


@pytest.mark.parametrize("name", UNTRUSTED)
def test_no_canary_and_no_secret_stands_in_a_file_of_an_untrusted_service(run: Run, name: str) -> None:
    assert run.needles.found_in(run.files[name]) == {}


@pytest.mark.parametrize("name", ["keyholder", *UNTRUSTED])
def test_no_canary_and_no_secret_stands_in_a_log(run: Run, name: str) -> None:
    assert b'"event": "rpc"' in run.log(name)
    assert run.needles.found(run.log(name)) == set()


def test_no_canary_and_no_secret_stands_in_a_file_of_the_owners_own_service(run: Run) -> None:
    files = contents(run.folder / "keyholder")
    assert {Path(path).name for path in files} == {
        *("keys.bsky", "lock", "holder", "answer_keys.db", "heads.db", "alarms.db", "catalog.db"),
        *("tokens.db", "owner.token", "tenants.db", "audit.head", "limits.db"),
        *("000000000001.jsonl", "reserve"),
    }
    assert run.needles.found_in(files) == {}


@pytest.mark.parametrize("name", UNTRUSTED)
def test_an_untrusted_process_is_not_told_where_the_secrets_are(run: Run, name: str) -> None:
    trusted = str(run.folder / "keyholder")  # its folder, and what the passphrase's path begins with
    for process in run.processes[name]:
        assert trusted not in process.told
        assert "BLINDSIGHT_KEYHOLDER" not in process.told
        assert not [file for file in process.files if file.startswith(trusted)]
    keyholder = run.processes["keyholder"][0]
    assert trusted in keyholder.told
    assert [file for file in keyholder.files if file.startswith(trusted)]


def test_an_untrusted_process_has_no_library_that_decrypts_or_reads_pictures(run: Run) -> None:
    owners = r"tenseal|_sealapi|/PIL/|pillow|skimage|cv2|cryptography"
    for name, fewest in (("storage", 1), ("evaluator", 4)):
        assert len(run.processes[name]) >= fewest
        assert not [process for process in run.processes[name] if re.search(owners, process.mapped)]
    for library in ("tenseal", "/PIL/|pillow"):
        assert [process for process in run.processes["keyholder"] if re.search(library, process.mapped)]


@pytest.mark.parametrize("name", UNTRUSTED)
def test_an_untrusted_process_imports_nothing_of_the_owners(run: Run, name: str) -> None:
    imported = _imported(run.log(name))
    assert f"services.{name}.servicer" in imported
    roots = {module.split(".")[0] for module in imported}
    assert not roots & {"tenseal", "PIL", "skimage", "cv2", "cryptography"}
    assert not [module for module in imported if re.match(r"blindsight\.(trusted|client|cli)", module)]
    assert name == "evaluator" or not roots & {"numpy", "numba"}


def test_the_list_of_imports_names_those_of_the_keyholder_and_its_workers(run: Run) -> None:
    owners = {"tenseal", "PIL", "cryptography", "blindsight.trusted.secrets"}
    assert owners <= _imported(run.log("keyholder"))


def _imported(log: bytes) -> set[str]:
    """Modules that a service and its workers imported, as Python wrote them down."""
    return set(re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", log.decode(), re.MULTILINE))
