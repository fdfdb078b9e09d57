"""Stored images: how fast shards of 224 px are read, and that `embed` takes the same time and memory for each image."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from reports.studies.benchmarks.measuring import in_own_process, medians, peak_megabytes
from stages.crafting.embedding import embed_shard
from stages.models.clip import load_clip
from stages.runtime.params import load_params
from stages.storage.images import Images, read_images, write_images

SHARD = 1000


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """Reading at 224 px, then embedding with the embedded model at 32 px, each count in a process of its own."""
    with TemporaryDirectory() as folder:
        yield reading(Path(folder), device)
    counts = (1_000, 4_000) if quick else (1_000, 4_000, 16_000, 64_000)
    yield from (in_own_process(embedding, count, device) for count in counts)


def reading(folder: Path, device: torch.device) -> dict:
    """Two shards of photograph-like images, checksums verified, from the page cache."""
    count = 2 * SHARD
    write_images(folder / "images", shards(count, 224), {"from": "a benchmark"})
    seconds = medians({"read": lambda: sum(map(len, read_images(folder / "images")))}, rounds=3, device=device)["read"]
    return {"what": "read, 224 px", "images": count, "images/s": count / seconds, "peak MB": None}


def embedding(count: int, device: torch.device) -> dict:
    """Embeds that many images, shard by shard, as `embed` does."""
    torch.set_num_threads(1)
    params = load_params()
    clip = load_clip(**params.model.model_dump(), device=device)
    with TemporaryDirectory() as name:
        write_images(Path(name) / "images", shards(count, clip.image_size), {"from": "a benchmark"})
        start = time.perf_counter()
        for shard in read_images(Path(name) / "images"):
            embed_shard(clip, shard, device=device, runtime=params.runtime)
        seconds = time.perf_counter() - start
    what, peak = f"embed, {clip.image_size} px", peak_megabytes(device)
    return {"what": what, "images": count, "images/s": count / seconds, "peak MB": peak}


def shards(count: int, size: int) -> Iterator[Images]:
    """Blurred noise, which compresses about as a photograph does, every shard the same."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (SHARD, size // 8, size // 8, 3), np.uint8)
    smooth = np.stack(
        [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in coarse]
    )
    grain = generator.integers(-3, 4, smooth.shape, np.int16)
    pixels = (smooth + grain).clip(0, 255).astype(np.uint8)
    for first in range(0, count, SHARD):
        yield Images([f"{first + index}" for index in range(SHARD)], np.zeros(SHARD, np.int64), pixels)
