"""Studies: what they measure, and their tables."""

import pandas as pd
import pytest
import torch

from reports.studies import breaking, deviations, gradients, readme, supported, test_time, towers
from stages.attacks.noise import ImageNoise
from stages.defences.victim import Victim
from stages.entries.presets import changed_params
from stages.models.clip import load_clip
from stages.models.supported import check_configuration
from stages.report.vocabulary import Method
from stages.runtime.params import load_params
from stages.runtime.startup import import_open_clip
from tests.imports import ROOT


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RN50", {"refused": "", "image_size": 224, "context_length": 77, "fast": True}),
        ("ViT-B-32-256", {"refused": "", "image_size": 256, "context_length": 77, "fast": True}),
        ("PE-Core-T-16-384", {"refused": "", "image_size": 384, "context_length": 32, "fast": False}),
        ("MobileCLIP-S1", {"refused": "no causal mask"}),
        ("coca_ViT-B-32", {"refused": "feature at a class token (CoCa)"}),
        ("roberta-ViT-B-32", {"refused": "text tower of transformers; tokenizer of transformers"}),
        (
            "ViT-B-16-SigLIP",
            {"refused": "no causal mask; feature not at the end of the text; tokenizer of transformers"},
        ),
        ("ViT-H-14-worldwide", {"refused": "tokenizer of transformers"}),
    ],
)
def test_models_of_open_clip_are_accepted_and_refused_for_the_reasons_that_are_listed(name, expected):
    assert supported.row_of(name) == {"name": name, **expected}
    listed = pd.read_csv(supported.OUT, keep_default_na=False).set_index("name").loc[name]
    assert listed["refused"] == expected["refused"]


@pytest.mark.parametrize("name", ["MobileCLIP-S1", "coca_ViT-B-32"])
def test_a_refused_text_tower_takes_no_context(name):
    """Built all the same, it has no causal mask, or reads its feature at a token of its own."""
    import_open_clip()
    with pytest.raises(AssertionError, match="no context fits"):
        clip = supported.build(name)
        supported.TextTower(clip.model, clip.tokenizer)


def test_a_model_whose_text_ends_elsewhere_than_its_tokenizers_is_not_listed_as_accepted(monkeypatch):
    open_clip = import_open_clip()
    changed = open_clip.get_model_config("PE-Core-T-16-384")
    changed["text_cfg"] |= {"pool_type": "eos", "eos_id": 7}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "PE-Core-T-16-384", changed)
    check_configuration("PE-Core-T-16-384", changed)
    with pytest.raises(ValueError, match="reads at token 7"):
        supported.row_of("PE-Core-T-16-384")


def test_the_list_has_all_models_of_open_clip_and_agrees_with_the_check():
    """Of the version that it was made with."""
    listed = pd.read_csv(supported.OUT, keep_default_na=False)
    if set(listed["open_clip"]) != {supported.version("open_clip_torch")}:
        pytest.skip("another version of open_clip: run `python -m reports.studies.supported`")
    open_clip = import_open_clip()
    assert listed["name"].tolist() == open_clip.list_models()
    for name, refused in zip(listed["name"], listed["refused"], strict=True):
        refusal = supported.refusal_of(name, open_clip.get_model_config(name))
        assert refused == ("; ".join(refusal.kinds) if refusal else ""), name


def test_the_table_of_models_groups_them_by_outcome():
    lines = ["name,refused,image_size,context_length,fast,open_clip"]
    lines += ["a,no causal mask,,,,3", "b,,224,77,True,3", "c,,224,32,False,3", "d,no causal mask,,,,3"]
    lines += ["e,,224,77,False,3", "f,,336,77,False,3"]
    head, _, *rows = readme.supported(lambda _: "\n".join(lines)).splitlines()
    assert head == "| open_clip 3 | tokens of a text | models | names |"
    assert rows == [
        "| accepted, fast image tower | 77 | 1 | b |",
        "| accepted | 77 | 2 | e, f |",
        "| accepted | 32 | 1 | c |",
        "| refused: no causal mask |  | 2 | a, d |",
    ]


def test_a_gradient_passes_shut_relus_with_the_stated_slope():
    values = torch.tensor([[-2.0, 3.0], [-1.0, -3.0]], requires_grad=True)
    totals = []
    found = breaking.Relu(totals)(values)
    assert torch.equal(found, values.relu())
    assert totals[0].tolist() == [-1.0, -2.0]
    found.sum().backward()
    expected = torch.tensor([[breaking.SLOPE, 1.0], [breaking.SLOPE, breaking.SLOPE]])
    assert torch.equal(values.grad, expected)


def test_opening_shut_relus_raises_what_they_cut_off_and_leaves_the_victim_alone():
    clip = load_clip(**load_params().model.model_dump(), device=torch.device("cpu"))
    victim = Victim(clip, torch.nn.functional.normalize(torch.randn(10, 128, generator=torch.Generator()), dim=-1), 9.0)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = victim(images)
    other, totals = breaking.with_own_relus(victim)

    def cut_off(images):
        totals.clear()
        assert torch.equal(other(images), victim(images))
        return torch.stack(totals).sum(0)

    attacked = breaking.pgd_in_quarters(
        breaking.negative_inputs(other, totals), images, 8, 8, ImageNoise(0, ["a", "b"])
    )
    assert torch.all(cut_off(attacked) > cut_off(images))
    assert torch.equal(victim(images), before)


def test_under_attack_an_image_counts_that_is_right_clean_and_attacked():
    """Of two images the defence mends one that was wrong clean; a third one is not among those that are judged."""
    right = {"clean": [True, False, True], "pgd_eps4": [True, True, True], "worst_eps4": [False, True, True]}
    predictions = {
        threat: pd.DataFrame({"id": ["a", "b", "c"], "method": "tte", "seed": 0, "threat": threat, "correct": correct})
        for threat, correct in right.items()
    }
    found = test_time.accuracies(predictions, Method("tte", "TTE"), ["a", "b"])
    assert [found[name] for name in ("clean", "oblivious", "adaptive")] == [0.5, 0.5, 0.0]
    assert found["clean low"] < 0.5 < found["clean high"]


@pytest.mark.parametrize("model", towers.MODELS)
def test_the_experiment_on_a_tower_has_parameters_that_are_allowed(model):
    tower, path = towers.MODELS[model], ROOT / "params.yaml"
    params = changed_params(path, towers.overrides(model, tower, load_params(path)))
    assert (params.attack.eps, params.datasets, params.model.name) == (
        2 * tower.eps, [tower.dataset], f"local-dir:data/embedded/{model}"
    )  # fmt: skip
    assert list(params.oblivious) == ["pgd"] and list(params.adaptive) == ["suite"]
    assert params.methods.refresh["advpt_refreshed"].eps == [tower.eps]


def test_half_precision_rounds_what_enters_and_leaves_products_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.rand(2, 5, 5, generator=generator).unbind()
    in_half = deviations.in_half
    with deviations.HalfPrecision():
        tracked = left.clone().requires_grad_()
        product, total = tracked @ right, left + right
        (gradient,) = torch.autograd.grad(product.sum() / 3, tracked)
        attended = torch.nn.functional.scaled_dot_product_attention(*in_half([left[None, None]] * 3))
    assert torch.equal(product, in_half(in_half(left) @ in_half(right)))
    assert torch.equal(gradient, in_half(in_half(torch.full((5, 5), 1 / 3)) @ in_half(right).T))
    assert torch.equal(attended, in_half(attended)) and not torch.equal(total, in_half(total))


def test_the_study_of_gradients_measures_the_lines_of_its_table():
    lines = pd.read_csv(ROOT / gradients.OUT)[["model", "kind", "attack"]]
    assert not lines.duplicated().any()
    assert all(gradients.is_measured(*line) for line in lines.itertuples(index=False))
