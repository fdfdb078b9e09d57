"""open_clip behind one small interface: pixels in [0, 1] outside, normalisation inside, weights frozen."""

import hashlib
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.models.folding import fold_batch_norm
from stages.models.lazily import import_open_clip

LOCAL = "local-dir:"


class Clip:
    """A frozen CLIP.

    Attributes:
        model: The open_clip model, in eval mode, no parameter of which takes a gradient.
        tokenizer: Its tokenizer.
        image_size: Side of its square input, in pixels.
        fingerprint: Name, pretrained tag and sha256 of the weights; goes into every artefact.
    """

    def __init__(self, model: nn.Module, tokenizer: object, fingerprint: dict) -> None:
        self.model = fold_batch_norm(model.eval().requires_grad_(False)).to(memory_format=torch.channels_last)
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        size = model.visual.image_size
        self.image_size: int = size if isinstance(size, int) else size[0]
        preprocess = model.visual.preprocess_cfg
        device = next(model.parameters()).device
        self._mean, self._std = (torch.tensor(preprocess[key], device=device).view(3, 1, 1) for key in ("mean", "std"))

    def encode_image(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) in [0, 1] to raw image features (N, D), not normalised; differentiable."""
        return self.model.encode_image((images - self._mean) / self._std)

    @property
    def logit_scale(self) -> float:
        """The factor in front of the cosine."""
        return self.model.logit_scale.exp().item()


def load_clip(name: str, *, pretrained: str | None, sha256: str | None, device: torch.device) -> Clip:
    """Loads any open_clip model.

    Args:
        name: `ViT-B-16` and the like, `hf-hub:...`, or `local-dir:` and a folder of open_clip's form.
        pretrained: Tag or file of the weights; None where the name says it.
        sha256: Expected digest of the weights, see `weights_digest`; None for a model from the hub takes what comes.
        device: Where to put it.

    Raises:
        ValueError: If the weights are missing, damaged, not finite, or not the expected ones.
    """
    open_clip = import_open_clip()

    logging.getLogger().setLevel(logging.ERROR)  # open_clip tells every step of loading to the root logger
    digest = weights_digest(name, pretrained)
    if sha256 != digest and (sha256 is not None or name.startswith(LOCAL)):
        raise ValueError(
            f"model.sha256: {name} ({pretrained or 'its own weights'}) has digest {digest}, but {sha256} is expected. "
            "If these are the weights you mean, put that digest there; then a change of the weights is noticed."
        )
    try:
        model = open_clip.create_model(name, pretrained=pretrained, device=device)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip, safetensors and torch raise a dozen kinds for a damaged or foreign file
        raise ValueError(f"model.name: {name} ({pretrained or 'its own weights'}) cannot be loaded: {error}") from error
    for key, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise ValueError(f"model.name: {name} has NaN or inf in {key}")
    return Clip(model, tokenizer, {"name": name, "pretrained": pretrained, "sha256": digest})


def weights_digest(name: str, pretrained: str | None) -> str:
    """The sha256 that stands for a model.

    For a local folder, that of what `sha256sum *` prints in it, so that the configuration counts too; otherwise that of
    the weights' file.
    """
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        if not (folder / "open_clip_config.json").is_file():
            raise ValueError(f"model.name: {folder} is no open_clip folder (no open_clip_config.json in it)")
        files = sorted(path for path in folder.iterdir() if path.is_file())
        listing = "".join(f"{file_digest(path)}  {path.name}\n" for path in files)
        return hashlib.sha256(listing.encode()).hexdigest()
    return file_digest(weights_file(name, pretrained))


def weights_file(name: str, pretrained: str | None) -> Path:
    """Finds, or downloads, the file of a model's weights.

    Raises:
        ValueError: If there is none; the message lists the tags that open_clip knows for the model.
    """
    open_clip = import_open_clip()

    if pretrained and Path(pretrained).is_file():
        return Path(pretrained)
    try:
        if name.startswith("hf-hub:"):
            return Path(open_clip.download_pretrained_from_hf(name.removeprefix("hf-hub:")))
        tag = open_clip.get_pretrained_cfg(name, pretrained or "")
        if tag:
            return Path(open_clip.download_pretrained(tag))
    except Exception as error:  # whatever the network or the hub raises
        raise ValueError(
            f"model: weights of {name} ({pretrained}) are not here and cannot be fetched: {error}"
        ) from error
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not tags:
        raise ValueError(
            f"model.name: open_clip knows no {name!r}; see open_clip.list_models(), or use hf-hub: or {LOCAL}"
        )
    raise ValueError(f"model.pretrained: {pretrained!r} is neither a file nor a tag of {name}; tags: {', '.join(tags)}")


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
