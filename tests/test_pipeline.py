"""The whole, with real DVC, on the micro project: bytes repeat, foreign and damaged artefacts are refused."""

import re

import torch

from tests.imports import ROOT


def test_a_second_time_nothing_runs_and_nothing_differs(project):
    assert project.repro() == set()
    assert project.run("git", "status", "--porcelain") == ""
    assert "up to date" in project.run("dvc", "status")


def test_forced_with_other_batches_and_workers_the_bytes_are_the_same(project):
    before = project.lock()
    project.change(runtime__batch_size=20, runtime__workers=3)
    assert project.repro() == set()
    assert len(project.repro("-f")) == 17
    assert project.lock() == before
    assert "params.yaml" in project.run("git", "status", "--porcelain")
    assert "reports" not in project.run("git", "status", "--porcelain")


def test_stored_adversarial_images_are_inside_the_ball(project):
    from stages.banks.images import images_provenance, read_all_images

    data = project.folder / "data"
    pairs = [("bank/fashion/images", "train", 8), ("test/fashion/pgd_eps8/images", "test", 8)]
    pairs += [
        ("test/fashion/transfer_eps8/images", "test", 8),
        ("test/fashion/adaptive_eps4/images/advpt-0", "test", 4),
    ]
    for path, split, eps in pairs:
        stored, clean = read_all_images(data / path), read_all_images(data / "clean/fashion" / split / "images")
        origin = dict(zip(clean.ids, clean.pixels.astype(int), strict=True))
        moved = max(
            abs(pixels - origin[id]).max() for id, pixels in zip(stored.ids, stored.pixels.astype(int), strict=True)
        )
        assert moved == eps, path
        assert images_provenance(data / path)["attack"]["eps"] == eps


def test_a_foreign_bank_is_refused_and_nothing_overwritten(project):
    prompts = project.folder / "data/prompts/fashion/advpt/prompts.safetensors"
    before = prompts.read_bytes()
    project.change(attack__eps=4)
    failed = project.fails("python", "-m", "stages.tune", "fashion", "advpt")
    assert "embeddings.parquet: made with attack" in failed and "Traceback" not in failed
    assert prompts.read_bytes() == before


def test_a_damaged_bank_is_refused_and_nothing_overwritten(project):
    bank = project.folder / "data/bank/fashion/embeddings.parquet"
    prompts = project.folder / "data/prompts/fashion/advpt/prompts.safetensors"
    before, content = prompts.read_bytes(), bytearray(bank.read_bytes())
    content[len(content) // 2] ^= 1
    bank.unlink()  # it may be a link into the cache
    bank.write_bytes(content)
    failed = project.fails("python", "-m", "stages.tune", "fashion", "advpt")
    bank.unlink()
    assert "embeddings.parquet: damaged" in failed and "Traceback" not in failed
    assert prompts.read_bytes() == before


def test_the_readme_uses_the_prompts_without_this_project(project, monkeypatch):
    from stages.banks.bank import read_bank
    from stages.banks.table import read_table

    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert "stages" not in code
    bank, _ = read_bank(project.folder / "data/clean/fashion/test/features.parquet")
    names = {"features": torch.tensor(bank.embeddings)}
    monkeypatch.chdir(project.folder)
    exec(code, names)
    rows = read_table(project.folder / "data/rows/fashion/clean.parquet")[0].to_pandas()
    first = rows[(rows["prompt"] == "advpt") & (rows["seed"] == 0)]
    assert first["id"].tolist() == bank.ids
    assert first["prediction"].tolist() == names["probabilities"].argmax(-1).tolist()
    torch.testing.assert_close(names["probabilities"].sum(-1), torch.ones(len(bank.ids)))
