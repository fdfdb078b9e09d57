"""Train small CLIPs on class captions, and make their image towers robust; shared by `make.py` and `make_photos.py`."""

import copy
import gzip
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.attacks.autoattack import auto_attack
from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.pgd import pgd

HERE = Path(__file__).parent
RAW_STD = 0.45  # standard deviation of an embedding entry; far larger ones saturate the KL attack
TEXT = {"context_length": 32, "width": 64, "heads": 2, "layers": 2}
TEXT_WEIGHT_DECAY = 0.01  # small: with small token embeddings the text features would hardly follow a context
EPS = 4 / 255  # radius of the ball that image towers are made robust in, and judged in
ATTACKED = 500  # images under AutoAttack


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run from random weights.

    Attributes:
        vision: `vision_cfg` of open_clip.
        epochs: Passes over the training images.
        max_lr: Largest learning rate of the one-cycle schedule.
        weight_decay: Of the matrices of the image tower.
        bf16: Whether the image tower computes in bfloat16, faster where the processor has units for it.
        batch_size: Images per step.
        mimetic: Whether attention starts as `start_as_convolution` says; for a vision transformer.
    """

    vision: dict
    epochs: int
    max_lr: float
    weight_decay: float = 0.01
    bf16: bool = False
    batch_size: int = 128
    mimetic: bool = False


@dataclass(frozen=True)
class RobustRecipe:
    """Settings of one adversarial fine-tuning of an image tower; the text tower stays as it is.

    Attributes:
        base: Folder of the plain model.
        loss: `fare` or `tecoa`.
        epochs: Passes over the training images.
        max_lr: Largest learning rate of the one-cycle schedule.
        steps: Of PGD, each of `step_size`.
        step_size: In units of the pixel range.
        batch_size: Images per step.
    """

    base: str
    loss: str
    epochs: int
    max_lr: float
    steps: int = 2
    step_size: float = 3 / 255
    batch_size: int = 128


@dataclass(frozen=True)
class Images:
    """Images (N, C, H, W), uint8, with their labels (N,)."""

    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Task:
    """A data set that small CLIPs are trained on.

    Attributes:
        class_names: As the captions say them.
        templates: Of the captions; the first is the zero-shot prompt.
        preprocess: Mean and standard deviation of the pixels, `preprocess_cfg` of open_clip.
        shift: Pixels by which training images are moved at most.
        training: What the models learn from.
        held_out: Images to measure on, in no training.
    """

    class_names: list[str]
    templates: list[str]
    preprocess: dict
    shift: int
    training: Images
    held_out: dict[str, Images]

    def captions(self) -> list[list[str]]:
        """Captions of all classes, for each template."""
        return [[template.format(name) for name in self.class_names] for template in self.templates]

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images (N, C, H, W) in [0, 1]."""
        mean, std = (torch.tensor(self.preprocess[key]).view(3, 1, 1) for key in ("mean", "std"))
        return (images - mean) / std


def cut_tokenizer(path: Path, captions: list[str]) -> int:
    """Write the stock merge table without the merges that no caption uses; return the size of the vocabulary.

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


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of one epoch in random order, without the last incomplete batch."""
    yield from torch.randperm(count, generator=generator).split(size)[: count // size]


def augment(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Flip half of the images (N, C, H, W) and move each by up to `shift` pixels; the border is repeated."""
    count, channels, size, _ = images.shape
    flipped = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    images = torch.where(flipped, images.flip(-1), images)
    offsets = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator) - shift
    top, left = (offsets + torch.arange(size)).clamp(0, size - 1)
    image, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
    return images[image, channel, top[:, None, :, None], left[:, None, None, :]]


def resized(images: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W), uint8 -> (N, C, size, size) in [0, 1], in 8-bit steps, as the pipeline resizes them."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
    return images.float() / 255


class Run:
    """Steps of AdamW with a one-cycle schedule, resumable after each epoch.

    Args:
        model: What is trained; the caller puts it in training mode.
        groups: Parameter groups of the optimizer.
        recipe: Epochs, batch size and largest learning rate.
        count: Training images.
        checkpoint: File that is written after each epoch, and read if it exists.
    """

    def __init__(
        self, model: nn.Module, groups: list[dict], recipe: Recipe | RobustRecipe, *, count: int, checkpoint: Path
    ) -> None:
        self.model, self.recipe, self.count, self.checkpoint = model, recipe, count, checkpoint
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.max_lr)
        total_steps = recipe.epochs * (count // recipe.batch_size)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, recipe.max_lr, total_steps=total_steps)
        self.generator = torch.Generator().manual_seed(0)

    def train(self, loss_of: Callable[[Tensor, torch.Generator], Tensor]) -> None:
        """Minimise a loss of the indices of a batch."""
        epochs, size = self.recipe.epochs, self.recipe.batch_size
        for epoch in range(self._restore(), epochs):
            total, start = 0.0, time.process_time()
            for chosen in batches(self.count, size, self.generator):
                loss = loss_of(chosen, self.generator)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.schedule.step()
                with torch.no_grad():
                    self.model.logit_scale.clamp_(max=math.log(100))
                total += loss.item()
            seconds = time.process_time() - start
            mean = total * size / self.count
            print(f"epoch {epoch + 1}/{epochs}: loss {mean:.3f}, {seconds:.0f} s of CPU", flush=True)
            self._save(epoch + 1)
        self.checkpoint.unlink(missing_ok=True)

    def _save(self, epochs: int) -> None:
        parts = [part.state_dict() for part in (self.model, self.optimizer, self.schedule)]
        partial = self.checkpoint.with_suffix(".partial")
        torch.save({"epochs": epochs, "parts": parts, "generator": self.generator.get_state()}, partial)
        partial.replace(self.checkpoint)

    def _restore(self) -> int:
        """Return the number of epochs already done."""
        if not self.checkpoint.exists():
            return 0
        saved = torch.load(self.checkpoint)
        for part, state in zip((self.model, self.optimizer, self.schedule), saved["parts"], strict=True):
            part.load_state_dict(state)
        self.generator.set_state(saved["generator"])
        return saved["epochs"]


def model_of(folder: Path, *, load_weights: bool = True) -> nn.Module:
    """Return the model of an open_clip folder, in evaluation mode."""
    return open_clip.create_model(f"local-dir:{folder}", load_weights=load_weights).eval()


def tokens_of(folder: Path, task: Task) -> Tensor:
    """Tokens (templates, K, T) of the captions."""
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return torch.stack([tokenizer(row) for row in task.captions()])


def make_plain(folder: Path, recipe: Recipe, task: Task) -> None:
    """Train a small CLIP from random weights and write it as an open_clip folder."""
    merges = folder / "bpe_merges.txt.gz"
    folder.mkdir(exist_ok=True)
    words = {
        "vocab_size": cut_tokenizer(merges, [caption for row in task.captions() for caption in row]),
        "tokenizer_kwargs": {"bpe_path": str(merges.relative_to(HERE.parents[1]))},
    }
    shape = {"embed_dim": 128, "vision_cfg": recipe.vision, "text_cfg": {**TEXT, **words}}
    config = {"model_cfg": shape, "preprocess_cfg": task.preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")

    torch.manual_seed(0)  # open_clip draws the initial weights from the global generator
    model = model_of(folder, load_weights=False)
    if recipe.mimetic:
        start_as_convolution(model.visual)
    train_plain(model, recipe, task, tokens_of(folder, task), checkpoint=folder / "checkpoint.pt")
    zero_unlearnt(model, tokens_of(folder, task))
    save(model, task, folder)


def train_plain(model: nn.Module, recipe: Recipe, task: Task, captions: Tensor, *, checkpoint: Path) -> None:
    """Train contrastively, images against the K class captions (templates, K, T) of one random template per step."""
    matrices = [p for p in model.visual.parameters() if p.ndim > 1]
    of_text = [p for name, p in model.named_parameters() if p.ndim > 1 and not name.startswith("visual.")]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": of_text, "weight_decay": TEXT_WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    images, labels, size = task.training.pixels, task.training.labels, recipe.vision["image_size"]
    run = Run(model, groups, recipe, count=len(images), checkpoint=checkpoint)

    def loss_of(chosen: Tensor, generator: torch.Generator) -> Tensor:
        template = torch.randint(len(captions), (), generator=generator)
        batch = task.normalise(resized(augment(images[chosen], task.shift, generator), size))
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            raw = model.encode_image(batch)
        logits = logits_of(model, raw.float(), model.encode_text(captions[template], normalize=True))
        return F.cross_entropy(logits, labels[chosen])

    model.train().to(memory_format=torch.channels_last)
    run.train(loss_of)
    model.eval()


@torch.no_grad()
def start_as_convolution(visual: nn.Module) -> None:
    """Start a vision transformer with attention to near patches, as trained ones and convolutions have it.

    The positional embedding becomes the sinusoidal one; the product of the query and key weights of each head is near
    0.7 (Z + I), that of the value and output weights near 0.4 (Z - I), for Gaussian noise Z.

    Source: Trockman and Kolter 2023 (arXiv 2305.09828).
    """
    rows, columns = visual.grid_size
    width = visual.conv1.out_channels
    frequencies = 1 / 10_000 ** (torch.arange(width // 4) / (width // 4))
    down, across = (torch.outer(torch.arange(count).float(), frequencies) for count in (rows, columns))
    waves = [torch.cat([angles.sin(), angles.cos()], 1) for angles in (down, across)]  # (rows, W / 2), (columns, W / 2)
    places = torch.cat([waves[0].repeat_interleave(columns, 0), waves[1].repeat(rows, 1)], 1)  # (rows * columns, W)
    visual.positional_embedding.copy_(torch.cat([torch.zeros(1, width), places]))  # the first is the class token's
    for block in visual.transformer.resblocks:
        attention, size = block.attn, block.attn.head_dim
        query, key, value = attention.in_proj_weight.chunk(3)
        for head in range(attention.num_heads):
            left, right = factors(0.7 * torch.randn(width, width) / math.sqrt(width) + 0.7 * torch.eye(width))
            query[head * size : (head + 1) * size] = left[:, :size].T
            key[head * size : (head + 1) * size] = right[:size]
        left, right = factors(0.4 * torch.randn(width, width) / math.sqrt(width) - 0.4 * torch.eye(width))
        value.copy_(right)
        attention.out_proj.weight.copy_(left)


def factors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices whose product is the given one, by singular value decomposition, the largest values first."""
    left, values, right = torch.linalg.svd(matrix)
    return left * values.sqrt(), values.sqrt()[:, None] * right


def make_robust(folder: Path, recipe: RobustRecipe, task: Task) -> None:
    """Fine-tune the image tower of a plain model on attacked images and write it with the plain model's text tower."""
    base = HERE / recipe.base
    folder.mkdir(exist_ok=True)
    for name in ("open_clip_config.json", "bpe_merges.txt.gz"):
        (folder / name).write_bytes((base / name).read_bytes().replace(recipe.base.encode(), folder.name.encode()))
    model = model_of(base)
    train_robust(model, recipe, task, tokens_of(folder, task)[0], checkpoint=folder / "checkpoint.pt")
    save(model, task, folder)


def train_robust(model: nn.Module, recipe: RobustRecipe, task: Task, caption: Tensor, *, checkpoint: Path) -> None:
    """Fine-tune the image tower f on attacked images x' against the frozen captions (K, T) of the zero-shot prompt.

    `fare` minimises ||f(x') - f0(x)||^2 for the plain tower f0, on raw embeddings, and uses no labels (Schlarmann et
    al. 2024). `tecoa` minimises the cross-entropy of the logits of x' (Mao et al. 2023). The attack, PGD from a random
    start, maximises the same loss, with the statistics of batch normalisation as in evaluation.
    """
    plain = copy.deepcopy(model).requires_grad_(False)
    model.requires_grad_(False).visual.requires_grad_(True)
    text_features = plain.encode_text(caption, normalize=True)
    images, labels, size = task.training.pixels, task.training.labels, side(model)
    groups = [{"params": list(model.visual.parameters()), "weight_decay": 0.0}]
    run = Run(model, groups, recipe, count=len(images), checkpoint=checkpoint)
    ball = LinfBall(EPS)

    def losses_of(images_adv: Tensor, target: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            raw = model.encode_image(task.normalise(images_adv))
        if recipe.loss == "fare":
            return (raw.float() - target).square().sum(1)
        return F.cross_entropy(logits_of(model, raw.float(), text_features), target, reduction="none")

    def loss_of(chosen: Tensor, generator: torch.Generator) -> Tensor:
        clean = resized(augment(images[chosen], task.shift, generator), size)
        target = labels[chosen]
        if recipe.loss == "fare":
            with torch.no_grad():
                target = plain.encode_image(task.normalise(clean))
        start = ball.random_start(clean, torch.rand(clean.shape, generator=generator) * 2 - 1)
        attack = {"step_size": recipe.step_size, "steps": recipe.steps, "noise": ImageNoise(0, []), "start": start}
        model.eval()
        images_adv = pgd(lambda images: losses_of(images, target), clean, ball=ball, **attack)
        model.train()
        return losses_of(images_adv, target).mean()

    for each in (model, plain):
        each.to(memory_format=torch.channels_last)
    run.train(loss_of)
    model.eval()


def logits_of(model: nn.Module, image_features_raw: Tensor, text_features: Tensor) -> Tensor:
    """Logits (N, K) of raw image features (N, D) and text features (K, D) of unit norm."""
    return model.logit_scale.exp() * F.normalize(image_features_raw, dim=-1) @ text_features.T


@torch.inference_mode()
def zero_unlearnt(model: nn.Module, captions: Tensor) -> None:
    """Zero the embeddings of tokens that no caption holds."""
    learnt = torch.zeros(model.vocab_size, 1)
    learnt[captions.unique()] = 1
    learnt[0] = 0  # the padding after the end of the text, which the causal tower never reads
    model.token_embedding.weight.mul_(learnt)


def save(model: nn.Module, task: Task, folder: Path) -> None:
    """Scale the image projection to RAW_STD and write the weights in half precision."""
    with torch.inference_mode():
        some = task.normalise(resized(task.training.pixels[:2000], side(model)))
        scale = RAW_STD / torch.cat([model.encode_image(part) for part in some.split(500)]).std()
        last = model.visual.attnpool.c_proj.parameters() if hasattr(model.visual, "attnpool") else [model.visual.proj]
        for parameter in last:
            parameter.mul_(scale)
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def measure(folder: Path, task: Task) -> None:
    """Print the accuracy of the zero-shot prompt on all images held out, and on some under AutoAttack `fast` at EPS."""
    model, caption = model_of(folder).requires_grad_(False), tokens_of(folder, task)[0]
    text_features = model.encode_text(caption, normalize=True)

    def logits(batch: Tensor) -> Tensor:
        return logits_of(model, model.encode_image(task.normalise(batch)), text_features)

    for name, images in task.held_out.items():
        accuracy = accuracy_of(logits, resized(images.pixels, side(model)), images.labels)
        print(f"{folder.name}: accuracy on {len(images.labels)} {name} images: {accuracy:.4f}", flush=True)
    name, images = next(iter(task.held_out.items()))
    some = balanced(images.labels, ATTACKED)
    clean, labels = resized(images.pixels[some], side(model)), images.labels[some]
    accuracy = accuracy_of(logits, clean, labels)
    images_adv = auto_attack(logits, clean, labels, eps=EPS, version="fast", seed=0)
    robust = accuracy_of(logits, images_adv, labels)
    print(
        f"{folder.name}: {ATTACKED} {name} images: clean {accuracy:.3f}, AutoAttack at eps 4 {robust:.3f}", flush=True
    )


@torch.inference_mode()
def accuracy_of(logits: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    """Share of images (N, C, H, W) that are classified right."""
    predictions = torch.cat([logits(part).argmax(-1) for part in images.split(500)])
    return (predictions == labels).float().mean().item()


def balanced(labels: Tensor, count: int) -> Tensor:
    """Indices of the first images of each class, as many of one as of another, `count` in all."""
    classes = labels.unique()
    return torch.cat([(labels == label).nonzero()[: count // len(classes), 0] for label in classes])


def side(model: nn.Module) -> int:
    """Pixels of a side of the model's square input."""
    size = model.visual.image_size
    return size if isinstance(size, int) else size[0]


def make_models(recipes: dict[str, Recipe | RobustRecipe], task: Task, *, only_measure: bool) -> None:
    """Make and measure models, each in a folder beside this file, in the order of the recipes."""
    torch.set_num_threads(1)  # so that no sum depends on the number of cores
    for name, recipe in recipes.items():
        folder = HERE / name
        if not only_measure:
            make = make_plain if isinstance(recipe, Recipe) else make_robust
            make(folder, recipe, task)
        measure(folder, task)
