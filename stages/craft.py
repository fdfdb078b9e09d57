"""craft: clean images -> adversarial images, 8-bit, inside the ball; no prompt takes part.

Without a threat, the training images for the bank (data/bank/<dataset>/images); with one, the test images
(data/test/<dataset>/<threat>/images).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import cross_entropy, diverse, feature_cosine, feature_kl, feature_l2
from stages.attacks.pgd import Direction, Momentum, Objective
from stages.banks.files import replacing
from stages.banks.images import count_images, images_provenance, read_images, shard_paths, write_images
from stages.banks.provenance import require
from stages.command import command, progress
from stages.crafting import Recipe, craft_shard
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.models.surrogate import accuracy_on, fit_surrogate
from stages.params import FeaturePgd, Transfer, load_params, threat_of

OBJECTIVES = {"kl": feature_kl, "cosine": feature_cosine, "l2": feature_l2}


def main(dataset: str, threat: str | None = None) -> str:
    """Attacks one split of a data set and stores what comes out."""
    params = load_params()
    device = choose_device(params.runtime.device)
    if threat is None:
        split, attack, out = "train", params.attack, Path(f"data/bank/{dataset}/images")
    else:
        split, attack, out = "test", threat_of(params.oblivious, threat), Path(f"data/test/{dataset}/{threat}/images")
    source = Path(f"data/clean/{dataset}/{split}/images")
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split=split, seed=params.seed)
    match attack:
        case FeaturePgd():
            clip = load_clip(**params.model.model_dump(), device=device)
            recipe, knows = feature_recipe(OBJECTIVES[attack.objective], clip), {"victim": clip.fingerprint}
        case Transfer():
            recipe, knows = transfer_recipe(attack, Path(f"data/clean/{dataset}/train/images"), params.seed, device)

    shards = progress(read_images(source), what=f"craft {threat or 'bank'}", total=len(shard_paths(source)))
    crafted = (
        craft_shard(
            recipe,
            shard,
            attack=attack,
            seed=params.seed,
            device=device,
            runtime=params.runtime,
        )
        for shard in shards
    )
    with replacing(out) as folder:
        write_images(folder, crafted, {**clean, "attack": attack.model_dump(), **knows})
    note = (
        f", surrogate right on {knows['surrogate']['train_accuracy']:.3f} of its images" if "surrogate" in knows else ""
    )
    return f"wrote {out}, n = {count_images(out)}, eps {attack.eps:g}/255, {attack.steps} steps{note}"


def feature_recipe(objective_of: Callable[..., Objective], clip: Clip) -> Recipe:
    """The paper's attack: away from the clean embedding, whatever the words are."""

    def recipe(images: Tensor, labels: Tensor, noise: ImageNoise) -> tuple[Objective, Direction | None]:
        return objective_of(clip.encode_image, clip.encode_image(images)), None

    return recipe


def transfer_recipe(attack: Transfer, train: Path, seed: int, device: torch.device) -> tuple[Recipe, dict]:
    """A black-box attack: momentum and input diversity on a small CNN fitted to the training split.

    Returns:
        The recipe, and what to note of the surrogate.

    Raises:
        ValueError: If the data set has no training split.
    """
    if not train.is_dir():
        raise ValueError(
            f"{train}: no training images to fit a surrogate to; leave transfer threats out for a data set that is "
            "judged alone (dvc exp run -S '~oblivious.transfer_eps8' ...)"
        )

    def shards() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ((shard.pixels, shard.labels) for shard in read_images(train))

    classes = 1 + max(int(labels.max()) for _, labels in shards())
    network = fit_surrogate(shards, classes=classes, **attack.surrogate.model_dump(), seed=seed, device=device)

    def recipe(images: Tensor, labels: Tensor, noise: ImageNoise) -> tuple[Objective, Direction | None]:
        objective = diverse(
            cross_entropy(network, labels), probability=attack.diversity, smallest=attack.smallest, noise=noise
        )
        return objective, Momentum(attack.momentum)

    right = accuracy_on(network, shards, batch_size=attack.surrogate.batch_size, device=device)
    return recipe, {"surrogate": {"name": "small_cnn", "train_accuracy": round(right, 4)}}


if __name__ == "__main__":
    command(main)
