"""Large jobs of image processing wait for memory, are refused what there never is, and give it back."""

import asyncio
import os
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from support.keysets import shared_key_set
from support.metrics import value
from support.photos import encoded
from support.ports import free_ports
from support.services import Services, wait_until

import blindsight
from blindsight.errors import BlindsightError, InvalidArgument, InvalidImage, ResourceExhausted
from blindsight.runtime import host
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.imaging.filters import Operation
from services.keyholder.imaging import memory_estimates
from services.keyholder.imaging.difference import DifferenceSettings
from services.keyholder.imaging.filter import FilterSettings
from services.keyholder.imaging.keypoints import DetectionSettings
from services.keyholder.imaging.match import MatchSettings
from services.keyholder.lease import Lease
from services.keyholder.machine import MOST_WAITING, Machine
from services.keyholder.metrics import IMAGING_HELD_BYTES
from services.keyholder.service import Keyholder
from services.keyholder.settings import KeyholderSettings

pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
BUDGET = 160 * MIB
# What the service keeps of what it freed, for the next messages, and files that came.
KEPT = 128 * MIB
SIDE = 640
HELD, WAITING = "blindsight_keyholder_imaging_held_bytes", "blindsight_keyholder_imaging_waiting_jobs"


def enlarged(image, side):
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


CAMERA = enlarged(data.camera(), SIDE)
BEFORE = enlarged(data.astronaut(), SIDE)
AFTER = BEFORE[::-1].copy()


class Running:
    """The services, and what the keyholder says of its memory."""

    def __init__(self, folder: Path) -> None:
        (self._port,) = free_ports(1)
        keyholder = {"imaging_bytes": str(BUDGET), "metrics_port": str(self._port), "workers": "2"}
        self.services = Services(folder, settings={"keyholder": keyholder}).start()
        with self.connect() as vault:
            vault.filter(CAMERA[:64, :64], "box:3")
        self.at_rest = self._status("VmRSS")

    def connect(self):
        return blindsight.connect(self.services.address())

    def metric(self, name):
        return int(value(self._port, name))

    def forget_peak(self):
        self._proc("clear_refs").write_text("5")

    @property
    def peak(self):
        """Bytes over what the service takes at rest."""
        return self._status("VmHWM") - self.at_rest

    def _status(self, name):
        lines = self._proc("status").read_text().splitlines()
        (line,) = [line for line in lines if line.startswith(name)]
        return int(line.split()[1]) * 1024

    def _proc(self, name):
        return Path(f"/proc/{self.services['keyholder'].process().pid}/{name}")

    def idle(self):
        """Whether nothing is held, and nobody waits."""
        return self.metric(HELD) == self.metric(WAITING) == 0


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    made = Running(tmp_path_factory.mktemp("memory"))
    try:
        yield made
    finally:
        made.services.stop()


@pytest.fixture
def vault(running):
    with running.connect() as connected:
        yield connected
    wait_until(running.idle, 60, what="an idle keyholder")


class OnProgress:
    """Stages of a job as they come."""

    def __init__(self):
        self.stages = []
        self._begun, self._waits = threading.Event(), threading.Event()

    def __call__(self, made):
        self.stages.append(made.stage)
        (self._waits if made.stage == "wait" else self._begun).set()

    def begun(self):
        assert self._begun.wait(250)

    def waits(self):
        assert self._waits.wait(250)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(MOST_WAITING + 2) as pool:
        yield pool


class Sampling:
    """What a metric comes to while something runs."""

    def __init__(self, running, name):
        self._running, self._name = running, name
        self.most, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self):
        while not self._done.is_set():
            self.most = max(self.most, self._running.metric(self._name))
            time.sleep(0.02)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


def test_large_jobs_at_once_stay_within_the_budget_and_all_succeed(running, vault, threads):
    running.forget_peak()
    with Sampling(running, HELD) as held, Sampling(running, WAITING) as waiting:
        asked = [threads.submit(vault.diff, BEFORE, AFTER) for _ in range(4)]
        answers = [one.result(250) for one in asked]
    wanted = BEFORE.astype(np.int32) - AFTER
    assert all(np.array_equal(answer.values, wanted) for answer in answers)
    assert BUDGET // 2 < held.most <= BUDGET  # so two at once would be over it
    assert waiting.most >= 2
    assert running.peak < BUDGET + KEPT


@contextmanager
def occupied(running, threads):
    """Within, a job runs beside which a large one has no room; then its caller leaves it."""
    on_progress = OnProgress()
    with running.connect() as leaving:
        slow = {"scheme": "paillier", "key_bits": 2048}
        job = threads.submit(leaving.filter, BEFORE[:480, :480], "gaussian:3", progress=on_progress, **slow)
        on_progress.begun()
        yield
        assert not job.done()
    assert isinstance(job.exception(250), BlindsightError)
    assert "wait" not in on_progress.stages


def test_who_waits_is_told_so_and_begins_in_turn(running, vault, threads):
    first, second = OnProgress(), OnProgress()
    with occupied(running, threads):
        large_job = threads.submit(vault.diff, BEFORE, AFTER, progress=first)
        first.waits()
        small_job = threads.submit(vault.filter, CAMERA[:64, :64], "box:3", progress=second)
        second.waits()  # it has room, and does not overtake
    large_job.result(250)
    small_job.result(250)
    assert first.stages[0] == second.stages[0] == "wait"


@pytest.mark.parametrize("job", ["filter", "diff", "keypoints", "match"])
def test_what_takes_more_than_there_ever_is_is_refused_at_once(running, vault, job):
    large = encoded(Image.new("RGB", (2800, 2900)), "PNG")
    jobs = {
        "filter": lambda: vault.filter(large, "sobel"),
        "diff": lambda: vault.diff(large, large),
        "keypoints": lambda: vault.keypoints(large, side=1600),
        "match": lambda: vault.match(large, large, side=1600),
    }
    running.forget_peak()
    with pytest.raises(ResourceExhausted) as caught:
        jobs[job]()
    assert f"bytes of memory, want at most {BUDGET}" in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
    assert running.peak < KEPT  # not even the picture was decoded


def test_mistakes_do_not_wait(running, vault, threads):
    behind = OnProgress()
    with occupied(running, threads):
        waiting = threads.submit(vault.diff, BEFORE, AFTER, progress=behind)
        behind.waits()
        with pytest.raises(InvalidArgument, match="sharpem"):
            vault.filter(CAMERA, "sharpem")
        with pytest.raises(InvalidArgument, match="want one of bfv"):
            vault.filter(CAMERA, "box:3", scheme="scramble")  # the SDK knows it, the keyholder filters none
        with pytest.raises(InvalidImage):
            vault.filter(b"no picture", "box:3")
        with pytest.raises(ResourceExhausted, match="want at most"):
            vault.keypoints(encoded(Image.new("L", (1600, 1600)), "PNG"), side=1600)
    waiting.result(250)


def test_a_full_line_refuses_and_callers_that_leave_give_their_places_back(running, vault, threads):
    with occupied(running, threads), running.connect() as leaving:
        line = [threads.submit(leaving.diff, BEFORE, AFTER) for _ in range(MOST_WAITING)]
        wait_until(lambda: running.metric(WAITING) == MOST_WAITING, 250, what="a full line")
        with pytest.raises(ResourceExhausted, match=f"want at most {MOST_WAITING}: retry later"):
            vault.filter(CAMERA[:64, :64], "box:3")
    assert all(isinstance(one.exception(250), BlindsightError) for one in line)
    wait_until(running.idle, 60, what="an idle keyholder")
    vault.filter(CAMERA[:64, :64], "box:3")


def test_a_job_that_is_left_while_it_waits_makes_room_for_those_behind_it(running, vault, threads):
    first, second = OnProgress(), OnProgress()
    with occupied(running, threads):
        with running.connect() as leaving:
            left = threads.submit(leaving.diff, BEFORE, AFTER, progress=first)
            first.waits()
            small_job = threads.submit(vault.filter, CAMERA[:64, :64], "box:3", progress=second)
            second.waits()
        assert isinstance(left.exception(250), BlindsightError)
        small_job.result(250)  # there was room beside the one that runs all the time


# --- that estimates are what jobs take -------------------------------------------------------------


def filtered(image, *names, **options):
    operations = tuple(
        Operation(one) if isinstance(one, str) else Operation("custom", np.array(one)) for one in names
    )
    return "filter", FilterSettings(operations, **options), image


def found(image, side):
    return "keypoints", DetectionSettings(side=side), image


KINDS = {
    "a Gaussian": filtered(BEFORE, "gaussian:5"),
    "a wide Gaussian": filtered(CAMERA, "gaussian:31"),
    "a magnitude": filtered(CAMERA, "sobel", scheme="ckks"),
    "an orientation": filtered(CAMERA, "sobel:orientation"),
    "large weights": filtered(CAMERA, np.full((3, 3), 900.0)),
    "two steps": filtered(CAMERA, "sobel", "box:3"),
    "a threshold": filtered(BEFORE, "threshold:99"),
    "erosion": filtered(CAMERA, "erode:3:square:16"),
    "a gradient of two levels": filtered(CAMERA, "threshold:99", "gradient:3"),
    "a difference": ("difference", DifferenceSettings(), (BEFORE, AFTER)),
    "keypoints": found(CAMERA, 300),
    "matches": (
        "match",
        MatchSettings(DetectionSettings(side=300), encrypted=True),
        (CAMERA, np.ascontiguousarray(CAMERA[:, 9:])),
    ),
    "a Gaussian under Paillier": filtered(CAMERA[:200, :200], "gaussian:3", scheme="paillier", key_bits=2048),
    "a difference under Paillier": (
        "difference",
        DifferenceSettings("paillier", key_bits=2048),
        (BEFORE[:200, :200], AFTER[:200, :200]),
    ),
}


@pytest.fixture(scope="module")
def keyholder(running, tmp_path_factory):
    """Another one, in this process, whose memory is counted."""
    addresses = [running.services.address(name) for name in ("storage", "evaluator")]
    made = {}

    async def start():
        storage, evaluator = StorageClient(addresses[0]), EvaluatorClient(addresses[1])
        made["machine"] = Machine(storage, evaluator, 1, 1800, 1 << 40)
        lease = Lease(os.urandom(16), os.urandom(16))  # beside that of the keyholder with the same keys
        folder = tmp_path_factory.mktemp("other")
        made["keyholder"] = Keyholder(shared_key_set(), made["machine"], folder, lease)
        await made["keyholder"].start()

    with asyncio.Runner() as runner:
        runner.run(start())
        yield lambda asked: runner.run(measured(made["keyholder"], *asked))
        runner.run(made["keyholder"].close())
        runner.run(made["machine"].close())


async def measured(keyholder, job, settings, pictures):
    """What a job is taken to need, and the most that it has at once, beside what was there before."""
    many = isinstance(pictures, tuple)
    files = [encoded(Image.fromarray(one), "PNG") for one in (pictures if many else (pictures,))]
    given, estimates = tuple(files) if many else files[0], [0]
    tracemalloc.start()
    try:
        async with aclosing(getattr(keyholder.processing, job).run(settings, given)) as answers:
            async for _ in answers:
                (family,) = IMAGING_HELD_BYTES.collect()
                estimates.append(int(family.samples[0].value))
        return max(estimates), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_takes_what_it_is_estimated_to_and_no_more(keyholder, kind):
    estimate, peak = keyholder(KINDS[kind])
    print(f"{kind}: {peak / MIB:.1f} of {estimate / MIB:.1f} MiB, {memory_estimates.BASE / MIB:.0f} for all")
    assert (estimate - memory_estimates.BASE) / 4 < peak < estimate


def test_half_of_the_memory_is_the_default(tmp_path):
    given = {"storage_address": "a:1", "evaluator_address": "b:2", "passphrase_file": tmp_path / "secret"}
    settings = KeyholderSettings(data=tmp_path, **given)
    assert settings.imaging_bytes == host.memory_limit_bytes() // 2 > MIB
    with pytest.raises(ValueError, match="imaging_bytes"):
        KeyholderSettings(data=tmp_path, imaging_bytes=0, **given)
