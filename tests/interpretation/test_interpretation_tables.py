"""Moves, maps and the plane as tables: rows of the right prompt, seed, class and image."""

import numpy as np
import pytest

from stages.evaluation.study import Study
from stages.interpretation.tables import MOST_CLASSES, MOST_POINTS, cosines_table, moves_table, plane_table, rounded
from stages.storage.embeddings import Bank
from stages.storage.prompts import PromptFile

TUNED = ("coop", "advpt", "advpt_refreshed")


def prompts_of(features, names) -> PromptFile:
    features = np.asarray(features, np.float32)
    return PromptFile(features / np.linalg.norm(features, axis=-1, keepdims=True), 10.0, names, "{}", {})


def study_of(classes: int, *, width=8) -> Study:
    """Random text features: hand-written, and two seeds of each tuned prompt."""
    draw, names = np.random.default_rng(0).normal, [f"class {index}" for index in range(classes)]
    prompts = {"hand": prompts_of(draw(size=(1, classes, width)), names)}
    prompts |= {prompt: prompts_of(draw(size=(2, classes, width)), names) for prompt in TUNED}
    return Study("tiny", prompts, np.arange(classes))


def tables_made_by_numpy():
    """Every table that this file makes, of more images and classes than a kernel takes at once."""
    study, draw = study_of(30, width=64), np.random.default_rng(2).normal
    labels = np.arange(600) % 30
    clean, attacked = (Bank([str(at) for at in range(600)], labels, embeddings.astype(np.float32)) for embeddings in (
        study.prompts["hand"].text_features[0][labels] + draw(size=(600, 64)), draw(size=(600, 64))
    ))  # fmt: skip
    made = (moves_table(study, TUNED), cosines_table(study), plane_table(clean, attacked, study))
    return [table.to_pandas() for table in made]


def test_zero_has_no_sign():
    """The prompts stay where they were: differences are zero, up to rounding errors that could have either sign."""
    hand = study_of(5).prompts["hand"]
    table = moves_table(Study("tiny", {"hand": hand, "advpt": hand}, np.arange(5)), ["advpt"]).to_pandas()
    assert not np.signbit(table[["gain", "common"]].to_numpy()).any()
    assert rounded(np.array([-1e-9, 1e-9, -0.5])).tolist() == [0, 0, -0.5]
    assert not np.signbit(rounded(np.array([-1e-9]))).any()


def test_moves_belong_to_their_prompt_seed_and_class():
    study = study_of(4)
    table = moves_table(study, TUNED).to_pandas()
    assert table.groupby(["prompt", "seed"]).size().to_dict() == {
        (prompt, seed): 4 for prompt in TUNED for seed in (0, 1)
    }
    for line in table.itertuples():
        label = int(line._3.split()[1])
        before, after = study.prompts["hand"].text_features[0], study.prompts[line.prompt].text_features[line.seed]
        assert line.cosine == pytest.approx(before[label] @ after[label], abs=1e-5)
        gains = before @ (after[label] - before[label])
        assert line.gain == pytest.approx(gains[int(line.towards.split()[1])], abs=1e-5)
        assert line.gain == pytest.approx(np.delete(gains, label).max(), abs=1e-5)


def test_maps_are_of_the_first_classes_and_the_first_seed():
    study = study_of(MOST_CLASSES + 5)
    table = cosines_table(study).to_pandas()
    assert len(table) == 4 * MOST_CLASSES**2 and table["label"].max() == MOST_CLASSES - 1
    line = table[(table["prompt"] == "advpt") & (table["label"] == 3) & (table["other_label"] == 5)].iloc[0]
    features = study.prompts["advpt"].text_features[0]
    assert (line["class"], line["other"]) == ("class 3", "class 5")
    assert line["cosine"] == pytest.approx(features[3] @ features[5], abs=1e-5)


def test_the_plane_shows_the_same_images_twice_and_the_texts_of_the_first_seed():
    draw, count = np.random.default_rng(1).normal, MOST_POINTS + 100
    labels = np.sort(np.arange(count) % 3)
    clean = Bank([str(index) for index in range(count)], labels, draw(size=(count, 8)).astype(np.float32))
    attacked = Bank(clean.ids, labels, 3 * clean.embeddings)  # another length is no other direction
    table = plane_table(clean, attacked, study_of(3)).to_pandas()
    assert table.groupby("kind").size().to_dict() == {
        "clean": MOST_POINTS, "adversarial": MOST_POINTS, "hand": 3, "coop": 3, "advpt": 3, "advpt_refreshed": 3,
    }  # fmt: skip
    by_kind = {kind: part[["label", "x", "y", "distance"]].to_numpy() for kind, part in table.groupby("kind")}
    np.testing.assert_allclose(by_kind["clean"], by_kind["adversarial"], atol=2e-6)
    assert np.bincount(by_kind["clean"][:, 0].astype(int)).max() <= MOST_POINTS // 3 + 1
    assert np.abs(by_kind["clean"][:, 1:3].mean(0)).max() < 1e-6
    assert (np.hypot(table["x"], table["y"]) <= table["distance"] + 1e-5).all()
