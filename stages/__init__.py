"""AdvPT as a pipeline: each script here is one stage of dvc.yaml, each folder a room that the stages compose."""

from stages.runtime.startup import pause_garbage_collection

pause_garbage_collection()  # before all other imports; `command` turns it on again


def __getattr__(name: str) -> object:
    """Import what users call when they ask for it, so that a stage starts fast."""
    if name == "load_victim":
        from stages.evaluation.load import load_victim

        return load_victim
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
