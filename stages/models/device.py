"""Where to compute, and how stored pixels get there."""

import numpy as np
import torch
from torch import Tensor


def choose_device(name: str) -> torch.device:
    """Finds the device: `auto` is a GPU if there is one.

    On the CPU each operation gets one thread: batches go side by side instead (`runtime.workers`), which is faster for
    small models, and no sum depends on the number of cores.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    torch.set_num_threads(1)
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("runtime.device: cuda asked for, but torch finds no CUDA device; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def has_bf16_units(device: torch.device) -> bool:
    """Whether a device multiplies bf16 matrices much faster than fp32 ones: GPUs since Ampere, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def to_tensor(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Stored pixels (N, H, W, 3), uint8 -> images (N, 3, H, W), float32 in [0, 1], channels last in memory."""
    return torch.tensor(pixels, device=device).permute(0, 3, 1, 2).float() / 255
