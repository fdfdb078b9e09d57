"""What made an artefact: a flat dictionary that travels in the artefact's own metadata."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

Provenance = dict[str, Any]
LIBRARIES = ("torch", "open_clip_torch", "numpy", "pyarrow")
OTHERS = ("pillow", "torchvision", "timm", "pyautoattack", "scikit-image", "scipy", "PyWavelets", "safetensors")


def provenance(**made_by: Any) -> Provenance:
    """States what made an artefact, and with which library versions."""
    return {**made_by, "versions": {library: version(library) for library in LIBRARIES}}


def key_of(made_by: Provenance, inputs: list[str], *, device: str) -> Provenance:
    """What has to be the same for the pieces of an interrupted run to be gone on with.

    Args:
        made_by: Of what is being made.
        inputs: Digests of all that is read.
        device: Kind of device: two kinds round differently.
    """
    others = {library: version(library) for library in OTHERS}
    return {**provenance(made_by=made_by, device=device), "others": others, "inputs": inputs, "code": code_digest()}


def code_digest() -> str:
    """One digest for all source files of the pipeline, but not what an editor leaves beside them (`.#page.py`)."""
    top = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(top.rglob("[!.]*.py")):
        digest.update(f"{path.relative_to(top)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def require(found: Provenance, path: Path, **expected: Any) -> None:
    """Refuses an artefact that something else made.

    Raises:
        ValueError: If a stated key differs; the message names the file, the key and both values.
    """
    for key, value in expected.items():
        if found.get(key) != value:
            raise ValueError(
                f"{path}: made with {key} = {found.get(key)}, but this run has {key} = {value}. "
                "It belongs to another run; make it again with `dvc repro`."
            )
