"""Which models are refused: by name before anything is fetched, or by how they behave."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stages.models.clip import load_clip
from stages.models.supported import check_configuration, check_end
from stages.models.text_tower import TextTower
from stages.runtime.params import load_params
from tests.models.random_models import KINDS, TEXT, random_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "pretrained", "reason"),
    [
        ("ViT-B-16-SigLIP", "webli", "is not causal, it reads its feature at the place 'last'"),
        ("MobileCLIP-S1", "datacompdr", "is not causal"),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", "is the Hugging Face model roberta-base"),
        ("coca_ViT-B-32", "laion2b_s13b_b90k", "reads its feature at a class token behind the text"),
        ("ViT-H-14-worldwide", "metaclip2_worldwide", "has the Hugging Face tokenizer facebook"),
    ],
)
def test_a_text_tower_under_which_no_context_fits_is_refused_by_name(monkeypatch, name, pretrained, reason):
    monkeypatch.setattr("stages.models.weights.hub_file", None)  # nothing is fetched before
    with pytest.raises(ValueError, match=f"text tower of {name}: it .*{reason}"):
        load_clip(name, pretrained=pretrained, sha256=None, device=CPU)


@pytest.mark.parametrize("name", ["RN50", "RN101", "ViT-B-16", "ViT-B-32", "ViT-L-14", "EVA02-B-16", "PE-Core-B-16"])
def test_the_usual_models_are_not_refused(name):
    check_configuration(name, open_clip.get_model_config(name))


@pytest.mark.parametrize("pool", ["first", "last", "none"])
def test_features_read_elsewhere_are_refused(pool):
    model_cfg = {**KINDS["custom_text"][0], "text_cfg": {**TEXT, "pool_type": pool}}
    with pytest.raises(ValueError, match=f"place '{pool}'"):
        check_configuration("mine", model_cfg)
    with pytest.raises(AssertionError, match=f"TextTransformer with pool '{pool}'"):
        TextTower(random_model(model_cfg), open_clip.SimpleTokenizer())


@pytest.mark.parametrize("setting", ["no_causal_mask", "embed_cls"])
def test_what_the_configuration_says_is_what_open_clip_builds(setting):
    model_cfg = {**KINDS["custom_text"][0], "text_cfg": {**TEXT, setting: True}}
    with pytest.raises(ValueError, match="mine"):
        check_configuration("mine", model_cfg)
    with pytest.raises(AssertionError, match="no context fits"):
        TextTower(random_model(model_cfg), open_clip.SimpleTokenizer())


def test_another_end_of_text_is_refused():
    configuration = {"text_cfg": {"pool_type": "eos", "eos_id": 7}}
    check_end("mine", configuration, 7)
    with pytest.raises(ValueError, match="tower of mine reads at token 7, but a text ends with 8"):
        check_end("mine", configuration, 8)
    check_end("mine", {"text_cfg": {}}, 8)


def test_images_that_are_not_square_are_refused():
    configuration = {"text_cfg": {}, "vision_cfg": {"image_size": [224, 336]}}
    with pytest.raises(ValueError, match="mine takes images of 224x336 pixels"):
        check_configuration("mine", configuration)
    check_configuration("mine", {"text_cfg": {}, "vision_cfg": {"image_size": [224, 224]}})


class Stubborn(nn.Module):
    """Stays in training mode."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train()


def load_changed(monkeypatch, change):
    """Loads the embedded model, in which something has been changed while it was built."""
    build, settings = open_clip.create_model, load_params().model

    def changed(**arguments):
        model = build(**arguments)
        change(model)
        return model

    monkeypatch.setattr(open_clip, "create_model", changed)
    return load_clip(**settings.model_dump(), device=CPU)


def test_a_model_in_training_mode_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"tiny-clip is in training mode \(late\); only eval mode is allowed"):
        load_changed(monkeypatch, lambda model: model.add_module("late", Stubborn()))


@pytest.mark.parametrize("tower", ["visual", "transformer"])
def test_a_model_that_gives_other_logits_on_a_second_call_is_refused(monkeypatch, tower):
    def drop(module, arguments, result):
        return F.dropout(result)

    with pytest.raises(ValueError, match=r"tiny-clip gives logits up to \d.* apart in two calls .* without chance"):
        load_changed(monkeypatch, lambda model: getattr(model, tower).register_forward_hook(drop))


def test_every_part_of_a_loaded_model_is_in_eval_mode(monkeypatch):
    clip = load_changed(monkeypatch, lambda model: model.train())
    assert not any(module.training for module in clip.model.modules())
    assert torch.equal(clip.trial_logits(), clip.trial_logits())
