"""Places and sources of a model's configuration and weights, and the digest that stands for them."""

import codecs
import difflib
import json
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from PIL import Image

from stages.models.digests import file_digest, listing_command, listing_digest
from stages.models.hub import hub_file
from stages.runtime.startup import import_open_clip

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIGURATION = "open_clip_config.json"
# in the order in which open_clip reads a folder
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


class Source(NamedTuple):
    """A model, all of it on this disk."""

    arguments: dict  # what open_clip's `create_model` takes to build and to load it
    digest: str  # the sha256 that stands for it, see `weights_digest` in clip.py
    file: Path  # the file of its weights; the folder if it holds none
    command: str  # a shell command that prints the digest


def local_name(name: str, *, sha256: str | None = None) -> str:
    """A model's name without the network: of `hf-hub:`, the folder of the hub's cache that holds its configuration.

    Raises:
        ValueError: If open_clip does not know the model, or the folder is none, or the hub cannot be reached.
    """
    if name.startswith(HUB):
        file = from_hub(name.removeprefix(HUB), (CONFIGURATION,), describe_model(name, None), sha256)
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
    """The `model_cfg` of a model, by its `local_name`.

    Raises:
        ValueError: If it is no JSON in plain UTF-8, or describes no model of two towers.
    """
    if not here.startswith(LOCAL):
        return import_open_clip().get_model_config(here)
    path = Path(here.removeprefix(LOCAL)) / CONFIGURATION
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"model.name: {path} begins with a byte-order mark; save it as UTF-8 without one")
    try:
        found: Any = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"model.name: the {CONFIGURATION} of {here} is no JSON: {error}") from error
    configuration = found.get("model_cfg") if isinstance(found, dict) else None
    towers = ("vision_cfg", "text_cfg")
    if not isinstance(configuration, dict) or not all(isinstance(configuration.get(key), dict) for key in towers):
        raise ValueError(
            f"model.name: {path} describes no model of open_clip: it needs a `model_cfg` with the blocks "
            f"{' and '.join(towers)} (got {found!s:.80})"
        )
    return configuration


def files_of(folder: Path, configuration: dict, weights: Path | None) -> list[Path]:
    """The files that open_clip reads, which are all that counts for a model's digest: no README, no other weights.

    They are configuration, weights, and the tokenizer's table of merges, if the configuration names one.
    """
    settings = configuration["text_cfg"].get("tokenizer_kwargs")
    merges = settings.get("bpe_path") if isinstance(settings, dict) else None
    table = [Path(merges)] if isinstance(merges, str) and Path(merges).is_file() else []
    return [folder / CONFIGURATION, *([weights] if weights else []), *table]


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
        if name.startswith(HUB):
            from_hub(name.removeprefix(HUB), WEIGHTS, describe_model(name, None), sha256, revision=folder.name)
        found = import_open_clip().factory._find_checkpoint_in_dir(folder)  # no public function says which
        weights = Path(found) if found else None
        files = files_of(folder, read_configuration(here), weights)
        return Source({"model_name": here}, listing_digest(files), weights or folder, listing_command(files))
    tag = import_open_clip().get_pretrained_cfg(name, pretrained or "")
    if tag:
        repository, _, file = tag["hf_hub"].rpartition("/")
        names = (file[:-4] + ".safetensors", file) if file else WEIGHTS
        path = from_hub(repository, names, describe_model(name, pretrained), sha256)
    else:
        path = own_file(name, pretrained)
    settings = {"force_quick_gelu": tag.get("quick_gelu", False), "force_preprocess_cfg": tag}
    arguments = {"model_name": name, "pretrained": str(path), **settings}
    return Source(arguments, file_digest(path), path, f"sha256sum {quote(str(path))}")


def transform_of(visual: Any) -> Any:
    """Return an image tower's own transform of an image of any size, tried on one.

    Raises:
        ValueError: If open_clip makes no such transform of its configuration, or no finite numbers of an image.
    """
    transforms = import_open_clip().transform
    try:
        transform = transforms.image_transform_v2(transforms.PreprocessCfg(**visual.preprocess_cfg), is_train=False)
        good = transform(Image.new("RGB", (2, 3))).isfinite().all()
    except (AssertionError, RuntimeError, TypeError, ValueError):  # most without a message
        good = False
    if not good:
        raise ValueError(f"open_clip transforms no image by preprocess_cfg in {CONFIGURATION}: {visual.preprocess_cfg}")
    return transform


def own_file(name: str, pretrained: str | None) -> Path:
    """The user's own file of weights."""
    if pretrained and Path(pretrained).is_file():
        return Path(pretrained).resolve()
    if pretrained and Path(pretrained).is_dir():
        raise ValueError(
            f"model.pretrained: {pretrained!r} is a folder; a file of weights is allowed, or, for a folder with an "
            f"{CONFIGURATION}, model.name={LOCAL}{pretrained} and model.pretrained=null"
        )
    tags = ", ".join(import_open_clip().list_pretrained_tags_by_model(name)) or "none"
    raise ValueError(f"model.pretrained: {pretrained!r} is neither a file nor a tag of {name}; tags: {tags}")


def describe_model(name: str, pretrained: str | None) -> str:
    """Return a model in words, for an error."""
    return f"{name} ({pretrained or 'its own weights'})"


def from_hub(repo: str, files: tuple[str, ...], wanted: str, sha256: str | None, revision: str = "main") -> Path:
    """Find a file of a model on the hub; the error says what to do about a stated digest if the model is a new one."""
    advice = f"If model.sha256 ({sha256}) is of another model, set model.sha256=null." if sha256 else ""
    return hub_file(repo, files, wanted=wanted, advice=advice, revision=revision)
