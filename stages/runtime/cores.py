"""Count the CPU cores that this process may use: on a shared machine, fewer than the machine has."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path


def available_cores(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the number of cores that the CPU affinity and the CPU quotas of cgroups allow, at least 1.

    Batch systems and containers limit a job by one or the other. A quota of one and a half cores counts as two.

    Args:
        cgroups: Where the kernel mounts the control groups, of version 1 or 2.
        own: File that names the control groups of this process.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(min([cores, *map(ceil, quotas(cgroups, own))]), 1)


def quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """Yield the CPU quotas, in cores, of the control groups of this process and of all groups around them."""
    for line in read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = cgroups / "cpu" if controllers else cgroups  # version 1 mounts each controller, version 2 has none here
        group = mount / path.lstrip("/")  # inside a container it may name a folder that only the host sees
        for folder in (group, *group.parents):
            if controllers:
                quota, period = (read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
            else:
                quota, _, period = read(folder / "cpu.max").partition(" ")
            if quota.strip().isdigit():  # no quota is "max" or -1
                yield int(quota) / int(period)
            if folder == mount:
                break


def read(path: Path) -> str:
    """Return the text of a file, or nothing where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
