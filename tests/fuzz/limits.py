"""What a process may use while it reads damaged files, and what it reports."""

import json
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SLOWEST = 5  # seconds of processor time for one file


def limit_memory(extra: int) -> None:
    """Refuses this process more than `extra` bytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def refused(read: Callable[[], object], named: Path) -> str | None:
    """Reads a damaged file.

    Args:
        read: What reads it.
        named: The file that an error has to name.

    Returns:
        What the error says, or None without one.

    Raises:
        AssertionError: If the error is no ValueError, names no file, or memory ran out.
    """
    try:
        read()
    except ValueError as error:
        assert str(named) in str(error), f"names no file: {error!r}"
        assert not isinstance(error.__cause__, MemoryError), f"too much memory: {error.__cause__!r}"
        return str(error)
    except BaseException as error:
        raise AssertionError(f"not a ValueError: {error!r}") from error
    return None


@contextmanager
def case(name: str) -> Iterator[None]:
    """Announces a case, so that the last line of a process that died names it, and stops the time."""
    print(name, flush=True)
    start = time.process_time()
    with warnings.catch_warnings(record=True) as escaped:
        yield
    assert not escaped, f"warnings: {[str(warning.message) for warning in escaped]}"
    assert time.process_time() - start < SLOWEST, "too slow"


def report(figures: Counter) -> None:
    """The last line of a process that went well."""
    print(json.dumps(figures))
    sys.stdout.flush()
