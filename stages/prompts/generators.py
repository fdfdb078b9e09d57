"""Random generators of the tuning seeds."""

import torch


def tuning_generators(seed: int, count: int) -> list[torch.Generator]:
    """One source for each tuning seed; the first thing that each draws is its random start."""
    return [torch.Generator().manual_seed(seed * 1000 + index) for index in range(count)]


def twin_generator(seed: int) -> torch.Generator:
    """The source of random vectors to compare with; no tuning seed has it."""
    return torch.Generator().manual_seed(seed * 1000 + 999)
