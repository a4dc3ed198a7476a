"""An evaluator, or one of its workers, that dies in the middle of a filter."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from support.services import Services, wait_until

import blindsight

IMAGE = np.random.default_rng(8).integers(0, 256, (700, 1100), np.uint8)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    # An evaluator starts again in a moment, but not on a busy machine.
    patient = {"keyholder": {"patience_seconds": "60"}}
    running = Services(tmp_path_factory.mktemp("restarts"), settings=patient)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def running(services):
    """A filter that has begun: its first results are decrypted; gives what will be its answer."""
    begun = threading.Event()

    def told(progress):
        if progress.done:
            begun.set()

    with ThreadPoolExecutor(1) as thread, blindsight.connect(services.address()) as vault:
        answer = thread.submit(vault.filter, IMAGE, "gaussian:5", progress=told)
        assert begun.wait(60)
        yield answer


def check(answer):
    wanted = cv2.GaussianBlur(IMAGE.astype(np.float64), (5, 5), 0)
    assert np.abs(answer.result(120).values - wanted).max() <= 0.5


def test_a_filter_outlives_a_restart_of_the_evaluator(services, running):
    services["evaluator"].kill()
    services["evaluator"].start()
    check(running)


def test_a_filter_outlives_a_killed_worker(services, running):
    worker = services["evaluator"].workers()[-1]
    worker.send_signal(signal.SIGKILL)
    wait_until(lambda: not worker.is_running() or worker.status() == "zombie", what="the worker's end")
    check(running)
