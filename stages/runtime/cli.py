"""The command line of a stage: arguments, progress bar, closing line, and errors as one message."""

import argparse
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from stages.runtime.startup import exit_at_once, resume_garbage_collection
from stages.storage.memory import is_out_of_memory

Item = TypeVar("Item")
tqdm.monitor_interval = 0  # no monitor thread: if memory is short, Python waits forever for it to start


def command(stage: Callable[..., str]) -> None:
    """Run a stage from the command line.

    Its positional arguments are the parameters of the stage, optional where they have a default. The stage returns its
    closing line, which is printed with the seconds it took. A ValueError is the user's error and becomes one message,
    as does lack of memory; any other error is a fault of ours and keeps its traceback.
    """
    resume_garbage_collection()
    signature = inspect.signature(stage)
    module: Any = inspect.getmodule(stage)
    parser = argparse.ArgumentParser(prog=f"python -m {module.__spec__.name}", description=module.__doc__)
    for name, parameter in signature.parameters.items():
        parser.add_argument(name, nargs=None if parameter.default is parameter.empty else "?", default=None)
    arguments = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    start = time.perf_counter()
    with errors_as_messages(parser.prog):
        summary = stage(**arguments)
    name = " ".join([module.__spec__.name.removeprefix("stages."), *arguments.values()])
    print(f"{name}: {summary} ({time.perf_counter() - start:.1f} s)", flush=True)
    exit_at_once()


@contextmanager
def errors_as_messages(program: str) -> Iterator[None]:
    """End the program with one message if the user's input is at fault or memory ran out."""
    try:
        yield
    except ValueError as error:
        message = str(error)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = f"out of memory ({error}); fewer runtime.workers or smaller batches may help"
    else:
        return
    sys.exit(f"{program}: error: " + "\n".join(map(visible, message.split("\n"))))


def visible(text: str) -> str:
    """Return text whose unprintable characters are escaped, such as ESC as \\x1b.

    Names come from files, and a terminal would obey control characters in them.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def progress(items: Iterable[Item], *, what: str, total: int) -> Iterator[Item]:
    """Yield the items and show a progress bar on a terminal; nothing in logs."""
    yield from tqdm(items, desc=what, total=total, disable=None, leave=False, miniters=1)
