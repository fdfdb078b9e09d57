"""Load the CLIP that params.yaml names."""

import torch

from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.runtime.params import Params


def load_model(params: Params) -> tuple[Clip, torch.device]:
    """Return the CLIP of the block `model`, frozen, and the device of `runtime.device` that it is on."""
    device = choose_device(params.runtime.device)
    return load_clip(**params.model.model_dump(), device=device), device
