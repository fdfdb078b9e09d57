"""Where a model's configuration and weights lie or come from, and the digest that stands for them."""

import difflib
from pathlib import Path
from typing import NamedTuple

from stages.models.digests import file_digest, listing_digest
from stages.models.hub import hub_file
from stages.models.lazily import import_open_clip

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIGURATION = "open_clip_config.json"
# in the order in which open_clip reads a folder
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


class Source(NamedTuple):
    """A model, all of it on this disk.

    Attributes:
        arguments: What open_clip's `create_model` takes to build and to load it.
        digest: The sha256 that stands for it, see `weights_digest` in clip.py.
        file: The file or the folder of its weights.
    """

    arguments: dict
    digest: str
    file: Path


def local_name(name: str, *, sha256: str | None = None) -> str:
    """A model's name without the network: of `hf-hub:`, the folder of the hub's cache that holds its configuration.

    Raises:
        ValueError: If open_clip does not know the model, or the folder is none, or the hub cannot be reached.
    """
    if name.startswith(HUB):
        file = hub_file(name.removeprefix(HUB), (CONFIGURATION,), wanted=wanted(name, None, sha256))
        return f"{LOCAL}{file.parent}"
    if name.startswith(LOCAL):
        if not (Path(name.removeprefix(LOCAL)) / CONFIGURATION).is_file():
            raise ValueError(f"model.name: {name} is no open_clip folder (no {CONFIGURATION} in it)")
        return name
    known = import_open_clip().list_models()
    if name not in known:
        close = ", ".join(difflib.get_close_matches(name, known, n=5))
        raise ValueError(
            f"model.name: open_clip knows no {name!r}{close and f'; near it: {close}'}; see open_clip.list_models(), "
            f"or use {HUB} or {LOCAL}"
        )
    return name


def read_configuration(here: str) -> dict:
    """The `model_cfg` of a model, by its `local_name`."""
    try:
        return import_open_clip().get_model_config(here)
    except ValueError as error:
        raise ValueError(f"model.name: the {CONFIGURATION} of {here} is no JSON: {error}") from error


def find_source(name: str, pretrained: str | None, *, sha256: str | None = None) -> Source:
    """Finds a model's files; downloads what is not here.

    A tag's own settings hold, whatever the name says: its preprocessing, and quick-GELU, which open_clip only warns
    about. A file has no settings: it follows the name, so OpenAI's weights in a file need `ViT-B-16-quickgelu`.

    Args:
        name: As `load_clip` takes it.
        pretrained: As `load_clip` takes it.
        sha256: The expected digest, for the error.

    Raises:
        ValueError: If something is missing or is no weights; see `local_name` and `hub_file` too.
    """
    here = local_name(name, sha256=sha256)
    if here.startswith(LOCAL) and pretrained is not None:
        raise ValueError(f"model.pretrained: {name} carries its own weights, so only null is allowed; got {pretrained}")
    if here.startswith(LOCAL):
        folder = Path(here.removeprefix(LOCAL))
        files = [path for path in folder.iterdir() if path.is_file()]
        if name.startswith(HUB):
            repository, revision = name.removeprefix(HUB), folder.name
            weights = hub_file(repository, WEIGHTS, wanted=wanted(name, None, sha256), revision=revision)
            files = [folder / CONFIGURATION, weights]
        return Source({"model_name": here}, listing_digest(files), folder)
    tag = import_open_clip().get_pretrained_cfg(name, pretrained or "")
    if tag:
        repository, _, file = tag["hf_hub"].rpartition("/")
        names = (file[:-4] + ".safetensors", file) if file else WEIGHTS
        path = hub_file(repository, names, wanted=wanted(name, pretrained, sha256))
    else:
        path = own_file(name, pretrained)
    settings = {"force_quick_gelu": tag.get("quick_gelu", False), "force_preprocess_cfg": tag}
    return Source({"model_name": name, "pretrained": str(path), **settings}, file_digest(path), path)


def own_file(name: str, pretrained: str | None) -> Path:
    """The user's own file of weights."""
    if pretrained and Path(pretrained).is_file():
        return Path(pretrained).resolve()
    tags = ", ".join(import_open_clip().list_pretrained_tags_by_model(name)) or "none"
    raise ValueError(f"model.pretrained: {pretrained!r} is neither a file nor a tag of {name}; tags: {tags}")


def wanted(name: str, pretrained: str | None, sha256: str | None) -> str:
    """A model in words, for an error."""
    return f"{name} ({pretrained or 'its own weights'}, model.sha256 {sha256 or 'not stated'})"
