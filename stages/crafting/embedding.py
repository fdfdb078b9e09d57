"""Compute the raw image features of stored images, shard by shard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stages.crafting.batching import SMALLEST_BATCH, even_batches, over_batches
from stages.models.clip import Clip
from stages.models.device import to_tensor
from stages.runtime.engine import Engine, WorkerFacts
from stages.runtime.params import Runtime
from stages.storage.embeddings import Bank, read_bank, write_bank
from stages.storage.files import resuming, whole
from stages.storage.images import Images, Written
from stages.storage.provenance import Provenance, key_of

Prepare = Callable[[Tensor, list[str]], Tensor]


class EncodesImages(Protocol):
    """A CLIP, or a method, which has a CLIP."""

    def encode_image(self, images: Tensor, /) -> Tensor:
        """Map images (N, 3, H, W) in [0, 1] to raw image features (N, D)."""


class EmbeddingWorker:
    """A worker (stages/runtime/engine.py) that embeds shards of images. Its arguments are those of `embed_shard`."""

    def __init__(self, clip: Clip, *, device: torch.device, runtime: Runtime) -> None:
        self._embed = partial(embed_shard, clip, device=device, runtime=runtime)
        self.facts = WorkerFacts(device.type, clip.fingerprint)

    def embed(self, path: Path, shard_index: int, shard: Images) -> None:
        """Embed a shard and write its embeddings."""
        write_bank(path, [self._embed(shard)], {})


@contextmanager
def embedding(
    run: Engine, source: Path, out: Path, provenance: Provenance, *, embed: Callable[..., None] = EmbeddingWorker.embed
) -> Iterator[Written]:
    """Embed a folder of shards into one file, which appears when the block succeeds.

    Shards that an interrupted run has embedded are not embedded again.

    Args:
        run: Engine whose workers embed.
        source: The folder.
        out: The file.
        provenance: Provenance of the images; the model is added.
        embed: Method of the workers that embeds a shard.
    """
    provenance = {**provenance, "model": run.facts.model}
    with resuming(out, key_of({"model": run.facts.model}, [], device=run.facts.device)) as pieces:
        written = run.map(embed, source, pieces / "shards", what=f"embed {out}")
        with whole(pieces / out.name) as temporary:
            write_bank(temporary, (read_bank(path)[0] for path in written.paths), provenance)
        yield written


def embed_shard(
    clip: EncodesImages, shard: Images, *, device: torch.device, runtime: Runtime, prepare: Prepare | None = None
) -> Bank:
    """Embed a shard of stored images.

    Args:
        clip: The model, or a method with its image prompt; its defence is `prepare`.
        shard: N images.
        device: Where to compute.
        runtime: Batch size, SMALLEST_BATCH at least, and number of batches side by side; neither changes the result.
        prepare: Maps images (n, C, H, W) and their ids to the images that are encoded; None for no change.

    Returns:
        N raw features (N, D), float32, with the ids and labels of the images.
    """

    @torch.inference_mode()
    def embed_batch(part: Images) -> np.ndarray:
        images = to_tensor(part.pixels, device)
        if prepare:
            images = prepare(images, part.ids)
        return clip.encode_image(images).float().cpu().numpy()

    runtime = runtime.model_copy(update={"batch_size": max(runtime.batch_size, SMALLEST_BATCH)})
    embeddings = over_batches(embed_batch, shard, even_batches(runtime, len(shard), device.type))
    return Bank(shard.ids, shard.labels, embeddings)
