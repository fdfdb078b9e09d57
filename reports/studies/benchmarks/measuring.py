"""Measuring of the benchmarks: alternating, medians, beside the matrix peak, with facts about the machine."""

import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Way = Callable[[], object]
PEAK_SIDE = {"cpu": 2048, "cuda": 8192}


def medians(ways: Mapping[Any, Way], *, rounds: int, device: torch.device) -> dict[Any, float]:
    """Seconds of each way: one run to warm up, then rounds in which each takes its turn; the median of its turns."""
    turns: dict[Any, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, way in ways.items():
            seconds = timed(way, device)
            if index:
                turns[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in turns.items()}


def timed(way: Way, device: torch.device) -> float:
    """Seconds of one run, the GPU's work included."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    way()
    wait()
    return time.perf_counter() - start


def in_own_process(work: Callable, *arguments: object) -> Any:
    """Return what `work` returns, run in a new process, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def peak_megabytes(device: torch.device) -> float:
    """The most memory that this process has held so far, on a GPU there; getrusage would count the parent's, too."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(peak) / 1024


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of one large square matrix product, the best of five."""
    side = PEAK_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: left @ right, device) for _ in range(5))


def flops(way: Way) -> int:
    """Floating-point operations of the matrix products and convolutions of one run."""
    with FlopCounterMode(display=False) as counter:
        way()
    return counter.get_total_flops()


def machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "device": f"{name}, {torch.get_num_threads()} thread" if device.type == "cpu" else name,
        "capability": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else "CUDA",
        "cores": str(os.cpu_count()),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def shown(value: object) -> str:
    """Three digits of a number, a dash for what was not measured."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else str(round(value))
    return str(value)
