"""Facts on what made an artefact: a flat dictionary that travels in the artefact's own metadata."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

Provenance = dict[str, Any]
LIBRARIES = ("torch", "open_clip_torch", "numpy", "pyarrow")
OTHERS = ("pillow", "torchvision", "timm", "pyautoattack", "scipy", "safetensors")


def with_versions(**provenance: Any) -> Provenance:
    """Return what made an artefact, with the versions of the libraries."""
    return {**provenance, "versions": {library: version(library) for library in LIBRARIES}}


def key_of(provenance: Provenance, inputs: list[str], *, device: str) -> Provenance:
    """Return what has to be the same if an interrupted run is to be continued.

    Args:
        provenance: All that decides about the pieces, except what is read.
        inputs: Checksums of all that is read, except what is in the names of the pieces.
        device: Kind of device: two kinds round differently.
    """
    others = {library: version(library) for library in OTHERS}
    made = with_versions(made_by=provenance, device=device)
    return {**made, "others": others, "inputs": inputs, "code": code_digest()}


def code_digest() -> str:
    """Return a digest of all source files of the pipeline, but not what an editor leaves beside them (`.#page.py`)."""
    top = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(top.rglob("[!.]*.py")):
        digest.update(f"{path.relative_to(top)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def require(found: Provenance, path: Path, **expected: Any) -> None:
    """Refuse an artefact that something else made; the message names the file, the key and both values."""
    for key, value in expected.items():
        if found.get(key) != value:
            raise ValueError(
                f"{path}: made with {key} = {found.get(key)}, but this run has {key} = {value}. "
                "It belongs to another run; make it again with `dvc repro`."
            )
