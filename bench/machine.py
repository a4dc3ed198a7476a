"""The description of the machine that a benchmark ran on: the facts needed to judge its figures."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import psutil

PACKAGES = (
    "blindsight",
    "faiss-cpu",
    "gmpy2",
    "grpcio",
    "lightphe",
    "llvmlite",
    "numba",
    "numpy",
    "opencv-python-headless",
    "phe",
    "protobuf",
    "scikit-image",
    "tenseal",
)
READ_BYTES = 2 << 30
READ_REPEATS = 5


def describe() -> dict[str, Any]:
    """Returns processor, memory, system, versions, date and load of the machine; no names and no paths."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "cache_bytes": _caches(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average_before": load_average(),
    }


def load_average() -> float:
    """Returns the load average of the last minute, which includes this benchmark."""
    return round(os.getloadavg()[0], 2)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _caches() -> dict[str, int]:
    """Returns data and unified caches of the first core: {"L2": 1048576, ...}; shared ones in full."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (folder / "type").read_text().strip() != "Instruction":
            size = (folder / "size").read_text().strip()
            found["L" + (folder / "level").read_text().strip()] = int(size.removesuffix("K")) << 10
    return found


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def _total(words: npt.NDArray[np.uint64]) -> np.uint64:
    total = np.uint64(0)
    for i in range(words.size):
        total += words[i]
    return total


class Reader:
    """Reads arrays with several threads at once, each of which reads a part of every array.

    Args:
        arrays: uint64, one-dimensional; together larger than the caches.
        threads: number of threads.
    """

    def __init__(self, arrays: Sequence[npt.NDArray[np.uint64]], threads: int) -> None:
        self._shares = [[np.array_split(array, threads)[at] for array in arrays] for at in range(threads)]
        self._bytes = sum(array.nbytes for array in arrays)
        self._pool = ThreadPoolExecutor(threads)
        self.gb_per_second()  # compiles, and faults in pages of mapped files

    def gb_per_second(self) -> float:
        """Reads all arrays once; returns GB/s (10^9)."""
        started = time.perf_counter()
        list(self._pool.map(lambda share: [_total(part) for part in share], self._shares))
        return self._bytes / (time.perf_counter() - started) / 1e9


def read_bandwidth(threads: int) -> dict[str, Any]:
    """Measures how fast all threads read an array larger than any cache; returns best and all, in GB/s."""
    reader = Reader([np.ones(READ_BYTES // 8, np.uint64)], threads)
    measured = [reader.gb_per_second() for _ in range(READ_REPEATS)]
    return {
        "best_gb_per_second": max(measured),
        "all_gb_per_second": measured,
        "threads": threads,
        "size_bytes": READ_BYTES,
    }
