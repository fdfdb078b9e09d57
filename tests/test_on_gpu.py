"""What only a GPU can show: skipped where there is none. The CPU in fp32 or fp64 is what it is held against."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.attacks.linf import LinfBall
from stages.attacks.objectives import feature_kl
from stages.attacks.pgd import pgd
from stages.crafting.adaptive import adaptive_attack
from stages.crafting.batching import Batching
from stages.crafting.embedding import embed_shard
from stages.crafting.shards import craft_shard
from stages.defences.victim import Victim
from stages.models.clip import Clip
from stages.models.context import assemble, initial_context
from stages.models.device import choose_device, graphed, largest_batch, to_tensor
from stages.models.text_tower import TextTower
from stages.prompts.fit import Tuned, fit
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Task, learner_of
from stages.runtime.params import AutoAttack, load_params
from stages.storage.images import Images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
NAMES = ["T-shirt/top", "Ankle boot", "dress", "bag", "coat bag sandal"]
RUNTIME = load_params().runtime


@pytest.fixture(scope="module")
def on_gpu(clip) -> Clip:
    choose_device("auto")
    model = copy.deepcopy(clip.model).to(GPU)
    model.visual.preprocess_cfg = clip.model.visual.preprocess_cfg
    return Clip(model, clip.tokenizer, clip.fingerprint, precision="bf16")


@pytest.fixture
def images() -> Images:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (300, 8, 8, 3), np.uint8)
    return Images([f"test/{index}" for index in range(300)], np.arange(300) % 5, coarse.repeat(4, 1).repeat(4, 2))


@pytest.fixture(scope="module")
def text_features(clip) -> torch.Tensor:
    return F.normalize(torch.randn(5, clip.model.text_projection.shape[1], generator=torch.Generator().manual_seed(0)))


def crafted(clip: Clip, images: Images, *, batch_size: int = 250, precision: str = "fp32") -> Images:
    """By the bank's attack, eps 8."""
    ball = LinfBall(8 / 255)
    encode = clip.gradient_encoder() if precision == "bf16" else clip.encode_image

    def attack(pixels, labels, noise):
        with torch.no_grad():
            clean = encode(pixels)
        return pgd(feature_kl(encode, clean), pixels, ball=ball, step_size=1 / 255, steps=10, noise=noise)

    batching = Batching(-(-len(images) // batch_size), 1)
    return craft_shard(
        attack, images, ball=ball, seed=0, device=next(clip.model.parameters()).device, batching=batching
    )


def harm(clip: Clip, images: Images, attacked: Images) -> float:
    """Mean KL of the embeddings, always by the same model on the CPU."""
    clean, moved = (
        torch.tensor(embed_shard(clip, i, device=CPU, runtime=RUNTIME).embeddings) for i in (images, attacked)
    )
    return F.kl_div(moved.log_softmax(-1), clean.log_softmax(-1), log_target=True, reduction="batchmean").item()


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_text_features_and_gradient_are_those_of_the_cpu(clip, position, class_specific):
    found = []
    for device in (CPU, GPU):
        tower = TextTower(copy.deepcopy(clip.model).double().to(device), clip.tokenizer)
        prompts = assemble(NAMES, tower, context_length=5, class_position=position, class_specific=class_specific)
        generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
        start = {"context_length": 5, "words": None, "std": 0.5, "classes": len(NAMES) if class_specific else None}
        context = initial_context(tower, **start, generators=generators).double().requires_grad_()
        features = prompts.text_features(context, tower)
        weight = torch.linspace(-1, 1, features.numel(), dtype=torch.float64, device=device).view(features.shape)
        found.append(
            [part.detach().cpu() for part in (features, *torch.autograd.grad((features * weight).sum(), context))]
        )
    (features, gradient), (features_gpu, gradient_gpu) = found
    torch.testing.assert_close(features_gpu, features, rtol=0, atol=1e-12)
    assert (gradient_gpu - gradient).norm() <= 1e-12 * gradient.norm()


def test_a_recorded_graph_gives_the_same_numbers_for_every_context(on_gpu):
    tower = TextTower(on_gpu.model, on_gpu.tokenizer)
    prompts = assemble(NAMES, tower, context_length=4, class_position="end", class_specific=True)
    context = torch.randn(2, len(NAMES), 4, tower.width, device=GPU).requires_grad_()
    plain = partial(prompts.text_features, tower=tower)
    recorded, note = graphed(plain, context)
    assert note == "" and recorded is not plain
    for _ in range(3):
        weight = torch.randn_like(plain(context))
        expected, found = (
            (features, *torch.autograd.grad((features * weight).sum(), context))
            for features in (plain(context), recorded(context))
        )
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            context += 0.1 * torch.randn_like(context)


def test_tuning_through_a_graph_arrives_where_the_cpu_does(clip, on_gpu, tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % len(NAMES)
    centres = torch.randn(len(NAMES), clip.model.text_projection.shape[1], generator=generator)
    bank = centres[labels] + 0.5 * torch.randn(200, centres.shape[1], generator=generator)
    settings = load_params().tune.model_copy(update={"epochs": 20, "batch_size": 64, "lr": 0.05})

    def tuned(one: Clip, device: torch.device) -> Tuned:
        generators = tuning_generators(0, settings.tuning_seeds)
        return fit(
            learner_of(Task("context", settings, NAMES, "{}", one, generators)),
            settings,
            one,
            generators=generators,
            embeddings=bank[None, None].to(device),
            clean_embeddings=bank.to(device),
            labels=labels.to(device),
            checkpoint=tmp_path / device.type,
            what="",
        )

    results = [tuned(one, device) for one, device in ((clip, CPU), (on_gpu, GPU))]
    assert [result.note for result in results] == ["", ""]
    losses = [np.array(result.loss) for result in results]
    assert losses[0][-1].mean() < losses[0][0].mean()
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2)
    torch.testing.assert_close(results[1].text_features.cpu(), results[0].text_features, rtol=0, atol=1e-2)


def test_embeddings_are_those_of_the_cpu_in_fp32(clip, on_gpu, images):
    expected = embed_shard(clip, images, device=CPU, runtime=RUNTIME).embeddings
    found = embed_shard(on_gpu, images, device=GPU, runtime=RUNTIME).embeddings
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_crafting_repeats_and_harms_as_much_as_on_the_cpu(clip, on_gpu, images, precision):
    first, again = (crafted(on_gpu, images, precision=precision) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels)
    assert harm(clip, images, first) == pytest.approx(harm(clip, images, crafted(clip, images)), rel=0.03)


def test_out_of_memory_halves_the_batch_and_weakens_nothing(clip, on_gpu, images, capsys):
    whole = crafted(on_gpu, images, batch_size=300)
    torch.cuda.empty_cache()
    image = to_tensor(images.pixels[:1], GPU)
    per_image = torch.cuda.mem_get_info()[0] // 2 / largest_batch(on_gpu.encode_image, image, workers=1)
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 150 * per_image) / total)
    try:
        halved = crafted(on_gpu, images, batch_size=300)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory with 300 images at a time: halved" in capsys.readouterr().err
    assert harm(clip, images, halved) == pytest.approx(harm(clip, images, whole), rel=0.03)


def test_autoattack_repeats_and_leaves_the_generators_alone(on_gpu, images, text_features):
    shared = {"images": "all", "tuning_seeds": 1, "batch_size": 300}
    settings = AutoAttack(method="autoattack", version="fast", eps=16, **shared)
    logits_of = Victim(on_gpu, text_features.to(GPU), on_gpu.logit_scale)
    attack = adaptive_attack(settings, logits_of, seed=0)
    with torch.no_grad():
        taken_for = logits_of(to_tensor(images.pixels, GPU)).argmax(-1).cpu().numpy()
    shard = Images(images.ids, taken_for, images.pixels).take(slice(0, 40))
    torch.manual_seed(7)
    expected = torch.rand(3, device=GPU)
    torch.manual_seed(7)
    run = partial(craft_shard, attack, shard, ball=LinfBall(16 / 255), seed=0, device=GPU)
    first, again = (run(batching=Batching(1, 1, whole=True)) for _ in range(2))
    assert torch.equal(torch.rand(3, device=GPU), expected)
    assert np.array_equal(first.pixels, again.pixels)
    with torch.no_grad():
        after = logits_of(to_tensor(first.pixels, GPU)).argmax(-1).cpu().numpy()
    assert (after != taken_for[:40]).any()
