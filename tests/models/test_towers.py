"""Every text tower under a learnable context against open_clip's own, and its tokenizer."""

import open_clip
import pytest
import torch

from stages.models.context import assemble, handwritten, initial_context
from stages.models.text_tower import TextTower
from stages.prompts.templates import openai_templates
from tests.models.random_models import KINDS, TEXT, random_model

NAMES = [
    "McDonald's  Sign",
    "caf&eacute;",
    "Égalité",
    "dahlia?",
    "sea_lion",
    "AT&amp;T  Tower",
    "Boeing 737-400",
    "ﬁsh",
]
TOWERS = {
    "CLIP": {},
    "CLIP, quick-GELU": {"quick_gelu": True},
    "CLIP, projection with bias": {"text_cfg": {**TEXT, "proj_bias": True}},
    "CLIP, logit bias": {"init_logit_bias": -10},
    "CLIP, end of text by its token": {"text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 49407}},
    "CustomTextCLIP": {"custom_text": True},
    "CustomTextCLIP, quick-GELU": {"custom_text": True, "quick_gelu": True},
    "CustomTextCLIP, projection with bias": {"custom_text": True, "text_cfg": {**TEXT, "proj_bias": True}},
    "CustomTextCLIP, another padding": {"custom_text": True, "text_cfg": {**TEXT, "pad_id": 5}},
    "CustomTextCLIP, end of text by its token": {
        "custom_text": True,
        "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 49407},
    },
    "CustomTextCLIP, layer scale": {"custom_text": True, "text_cfg": {**TEXT, "ls_init_value": 0.5}},
    "CustomTextCLIP, other blocks": {"custom_text": True, "text_cfg": {**TEXT, "qk_norm": True}},
}


@pytest.fixture(scope="module", params=["lower", "canonicalize"])
def tokenizer(request) -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(clean=request.param)


def tower_of(settings: dict, tokenizer) -> tuple[torch.nn.Module, TextTower]:
    model = random_model({**KINDS["vit_b_32"][0], **settings}).requires_grad_(False)
    return model, TextTower(model, tokenizer)


def spoken(names: list[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


@pytest.mark.parametrize("settings", TOWERS.values(), ids=TOWERS)
def test_text_features_equal_open_clip(tokenizer, settings):
    model, tower = tower_of(settings, tokenizer)
    captions = [f"A photo of the {name}, a type of thing." for name in spoken(NAMES)]
    expected = model.encode_text(tokenizer(captions), normalize=True)
    found = handwritten("A photo of the {}, a type of thing.", NAMES, tower)
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", TOWERS.values(), ids=TOWERS)
def test_a_context_of_words_equals_open_clip(tokenizer, settings):
    model, tower = tower_of(settings, tokenizer)
    layout = assemble(NAMES, tower, context_length=4, class_position="end", class_specific=False)
    generators = [torch.Generator()]
    context = initial_context(
        tower, context_length=4, words="a photo of a", std=0.0, classes=None, generators=generators
    )
    captions = [f"a photo of a {name}." for name in spoken(NAMES)]
    expected = model.encode_text(tokenizer(captions), normalize=True)
    torch.testing.assert_close(layout.text_features(context, tower)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", spoken(NAMES))
def test_tokens_equal_the_tokenizers_own_call(tokenizer, name):
    _, tower = tower_of({}, tokenizer)
    (row,) = tokenizer([name])
    end = row.argmax()
    assert row[0] == tokenizer.sot_token_id and row[end] == tokenizer.eot_token_id
    assert tower.tokens(name) == row[1:end].tolist()


def test_the_longest_text_fits_and_a_longer_one_does_not():
    tokenizer = open_clip.SimpleTokenizer()
    model, tower = tower_of({}, tokenizer)
    name = " ".join(["fish"] * 75)
    expected = model.encode_text(tokenizer([name]), normalize=True)
    torch.testing.assert_close(handwritten("{}", [name], tower)[0], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="make 78 tokens; the text tower takes 77"):
        handwritten("{}.", [name], tower)


def test_there_are_eighty_templates_with_one_place_for_the_name():
    templates = openai_templates()
    assert len(set(templates)) == 80 and templates[0] == "a bad photo of a {}."
    assert all(template.count("{}") == 1 for template in templates)


@pytest.mark.parametrize("kind", ["vit_b_32", "custom_text"])
def test_the_ensemble_equals_open_clips_zero_shot_classifier(kind):
    model_cfg = KINDS[kind][0]
    tokenizer = open_clip.SimpleTokenizer(**model_cfg["text_cfg"].get("tokenizer_kwargs", {}))
    model, tower = tower_of(model_cfg, tokenizer)
    expected = open_clip.build_zero_shot_classifier(
        model, tokenizer, spoken(NAMES), open_clip.OPENAI_IMAGENET_TEMPLATES
    )
    found = handwritten(openai_templates(), NAMES, tower)
    assert found.shape == (1, len(NAMES), 32)
    torch.testing.assert_close(found[0].T, expected, rtol=1e-5, atol=1e-6)


def test_the_embedded_models_ensemble_too(clip):
    templates = ["a photo of a {}.", "{}", "a photo of the {}."]
    names = ["T-shirt/top", "Ankle boot", "dress"]
    expected = open_clip.build_zero_shot_classifier(clip.model, clip.tokenizer, names, templates)
    found = handwritten(templates, names, TextTower(clip.model, clip.tokenizer))
    torch.testing.assert_close(found[0].T, expected, rtol=1e-5, atol=1e-6)


def test_one_template_alone_is_the_plain_prompt(clip):
    tower = TextTower(clip.model, clip.tokenizer)
    alone = handwritten(["a photo of a {}."], ["dress"], tower)
    assert torch.equal(alone, handwritten("a photo of a {}.", ["dress"], tower))
    twice = handwritten(["a photo of a {}.", "a photo of a {}."], ["dress"], tower)
    torch.testing.assert_close(twice, alone)
