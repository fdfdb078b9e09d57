"""The comparison of two metrics.json finds every accuracy that differs, is missing or is new."""

import copy
import json

import pytest

from tests.compare_metrics import main

OLD = {
    "fashion": {
        "clean": {"hand": {"accuracy": 0.9, "low": 0.8}, "coop": {"accuracy": 0.8, "low": 0.7}},
        "pgd": {"hand": {"accuracy": 0.5, "low": 0.4}, "coop": {"accuracy": 0.4, "low": 0.3}},
    },
    "fashion_base": {"clean": {"hand": {"accuracy": 0.7, "low": 0.6}}},
}


@pytest.fixture
def compare(tmp_path):
    def run(old, new, *options):
        for name, metrics in (("old", old), ("new", new)):
            (tmp_path / name).write_text(json.dumps(metrics))
        return main([str(tmp_path / "old"), str(tmp_path / "new"), *options])

    return run


def test_equal_accuracies_pass_whatever_stands_beside_them(compare):
    assert compare(OLD, OLD).startswith("5 accuracies")
    other_interval = copy.deepcopy(OLD)
    other_interval["fashion"]["clean"]["hand"]["low"] = 0.1
    assert compare(OLD, other_interval).startswith("5 accuracies")


def changed(path: str, value: float | None) -> dict:
    new = copy.deepcopy(OLD)
    dataset, threat, method = path.split(".")
    methods = new.setdefault(dataset, {}).setdefault(threat, {})
    if value is None:
        del methods[method]
    else:
        methods[method] = {"accuracy": value}
    return new


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fashion.pgd.coop", 0.4001),
        ("fashion_base.clean.hand", None),
        ("fashion.pgd.advpt", 0.1),
        ("fashion.other.hand", 0.1),
        ("other.clean.hand", 0.1),
    ],
)
def test_any_difference_is_named_and_fails(compare, path, value):
    with pytest.raises(SystemExit, match=f"^{path}: .*\n1 of "):
        compare(OLD, changed(path, value))


def test_the_tolerance_counts_differences_above_it_alone(compare):
    assert "5 accuracies" in compare(OLD, changed("fashion.pgd.coop", 0.409), "--tolerance", "0.01")
    with pytest.raises(SystemExit, match="coop"):
        compare(OLD, changed("fashion.pgd.coop", 0.411), "--tolerance", "0.01")


def test_files_without_accuracies_are_refused(compare):
    with pytest.raises(ValueError, match="no accuracy"):
        compare({}, {})
