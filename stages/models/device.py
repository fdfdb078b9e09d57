"""The device to compute on, and the way of stored pixels to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor

T = TypeVar("T")  # a tensor, or several


def choose_device(name: str) -> torch.device:
    """Finds the device: `auto` is a GPU if there is one.

    On the CPU each operation gets one thread: batches go side by side instead (`runtime.workers`), which is faster for
    small models, and no sum depends on the number of cores. On a GPU convolutions in fp32 are computed as such, not in
    the 10 bits of TF32 that torch allows them by default, and by algorithms that give the same bits in every run.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    torch.set_num_threads(1)
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("runtime.device: cuda asked for, but torch finds no CUDA device; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    cudnn: Any = torch.backends.cudnn  # whose type does not know the precision of convolutions
    cudnn.conv.fp32_precision = "ieee"
    cudnn.deterministic = True
    return torch.device(name)


def has_bf16_units(device: torch.device) -> bool:
    """Return whether bf16 matrices are multiplied much faster than fp32 ones: on GPUs since Ampere, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def to_tensor(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Stored pixels (N, H, W, 3), uint8 -> images (N, 3, H, W), float32 in [0, 1], channels last in memory."""
    stored = torch.tensor(pixels)
    if device.type == "cuda":
        stored = stored.pin_memory()  # so that the copy overlaps with what the GPU is doing
    return stored.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255


def graphed(function: Callable[[Tensor], T], example: Tensor) -> tuple[Callable[[Tensor], T], str]:
    """On a GPU, a differentiable function of one tensor as two CUDA graphs, forward and backward; else the function.

    A graph spares the launches of many small operations, which cost more than the operations themselves.

    Args:
        function: From a tensor of one shape to tensors of certain shapes; waits for nothing on the way.
        example: A tensor of that shape.

    Returns:
        The function, whose result is overwritten by the next call, and why it could not be recorded; empty if it was.
    """
    if example.device.type != "cuda":
        return function, ""
    try:
        recorded: Any = torch.cuda.make_graphed_callables(function, (example.detach().clone().requires_grad_(),))
        return recorded, ""
    except RuntimeError as error:
        return function, f", without a CUDA graph: {str(error).splitlines()[0]}"


def largest_batch(encode: Callable[[Tensor], Tensor], image: Tensor, *, workers: int) -> int:
    """Return the largest batch, at least 1: half of the free memory holds the gradients of all workers.

    What two images keep for the way back, less what one keeps, is an image's share; weights are kept once.

    Args:
        encode: What gradients go through.
        image: One image (1, C, H, W), on the device in question.
        workers: Batches at a time.
    """
    one, two = (bytes_kept(encode, image.repeat(count, 1, 1, 1)) for count in (1, 2))
    free = torch.cuda.mem_get_info(image.device)[0] if image.device.type == "cuda" else free_memory()
    return max(free // 2 // workers // max(two - one, 1), 1)


def free_memory(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process could still take: what the machine has, or what its container (cgroup v2) is allowed."""
    available = psutil.virtual_memory().available
    try:
        most, taken = (int((group / f"memory.{name}").read_text(encoding="utf-8")) for name in ("max", "current"))
        facts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        cached = int(facts["inactive_file"])  # files read long ago, which make room when it is needed
    except (OSError, ValueError, KeyError):  # no container, or one that may take all ("max")
        return available
    return max(min(available, most - taken + cached), 0)


def bytes_kept(encode: Callable[[Tensor], Tensor], images: Tensor) -> int:
    """Bytes of all that the forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        features = encode(images.requires_grad_())
    assert features.requires_grad
    return sum(kept.values())
