"""Start and end a stage fast: about half of the time that a stage with a CLIP would take to start.

torchvision and timm call small functions of torch's compiler while they are imported, and an optimiser does when it
steps; that imports the whole compiler. A stand-in module provides these functions instead. Any other attribute is
looked up in the real compiler. Garbage collection is off during the imports, and a finished stage skips the teardown.
"""

import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


def pause_garbage_collection() -> None:
    """Turn garbage collection off if a stage is starting: its imports make a million objects that all stay."""
    if sys.argv[0] == "-m":
        gc.disable()


def resume_garbage_collection() -> None:
    """Turn garbage collection on again and exempt all objects made so far."""
    gc.enable()
    gc.freeze()


def exit_at_once() -> None:
    """End the process without taking torch apart object by object, which takes half a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class StandIn(ModuleType):
    """Takes the place of one of the compiler's modules."""

    def disable(self, fn: Callable, *_: Any, **__: Any) -> Callable:
        """Return the function as it is: nothing is compiled here."""
        return fn

    def graph_break(self) -> None:
        """Do nothing: there is no compiled code to interrupt."""

    def is_compile_supported(self, device_type: str) -> bool:
        """Ask the compiler: torchvision's detection operators call this when they run, after the import."""
        return importlib.import_module("torch._dynamo.utils").is_compile_supported(device_type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        remove_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


def remove_stand_ins() -> None:
    """Remove the stand-ins, so that the real modules can be imported."""
    for name in COMPILER:
        if isinstance(sys.modules.get(name), StandIn):
            del sys.modules[name]


@contextmanager
def without_compiler() -> Iterator[None]:
    """Keep torchvision, timm and torch's optimisers from importing the compiler inside the block."""
    if not any(name in sys.modules for name in COMPILER):
        sys.modules.update({name: StandIn(name) for name in COMPILER})
    try:
        yield
    finally:
        remove_stand_ins()


def import_open_clip() -> ModuleType:
    """Import open_clip without timm, which takes a third of a second and serves few models; see `import_timm`."""
    absent = "timm" not in sys.modules
    if absent and "open_clip" not in sys.modules:
        sys.modules["timm"] = None  # type: ignore[assignment]  # open_clip takes that for "not installed"
    try:
        with without_compiler():
            return importlib.import_module("open_clip")
    finally:
        if absent:
            sys.modules.pop("timm", None)


def import_timm() -> ModuleType:
    """Import timm; from then on open_clip has it, too."""
    with without_compiler():
        timm = importlib.import_module("timm")
        towers = importlib.import_module("open_clip.timm_model")
        if towers.timm is None:
            importlib.reload(towers)  # in the namespace of the classes that are in use already
    return timm
