"""How a stage meets the terminal: arguments in, a progress bar, one closing line, errors as one message."""

import argparse
import gc
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from stages.storage.notes import read_note

Item = TypeVar("Item")
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "_ALLOC_FAILED")
tqdm.monitor_interval = 0  # no thread beside the bar: where memory is short, Python waits forever for it to begin


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
    with errors_as_messages(parser.prog), code_as_noted(module.__spec__.name):
        summary = stage(**arguments)
    name = " ".join([module.__spec__.name.removeprefix("stages."), *arguments.values()])
    print(f"{name}: {summary} ({time.perf_counter() - start:.1f} s)", flush=True)
    os._exit(0)  # all files are closed; taking torch apart, object by object, would take half a second


@contextmanager
def code_as_noted(script: str) -> Iterator[None]:
    """Refuses code that is not what the stage `code` has noted.

    Where DVC runs the script, which it says in the environment: it would keep the results as those of the noted code.
    All files are looked at before the work, behind it those that Python has read in the meantime: what it had read
    before can be edited.

    Raises:
        ValueError: If a file of the script, `stages.craft` for example, has changed.
    """
    noted = Path(f"data/code/{script.removeprefix('stages.')}.json")
    if not os.environ.get("DVC_STAGE") or noted.stem == "code":
        yield
        return
    digests = read_note(noted)
    require_digests(digests)
    read = {
        Path(file).resolve() for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))
    }
    yield
    require_digests({name: digest for name, digest in digests.items() if Path(name).resolve() not in read})


def require_digests(digests: dict[str, str]) -> None:
    """Refuses files whose sha256 is another one."""
    for name, digest in digests.items():
        file = Path(name)
        if not (file.is_file() and sha256(file.read_bytes()).hexdigest() == digest):
            raise ValueError(
                f"{name}: changed since the stage `code` has noted it; run `dvc repro -f -s code`, then `dvc repro`"
            )


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the memory is full; on the CPU torch has no class for it."""
    kinds = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return kinds or any(word in str(error) for word in NO_MEMORY)


@contextmanager
def errors_as_messages(program: str) -> Iterator[None]:
    """Ends the program with one message where the user's input or the memory is at fault."""
    try:
        yield
    except ValueError as error:
        told = str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        told = f"out of memory ({error}); fewer runtime.workers or smaller batches may help"
    else:
        return
    sys.exit(f"{program}: error: " + "\n".join(map(visible, told.split("\n"))))


def visible(text: str) -> str:
    """Text with all that moves, colours, turns or hides other text written as Python writes it: ESC as \\x1b.

    Names come from files, and a terminal would obey what stands in them.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def progress(items: Iterable[Item], *, what: str, total: int) -> Iterator[Item]:
    """Shows a bar on a terminal while the items go by; silent in logs."""
    yield from tqdm(items, desc=what, total=total, disable=None, leave=False, miniters=1)
