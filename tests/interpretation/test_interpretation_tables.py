"""Drift, maps and projection as tables: rows of the right method, seed, class and image."""

from dataclasses import replace

import numpy as np
import pytest

from stages.interpretation.tables import (
    MOST_CLASSES,
    MOST_POINTS,
    cosines_table,
    drift_table,
    pca_table,
    rounded,
    with_own_text_features,
)
from stages.storage.embeddings import Bank
from stages.storage.prompts import PromptFile

TUNED = ("one", "two")


def prompts_of(features, names) -> PromptFile:
    features = np.asarray(features, np.float32)
    return PromptFile(features / np.linalg.norm(features, axis=-1, keepdims=True), 10.0, names, "{}", {})


def methods_of(classes: int, *, width=8) -> dict[str, PromptFile]:
    """Random text features: a reference, and two seeds of each tuned method."""
    draw, names = np.random.default_rng(0).normal, [f"class {index}" for index in range(classes)]
    seeds = {"reference": 1, **dict.fromkeys(TUNED, 2)}
    return {name: prompts_of(draw(size=(count, classes, width)), names) for name, count in seeds.items()}


def drift_of(methods):
    return drift_table(methods["reference"], {name: methods[name] for name in TUNED})


def tables_made_by_numpy():
    """Every table that this file makes, of more images and classes than a kernel takes at once."""
    methods, draw = methods_of(30, width=64), np.random.default_rng(2).normal
    labels = np.arange(600) % 30
    near = methods["reference"].text_features[0][labels] + draw(size=(600, 64))
    ids = [str(at) for at in range(600)]
    clean, attacked = (Bank(ids, labels, each.astype(np.float32)) for each in (near, draw(size=(600, 64))))
    made = (drift_of(methods), cosines_table(methods), pca_table(clean, attacked, methods))
    return [table.to_pandas() for table in made]


def test_methods_with_the_text_features_of_the_reference_are_left_out():
    """Of any number of seeds; one of them that differs is enough to stay."""
    methods = methods_of(3)
    same = methods["reference"].text_features
    moved = np.concatenate([same, methods["one"].text_features[:1]])
    methods |= {"biases": replace(methods["one"], text_features=np.repeat(same, 2, axis=0))}
    methods |= {"second": replace(methods["one"], text_features=moved)}
    assert list(with_own_text_features(methods, "reference")) == ["reference", *TUNED, "second"]


def test_zero_has_no_sign():
    """The text features did not move: differences are zero, up to rounding errors that could have either sign."""
    reference = methods_of(5)["reference"]
    table = drift_table(reference, {"same": reference}).to_pandas()
    assert not np.signbit(table[["gain", "common"]].to_numpy()).any()
    assert rounded(np.array([-1e-9, 1e-9, -0.5])).tolist() == [0, 0, -0.5]
    assert not np.signbit(rounded(np.array([-1e-9]))).any()


def test_drift_belongs_to_its_method_seed_and_class():
    methods = methods_of(4)
    table = drift_of(methods).to_pandas()
    assert table.groupby(["method", "seed"]).size().to_dict() == {
        (method, seed): 4 for method in TUNED for seed in (0, 1)
    }
    for line in table.itertuples():
        label = int(line._3.split()[1])
        before, after = methods["reference"].text_features[0], methods[line.method].text_features[line.seed]
        assert line.cosine == pytest.approx(before[label] @ after[label], abs=1e-5)
        gains = before @ (after[label] - before[label])
        assert line.gain == pytest.approx(gains[int(line.towards.split()[1])], abs=1e-5)
        assert line.gain == pytest.approx(np.delete(gains, label).max(), abs=1e-5)


def test_without_tuned_methods_the_table_is_empty_and_has_its_columns():
    table = drift_table(methods_of(4)["reference"], {})
    assert table.num_rows == 0 and table.column_names[:3] == ["method", "seed", "class"]


def test_maps_are_of_the_first_classes_and_the_first_seed():
    methods = methods_of(MOST_CLASSES + 5)
    table = cosines_table(methods).to_pandas()
    assert len(table) == 3 * MOST_CLASSES**2 and table["label"].max() == MOST_CLASSES - 1
    line = table[(table["method"] == "two") & (table["label"] == 3) & (table["other_label"] == 5)].iloc[0]
    features = methods["two"].text_features[0]
    assert (line["class"], line["other"]) == ("class 3", "class 5")
    assert line["cosine"] == pytest.approx(features[3] @ features[5], abs=1e-5)


def test_the_projection_shows_the_same_images_twice_and_the_text_features_of_the_first_seed():
    draw, count = np.random.default_rng(1).normal, MOST_POINTS + 100
    labels = np.sort(np.arange(count) % 3)
    clean = Bank([str(index) for index in range(count)], labels, draw(size=(count, 8)).astype(np.float32))
    attacked = Bank(clean.ids, labels, 3 * clean.embeddings)  # another length is no other direction
    table = pca_table(clean, attacked, methods_of(3)).to_pandas()
    assert table.groupby("kind").size().to_dict() == {
        "clean": MOST_POINTS, "adversarial": MOST_POINTS, "reference": 3, "one": 3, "two": 3,
    }  # fmt: skip
    by_kind = {kind: part[["label", "x", "y", "distance"]].to_numpy() for kind, part in table.groupby("kind")}
    np.testing.assert_allclose(by_kind["clean"], by_kind["adversarial"], atol=2e-6)
    assert np.bincount(by_kind["clean"][:, 0].astype(int)).max() <= MOST_POINTS // 3 + 1
    assert np.abs(by_kind["clean"][:, 1:3].mean(0)).max() < 1e-6
    assert (np.hypot(table["x"], table["y"]) <= table["distance"] + 1e-5).all()
