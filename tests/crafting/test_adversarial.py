"""Prompts tuned on images attacked through them: against a plain loop, a known optimum, and themselves."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from stages.adversarial import curves_of, effect_of, prompt_file, tune_seed
from stages.attacks.noise import ImageNoise
from stages.crafting.adversarial import Tuning
from stages.crafting.copies import LARGEST_SHIFT, with_copies
from stages.defences.victim import Victim
from stages.interpretation.prompt_effect import effect_table
from stages.models.clip import Clip
from stages.prompts.adversarial import learner_of
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Task
from stages.runtime.method_blocks import AdvVlp, AdvVlpt, AdvVp, AdvVpt, Apt, Fap, Moapt
from stages.runtime.params import load_params
from stages.storage.images import Images
from tests import references
from tests.fashion import fashion
from tests.victims import frozen

CPU = torch.device("cpu")
NAMES = ["dress", "bag", "coat"]
TEMPLATE = "a photo of a {}."
KINDS = {"adv_vp": AdvVp, "apt": Apt, "moapt": Moapt, "adv_vlp": AdvVlp}
OF_TOKENS = {"adv_vpt": AdvVpt, "adv_vlpt": AdvVlpt, "fap": Fap}  # they need a ViT
BLOCKS = {**KINDS, **OF_TOKENS}
VIT = "local-dir:data/embedded/tiny-vit"
SHORT = {"tuning_seeds": 2, "epochs": 3, "batch_size": 48, "eps": [4.0], "clean_fraction": 0.25, "temperature": 2.0}
TOKENS = {"batch_size": 40, "epochs": 2, "tokens": 3, "optimizer": "sgd", "lr": 0.5}
RUNTIME = load_params().runtime.model_copy(update={"batch_size": 250, "workers": 1})


def tuning_of(clip, images, kind="adv_vp", runtime=RUNTIME, **changes):
    """The tuning of a method, and the generators of its seeds."""
    settings = BLOCKS[kind](kind=kind, **{**SHORT, **changes})
    generators = tuning_generators(0, settings.tuning_seeds)
    learner = learner_of(Task(kind, settings, NAMES, TEMPLATE, clip, generators))
    return Tuning(learner, clip, settings, images, 0, CPU, runtime), generators


def exact_tuning_of(images, kind, **changes):
    """The same in float64."""
    return tuning_of(in_float64(VIT if kind in OF_TOKENS else None), images, kind, **changes)


def in_float64(name=None):
    """The embedded CLIP, or another one, made fast in float64."""
    name = name or load_params().model.name
    return Clip(open_clip.create_model(name).double(), open_clip.get_tokenizer(name), {}, precision="fp64")


def tuned(tuning, generators, index=0, start=None):
    """What the last epoch of a seed leaves, copied."""
    return copy.deepcopy([*tuning.tune(index, generators[index], start)][-1])


def plain_loop(settings, images, context, folder=None, tokens=None):
    """Adversarial tuning with stock open_clip modules, in float64, every weight in the graph; the first tuning seed.

    Returns:
        The pixel prompt (3, H, W), or the token prompts (L, P, W) if their shape is given, and the context (M, D_token)
        or None if its shape is None.
    """
    folder = folder or load_params().model.name
    model = open_clip.create_model(folder).double().eval()
    tokenizer = open_clip.get_tokenizer(folder)
    pixels = torch.zeros(3, 32, 32, dtype=torch.float64, requires_grad=True)
    generator = tuning_generators(0, 1)[0]
    if tokens is not None:
        drawn = torch.randn(tokens, generator=generator, dtype=torch.float64)
        tokens = (settings.token_std * drawn).requires_grad_()
    groups = [{"params": [pixels if tokens is None else tokens], "lr": settings.lr}]
    if context is not None:
        drawn = torch.randn(context, generator=generator, dtype=torch.float64)
        context = (settings.init_std * drawn).requires_grad_()
        groups.append({"params": [context], "lr": settings.text_lr})
    optimizer = torch.optim.Adam(groups) if settings.optimizer == "adam" else torch.optim.SGD(groups, momentum=0.9)
    first_lrs = [group["lr"] for group in groups]
    mask = torch.zeros(32, 32, dtype=torch.float64)
    frame = getattr(settings, "frame", None) or 16
    for side in (mask, mask.T):
        side[:frame], side[32 - frame :] = 1, 1

    def losses(shown, labels):
        text = stock_text(model, tokenizer, context)
        prompted = references.normalised(model.visual, shown + mask * pixels)
        features = stock_features(model, prompted, tokens)
        logits = model.logit_scale.exp() / settings.temperature * features @ text.T
        return F.cross_entropy(logits, labels, reduction="none")

    for epoch in range(settings.epochs):
        for group, lr in zip(optimizer.param_groups, first_lrs, strict=True):
            group["lr"] = lr * (1 + math.cos(math.pi * epoch / settings.epochs)) / 2
        order = torch.randperm(len(images), generator=generator)
        for chosen in order.split(settings.batch_size):
            clean = torch.tensor(images.pixels[chosen]).permute(0, 3, 1, 2).float() / 255
            labels = torch.tensor(images.labels[chosen])
            met, untouched = clean.clone(), round(settings.clean_fraction * len(chosen))
            for place in range(untouched, len(chosen)):
                eps = settings.eps[(place - untouched) % len(settings.eps)] / 255
                step_size = settings.step_ratio * eps / settings.steps
                noise = ImageNoise(0, [f"epoch {epoch}/seed 0/{images.ids[chosen[place]]}"])
                one = clean[place : place + 1]
                adv = one + eps * noise.uniform((3, 32, 32), low=-1, high=1)
                for _ in range(settings.steps):
                    adv = adv.detach().requires_grad_()
                    losses(adv, labels[place : place + 1]).sum().backward()
                    adv = adv.detach() + step_size * adv.grad.sign()
                    adv = torch.min(torch.max(adv, one - eps), one + eps).clamp(0, 1)
                met[place] = (adv[0] * 255).round() / 255
            optimizer.zero_grad()
            losses(met, labels).mean().backward()
            optimizer.step()
    return (pixels if tokens is None else tokens).detach(), context if context is None else context.detach()


def stock_text(model, tokenizer, context):
    """Text features (K, D), unit norm, of a context, or of the hand-written prompt if it is None."""
    if context is None:
        return model.encode_text(tokenizer([TEMPLATE.format(name) for name in NAMES]), normalize=True)
    return references.text_features(model, tokenizer, NAMES, context, "end")


def stock_features(model, images, tokens):
    """Image features (N, D), unit norm, under token prompts, or under none."""
    if tokens is None:
        return model.encode_image(images, normalize=True)
    return F.normalize(references.features_with_tokens(model.visual, images, tokens), dim=-1)


WITH_TEXT = {"text_lr": 0.5, "context_length": 4}
ENDS = [("adv_vp", {"frame": 6}), ("adv_vlp", {**WITH_TEXT, "weight_decay": 0.0}),
        ("adv_vpt", {**TOKENS, "depth": 1}), ("adv_vlpt", {**TOKENS, **WITH_TEXT, "depth": None})]  # fmt: skip


@pytest.mark.parametrize(("kind", "own"), ENDS)
def test_it_ends_where_a_plain_loop_with_stock_open_clip_ends(images, kind, own):
    few, name = images.take(slice(0, 12)), "tokens" if kind in OF_TOKENS else "pixels"
    changes = {"optimizer": "sgd", "lr": 4.0, **own, "batch_size": 5, "epochs": 2, "eps": [2.0, 8.0], "tuning_seeds": 1}
    tuning, generators = exact_tuning_of(few, kind, **changes)
    start = tuning.learner.initial[name][0].numpy().copy()
    found = tuned(tuning, generators).arrays
    of_tokens = {"folder": VIT, "tokens": start.shape} if kind in OF_TOKENS else {}
    prompt, context = plain_loop(tuning.settings, few, (4, 64) if "text_lr" in own else None, **of_tokens)
    moved = np.abs(prompt.numpy() - start).max()
    assert moved > (1e-3 if of_tokens else 0.1)
    np.testing.assert_allclose(found[name], prompt.numpy(), atol=(1e-4 if of_tokens else 1e-5) * moved)
    if context is not None:
        np.testing.assert_allclose(found["context"], context.numpy(), rtol=1e-4, atol=1e-6)
    if kind == "adv_vp":
        assert (found["pixels"][:, 6:26, 6:26] == 0).all() and (found["pixels"][:, :6] != 0).mean() > 0.9


class MeanOfRed:
    """A linear tower without weights: its features are the mean of the first channel, and 0.3."""

    logit_scale, image_size = 10.0, 8

    def encode_image(self, images):
        red = images[:, 0].mean((1, 2))
        return torch.stack([red, torch.full_like(red, 0.3)], dim=1)

    def gradient_encoder(self):
        return self.encode_image


class AddedPixels:
    """A pixel prompt over two classes, one on each side of the first axis."""

    def __init__(self):
        self.initial = {"pixels": torch.zeros(1, 3, 8, 8)}

    on_images = ("pixels",)

    def text_features(self, parameters):
        return torch.tensor([[1.0, 0], [-1.0, 0]])

    def encode_image(self, encode, images, prompts):
        return encode(images + prompts["pixels"])


@pytest.mark.parametrize("clean_fraction", [1.0, 0.0])
def test_it_finds_the_optimum_of_a_linear_tower(clean_fraction):
    """The classes lie 0.1 to both sides of grey: the best prompt takes it away, attacked or not, in red alone."""
    labels = np.arange(64) % 2
    pixels = np.full((64, 8, 8, 3), 128, np.uint8)
    pixels[..., 0] = np.where(labels == 0, 153, 103)[:, None, None]
    images = Images([str(index) for index in range(64)], labels, pixels)
    changes = {"tuning_seeds": 1, "epochs": 200, "batch_size": 64, "lr": 0.02, "clean_fraction": clean_fraction}
    settings = AdvVp(kind="adv_vp", **{**SHORT, **changes})
    tuning = Tuning(AddedPixels(), MeanOfRed(), settings, images, 0, CPU, RUNTIME)
    found = tuned(tuning, tuning_generators(0, 1)).arrays["pixels"]
    np.testing.assert_allclose(found[0].mean(), -128 / 255, atol=0.005)
    assert not found[1:].any()


@pytest.mark.parametrize("kind", BLOCKS)
def test_no_weight_moves_or_takes_a_gradient(clip, vit, few, kind):
    model, changes = (vit, {**TOKENS, "depth": None}) if kind in OF_TOKENS else (clip, {"epochs": 2})
    tuning, generators = tuning_of(model, few, kind, warmup_epochs=0, **changes)
    start = {name: tensor[0].numpy().copy() for name, tensor in tuning.learner.initial.items()}
    with frozen(model):
        changed = tuned(tuning, generators).arrays
    assert changed.keys() >= start.keys()
    assert all((changed[name] != array).any(axis=-1).all() for name, array in start.items())


def test_no_gradient_of_a_weight_is_computed(clip, images, monkeypatch):
    """Of all tensors that a gradient is asked for, none is a weight, and none needs one to be had."""
    weights, asked = {weight.data_ptr() for weight in clip.parameters()}, []
    real = torch.autograd.grad

    def grad(outputs, inputs, *others, **options):
        asked.extend(inputs if isinstance(inputs, list | tuple) else [inputs])
        return real(outputs, inputs, *others, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    tuned(*tuning_of(clip, images, "adv_vlp", epochs=1))
    assert asked and not weights & {tensor.data_ptr() for tensor in asked}


@pytest.mark.parametrize("kind", ["adv_vp", "adv_vlp"])
def test_a_prompt_of_zeros_is_the_plain_tower(images, kind):
    exact = in_float64()
    shown = torch.rand(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = exact.encode_image(shown)
    learner = tuning_of(exact, images, kind)[0].learner
    prompts = {"pixels": learner.initial["pixels"][0]}
    assert (learner.encode_image(exact.encode_image, shown, prompts) - plain).abs().max() <= 1e-12
    victim = Victim(exact, torch.eye(3, plain.shape[1], dtype=torch.float64), 1.0, pixels=prompts["pixels"])
    assert (victim.encode_image(shown) - plain).abs().max() <= 1e-12


def test_after_zero_rate_a_method_is_the_hand_written_one(clip, images):
    """Its prompt file has the text features of the hand-written prompt, for each seed, and pixels of zero."""
    tuning, generators = tuning_of(clip, images, lr=1e-30, epochs=1)
    reached = [tuned(tuning, generators, index) for index in range(2)]
    file = prompt_file(reached, tuning, NAMES, {})
    with torch.no_grad():
        tokens = open_clip.get_tokenizer(load_params().model.name)([TEMPLATE.format(name) for name in NAMES])
        expected = clip.model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(file.text_features, np.stack([expected] * 2), atol=1e-6)
    assert np.abs(file.pixels).max() < 1e-20 and file.context is None


@pytest.mark.parametrize("kind", ["adv_vlp", "moapt", "adv_vlpt"])
def test_after_any_epoch_it_goes_on_to_the_same_bits(clip, vit, few, tmp_path, kind):
    def fresh():
        return tuning_of(vit if kind in OF_TOKENS else clip, few, kind)

    whole = tuned(*fresh())
    for epoch in (1, 2):
        path = tmp_path / f"after {epoch}.safetensors"
        tuning, generators = fresh()

        def interrupted(*arguments, running=tuning.tune, epoch=epoch):
            yield from (reached for reached, _ in zip(running(*arguments), range(epoch), strict=False))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tune_seed(SimpleNamespace(settings=tuning.settings, tune=interrupted), 0, generators[0], path, what="test")
        tuning, generators = fresh()
        again = tune_seed(tuning, 0, generators[0], path, what="test")
        assert (again.loss, again.accuracy) == (whole.loss, whole.accuracy) and len(again.loss) == 3
        assert_same_bits(again, whole)
    assert_same_bits(tune_seed(fresh()[0], 0, tuning_generators(0, 1)[0], path, what="test"), whole)


def assert_same_bits(found, expected):
    """Two tunings have reached the same arrays."""
    assert found.arrays.keys() == expected.arrays.keys()
    assert all(array.tobytes() == expected.arrays[name].tobytes() for name, array in found.arrays.items())


TOGETHER = [("adv_vlp", {}), ("moapt", {}), ("adv_vpt", {**TOKENS, "depth": 1}), ("adv_vpt", {**TOKENS, "depth": None}),
            ("fap", {**TOKENS, "depth": 2})]  # fmt: skip


@pytest.mark.parametrize(("kind", "own"), TOGETHER)
def test_it_does_not_depend_on_how_images_are_put_together(clip, vit, few, kind, own):
    model, changes = vit if kind in OF_TOKENS else clip, {**own, "epochs": 1, "warmup_epochs": 0, "eps": [2.0, 4.0]}
    one = tuned(*tuning_of(model, few, kind, **changes))
    for batch_size, workers in [(33, 3), (7, 1)]:
        runtime = RUNTIME.model_copy(update={"batch_size": batch_size, "workers": workers})
        assert_same_bits(tuned(*tuning_of(model, few, kind, runtime=runtime, **changes)), one)


def test_seeds_differ_and_do_not_depend_on_each_other(clip, few):
    tuning, generators = tuning_of(clip, few)
    first, second = (tuned(tuning, generators, index) for index in range(2))
    alone = tuned(*tuning_of(clip, few), index=1)
    assert (first.arrays["pixels"] != second.arrays["pixels"]).any()
    assert np.array_equal(alone.arrays["pixels"], second.arrays["pixels"])


def met_by(tuning, images):
    """How far each image of a batch is from its clean form, in 1/255."""
    prompts = {name: tensor[0] for name, tensor in tuning.learner.initial.items()}
    met = tuning.attacked(images, prompts, tuning.learner.text_features(prompts).detach(), key="test")
    assert met.ids == images.ids and (met.labels == images.labels).all()
    return np.abs(met.pixels.astype(int) - images.pixels).max(axis=(1, 2, 3))


def test_a_share_of_a_batch_stays_clean_and_the_rest_takes_every_eps(clip, images):
    moved = met_by(tuning_of(clip, images, eps=[1.0, 4.0, 8.0], clean_fraction=0.25)[0], images)
    assert (moved[:25] == 0).all()
    assert [int((moved[25:] == eps).sum()) for eps in (1, 4, 8)] == [25, 25, 25]


@pytest.mark.parametrize("kind", KINDS)
def test_the_attack_raises_the_loss_more_than_noise_does(clip, images, kind):
    tuning, _ = tuning_of(clip, images, kind, clean_fraction=0.0)
    prompts = {name: tensor[0] for name, tensor in tuning.learner.initial.items()}
    text = tuning.learner.text_features(prompts).detach()
    signs = np.random.default_rng(1).choice([-4, 4], images.pixels.shape)
    noisy = replace(images, pixels=np.clip(images.pixels.astype(int) + signs, 0, 255).astype(np.uint8))
    losses = []
    for shown in (images, noisy, tuning.attacked(images, prompts, text, key="test")):
        features, _ = tuning.image_gradients(shown, images, prompts, text)
        logits = tuning.logits(features[:, -1], text, prompts)
        losses.append(F.cross_entropy(logits, torch.from_numpy(images.labels)).item())
    clean, noise, attacked = losses
    assert attacked - clean > 3 * abs(noise - clean)


def test_the_curve_has_all_seeds_side_by_side(clip, few):
    tuning, generators = tuning_of(clip, few)
    reached = [tuned(tuning, generators, index) for index in range(2)]
    loss, accuracy = curves_of(reached)
    assert len(loss) == len(accuracy) == 3
    assert loss[1] == [reached[0].loss[1], reached[1].loss[1]]
    assert accuracy[2] == [reached[0].accuracy[2], reached[1].accuracy[2]]


@pytest.mark.parametrize(("frame", "free"), [(1, 32 * 32 - 30 * 30), (15, 32 * 32 - 4), (None, 32 * 32)])
def test_a_frame_has_the_stated_width(clip, images, frame, free):
    learner = tuning_of(clip, images, frame=frame)[0].learner
    black = learner.encode_image(lambda shown: shown, torch.zeros(1, 3, 32, 32), {"pixels": torch.ones(3, 32, 32)})
    assert int(black[0, 0].sum()) == free and black[0, 0, 0].all()


def test_copies_are_shifted_and_mirrored_whichever_images_are_beside(images):
    few = images.take(np.arange(12))
    found = with_copies(few, 3, seed=0)
    assert np.array_equal(found.pixels[:12], few.pixels)
    assert len(set(found.ids)) == len(found) == 36
    assert found.labels.tolist() == [*few.labels] * 3
    shift, met = round(LARGEST_SHIFT * 32), set()
    for place, pixels in enumerate(found.pixels[12:]):
        padded = np.pad(few.pixels[place % 12], ((shift, shift), (shift, shift), (0, 0)), mode="edge")
        places = [(y, x, step) for y in range(2 * shift + 1) for x in range(2 * shift + 1) for step in (1, -1)]
        (change,) = [
            one for one in places if np.array_equal(padded[one[0] :, one[1] :][:32, :32][:, :: one[2]], pixels)
        ]
        met.add(change)
    assert {step for *_, step in met} == {1, -1}
    assert len(met) > 12
    alone = with_copies(few.take([5]), 3, seed=0)
    assert np.array_equal(alone.pixels, found.pixels[[5, 17, 29]])


def test_tuning_on_copies_is_tuning_on_more_images(clip, images):
    few = images.take(np.arange(30))
    one, generators = tuning_of(clip, few, copies=2, epochs=2, tuning_seeds=1)
    other, same = tuning_of(clip, with_copies(few, 2, seed=0), epochs=2, tuning_seeds=1)
    found, expected = tuned(one, generators), tuned(other, same)
    assert np.array_equal(found.arrays["pixels"], expected.arrays["pixels"])
    plain, again = tuning_of(clip, few, epochs=2, tuning_seeds=1)
    assert not np.array_equal(found.arrays["pixels"], tuned(plain, again).arrays["pixels"])


def test_a_frame_wider_than_the_image_is_refused(clip, images):
    with pytest.raises(ValueError, match=r"frame: 16 px; .* the 32 px of this model's images has 1 to 15 px; null is"):
        tuning_of(clip, images, frame=16)


def test_the_effect_of_a_prompt_compares_attacks_through_it_and_through_the_plain_model(clip, few):
    """A prompt of zeros has none; the attack takes features further than the images of a class lie apart by chance."""
    tuning, generators = tuning_of(clip, few, epochs=1)
    file = prompt_file([tuned(tuning, generators, index) for index in range(2)], tuning, NAMES, {})
    without, with_prompt = (table.to_pandas() for table in effect_of(tuning, file))
    assert not without["prompted"].any() and with_prompt["prompted"].all() and len(without) == len(with_prompt) == 60
    assert (without["attacked"] != with_prompt["attacked"]).mean() > 0.9 and without["attacked"].max() < 1 - 1e-4
    plain, same = (table.to_pandas() for table in effect_of(tuning, replace(file, pixels=0 * file.pixels)))
    assert plain.drop(columns="prompted").equals(same.drop(columns="prompted"))
    assert plain.equals(without)


@pytest.mark.parametrize("kind", ["adv_vp", "adv_vlp"])
def test_prompts_tuned_in_float64_are_kept_and_shown_as_float32(few, kind):
    tuning, generators = exact_tuning_of(few, kind, epochs=1, tuning_seeds=1)
    reached = tuned(tuning, generators)
    assert all(reached.arrays[name].dtype == np.float64 for name in tuning.learner.initial)
    file = prompt_file([reached], tuning, NAMES, {})
    for name in ("text_features", *tuning.learner.initial):
        assert getattr(file, name).dtype == np.float32
    assert len(effect_of(tuning, file)) == 2


def test_the_effect_of_two_images_by_hand():
    clean, attacked = np.array([[2.0, 0], [0, 1]]), np.array([[3.0, 3], [0, 5]])
    table = effect_table(True, clean, attacked, np.array([0, 1])).to_pandas()
    assert table["attacked"].tolist() == pytest.approx([0.5**0.5, 1], abs=1e-6)
    assert table["others"].tolist() == [0, 0] and table["prompted"].all()


def test_tuning_on_shuffled_labels_gives_nothing(clip):
    """With the right labels the same tuning gains under attack, so that the test can fail."""
    (images, names), (test, _) = fashion("train", 400), fashion("test", 200)
    settings = AdvVp(kind="adv_vp", **{**SHORT, "epochs": 4, "lr": 0.03, "batch_size": 50})
    shuffled = replace(images, labels=np.random.default_rng(0).permutation(images.labels))

    def accuracy(tuning, pixels):
        text = tuning.learner.text_features({})
        tuning = replace(tuning, settings=settings.model_copy(update={"clean_fraction": 0.0}))
        attacked = tuning.attacked(test, {"pixels": pixels}, text, key="test")
        features, _ = tuning.image_gradients(attacked, test, {"pixels": pixels}, text)
        return (tuning.logits(features[:, -1], text, {}).argmax(-1).numpy() == test.labels).mean()

    found = []
    for training in (images, shuffled):
        generators = tuning_generators(0, 1)
        learner = learner_of(Task("adv_vp", settings, names, TEMPLATE, clip, generators))
        tuning = Tuning(learner, clip, settings, training, 0, CPU, RUNTIME)
        found.append(accuracy(tuning, torch.tensor(tuned(tuning, generators).arrays["pixels"])))
    right, by_chance, untuned = *found, accuracy(tuning, learner.initial["pixels"][0])
    assert right > untuned + 0.1
    assert by_chance <= untuned + 0.02
