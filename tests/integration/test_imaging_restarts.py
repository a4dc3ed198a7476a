"""An evaluator, or one of its workers, that ends in the middle of a filter; a caller who leaves one."""

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from support.services import Services, wait_until

import blindsight

# So large that most of it is still to be sent when the first results come.
LARGE = np.random.default_rng(9).integers(0, 256, (2000, 2000), np.uint8)
IMAGE = np.random.default_rng(8).integers(0, 256, (700, 1100), np.uint8)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    # An evaluator starts again in a moment, but not on a busy machine.
    settings = {"keyholder": {"retry_seconds": "60"}, "evaluator": {"drain_seconds": "0.1"}}
    running = Services(tmp_path_factory.mktemp("restarts"), settings=settings)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def running(services):
    """A filter that has begun: its first results are decrypted; gives what will be its answer."""
    begun = threading.Event()

    def on_progress(progress):
        if progress.done:
            begun.set()

    with ThreadPoolExecutor(1) as thread, blindsight.connect(services.address()) as vault:
        answer = thread.submit(vault.filter, IMAGE, "gaussian:5", progress=on_progress)
        assert begun.wait(60)
        yield answer


def check(answer):
    wanted = cv2.GaussianBlur(IMAGE.astype(np.float64), (5, 5), 0)
    assert np.abs(answer.result(120).values - wanted).max() <= 0.5


def test_a_filter_outlives_a_restart_of_the_evaluator(services, running):
    services["evaluator"].kill()
    services["evaluator"].start()
    check(running)


def test_a_filter_outlives_an_evaluator_that_stops_before_it_is_done(services, running):
    evaluator = services["evaluator"]
    evaluator.stop()
    assert "cut_off" in evaluator.log.read_text()
    evaluator.start()
    check(running)


def test_a_filter_outlives_a_killed_worker(services, running):
    worker = services["evaluator"].workers()[-1]
    worker.send_signal(signal.SIGKILL)
    wait_until(lambda: not worker.is_running() or worker.status() == "zombie", what="the worker's end")
    check(running)


class Left(Exception):
    """Of a caller who loses interest."""


@pytest.mark.parametrize("method", ["Transform", "Difference"])
def test_work_that_its_caller_leaves_ends_at_the_evaluator(services, method):
    def on_progress(progress):
        if progress.done:
            raise Left

    with blindsight.connect(services.address()) as vault:
        ask = {
            "Transform": lambda: vault.filter(LARGE, "gaussian:5", progress=on_progress),
            "Difference": lambda: vault.diff(LARGE, LARGE, progress=on_progress),
        }
        with pytest.raises(Left):
            ask[method]()
    wait_until(lambda: method in cancelled(services), what=f"the end of {method} at the evaluator")


def cancelled(services):
    """Names of the evaluator's rpcs that ended because their callers left."""
    lines = services["evaluator"].log.read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]  # a worker that died left others
    return [one["method"].split("/")[-1] for one in logged if one.get("code") == "CANCELLED"]
