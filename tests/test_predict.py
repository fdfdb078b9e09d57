"""The tool that classifies images of one's own: plain open_clip's answers, one message for whatever does not fit."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from stages.datasets.places import files_at
from stages.predict import main
from stages.runtime.cli import visible
from stages.runtime.params import load_params
from stages.storage.prompts import PromptFile, save_prompts
from tests.fashion import fashion

NAME = "local-dir:data/embedded/tiny-clip"
HAND, ADVPT = "zero_shot/by_hand", "tune_bank/advpt"
HOSTILE = "\x1b[2J\x1b]0;pwned\x07\x9b31m\u202e\r\n\x7f"


@pytest.fixture(scope="module")
def classes() -> list[str]:
    return fashion("test", 1)[1]


@pytest.fixture
def prompts(tmp_path, classes) -> PromptFile:
    """Hand-written prompts in tmp_path/zero_shot/by_hand, and two random ones in tmp_path/tune_bank/advpt."""
    model = open_clip.create_model(NAME).eval()
    with torch.inference_mode():
        captions = open_clip.get_tokenizer(NAME)([f"a photo of a {name}." for name in classes])
        text_features = model.encode_text(captions, normalize=True)[None]
    made_by = {"method": "by_hand", "model": load_params().model.model_dump(exclude={"precision"})}
    hand = PromptFile(text_features.numpy(), model.logit_scale.exp().item(), classes, "a photo of a {}.", made_by)
    random = F.normalize(torch.randn(2, 10, 128, generator=torch.Generator().manual_seed(0)), dim=-1)
    tuned = replace(hand, text_features=random.numpy(), provenance={**made_by, "method": "advpt"})
    save(tmp_path / HAND, hand)
    save(tmp_path / ADVPT, tuned)
    return tuned


def save(folder: Path, prompts: PromptFile, made_by: dict | None = None, **changes: object) -> Path:
    """Store prompts in a folder with some fields changed, and with some keys of their provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    provenance = {**prompts.provenance, **(made_by or {})}
    save_prompts(folder / "prompts.safetensors", replace(prompts, **{"provenance": provenance, **changes}))
    return folder / "prompts.safetensors"


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of two images, one of them at 50 x 40 pixels deeper down, and two hidden files."""
    image = Image.fromarray(fashion("test", 1)[0].pixels[0])
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    image.save(folder / "b.png")
    image.resize((50, 40)).save(folder / "deeper/a.bmp")
    for hidden in (folder / ".hidden", folder / ".cache/file"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_text("no image")
    return folder


def failure(*arguments: object, capsys) -> str:
    """The one message of a call that has to fail as the user's error."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, str) and caught.value.code.startswith("python -m stages.predict: error: ")
    return caught.value.code


def answers(*arguments: object, capsys) -> list[dict]:
    main([*map(str, arguments), "--json"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def expected(path: Path, text_features: np.ndarray) -> torch.Tensor:
    """The probabilities (K,) as plain open_clip has them."""
    model, _, preprocess = open_clip.create_model_and_transforms(NAME)
    with torch.no_grad():
        features = model.eval().encode_image(preprocess(Image.open(path))[None], normalize=True)
        return (model.logit_scale.exp() * features @ torch.tensor(text_features).T).softmax(-1)[0]


@pytest.mark.parametrize("name", ["b.png", "deeper/a.bmp"])
def test_the_answers_are_those_of_plain_open_clip(tmp_path, prompts, photos, name, classes, capsys):
    path = photos / name
    (told,) = answers(tmp_path / ADVPT, path, "--seed", 1, "--top", 4, capsys=capsys)
    assert (told["path"], told["model_size"]) == (str(path), 32)
    assert told["size"] == list(Image.open(path).size)
    hand, advpt = told["predictions"]
    assert [(one["method"], one["seed"]) for one in told["predictions"]] == [("by_hand", 0), ("advpt", 1)]
    assert hand["classes"][0] == "Ankle boot"
    best = expected(path, prompts.text_features[1]).topk(4)
    assert advpt["classes"] == [classes[label] for label in best.indices]
    assert advpt["probabilities"] == pytest.approx(best.values.tolist(), abs=2e-4)


def test_a_folder_is_walked_in_order_and_hidden_files_are_skipped(tmp_path, prompts, photos, capsys):
    told = answers(tmp_path / ADVPT / "prompts.safetensors", photos, photos / "b.png", capsys=capsys)
    assert [one["path"] for one in told] == [str(photos / name) for name in ("b.png", "deeper/a.bmp", "b.png")]


def test_the_table_stands_in_80_columns(tmp_path, prompts, photos, capsys):
    main([str(tmp_path / ADVPT), str(photos), "--top", "99"])
    first, title, best, *_ = lines = capsys.readouterr().out.splitlines()
    assert first == str(photos / "b.png") and title.split() == ["by_hand", "AdvPT,", "seed", "0"]
    assert best.split()[:3] == ["1", "Ankle", "boot"] and max(map(len, lines[1:12])) <= 80
    assert len(lines) == 2 * 13 and lines[13] == f"{photos}/deeper/a.bmp (50 x 40 px, reduced to 32 x 32)"


def test_the_refreshed_prompt_is_named_as_in_the_report(tmp_path, prompts, photos, capsys):
    """Between the first of the hand-written ones, by name, and the end of 80 columns."""
    save(tmp_path / "zero_shot/by_others", prompts, {"method": "by_others"})
    path = save(tmp_path / "refresh/advpt_refreshed", prompts, {"method": "advpt_refreshed"})
    main([str(path.parent), str(photos / "b.png"), "--seed", "1"])
    _, title, *_ = capsys.readouterr().out.splitlines()
    assert title.split(maxsplit=1) == ["by_hand", "AdvPT refreshed, seed 1"] and len(title) <= 80
    (told,) = answers(path.parent, photos / "b.png", capsys=capsys)
    assert [one["method"] for one in told["predictions"]] == ["by_hand", "advpt_refreshed"]


def test_a_bias_and_a_defence_count(tmp_path, prompts, photos, capsys):
    """Black after 1 bit, the image is what its bias says."""
    bias = np.zeros((2, 10), np.float32)
    bias[1, 3] = 1000
    save(tmp_path / ADVPT, prompts, {"block": {"defence": {"kind": "bits", "bits": 1}}}, logit_bias=bias)
    Image.new("RGB", (32, 32), (100, 90, 20)).save(photos / "dark.png")
    Image.new("RGB", (32, 32)).save(photos / "black.png")
    dark, black, biased = (
        answers(tmp_path / ADVPT, photos / name, "--seed", seed, capsys=capsys)[0]["predictions"][-1]
        for name, seed in (("dark.png", 0), ("black.png", 0), ("dark.png", 1))
    )
    assert dark == black
    assert biased["classes"][0] == prompts.class_names[3] and biased["probabilities"][0] == 1


def test_chance_of_a_defence_does_not_hang_on_what_came_before(tmp_path, prompts, photos, capsys):
    save(tmp_path / ADVPT, prompts, {"block": {"defence": {"kind": "resize_pad", "smallest": 0.6}}})
    one, two = answers(tmp_path / ADVPT, photos / "b.png", photos / "b.png", "--top", 10, capsys=capsys)
    assert one == two
    votes = 5 * np.array(one["predictions"][-1]["probabilities"])  # five draws; ties are broken by thousandths
    assert votes.round().sum() == 5 and np.abs(votes - votes.round()).max() < 0.01


def test_hand_written_prompts_are_shown_once_if_they_are_there(tmp_path, prompts, photos, capsys):
    (told,) = answers(tmp_path / HAND, photos / "b.png", capsys=capsys)
    assert [one["method"] for one in told["predictions"]] == ["by_hand"]
    (tmp_path / HAND / "prompts.safetensors").unlink()
    (told,) = answers(tmp_path / ADVPT, photos / "b.png", capsys=capsys)
    assert [one["method"] for one in told["predictions"]] == ["advpt"]


def test_hand_written_prompts_of_another_model_are_refused(tmp_path, prompts, photos, capsys):
    save(tmp_path / HAND, prompts, {"model": {**prompts.provenance["model"], "name": "other"}})
    told = failure(tmp_path / ADVPT, photos, capsys=capsys)
    assert "zero_shot/by_hand/prompts.safetensors: made with model = " in told


def test_another_model_in_the_parameters_is_said_and_changes_nothing(tmp_path, prompts, photos, capsys, monkeypatch):
    before = answers(tmp_path / ADVPT, photos, capsys=capsys)
    params = load_params()
    told = f"params.yaml names another model; these prompts were made with {NAME}, sha256 19b17349"
    tower = {"visual_weights": "tower.pt", "visual_sha256": "0" * 64}
    cases = [({"sha256": None}, ""), ({"name": "ViT-B-16"}, told), ({"sha256": "0" * 64}, told), (tower, told)]
    for changes, note in cases:
        model = params.model.model_copy(update=changes)
        monkeypatch.setattr(
            "stages.predict.load_params", lambda model=model: params.model_copy(update={"model": model})
        )
        main([str(tmp_path / ADVPT), str(photos), "--json"])
        printed = capsys.readouterr()
        assert [json.loads(line) for line in printed.out.splitlines()] == before
        assert printed.err.startswith(note) and bool(printed.err) == bool(note)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere/at/all", "photos"), "nowhere/at/all/prompts.safetensors: missing"),
        ((ADVPT, "nowhere"), "nowhere: missing; an image file or a folder"),
        ((ADVPT, "empty"), "empty: no files in this folder"),
        ((ADVPT, "mixed"), "mixed/notes.txt: no image; allowed are JPEG, PNG, "),
        ((ADVPT, "half.png"), "half.png: no whole image"),
        ((ADVPT, "tiny.png"), "tiny.png: 8 x 8 pixels; each side needs at least 16"),
        ((ADVPT, "photos", "--top", "0"), "--top: 0; at least 1"),
        ((ADVPT, "photos", "--seed", "2"), "has tuning seeds from 0 to 1"),
        ((ADVPT, "photos", "--seed", "-1"), "seed: -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_whatever_does_not_fit_is_one_message(tmp_path, prompts, photos, arguments, message, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed/notes.txt").write_text("I am no photograph.")
    (tmp_path / "half.png").write_bytes((photos / "b.png").read_bytes()[:200])
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    places = [argument if argument[0] in "-0123456789" else tmp_path / argument for argument in arguments]
    assert message in failure(*places, capsys=capsys)


def test_all_bad_files_are_named_at_the_end_and_the_others_classified(tmp_path, prompts, photos, capsys):
    (photos / "notes.txt").write_text("I am no photograph.")
    (photos / "deeper/empty.png").touch()
    (photos / "loop").symlink_to("loop")
    told = failure(tmp_path / ADVPT, photos, tmp_path / "nowhere", photos / "b.png", "--json", capsys=capsys)
    classified = [json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()]
    assert classified == [str(photos / name) for name in ("b.png", "deeper/a.bmp", "b.png")]
    assert "4 files or folders cannot be classified:" in told
    for fault in (
        "nowhere: missing; an image file or a folder",
        "loop: no whole image (a link to loop, missing or in a circle)",
        "notes.txt: no image; allowed are",
        "empty.png: no whole image (empty)",
    ):
        assert fault in told


def test_names_reach_the_terminal_as_text(tmp_path, prompts, photos, capsys):
    """Of classes, prompts and files, in the table, in JSON and in errors: nothing that a terminal would obey."""
    names = [f"{HOSTILE}{index}" for index in range(10)]
    save(tmp_path / ADVPT, prompts, {"method": HOSTILE}, class_names=names)
    hostile = photos / f"{HOSTILE}.png"
    (photos / "b.png").rename(hostile)
    for options in ([], ["--json"]):
        main([str(tmp_path / ADVPT), str(hostile), *options])
        assert_text(capsys.readouterr().out)
    (told,) = answers(tmp_path / ADVPT, hostile, capsys=capsys)
    assert [name[:-1] for name in told["predictions"][0]["classes"]] == [HOSTILE] * 3
    hostile.write_text("no image")
    told = failure(tmp_path / ADVPT, hostile, capsys=capsys)
    assert_text(told)
    assert r"\x1b[2J\x1b]0;pwned" in told


def assert_text(printed: str) -> None:
    assert not {character for character in printed if not character.isprintable()} - {"\n"}, repr(printed)
    assert "pwned" in printed


def test_as_a_program_it_ends_with_1_and_without_a_traceback(tmp_path, prompts, photos):
    """In a terminal that knows ASCII alone, too."""
    (photos / "b.png").rename(photos / "猫.png")
    (tmp_path / "犬.png").write_text("no image")
    command = [sys.executable, "-m", "stages.predict", tmp_path / ADVPT, photos / "猫.png", tmp_path / "犬.png"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 1 and r"\u732b.png" in done.stdout and "Ankle boot" in done.stdout
    assert done.stderr.startswith("python -m stages.predict: error: ") and "png: no image; allowed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_read_is_no_silent_loss(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()

    def refuse(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(ValueError, match=r"locked: cannot be read \(Permission denied\)"):
        list(files_at(tmp_path / "locked"))


def test_what_is_visible_stays_as_it_is():
    assert visible("Übung 猫 <b> 'it''s'") == "Übung 猫 <b> 'it''s'"
    assert visible("a\x1b\x00\u200b\udc80") == r"a\x1b\x00\u200b\udc80"
