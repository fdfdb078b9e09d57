"""Makes the embedded parts again: two cuts of Fashion-MNIST, and tiny CLIPs trained on the images outside of them.

    python data/embedded/make.py FOLDER

FOLDER holds the four files of Fashion-MNIST (`train-images-idx3-ubyte.gz`, ...), for example those of Debian's package
`dataset-fashion-mnist`. The same processor and library versions make the same bytes; see README.md beside this file for
what was measured. This is no stage: `dvc repro` only reads what it made.
"""

import argparse
import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.datasets.embedded import images_of
from stages.storage.parquet import write_table

HERE = Path(__file__).parent
CLASS_NAMES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
TEMPLATES = [
    "a photo of a {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "a small photo of a {}.",
    "a grey photo of a {}.",
    "a product photo of a {}.",
    "a photo of the {}.",
    "this is a photo of a {}.",
    "a {} from a fashion shop.",
    "a {}.",
]
PRETRAINING = slice(0, 50_000)  # training images that the CLIP learns from
CUTS = {  # training and test images that the pipeline gets: no CLIP has seen them, and no two cuts share one
    "fashion": (slice(50_000, 52_000), slice(0, 1_000)),
    "fashion_second": (slice(52_000, 54_000), slice(1_000, 2_000)),
}
BATCH_SIZE, WEIGHT_DECAY, SHIFT = 128, 0.01, 2  # SHIFT in pixels
RAW_STD = 0.45  # standard deviation of an embedding entry; far larger ones saturate the KL attack
TEXT = {"context_length": 32, "width": 64, "heads": 2, "layers": 2}


@dataclass(frozen=True)
class Recipe:
    """How a tiny CLIP is made: its image tower, epochs, and the largest learning rate."""

    vision: dict
    epochs: int
    max_lr: float


RECIPES = {
    "tiny-clip": Recipe({"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}, 4, 4e-3),
    "tiny-vit": Recipe({"image_size": 32, "patch_size": 8, "layers": 3, "width": 128, "head_width": 32}, 8, 2e-3),
}
PREPROCESS = {"mean": [0.286] * 3, "std": [0.353] * 3}


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzipped IDX file of bytes: (N, H, W) for images, (N,) for labels."""
    content = gzip.decompress(path.read_bytes())
    dimensions = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(dimensions)


def write_split(cut: str, split: str, images: np.ndarray, labels: np.ndarray, part: slice) -> None:
    """Writes the 28x28 grey images of `part` with ids that name their place in the original file."""
    table = pa.table(
        {
            "id": [f"{split}/{index:05d}" for index in range(part.start, part.stop)],
            "label": pa.array(labels[part], pa.int64()),
            "image": pa.array([image.tobytes() for image in images[part]], pa.binary(images[0].size)),
        }
    )
    about = {"dataset": cut, "split": split, "class_names": CLASS_NAMES, "shape": list(images.shape[1:])}
    write_table(HERE / cut / f"{split}.parquet", [table], about)


def cut_tokenizer(path: Path, captions: list[str]) -> int:
    """Writes the stock merge table without the merges that no caption uses; returns the size of the vocabulary.

    Caption words keep their tokens; any other word falls into pieces that the model never learnt.
    """
    stock = SimpleTokenizer()
    ranks: set[int] = set()

    class Recorder(dict):
        def __contains__(self, pair: object) -> bool:
            if known := super().__contains__(pair):
                ranks.add(self[pair])
            return known

    stock.bpe_ranks = Recorder(stock.bpe_ranks)
    for caption in captions:
        stock.encode(caption)
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    kept = [lines[0]] + [lines[1 + rank] for rank in sorted(ranks)]
    path.write_bytes(gzip.compress("\n".join(kept).encode(), mtime=0))
    return SimpleTokenizer(bpe_path=str(path)).vocab_size


def batches(count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yields the indices of one epoch in random order, without the last incomplete batch."""
    yield from torch.randperm(count, generator=generator).split(BATCH_SIZE)[: count // BATCH_SIZE]


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flips half of the images (N, C, H, W) and moves each by up to SHIFT pixels."""
    count, channels, size, _ = images.shape
    flipped = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    images = F.pad(torch.where(flipped, images.flip(-1), images), [SHIFT] * 4, mode="replicate")
    top, left = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator) + torch.arange(size)
    image, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
    return images[image, channel, top[:, None, :, None], left[:, None, None, :]]


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    captions: Tensor,
    *,
    epochs: int,
    max_lr: float,
    generator: torch.Generator,
) -> None:
    """Contrastive training of images (N, C, H, W) against the K class captions of one random template per step.

    captions: Tokens (templates, K, T).
    """
    steps = epochs * (len(images) // BATCH_SIZE)
    # Little weight decay: with small token embeddings the text features would hardly follow a context.
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=max_lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps=steps)
    model.train().to(memory_format=torch.channels_last)
    for epoch in range(epochs):
        total = 0.0
        for chosen in batches(len(images), generator):
            template = torch.randint(len(captions), (), generator=generator)
            image_features, text_features, logit_scale = model(augment(images[chosen], generator), captions[template])
            loss = F.cross_entropy(logit_scale * image_features @ text_features.T, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=math.log(100))
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total * BATCH_SIZE / len(images):.3f}", flush=True)
    model.eval()


@torch.inference_mode()
def finish(model: nn.Module, images: Tensor, captions: Tensor) -> None:
    """Scales the image projection to RAW_STD; zeroes the rows of tokens that no caption holds."""
    scale = RAW_STD / torch.cat([model.encode_image(part) for part in images.split(500)]).std()
    last = model.visual.attnpool.c_proj.parameters() if hasattr(model.visual, "attnpool") else [model.visual.proj]
    for parameter in last:
        parameter.mul_(scale)
    learnt = torch.zeros(model.vocab_size, 1)
    learnt[captions.unique()] = 1
    learnt[0] = 0  # the padding after the end of the text, which the causal tower never reads
    model.token_embedding.weight.mul_(learnt)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, caption: Tensor) -> float:
    """The share of images (N, C, H, W) that are nearest to their own class caption (K, T)."""
    text_features = model.encode_text(caption, normalize=True)
    image_features = torch.cat([model.encode_image(part, normalize=True) for part in images.split(500)])
    return ((image_features @ text_features.T).argmax(-1) == labels).float().mean().item()


def pixels(images: np.ndarray) -> Tensor:
    """Grey bytes (N, 28, 28) -> normalised padded images (N, 3, 32, 32), as the pipeline gives them to the model."""
    padded = torch.from_numpy(images_of(images)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(PREPROCESS[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (padded - mean) / std


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the four .gz files of Fashion-MNIST")
    parser.add_argument("parts", nargs="*", default=[*CUTS, *RECIPES], help="what to make; all by default")
    arguments = parser.parse_args()
    folder, parts = arguments.folder, arguments.parts
    torch.set_num_threads(1)  # so that no sum depends on the number of cores
    train_images, train_labels, test_images, test_labels = (
        read_idx(folder / f"{name}-ubyte.gz")
        for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    )
    for cut in CUTS.keys() & set(parts):
        train_part, test_part = CUTS[cut]
        write_split(cut, "train", train_images, train_labels, train_part)
        write_split(cut, "test", test_images, test_labels, test_part)
    for name in RECIPES.keys() & set(parts):
        seen = train_images[PRETRAINING], train_labels[PRETRAINING]
        make_model(name, *seen, test_images, test_labels)


def make_model(
    name: str, images: np.ndarray, labels: np.ndarray, test_images: np.ndarray, test_labels: np.ndarray
) -> None:
    """Trains a tiny CLIP and writes it as an open_clip folder, in half precision."""
    folder, recipe = HERE / name, RECIPES[name]
    merges = folder / "bpe_merges.txt.gz"
    folder.mkdir(exist_ok=True)
    text = [[template.format(name) for name in CLASS_NAMES] for template in TEMPLATES]
    words = {
        "vocab_size": cut_tokenizer(merges, [caption for row in text for caption in row]),
        "tokenizer_kwargs": {"bpe_path": str(merges.relative_to(HERE.parents[1]))},
    }
    shape = {"embed_dim": 128, "vision_cfg": recipe.vision, "text_cfg": {**TEXT, **words}}
    config = {"model_cfg": shape, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # open_clip draws the initial weights from the global generator
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    captions = torch.stack([tokenizer(row) for row in text])
    truth = torch.tensor(labels).long()
    how = {"epochs": recipe.epochs, "max_lr": recipe.max_lr, "generator": generator}
    train(model, pixels(images), truth, captions, **how)
    finish(model, pixels(images[:2000]), captions)
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")

    model = open_clip.create_model(f"local-dir:{folder}").eval()
    truth = torch.tensor(test_labels).long()
    print(f"clean accuracy on {len(truth)} test images: {accuracy(model, pixels(test_images), truth, captions[0]):.4f}")


if __name__ == "__main__":
    main()
