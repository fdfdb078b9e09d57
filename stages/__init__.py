"""AdvPT as a pipeline: each script here is one stage of dvc.yaml, each folder a room that the stages compose."""

import gc
import sys

if sys.argv[0] == "-m":  # a stage is starting: its imports make a million objects that stay, so collecting is a waste
    gc.disable()  # `command` switches it on again


def __getattr__(name: str) -> object:
    """Import what users call when they ask for it, so that a stage starts fast."""
    if name == "load_victim":
        from stages.evaluation.load import load_victim

        return load_victim
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
