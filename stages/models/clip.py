"""open_clip behind one small interface: pixels in [0, 1] outside, normalisation inside, weights frozen."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from stages.models.checkpoints import misfit
from stages.models.device import choose_device, has_bf16_units
from stages.models.image_tower import encode_with_tokens, optimize_for_input_gradients
from stages.models.supported import check_configuration, check_end, check_repeats
from stages.models.visual_weights import lay_over, read_image_tower
from stages.models.weights import (
    CONFIGURATION,
    LOCAL,
    describe_model,
    find_source,
    local_name,
    read_configuration,
    transform_of,
)
from stages.runtime.params import Params
from stages.runtime.startup import import_open_clip, import_timm
from stages.storage.memory import is_out_of_memory


class Clip(nn.Module):
    """A frozen CLIP."""

    model: Any  # of open_clip, in eval mode, no parameter of which takes a gradient
    _mean: Tensor
    _std: Tensor

    def __init__(
        self, model: Any, tokenizer: Any, fingerprint: dict[str, str | None], *, precision: str = "fp32"
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.is_fast = optimize_for_input_gradients(model.visual)  # an image tower of any other kind is as it was
        if precision == "fp64":
            model.double()
        elif not self.is_fast:
            precision = "fp32"
        self.precision = precision  # fp64: of everything; else of oblivious attacks, and features are in fp32
        self.model.eval().to(memory_format=torch.channels_last)  # what was rearranged is new, so in training mode
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint  # name, tag, sha256, and those of an image tower; goes into every artefact
        size = model.visual.image_size
        self.image_size: int = size if isinstance(size, int) else size[0]  # pixels on a side
        *self._geometry, _, _, normalize = transform_of(model.visual).transforms  # in between: to RGB, to tensor
        weight = next(model.parameters())
        for name, values in (("_mean", normalize.mean), ("_std", normalize.std)):
            self.register_buffer(name, torch.tensor(values, device=weight.device, dtype=weight.dtype).view(3, 1, 1))

    def fit(self, image: Image.Image) -> np.ndarray:
        """Brings an image to the model's size as open_clip does; its resize mode, interpolation and fill colour hold.

        Args:
            image: RGB, of any size.

        Returns:
            Pixels (image_size, image_size, 3), uint8; those of an image of that size are as they were.
        """
        assert image.mode == "RGB", image.mode
        for step in self._geometry:
            image = step(image)
        return np.asarray(image)

    def encode_image(self, images: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Maps images (N, 3, H, W) in [0, 1] to raw image features (N, D), not normalised; differentiable.

        Args:
            images: (N, 3, H, W).
            tokens: Token prompts (N, L, P, W) of a ViT, see `MatrixTransformer`.
        """
        if tokens is None:
            return self.model.encode_image(self._normalised(images))
        return encode_with_tokens(self.model.visual, self._normalised(images), tokens)

    def gradient_encoder(self) -> Callable[..., Tensor]:
        """`encode_image` for those who want its gradient alone: in `precision`; bf16 takes and gives fp32."""
        if self.precision in ("fp32", "fp64"):
            return self.encode_image
        visual = copy.deepcopy(self.model.visual).bfloat16()

        def encode(images: Tensor, tokens: Tensor | None = None) -> Tensor:
            pixels = self._normalised(images).bfloat16()
            found = visual(pixels) if tokens is None else encode_with_tokens(visual, pixels, tokens.bfloat16())
            return found.float()

        return encode

    def _normalised(self, images: Tensor) -> Tensor:
        return (images - self._mean) / self._std

    @torch.no_grad()
    def trial_logits(self) -> Tensor:
        """Logits (1, 1) of one noisy image and one text, always the same."""
        noise = torch.rand(1, 3, self.image_size, self.image_size, generator=torch.Generator().manual_seed(0))
        image_features = self.encode_image(noise.to(self._mean.device))
        text_features = self.model.encode_text(self.tokenizer(["a photo"]).to(self._mean.device))
        return image_features @ text_features.T

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of the features."""
        return self._mean.dtype

    @property
    def logit_scale(self) -> float:
        """The factor in front of the cosine."""
        return self.model.logit_scale.exp().item()


def load_clip(
    name: str,
    *,
    pretrained: str | None,
    sha256: str | None,
    device: torch.device,
    precision: str = "fp32",
    visual_weights: str | None = None,
    visual_sha256: str | None = None,
) -> Clip:
    """Loads any open_clip model.

    Args:
        name: `ViT-B-16` and the like, `hf-hub:...`, or `local-dir:` and a folder of open_clip's form.
        pretrained: Tag, or file of weights (safetensors, or what torch loads with `weights_only`), of a named model;
            None where the name says it.
        sha256: Expected digest of the weights, see `weights_digest`; None for a model from the hub takes what comes.
        device: Where to put it.
        precision: In which oblivious attacks and those of `refresh` and `adversarial` compute: `fp32`, `bf16`, or
            `auto` for bf16 where the device has matrix units for it. With `fp64` everything does.
        visual_weights: File of an image tower, see `read_image_tower`, that takes the place of the model's own.
        visual_sha256: Its digest.

    Raises:
        ValueError: If no learnable context fits into it, if the weights are missing, damaged, not finite, of another
            model, or not the expected ones, or if it gives other logits on a second call.
    """
    open_clip = import_open_clip()

    logging.getLogger().setLevel(logging.ERROR)  # open_clip tells every step of loading to the root logger
    here = local_name(name, sha256=sha256)
    configuration = read_configuration(here)
    check_configuration(name, configuration)
    if configuration.get("vision_cfg", {}).get("timm_model_name"):
        import_timm()
    source = find_source(name, pretrained, sha256=sha256)
    described = describe_model(name, pretrained)
    if sha256 != source.digest and (sha256 is not None or name.startswith(LOCAL)):
        any_weights = "" if name.startswith(LOCAL) else "model.sha256=null takes any weights. "
        raise ValueError(
            f"model.sha256: {described} has digest {source.digest}, but {sha256} is expected. {any_weights}"
            "If these are the weights you mean, put that digest there; then a change of the weights is noticed. It is "
            f"what this prints:\n{source.command}"
        )
    image_tower = read_image_tower(Path(visual_weights), sha256=visual_sha256) if visual_weights else None
    try:
        tokenizer = open_clip.get_tokenizer(here)
        model = open_clip.create_model(**source.arguments, device=device, require_pretrained=True, weights_only=True)
    except Exception as error:  # open_clip, safetensors and torch raise a dozen kinds for a damaged or foreign file
        if is_out_of_memory(error):
            raise
        require_buildable(here)
        reason = misfit(source.file) or brief(error)
        raise ValueError(f"model: {described} cannot be loaded from {source.file}: {reason}") from error
    check_end(name, configuration, tokenizer.eot_token_id)
    if image_tower is not None:
        lay_over(model.visual, image_tower, name=described)
    for key, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise ValueError(f"model.name: {name} has NaN or inf in {key}")
    if precision == "auto":
        precision = "bf16" if has_bf16_units(device) else "fp32"
    fingerprint = {"name": name, "pretrained": pretrained, "sha256": source.digest}
    if visual_weights:
        fingerprint |= {"visual_weights": visual_weights, "visual_sha256": visual_sha256}
    clip = Clip(model, tokenizer, fingerprint, precision=precision)
    check_repeats(name, clip.model, clip.trial_logits)
    return clip


def load_model(params: Params) -> tuple[Clip, torch.device]:
    """Return the CLIP of the block `model`, frozen, and the device of `runtime.device` that it is on."""
    device = choose_device(params.runtime.device)
    return load_clip(**params.model.model_dump(), device=device), device


def require_buildable(here: str) -> None:
    """Refuse a configuration, by the `local_name` of its model, of which open_clip makes no model without weights.

    Raises:
        ValueError: If there is none; the message names the file and what open_clip says.
    """
    if not here.startswith(LOCAL):  # open_clip's own configurations are whole
        return
    open_clip = import_open_clip()
    try:
        open_clip.get_tokenizer(here)
        open_clip.create_model(here, load_weights=False)
    except Exception as error:  # a value of the wrong type fails wherever it is used first
        if is_out_of_memory(error):
            raise
        file = Path(here.removeprefix(LOCAL)) / CONFIGURATION
        raise ValueError(
            f"model.name: open_clip cannot build the model that {file} describes: {brief(error)}; correct its values, "
            "none of which has to do with the weights"
        ) from error


def weights_digest(name: str, pretrained: str | None) -> str:
    """The sha256 that stands for a model.

    For a folder, local or of the hub, that of what `sha256sum` prints for the files that open_clip reads in it, in
    alphabetical order (`files_of` in weights.py), so that the configuration counts too; otherwise that of the file.
    """
    return find_source(name, pretrained).digest


def brief(error: Exception) -> str:
    """Return an error's message, cut: the weights of another model have hundreds of wrong keys and shapes."""
    lines = (str(error) or repr(error)).splitlines()
    cut = [line if len(line) <= 300 else f"{line[:300]} ..." for line in lines[:12]]
    return "\n".join([*cut, f"... {len(lines) - 12} more lines"] if len(lines) > 12 else cut)
