"""Small CLIPs with random weights, in the form of `local-dir:` folders: 224 px, stock vocabulary, at most 5 MB."""

import json
import os
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.models.clip import Clip, load_clip, weights_digest

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
PREPROCESS = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
SQUASHED = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
VIT = {"image_size": 224, "patch_size": 32, "width": 64, "layers": 2, "head_width": 32}
KINDS = {
    "rn50": (
        {
            "embed_dim": 32,
            "quick_gelu": True,
            "vision_cfg": {"image_size": 224, "layers": [1, 2, 1, 1], "width": 8, "head_width": 64},
            "text_cfg": TEXT,
        },
        PREPROCESS,
    ),
    "vit_b_32": ({"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT}, PREPROCESS),
    "custom_text": (
        {
            "embed_dim": 32,
            "custom_text": True,
            "init_logit_bias": -10,
            "vision_cfg": VIT,
            "text_cfg": {**TEXT, "proj_bias": True, "tokenizer_kwargs": {"clean": "canonicalize"}},
        },
        SQUASHED,
    ),
    "timm_byobnet": (
        {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": {"timm_model_name": "test_byobnet", "timm_model_pretrained": False, "image_size": 160},
            "text_cfg": TEXT,
        },
        PREPROCESS,
    ),
    "timm_vit": (
        {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": {"timm_model_name": "test_vit", "timm_model_pretrained": False, "image_size": 160},
            "text_cfg": TEXT,
        },
        PREPROCESS,
    ),
}


def random_model(model_cfg: dict) -> torch.nn.Module:
    """Builds a model, the same each time; its batch norms have seen something, so that folding them is no identity."""
    configuration = dict(model_cfg)
    layout = open_clip.CustomTextCLIP if configuration.pop("custom_text", False) else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = layout(**configuration)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for values in (module.weight.data, module.running_var):
                    values.uniform_(0.5, 1.5)
                for values in (module.bias.data, module.running_mean):
                    values.normal_(0, 0.1)
    return model.eval()


def save_model(folder: Path, model: torch.nn.Module, model_cfg: dict, preprocess_cfg: dict) -> str:
    """Saves a model in the form of a `local-dir:` folder and returns its `model.sha256`."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(configuration, indent=2), encoding="utf-8")
    save_file(
        {key: weight.contiguous() for key, weight in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return weights_digest(f"local-dir:{folder}", None)


def save_random(folder: Path, kind: str) -> str:
    """Saves a model of one of the `KINDS` and returns its `model.sha256`."""
    model_cfg, preprocess_cfg = KINDS[kind]
    return save_model(folder, random_model(model_cfg), model_cfg, preprocess_cfg)


def load_folder(folder: Path, sha256: str | None = None) -> Clip:
    """Load the model of a `local-dir:` folder, whatever its digest unless one is stated."""
    name = f"local-dir:{folder}"
    return load_clip(name, pretrained=None, sha256=sha256 or weights_digest(name, None), device=torch.device("cpu"))


def change_config(folder: Path, *above: str, **changes: object) -> Path:
    """Change keys of a block of a folder's configuration, and return its file."""
    file = folder / "open_clip_config.json"
    configuration = json.loads(file.read_text(encoding="utf-8"))
    block = configuration["model_cfg"]
    for key in above:
        block = block[key]
    block.update(changes)
    file.write_text(json.dumps(configuration), encoding="utf-8")
    return file


def behind(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with a prefix to their names."""
    return {f"{prefix}{name}": weight for name, weight in weights.items()}


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)
