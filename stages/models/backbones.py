"""Any vision model of torchvision, timm or open_clip, without its classifier: images in [0, 1] -> frozen features."""

import difflib
import importlib
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.checkpoints import misfit
from stages.models.clip import brief
from stages.models.digests import file_digest
from stages.models.hub import PATIENCE, hub_file
from stages.models.image_tower import optimize_for_input_gradients
from stages.models.weights import HUB, LOCAL, find_source, transform_of
from stages.runtime.startup import import_open_clip, import_timm, without_compiler
from stages.storage.memory import is_out_of_memory

SMALL = 32  # pixels; a torchvision model that takes no images as small as this always gets them at its own size


class Input(NamedTuple):
    """The input of a network: mean and std of each channel, height and width, and whether no other will do."""

    mean: Sequence[float]
    std: Sequence[float]
    size: tuple[int, int]
    fixed: bool


class Backbone(nn.Module):
    """Frozen features: images (N, 3, H, W) in [0, 1], at the victim's resolution -> (N, D), raw; differentiable.

    Normalisation is inside. Where a network takes one size only (a ViT, any open_clip model), images are resized to it,
    bilinearly, with antialiasing if they shrink; any other network sees them as they come.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, wants: Input, *, sha256: str | None) -> None:
        super().__init__()
        for key, weight in body.state_dict().items():
            if not weight.isfinite().all():
                raise ValueError(f"NaN or inf in {key}")
        self.body = body.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(wants.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(wants.std).view(3, 1, 1))
        self.size = wants.size if wants.fixed else None
        self.sha256 = sha256  # of the weights, as `weights_digest` in clip.py states it; None for random ones
        self.eval().requires_grad_(False)
        features = self(torch.zeros(1, 3, *wants.size))
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise ValueError("it gives no features (N, D), as a network does that does not pool")
        self.feature_width: int = features.shape[1]  # D

    def forward(self, images: Tensor) -> Tensor:
        if self.size and images.shape[-2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True)
        return self.body((images - self.mean) / self.std)


def load_backbone(name: str, *, pretrained: str | None, device: torch.device) -> Backbone:
    """Loads any vision model of torchvision, timm or open_clip.

    Args:
        name: `torchvision:resnet50`, `timm:resnet18`, `open_clip:RN50`; behind `open_clip:` also `hf-hub:...` and
            `local-dir:...`, which carry their own weights and want None.
        pretrained: A tag (`IMAGENET1K_V2`, `a1_in1k`, `openai`), or a file (safetensors, or what torch loads with
            `weights_only`), with a classifier of any width or none, which sees images as the default tag does. None for
            random weights, the same each time.
        device: Where to put it.

    Raises:
        ValueError: If nobody knows the model or its weights, or if these are missing and cannot be fetched (within
            seconds), damaged, not finite or of another model, or if the model gives no features (N, D).
    """
    kind, _, model = name.partition(":")
    builders = {"torchvision": of_torchvision, "timm": of_timm, "open_clip": of_open_clip}
    carries = kind == "open_clip" and model.startswith((HUB, LOCAL))
    if not (carries or (kind in builders and model in known(kind))):
        near = [f"{kind}:{close}" for kind in builders for close in difflib.get_close_matches(model, known(kind))]
        raise ValueError(
            f"surrogate: nobody knows {name!r}; allowed are {', '.join(f'{kind}:' for kind in builders)} and a model "
            f"of theirs; near it: {', '.join(near) or 'none'}"
        )
    described = f"{name} ({pretrained or ('its own weights' if carries else 'random weights')})"
    return builders[kind](model, pretrained or None, described).to(device)


def of_torchvision(model: str, pretrained: str | None, described: str) -> Backbone:
    """A model of torchvision; its last linear layer is taken for its classifier."""
    models = torchvision_models()
    presets = models.get_model_weights(model).__members__
    tag, file, digest = choose(pretrained, sorted(presets), described, lambda tag: fetched(presets[tag].url, described))
    preset = presets[tag or "DEFAULT"]
    with building(described):
        network = models.get_model(model, weights=tag and preset)  # its file lies in torchvision's cache by now
        every = set(network.state_dict())
        linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ValueError("it has no linear layer to be replaced")
        network.set_submodule(linear[-1], nn.Identity())
        if file and not tag:
            load_own(network, file, classifier=every - set(network.state_dict()))
        own = preset.transforms()
        wants = Input(own.mean, own.std, (*own.crop_size, *own.crop_size), preset.meta["min_size"][0] > SMALL)
        return Backbone(network, wants, sha256=digest)


def of_timm(model: str, pretrained: str | None, described: str) -> Backbone:
    """A model of timm, without its classifier as timm takes it off."""
    timm = import_timm()
    named = timm.list_models(f"{model}.*", pretrained=True)
    presets = {name.partition(".")[2]: preset for name in named if (preset := timm.get_pretrained_cfg(name)).hf_hub_id}
    files = ("model.safetensors", "pytorch_model.bin")

    def fetch(tag: str) -> Path:
        return hub_file(presets[tag].hf_hub_id, files, wanted=described)

    tag, file, digest = choose(pretrained, list(presets), described, fetch)
    with building(described):
        network = timm.create_model(  # with all its classes: only then does timm insist on every weight of a file
            f"{model}.{tag}" if tag else model,
            pretrained=bool(tag),
            pretrained_cfg_overlay={"file": str(file)} if tag else None,
        )
        every = set(network.state_dict())
        network.reset_classifier(0)
        if file and not tag:
            load_own(network, file, classifier=every - set(network.state_dict()))
        own = timm.data.resolve_model_data_config(network)
        fixed = network.pretrained_cfg.get("fixed_input_size", False)
        wants = Input(own["mean"], own["std"], own["input_size"][1:], fixed)
        return Backbone(network, wants, sha256=digest)


def of_open_clip(model: str, pretrained: str | None, described: str) -> Backbone:
    """The image tower of open_clip's: raw image features, before they are brought to unit norm."""
    open_clip = import_open_clip()
    digest, file = None, None
    arguments: dict[str, Any] = {"model_name": model}
    if pretrained or model.startswith((HUB, LOCAL)):
        source = find_source(model, pretrained)
        digest, file, arguments = source.digest, source.file, {**source.arguments, "require_pretrained": True}
    import_timm()  # some image towers are timm's
    with building(described, file):
        network = open_clip.create_model(**arguments, weights_only=True).visual
        network.output_tokens = False  # CoCa's gives tokens beside its features
        normalize = transform_of(network).transforms[-1]
        side = network.preprocess_cfg["size"]
        size = side if isinstance(side, tuple) else (side, side)
        optimize_for_input_gradients(network.eval())
        return Backbone(network, Input(normalize.mean, normalize.std, size, fixed=True), sha256=digest)


def torchvision_models() -> ModuleType:
    """Imports torchvision.models, without torch's compiler."""
    with without_compiler():
        return importlib.import_module("torchvision.models")


def known(kind: str) -> list[str]:
    """The names of a kind's models."""
    if kind == "open_clip":
        return import_open_clip().list_models()
    if kind == "timm":
        return import_timm().list_models()
    models = torchvision_models()
    return models.list_models(module=models)


def choose(
    pretrained: str | None, tags: list[str], described: str, fetch: Callable[[str], Path]
) -> tuple[str | None, Path | None, str | None]:
    """Return the tag of weights, which wins over a file of its name, their file, its sha256; None for random ones."""
    if pretrained is None:
        return None, None, None
    if pretrained in tags:
        return pretrained, (file := fetch(pretrained)), file_digest(file)
    if Path(pretrained).is_file():
        return None, (file := Path(pretrained)), file_digest(file)
    raise ValueError(
        f"surrogate: {described}: {pretrained!r} is neither a file nor a tag; tags: {', '.join(tags) or 'none'}"
    )


def fetched(url: str, described: str) -> Path:
    """A file of torchvision's: from torch's cache without a request, else downloaded, else one error within seconds."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    expected = file.stem.rpartition("-")[2]  # torchvision names its files by their digests
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(PATIENCE)
        try:
            torch.hub.download_url_to_file(url, str(file), expected, progress=False)
        except Exception as error:  # whatever the network raises, or a wrong digest
            cause = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(
                f"surrogate: {described} is not here and cannot be fetched. Looked for {file}; then asked {url}: "
                f"{cause}"
            ) from error
        finally:
            socket.setdefaulttimeout(patience)
    if not file_digest(file).startswith(expected):
        raise ValueError(f"surrogate: {file} is damaged, its digest is not {expected}...; delete it")
    return file


def load_own(network: nn.Module, file: Path, *, classifier: set[str]) -> None:
    """Loads a file of one's own; of its weights, those of the classifier may be there or not."""
    weights = import_timm().models.load_state_dict(str(file), weights_only=True)
    found = network.load_state_dict(weights, strict=False)
    foreign = [key for key in found.unexpected_keys if key not in classifier]
    if found.missing_keys or foreign:
        raise ValueError(f"{file}: missing {found.missing_keys[:5]}, foreign {foreign[:5]}")


@contextmanager
def building(described: str, file: Path | None = None) -> Iterator[None]:
    """Make random weights repeatable inside the block, and turn whatever a library raises into one ValueError.

    The error says what is wrong with the file, of weights of open_clip's, if that can be seen.
    """
    try:
        with torch.random.fork_rng(devices=[]), without_compiler():
            torch.default_generator.manual_seed(0)
            yield
    except Exception as error:  # timm, torchvision, open_clip, safetensors and torch raise a dozen kinds
        if is_out_of_memory(error):
            raise
        reason = (file and misfit(file)) or brief(error)
        raise ValueError(f"surrogate: {described} cannot be loaded: {reason}") from error
