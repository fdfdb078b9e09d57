"""Say what is wrong with a file of weights that open_clip could not load, and what to do about it."""

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from stages.storage.memory import is_out_of_memory

TEXT, IMAGE = "token_embedding.weight", ("conv1.weight", "class_embedding", "patch_embed.proj.weight")
OPEN_CLIP_LOOKS = ("", "state_dict")  # keys of a checkpoint under which open_clip finds a model's weights
SETTINGS = ("input_resolution", "context_length", "vocab_size")  # beside the weights in OpenAI's archives


def misfit(path: Path) -> str | None:
    """Describe why open_clip cannot load a file and what would help; None if its own error says it better."""
    if path.is_dir():
        return "the folder holds no weights; a file such as open_clip_model.safetensors is allowed"
    try:
        content = read_checkpoint(path)
    except ValueError as error:
        return str(error)
    parts = list(parts_of(content))
    names = [name for _, keys in parts for name in keys]
    if not names:
        return "the file holds no tensors by name; what `torch.save(model.state_dict(), ...)` writes is allowed"
    if foreign := of_transformers(names):
        return foreign
    whole = {place: name.removesuffix(TEXT) for place, keys in parts for name in keys if name.endswith(TEXT)}
    if not whole:
        return without_text_tower(parts)
    if not whole.keys() & set(OPEN_CLIP_LOOKS):
        place = next(iter(whole))
        return f"the model lies under the key {place!r} of the file; save what lies there as a file of its own"
    prefix = next(whole[place] for place in OPEN_CLIP_LOOKS if place in whole).removesuffix("text.")
    if prefix not in ("", "module."):
        return f"the names of the weights begin with {prefix!r}; save them without it"
    return None


def read_checkpoint(path: Path) -> Any:
    """Return what a file of weights holds; nothing in it is run.

    Raises:
        ValueError: If it is none, or damaged, or holds code or objects beside tensors; the message says what to do.
    """
    if reason := wrong_format(path):
        raise ValueError(reason)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if not is_torchscript(path):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, torch, pickle and zipfile raise a dozen kinds for a damaged file
        if is_out_of_memory(error):
            raise
        raise ValueError(unreadable(error)) from error
    raise ValueError(f"the file is a TorchScript archive, which holds code and is not run; {conversion(path)}")


def wrong_format(path: Path) -> str | None:
    """Describe what a file is by its first bytes, if these are not those of the weights that its name promises."""
    with path.open("rb") as file:
        head = file.read(9)
    if not head:
        return "the file is empty"
    is_safetensors, is_torch = head[8:] == b"{", head.startswith((b"PK\x03\x04", b"\x80"))
    if is_safetensors != (path.suffix == ".safetensors"):
        if is_safetensors:
            return "the file holds safetensors; let its name end in .safetensors"
        if is_torch:
            return "the file holds a checkpoint of PyTorch and no safetensors; let its name end in .pt"
    elif not is_safetensors and not is_torch:
        return f"it is no file of weights: it begins with {head!r}"
    return None


def unreadable(error: Exception) -> str:
    """Say why a file of weights cannot be read, by the error of the library that tried."""
    if type(error).__name__ == "UnpicklingError":
        return (
            "the file is damaged, or holds Python objects beside tensors, as a whole pickled model does; only tensors "
            "are read, because unpickling can run code: save `model.state_dict()` instead"
        )
    reason = next(iter(str(error).splitlines()), "")[:300]
    return f"the file is damaged or cut short ({type(error).__name__}: {reason}); fetch it again"


def is_torchscript(path: Path) -> bool:
    """Return whether a file is an archive of `torch.jit.save`, such as OpenAI published its models in."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(PurePosixPath(name).name == "constants.pkl" for name in archive.namelist())


def conversion(path: Path) -> str:
    """Say how to get the weights of a TorchScript archive."""
    code = (
        f'import torch; weights = torch.jit.load({json.dumps(str(path))}, map_location="cpu").state_dict(); '
        f'torch.save({{key: weights[key] for key in weights if key not in {json.dumps(SETTINGS)}}}, "weights.pt")'
    )
    return (
        "OpenAI's weights come by model.pretrained=openai; an archive that you trust becomes a checkpoint by\n"
        f"python -c {quote(code)}\n"
        "(OpenAI's weights in a file need the model's name that ends in -quickgelu)"
    )


def parts_of(content: Any, place: str = "", *, depth: int = 3) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every dictionary of tensors in a checkpoint: the key under which it lies, and its tensors by name."""
    if not isinstance(content, dict) or not depth:
        return
    if tensors := {str(key): value for key, value in content.items() if isinstance(value, Tensor)}:
        yield place, tensors
    for key, value in content.items():
        yield from parts_of(value, f"{place}.{key}" if place else str(key), depth=depth - 1)


def of_transformers(names: Iterable[str]) -> str | None:
    """Describe weights of the library transformers; None if they are not."""
    if foreign := next((name for name in names if name.startswith(("vision_model.", "text_model."))), None):
        return (
            f"the file is of transformers' CLIPModel ({foreign}); take the same model in open_clip's form, "
            "such as open_clip_model.safetensors beside it on the hub"
        )
    return None


def without_text_tower(parts: list[tuple[str, dict[str, Tensor]]]) -> str | None:
    """Describe what a file without a text tower holds; None if that is not known."""
    for place, keys in parts:
        if found := [name for name in keys if name.endswith(IMAGE)]:
            under = f", under the key {place!r}" if place else ""
            return (
                f"the file holds an image tower alone ({found[0]}{under}), as those of FARE and TeCoA do, but a CLIP "
                "has a text tower, too. The defended model takes it as model.visual_weights, laid over the model that "
                "it was fine-tuned from; for a surrogate, load it into `model.visual` of that model and save the "
                "`model.state_dict()` of the whole"
            )
    return None
