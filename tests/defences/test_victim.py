"""The model under attack is a plain torch module: plain open_clip's logits, and other people's attacks run on it."""

import copy
import re
from dataclasses import replace
from pathlib import Path

import foolbox
import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pyautoattack import AutoAttack
from safetensors import safe_open

import stages
from stages.defences.defence import defence_of
from stages.evaluation.load import blank_feature, wording_of
from stages.models.device import to_tensor
from stages.runtime.method_blocks import Jpeg, ResizePad
from stages.runtime.params import load_params
from stages.storage.prompts import PromptFile, save_prompts
from tests.fashion import fashion
from tests.imports import ROOT
from tests.references import normalised
from tests.victims import CPU, frozen, random_victim

NAME = "local-dir:data/embedded/tiny-clip"
EPS = 8 / 255
RESIZE_PAD = ResizePad(kind="resize_pad", smallest=0.6)


@pytest.fixture(scope="module")
def rows():
    """The first 24 test images (N, 3, 32, 32), their labels, and all class names."""
    images, class_names = fashion("test", 24)
    return to_tensor(images.pixels, CPU), torch.tensor(images.labels), class_names


@pytest.fixture(scope="module")
def plain():
    return open_clip.create_model(f"local-dir:{ROOT / 'data/embedded/tiny-clip'}").eval().requires_grad_(False)


@pytest.fixture
def prompts(rows, plain) -> PromptFile:
    """Two seeds: hand-written prompts, and random ones."""
    with torch.no_grad():
        captions = open_clip.get_tokenizer(NAME)([f"a photo of a {name}." for name in rows[2]])
        written = plain.encode_text(captions, normalize=True)
    random = F.normalize(torch.randn(10, 128, generator=torch.Generator().manual_seed(0)), dim=-1)
    made_by = {"method": "advpt", "model": load_params().model.model_dump(exclude={"precision"})}
    scale = plain.logit_scale.exp().item()
    return PromptFile(torch.stack([written, random]).numpy(), scale, rows[2], "{}", made_by)


@pytest.fixture
def save(prompts, tmp_path):
    """Writes the prompts, some of their fields changed or with a block of their method, and returns their folder."""

    def write(block=None, **changes) -> Path:
        if block:
            changes["provenance"] = {**prompts.provenance, "block": block}
        save_prompts(tmp_path / "prompts.safetensors", replace(prompts, **changes))
        return tmp_path

    return write


def plain_logits(plain, images, text_features, scale):
    features = plain.encode_image(normalised(plain.visual, images), normalize=True)
    return scale * features @ torch.tensor(text_features).T


@pytest.mark.parametrize("seed", [0, 1])
def test_logits_and_gradients_are_those_of_plain_open_clip(rows, plain, prompts, save, seed):
    images = rows[0].clone().requires_grad_()
    victim = stages.load_victim(save() / "prompts.safetensors", seed=seed, device="cpu")
    expected = plain_logits(plain, images, prompts.text_features[seed], prompts.logit_scale)
    found = victim(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(F.cross_entropy(logits, rows[1]), images)[0] for logits in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda images: images[0],
        lambda images: images[:, :1],
        lambda images: images.repeat(1, 1, 2, 2),
        lambda images: images * 255,
        lambda images: (images * 255).byte(),
        lambda images: (images - 0.286) / 0.1,
    ],
    ids=["one image", "grey", "larger", "0 to 255", "uint8", "normalised"],
)
def test_images_that_it_was_not_made_for_are_refused(rows, save, wrong):
    victim = stages.load_victim(save(), device="cpu")
    with pytest.raises(ValueError, match=r"images: .* are allowed"):
        victim(wrong(rows[0]))


def test_a_mistyped_method_is_answered_by_those_that_are_there_and_a_missing_file_is_named(save, tmp_path):
    there = tmp_path / "all/tune_bank/advpt"
    there.mkdir(parents=True)
    (save() / "prompts.safetensors").rename(there / "prompts.safetensors")
    with pytest.raises(ValueError, match=r"advtp: no such method; in all there are tune_bank/advpt"):
        stages.load_victim(tmp_path / "all/tune_bank/advtp", device="cpu")
    with pytest.raises(ValueError, match=r"nowhere/prompts\.safetensors: missing"):
        stages.load_victim(str(tmp_path / "nowhere"))


def test_it_knows_its_class_names_and_takes_noisy_images(rows, prompts, save):
    victim = stages.load_victim(save(), device="cpu")
    assert victim.class_names == prompts.class_names
    noisy = rows[0] + 0.1 * torch.randn(rows[0].shape, generator=torch.Generator().manual_seed(0))
    assert victim(noisy).shape == (len(noisy), 10)


def test_a_bias_is_added_to_the_logits(rows, prompts, save):
    bias = np.arange(20, dtype=np.float32).reshape(2, 10)
    without = stages.load_victim(save(), seed=1)(rows[0])
    torch.testing.assert_close(
        stages.load_victim(save(logit_bias=bias), seed=1)(rows[0]), without + torch.tensor(bias[1])
    )


def test_an_image_prompt_is_added_to_the_images_and_not_clipped(rows, plain, prompts, save):
    """Behind the ball: the sum leaves [0, 1], and each seed has its own."""
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32)
    folder = save(pixels=pixels)
    images = rows[0].clone().requires_grad_()
    for seed in range(2):
        expected = plain_logits(plain, images + torch.tensor(pixels[seed]), prompts.text_features[seed], 10.0)
        found = stages.load_victim(folder, seed=seed)(images) * (10.0 / prompts.logit_scale)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    gradients = [torch.autograd.grad(F.cross_entropy(logits, rows[1]), images)[0] for logits in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_the_readme_adds_a_pixel_prompt_in_one_line(rows, plain, prompts, save):
    """Behind `preprocess`, which normalises: plain open_clip then gives the features of the method."""
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32)
    folder = save(pixels=pixels)
    (line,) = re.findall(r"`(pixels \+= .*?)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    picture = Image.fromarray((rows[0][0] * 255).round().byte().permute(1, 2, 0).numpy())
    preprocess = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**plain.visual.preprocess_cfg), is_train=False
    )
    there = {"pixels": preprocess(picture), "model": plain, "torch": torch}
    with safe_open(folder / "prompts.safetensors", "pt") as there["prompts"]:
        exec(line, there)
    expected = stages.load_victim(folder).encode_image(rows[0][:1])
    torch.testing.assert_close(plain.encode_image(there["pixels"][None]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prompt", [{}, {"pixels": np.full((2, 3, 32, 32), 0.3, np.float32)}], ids=["none", "pixels"])
def test_the_defence_of_the_block_stands_before_the_image_prompt_and_the_towers(rows, save, prompt):
    """What is defended is the image that the attacker made."""
    victim = stages.load_victim(save({"defence": {"kind": "bits", "bits": 1}}, **prompt))
    images = rows[0].clone().requires_grad_()
    assert torch.equal(victim(images), stages.load_victim(save(**prompt))(images.detach().round()))
    (gradient,) = torch.autograd.grad(victim(images).sum(), images)  # rounding has none: it goes straight through
    assert gradient.flatten(1).abs().amax(1).min() > 0


def test_a_random_defence_draws_from_a_seeded_source_of_its_own(rows, clip):
    victims = [random_victim(clip, defence=defence_of(RESIZE_PAD)) for _ in range(2)]
    first, second = ([victim(rows[0]) for _ in range(2)] for victim in victims)
    assert all(map(torch.equal, first, second)) and not torch.equal(*first)
    state = torch.get_rng_state()
    victims[0](rows[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_each_image_of_a_batch_has_chance_of_its_own(rows, clip):
    victim = random_victim(clip, defence=defence_of(RESIZE_PAD))
    same = victim(rows[0][:1].expand(8, -1, -1, -1))
    assert len(same.unique(dim=0)) > 4


def test_the_blank_text_is_a_prompt_without_a_class_name(clip, plain):
    (expected,) = plain.encode_text(open_clip.get_tokenizer(NAME)(["a photo of a ."]), normalize=True)
    torch.testing.assert_close(blank_feature(clip), expected)


@pytest.mark.parametrize(
    ("position", "words", "caption"),
    [(None, None, "a photo of a {}."), ("end", "a photo of a", "a photo of a {}."),
     ("front", "from a fashion shop", "{} from a fashion shop.")],
)  # fmt: skip
def test_the_context_that_r_tpt_tunes_is_the_method_s_own(rows, clip, plain, prompts, position, words, caption):
    """At its place in the prompt, and of its seed; without one it is that of the usual words."""
    made_by = {**prompts.provenance, "behind": {"block": {"class_position": position} if position else {}}}
    context = None
    if words:
        (tokens,) = open_clip.get_tokenizer(NAME)([words])
        vectors = plain.token_embedding(tokens[1 : 1 + len(words.split())])
        context = torch.stack([vectors.flip(0), vectors]).numpy()
    wording = wording_of(replace(prompts, context=context, provenance=made_by), clip, seed=1)
    expected = plain.encode_text(open_clip.get_tokenizer(NAME)([caption.format(name) for name in rows[2]]), True)
    torch.testing.assert_close(wording.text_features(wording.context[None])[0], expected)


def by_torchattacks(victim, images, labels):
    torchattacks = pytest.importorskip("torchattacks", reason="pins an old requests, so no dependency of the tests")
    return torchattacks.PGD(victim, eps=EPS, alpha=2 / 255, steps=20)(images, labels)


def by_autoattack(victim, images, labels):
    attack = AutoAttack(victim, eps=EPS, version="custom", attacks=["apgd-ce", "fab-t", "square"], seed=0)
    attack.apgd.n_restarts = attack.fab.n_restarts = 1
    attack.apgd.n_iter, attack.fab.n_iter, attack.square.n_queries = 20, 5, 20
    return attack.run_standard_evaluation(images, labels)[0]


def by_foolbox(victim, images, labels):
    model = foolbox.PyTorchModel(victim, bounds=(0, 1), device="cpu")
    return foolbox.attacks.LinfPGD(steps=20, abs_stepsize=2 / 255)(model, images, labels, epsilons=EPS)[1]


@pytest.mark.parametrize("defence", [None, Jpeg(kind="jpeg", quality=75)], ids=["plain", "jpeg"])
@pytest.mark.parametrize("attack", [by_torchattacks, by_autoattack, by_foolbox])
def test_attacks_of_others_run_on_it_and_leave_it_as_it_is(rows, save, attack, defence):
    block = {"defence": defence.model_dump()} if defence else {}
    victim = stages.load_victim(save(block))
    images, labels, _ = rows
    with frozen(victim):
        images_adv = attack(victim, images.clone(), labels)
    assert (images_adv - images).abs().max() <= EPS + 1e-6 and images_adv.min() >= 0 and images_adv.max() <= 1
    right = [(victim(batch).argmax(1) == labels).float().mean() for batch in (images, images_adv)]
    assert right[1] < right[0] - 0.3
    assert not victim.training


def test_train_mode_does_not_thaw_it(clip, rows):
    victim = random_victim(clip)
    before = victim(rows[0])
    assert victim.train() is victim and not any(module.training for module in victim.modules())
    assert torch.equal(victim(rows[0]), before)


def test_it_moves_as_a_module(clip):
    """Copied and moved: towers, mean, deviation and text features."""
    victim = copy.deepcopy(random_victim(clip)).to("meta")  # a module moves in place, and others use this CLIP
    assert victim(torch.rand(2, 3, 32, 32, device="meta")).shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"seed": 2}, r"seed: 2; .*prompts\.safetensors has tuning seeds from 0 to 1"),
        ({}, {"seed": -1}, "seed: -1"),
        ({"provenance": {}}, {}, "its prompts were made with the model None"),
        ({"provenance": {"model": {"name": 3}}}, {}, "were made with the model {'name': 3}: "),
        (
            {"provenance": {"model": {"name": "local-dir:nowhere", "pretrained": None, "sha256": "0"}}},
            {},
            r"prompts\.safetensors: its prompts were made with the model .*: local-dir:nowhere is no open_clip folder",
        ),
        ({"provenance": {"model": {"name": NAME, "pretrained": None, "sha256": "0" * 64}}}, {}, "sha256 0.*but.*19b17"),
        ({"block": {"defence": {"kind": "mirror"}}}, {}, r"defence \{'kind': 'mirror'\}: .*'jpeg'"),
        (
            {"block": {"defence": {"kind": "tte", "shift": 32}}},
            {},
            "defence tte: shift 32; less than the image's side, 32, is allowed",
        ),
    ],
)
def test_what_does_not_fit_is_one_message(save, changes, arguments, message):
    with pytest.raises(ValueError, match=message):
        stages.load_victim(save(**changes), **arguments)


def test_it_leaves_the_threads_of_its_caller_alone(save):
    torch.set_num_threads(2)
    stages.load_victim(save())
    assert torch.get_num_threads() == 2


def test_nothing_else_hides_behind_the_package():
    with pytest.raises(AttributeError, match="no attribute 'load_victims'"):
        _ = stages.load_victims
