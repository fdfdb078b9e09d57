"""Prompts against open_clip's own text tower, and tuning against plain SGD."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.models.context import assemble, initial_context
from stages.models.logits import cosine_logits, predictions_and_margins
from stages.models.text_tower import TextTower
from stages.prompts.train import tune
from stages.runtime.params import load_params
from stages.storage.prompts import PromptFile, load_prompts, save_prompts
from tests.victims import frozen

NAMES = ["T-shirt/top", "Ankle boot", "dress"]
SETTINGS = load_params().tune.model_copy(
    update={"epochs": 3, "batch_size": 5, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    | {"warmup_epochs": 1, "warmup_lr": 1e-3, "clean_fraction": 0.5}
)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def start_from(tower, words, length, classes=None):
    return initial_context(
        tower, context_length=length, words=words, std=0.02, classes=classes, generators=generators(0, 1)
    )


@pytest.fixture(scope="module")
def tower(clip) -> TextTower:
    return TextTower(clip.model, clip.tokenizer)


@pytest.mark.parametrize(
    ("position", "words", "caption"),
    [
        ("end", "a photo of a", "a photo of a {}."),
        ("middle", "this is from a fashion shop", "this is from {} a fashion shop."),
        ("front", "from a fashion shop", "{} from a fashion shop."),
    ],
)
@pytest.mark.parametrize("class_specific", [False, True])
def test_a_context_of_words_equals_open_clip_on_the_sentence(clip, tower, position, words, caption, class_specific):
    length = len(words.split())
    layout = assemble(NAMES, tower, context_length=length, class_position=position, class_specific=class_specific)
    context = start_from(tower, words, length, classes=3 if class_specific else None)
    expected = clip.model.encode_text(clip.tokenizer([caption.format(name) for name in NAMES]), normalize=True)
    for features in layout.text_features(context, tower):
        torch.testing.assert_close(features, expected)


def test_classes_and_seeds_do_not_touch_each_other(tower):
    layout = assemble(NAMES, tower, context_length=3, class_position="end", class_specific=True)
    context = start_from(tower, None, 3, classes=3).requires_grad_()
    features = layout.text_features(context, tower)
    (gradient,) = torch.autograd.grad(features[1, 2].sum(), context)
    reached = (gradient != 0).flatten(2).any(-1)
    assert reached.tolist() == [[False, False, False], [False, False, True]]


def test_an_unknown_word_is_named(tower):
    with pytest.raises(ValueError, match="'zebra'"):
        assemble(["dress", "zebra"], tower, context_length=2, class_position="end", class_specific=False)
    with pytest.raises(ValueError, match="'zebra'"):
        start_from(tower, "a zebra of", 3)


def test_a_context_that_is_too_long_names_the_class(tower):
    with pytest.raises(
        ValueError, match=r"class 'T-shirt/top': 25 context vectors .* make 33 tokens; the text tower takes 32"
    ):
        assemble(NAMES, tower, context_length=25, class_position="end", class_specific=False)


def test_words_of_another_length_say_what_to_set(tower):
    with pytest.raises(ValueError, match=r"set context_length beside it to 4"):
        start_from(tower, "a photo of a", 16)


def test_random_start_has_the_stated_spread(tower):
    context = start_from(tower, None, 16)
    assert context.shape == (2, 16, tower.width)
    assert context.std().item() == pytest.approx(0.02, rel=0.1)
    assert not torch.equal(context[0], context[1])


CONTEXT = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(6))
BANK, CLEAN = torch.randn(2, 17, 4, generator=torch.Generator().manual_seed(5))
LABELS = torch.arange(17) % 3


def unit_vectors(vectors):
    """The parameters themselves as text features, without a bias."""
    return F.normalize(vectors, dim=-1), vectors.new_zeros(vectors.shape[:2])


def tuned(context, clean_fraction, seeds=(0, 1), embeddings=BANK[None, None]):
    """The context after tuning, and the losses; its normalised vectors are the text features themselves."""
    context = context.clone()
    reached = tune(
        unit_vectors,
        context,
        embeddings=embeddings,
        clean_embeddings=CLEAN,
        labels=LABELS,
        logit_scale=5.0,
        settings=SETTINGS.model_copy(update={"clean_fraction": clean_fraction}),
        generators=generators(*seeds),
    )
    return context, list(reached)[-1].loss


def views(seeds, count):
    """Banks (S, V, N, D) that differ between seeds and views."""
    return torch.stack([torch.stack([BANK + seed - view for view in range(count)]) for seed in range(seeds)])


@pytest.mark.parametrize(
    ("fraction", "banks"),
    [(0.0, views(1, 1)), (1.0, views(1, 1)), (0.0, views(2, 1)), (0.0, views(1, 3)), (0.0, views(2, 2))],
    ids=["bank", "clean", "a bank each", "three views", "two views each"],
)
def test_tuning_equals_plain_sgd_seed_by_seed(fraction, banks):
    found, losses = tuned(CONTEXT, fraction, embeddings=banks)
    for index in range(2):
        parameter = CONTEXT[index].clone().requires_grad_()
        optimizer = torch.optim.SGD([parameter], 0.1, momentum=0.9, weight_decay=0.01)
        generator = torch.Generator().manual_seed(index)
        for epoch, lr in enumerate([1e-3, 0.1 * 0.75, 0.1 * 0.25]):
            optimizer.param_groups[0]["lr"] = lr
            order = torch.randperm(17, generator=generator)
            torch.rand(17, generator=generator)
            several = banks.shape[1] > 1
            view = torch.randint(banks.shape[1], (17,), generator=generator) if several else torch.zeros(17, dtype=int)
            embeddings = CLEAN if fraction else banks.expand(2, -1, -1, -1)[index, view, torch.arange(17)]
            loss_sum = 0.0
            for chosen in order.split(5):
                logits = 5.0 * F.normalize(embeddings[chosen], dim=-1) @ F.normalize(parameter, dim=-1).T
                loss = F.cross_entropy(logits, LABELS[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss_sum += loss.item() * len(chosen)
            assert losses[epoch][index] == pytest.approx(loss_sum / 17, rel=1e-4)
        torch.testing.assert_close(found[index], parameter.detach())


def test_a_seed_does_not_depend_on_its_neighbours():
    together, _ = tuned(CONTEXT, 0.5)
    alone, _ = tuned(CONTEXT[1:], 0.5, seeds=(1,))
    torch.testing.assert_close(together[1], alone[0])


def test_tuning_lowers_the_loss_and_moves_no_weight(clip, tower):
    layout = assemble(NAMES, tower, context_length=4, class_position="end", class_specific=False)
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(40, 128, generator=generator)
    context = start_from(tower, None, 4)
    with frozen(clip.model):
        *_, last = tune(
            lambda c: (layout.text_features(c, tower), torch.zeros(2, 3)),
            context,
            embeddings=embeddings[None, None],
            clean_embeddings=embeddings,
            labels=torch.arange(40) % 3,
            logit_scale=10.0,
            settings=SETTINGS.model_copy(
                update={"epochs": 8, "batch_size": 8, "weight_decay": 0.0, "warmup_epochs": 0, "clean_fraction": 0.0}
            ),
            generators=generators(0, 1),
        )
    assert (np.array(last.loss[-1]) < last.loss[0]).all() and context.grad is None


def test_judge_by_hand():
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [4.0, 1.0]])
    predictions, margins = predictions_and_margins(logits, np.array([0, 0, 1]))
    assert predictions.tolist() == [0, 1, 0] and margins.tolist() == [1.0, -3.0, -3.0]


def test_cosine_logits_are_those_of_torch():
    generator = np.random.default_rng(0)
    image, text = generator.normal(size=(5, 8)), generator.normal(size=(3, 8))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    expected = 7 * F.cosine_similarity(torch.tensor(image)[:, None], torch.tensor(text)[None], dim=-1)
    torch.testing.assert_close(cosine_logits(torch.tensor(image), torch.tensor(text), 7.0), expected)


def test_prompts_come_back_as_they_were_and_with_the_same_bytes(tmp_path):
    features, context = np.ones((2, 3, 4), np.float32), np.zeros((2, 5, 4), np.float32)
    prompts = PromptFile(features, 10.5, ["a", 'b"<ü>'], "[5] {}.", {"dataset": "d"}, context)
    for name in ("one", "two"):
        save_prompts(tmp_path / name, prompts)
    back = load_prompts(tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert np.array_equal(back.text_features, features) and np.array_equal(back.context, context)
    assert (back.logit_scale, back.class_names, back.template) == (10.5, prompts.class_names, prompts.template)
    assert back.provenance == prompts.provenance


def test_damaged_prompts_name_the_file(tmp_path):
    path = tmp_path / "prompts.safetensors"
    with pytest.raises(ValueError, match="missing"):
        load_prompts(path)
    save_prompts(path, PromptFile(np.ones((2, 3, 4), np.float32), 10.5, ["a", "b", "c"], "{}", {}))
    *whole, last = path.read_bytes()
    for content in (bytes([*whole, last ^ 1]), b"<html>not here</html>"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"prompts\.safetensors: damaged"):
            load_prompts(path)
