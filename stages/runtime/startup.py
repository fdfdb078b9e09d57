"""open_clip and optimisers without torch's compiler, and without timm: half off the start of a stage that holds a CLIP.

torchvision and timm ask the compiler for small functions while they are imported, an optimiser when it steps, and that
imports all of it. A stand-in answers instead. Whoever asks for anything else gets the real compiler.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


class StandIn(ModuleType):
    """Takes the place of one of the compiler's modules."""

    def disable(self, fn: Callable, *_: Any, **__: Any) -> Callable:
        """Marks a function as not to be compiled: nothing is compiled here, so it stays as it is."""
        return fn

    def graph_break(self) -> None:
        """An optimiser marks a place where compiled code would be cut: there is none."""

    def is_compile_supported(self, device_type: str) -> bool:
        """torchvision's detection operators ask this when they run, after the import; the compiler answers."""
        return importlib.import_module("torch._dynamo.utils").is_compile_supported(device_type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        remove_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


def remove_stand_ins() -> None:
    """Makes room for the real modules."""
    for name in COMPILER:
        if isinstance(sys.modules.get(name), StandIn):
            del sys.modules[name]


@contextmanager
def without_compiler() -> Iterator[None]:
    """Inside, asking for the compiler as torchvision, timm and torch's optimisers do does not import it."""
    if not any(name in sys.modules for name in COMPILER):
        sys.modules.update({name: StandIn(name) for name in COMPILER})
    try:
        yield
    finally:
        remove_stand_ins()


def import_open_clip() -> ModuleType:
    """Imports open_clip without timm, which takes a third of a second and serves few models; see `import_timm`."""
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
    """Imports timm; from then on open_clip has it, too."""
    with without_compiler():
        timm = importlib.import_module("timm")
        towers = importlib.import_module("open_clip.timm_model")
        if towers.timm is None:
            importlib.reload(towers)  # in the namespace of the classes that are in use already
    return timm
