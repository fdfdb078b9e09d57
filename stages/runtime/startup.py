"""Start and end a stage fast: about half of the time that a stage with a CLIP would take to start.

torchvision and timm call small functions of torch's compiler while they are imported, and an optimiser does when it
steps; that imports the whole compiler. A stand-in module provides these functions instead. Any other attribute is
looked up in the real compiler. open_clip is imported without timm and huggingface_hub, which few models need. Garbage
collection is off during the imports, and a finished stage skips the teardown.
"""

import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
    """Import open_clip without timm and huggingface_hub, which take half a second and serve few models.

    `import_timm` gives it timm; huggingface_hub is imported when open_clip downloads by it.
    """
    if "open_clip" in sys.modules:
        return sys.modules["open_clip"]
    absent = [name for name in ("timm", "huggingface_hub") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # open_clip takes None for "not installed"
    try:
        with without_compiler():
            open_clip = importlib.import_module("open_clip")
    finally:
        for name in absent:
            del sys.modules[name]
    if "huggingface_hub" in absent:
        open_clip.pretrained.hf_hub_download = partial(hf_hub_download, library_version=open_clip.__version__)
        open_clip.pretrained._has_hf_hub = True
    return open_clip


def hf_hub_download(*arguments: Any, **options: Any) -> str:
    """Call huggingface_hub's function of this name, as open_clip does."""
    return importlib.import_module("huggingface_hub").hf_hub_download(*arguments, library_name="open_clip", **options)


def import_timm() -> ModuleType:
    """Import timm; from then on open_clip has it, too."""
    with without_compiler():
        timm = importlib.import_module("timm")
        towers = importlib.import_module("open_clip.timm_model")
        if towers.timm is None:
            importlib.reload(towers)  # in the namespace of the classes that are in use already
    return timm
