"""Ctrl-C at any moment of a call: it ends the call, and never what comes after it."""

import subprocess
import sys
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

# The timer's signal stands for Ctrl-C: both raise an exception in the main thread, wherever that is.
INTERRUPTED = """
import random, signal, sys
import blindsight
from blindsight.errors import BlindsightError

class Interrupted(BaseException):
    came = False

def interrupt(*_):
    Interrupted.came = True
    raise Interrupted

signal.signal(signal.SIGALRM, interrupt)
random.seed(int(sys.argv[2]))
for _ in range(ROUNDS):
    vault = blindsight.connect(sys.argv[1])
    Interrupted.came = False
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 0.004))
        while not Interrupted.came:  # Python itself loses what is raised while it frees an object
            try:
                vault.status()
            except BlindsightError as error:
                assert "Method not found" in str(error), error
    except Interrupted:
        pass
    vault.close()
    print("ended", flush=True)
"""
ROUNDS = 100


@pytest.fixture
def address():
    """The address of a keyholder that is ready, and answers no call with anything but an error."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    checks = health.HealthServicer()
    checks.set("blindsight.keyholder.v1.KeyholderService", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("seed", range(3))
def test_a_call_that_is_interrupted_anywhere_ends_and_so_does_the_close_of_its_vault(address, seed):
    program = INTERRUPTED.replace("ROUNDS", str(ROUNDS))
    command = [sys.executable, "-c", program, address, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ended") == ROUNDS
