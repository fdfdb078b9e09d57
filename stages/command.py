"""How a stage meets the terminal: arguments in, a progress bar, one closing line, errors as one message."""

import argparse
import gc
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def command(stage: Callable[..., str]) -> None:
    """Runs a stage from the command line.

    Its positional arguments are the stage's parameters, optional where they have a default. What the stage returns is
    its closing line, printed with the seconds it took. A ValueError is the user's and becomes a message, as does the
    end of the memory; any other error is ours and keeps its traceback.
    """
    gc.enable()
    gc.freeze()
    signature = inspect.signature(stage)
    module = inspect.getmodule(stage)
    parser = argparse.ArgumentParser(prog=f"python -m {module.__spec__.name}", description=module.__doc__)
    for name, parameter in signature.parameters.items():
        parser.add_argument(name, nargs=None if parameter.default is parameter.empty else "?", default=None)
    arguments = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    start = time.perf_counter()
    try:
        summary = stage(**arguments)
    except ValueError as error:
        sys.exit(f"{parser.prog}: error: {error}")
    except MemoryError as error:
        sys.exit(f"{parser.prog}: error: out of memory ({error}); fewer runtime.workers or smaller batches may help")
    name = " ".join([module.__spec__.name.removeprefix("stages."), *arguments.values()])
    print(f"{name}: {summary} ({time.perf_counter() - start:.1f} s)", flush=True)
    os._exit(0)  # all files are closed; taking torch apart, object by object, would take half a second


def progress(items: Iterable[Item], *, what: str, total: int) -> Iterator[Item]:
    """Shows a bar on a terminal while the items go by; silent in logs."""
    yield from tqdm(items, desc=what, total=total, disable=None, leave=False)
