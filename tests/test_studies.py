"""The studies behind tables of README.md: which images are tuned on and evaluated, and which experiments are shown."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reports.studies import folds, readme, rounds, supported, sweep
from stages.models.supported import check_configuration
from stages.runtime.startup import import_open_clip

LABELS = np.repeat(np.arange(3), [8, 12, 16])
METRICS = {
    threat: {
        "zero_shot": {"accuracy": zero_shot},
        "advpt_refreshed": {"accuracy": refreshed, "std": 0.01, "n": 500, "seeds": 3},
    }
    for threat, zero_shot, refreshed in (("clean", 0.9, 0.88), ("adaptive_eps4", 0.3, 0.38))
}
EPS = f"{rounds.BLOCK}eps"


class Laboratory:
    """Records what is tuned on and evaluated; an image is right if it was not tuned on."""

    def __init__(self) -> None:
        self.images = SimpleNamespace(labels=LABELS)
        self.pairs = []

    def tuned(self, way, part):
        return part

    def right(self, tuned, evaluated):
        self.pairs.append((tuned, evaluated))
        return {"clean": ~tuned[evaluated]}


def test_folds_have_equal_shares_of_each_class():
    found = folds.folds_of(LABELS)
    for label, share in ((0, 2), (1, 3), (2, 4)):
        assert np.bincount(found[np.equal(LABELS, label)]).tolist() == [share] * folds.FOLDS


def test_each_image_is_evaluated_once_by_what_was_not_tuned_on_it():
    laboratory = Laboratory()
    gains = folds.gains_of(laboratory, folds.WAYS["the default"], {"clean": np.zeros(len(LABELS))})
    assert (gains["clean"] == 1).all()
    assert all((tuned ^ evaluated).all() for tuned, evaluated in laboratory.pairs)
    assert (sum(evaluated.astype(int) for _, evaluated in laboratory.pairs) == 1).all()


def test_standard_error_is_that_of_the_paired_difference():
    gain = np.array([1.0, 0, 0, -1, 1, 0, 0, 0])
    found = folds.line("x", {"clean": gain})
    assert found["clean"] == pytest.approx(12.5) and found["n"] == 8
    assert found["clean se"] == pytest.approx(100 * np.sqrt(((gain - 0.125) ** 2).mean() / 8), abs=0.005)


def test_row_of_rounds_states_changes_and_images():
    found = rounds.line({"data.validation": 0.25, EPS: [2], "assess.images": 20}, METRICS)
    assert (found["images"], found["changed"], found["n"], found["seeds"]) == ("validation", "refresh.eps=[2]", 500, 3)
    assert (found["clean_zero_shot"], found["adaptive_eps4_advpt_refreshed"], found["std"]) == (0.9, 0.38, 0.01)
    assert (rounds.line({}, METRICS)["images"], rounds.line({}, METRICS)["changed"]) == ("test", "the default")


def test_figures_show_test_images_and_changes_of_the_bank_alone():
    default = {"changed": "the default", "attack.eps": 8, "tune.clean_fraction": 0.0}
    smaller = {"changed": "attack.eps=4", "attack.eps": 4, "tune.clean_fraction": 0.0}
    mixed = {"changed": "tune.clean_fraction=0.5", "attack.eps": 8, "tune.clean_fraction": 0.5}
    rows = (default, 0.7), (smaller, 0.9), (mixed, 0.8)
    bank = pd.DataFrame([row | dict.fromkeys(sweep.THREATS, accuracy) for row, accuracy in rows])
    other = pd.DataFrame([{**bank.iloc[0], "changed": "tune.lr=1, attack.eps=2", "clean": 0.1}])
    drawn = sweep.picture(bank)
    assert sweep.picture(pd.concat([bank, other])) == drawn != sweep.picture(bank[:2])

    lines = pd.DataFrame([rounds.line({}, METRICS), rounds.line({EPS: [8]}, METRICS)])
    changed = {"data.validation": 0.25}, {f"{rounds.BLOCK}rounds": 9}
    others = pd.DataFrame([rounds.line(change, METRICS) for change in changed])
    drawn = rounds.picture(lines, bank, eps=4)
    assert rounds.picture(pd.concat([lines, others]), pd.concat([bank, other]), eps=4) == drawn
    assert rounds.picture(lines[:1], bank, eps=4) != drawn != rounds.picture(lines, bank[:2], eps=4)


def test_nested_parameters_become_dotted_keys():
    assert sweep.flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}


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
