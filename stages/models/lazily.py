"""open_clip without torch's compiler: half of the start of every stage that holds a CLIP.

torchvision and timm ask the compiler for two small functions while they are imported, and that imports all of it. A
stand-in answers instead. Whoever asks for anything else gets the real compiler, during the import or later.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


class StandIn(ModuleType):
    """Takes the place of one of the compiler's modules while open_clip is imported."""

    def disable(self, fn: Callable, *_: Any, **__: Any) -> Callable:
        """timm marks a function as not to be compiled: nothing is compiled here, so it stays as it is."""
        return fn

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


def import_open_clip() -> ModuleType:
    """Imports open_clip; a compiler that is there already stays."""
    if not any(name in sys.modules for name in COMPILER):
        sys.modules.update({name: StandIn(name) for name in COMPILER})
    try:
        return importlib.import_module("open_clip")
    finally:
        remove_stand_ins()
