"""The machine that a benchmark ran on: what a reader must know to judge its figures, and nothing more."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import psutil

PACKAGES = ("blindsight", "faiss-cpu", "grpcio", "llvmlite", "numba", "numpy", "protobuf", "tenseal")
READ_BYTES = 2 << 30
READ_REPEATS = 5


def describe() -> dict[str, Any]:
    """Processor, memory, system, versions, date, and how busy the machine was; no names and no paths."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "cache_bytes": _caches(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


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
    """Data and unified caches of the first core: {"L2": 1048576, ...}; what is shared counts as a whole."""
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


def read_bandwidth(threads: int, size_bytes: int = READ_BYTES, repeats: int = READ_REPEATS) -> dict[str, Any]:
    """How fast `threads` threads together read an array that fits in no cache.

    Returns:
        the best of the repeats in GB/s (10^9), all of them, and the size.
    """
    parts = np.array_split(np.ones(size_bytes // 8, np.uint64), threads)
    _total(parts[0][:1])  # compiles
    measured = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            started = time.perf_counter()
            list(pool.map(_total, parts))
            measured.append(size_bytes / (time.perf_counter() - started) / 1e9)
    return {
        "best_gb_per_second": max(measured),
        "all_gb_per_second": measured,
        "threads": threads,
        "size_bytes": size_bytes,
    }
