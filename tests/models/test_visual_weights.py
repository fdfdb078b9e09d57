"""An image tower laid over a model: every form in which towers are published, and one message for what is none."""

import re
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.evaluation.load import load_victim
from stages.models.clip import Clip, load_clip
from stages.models.digests import file_digest
from stages.runtime.params import Model
from stages.storage.prompts import PromptFile, save_prompts
from tests.models.random_models import KINDS, Malicious, behind, random_model, save_random

CPU = torch.device("cpu")
IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def tuned(kind: str) -> dict[str, Tensor]:
    """The image tower of a model, as if it had been fine-tuned: every number is another one."""
    weights = random_model(KINDS[kind][0]).visual.state_dict()
    return {name: weight * 1.25 if weight.is_floating_point() else weight + 1 for name, weight in weights.items()}


TOWER = tuned("vit_b_32")
WHOLE = random_model(KINDS["vit_b_32"][0]).state_dict()


@pytest.fixture
def load(tmp_path):
    """Loads a random model with the image tower of a file."""

    def loaded(file: Path | None, *, kind: str = "vit_b_32", sha256: str | None = None) -> Clip:
        digest = save_random(tmp_path / kind, kind)
        visual = {"visual_weights": str(file), "visual_sha256": sha256 or file_digest(file)} if file else {}
        return load_clip(f"local-dir:{tmp_path / kind}", pretrained=None, sha256=digest, device=CPU, **visual)

    return loaded


def refusal(load, tmp_path: Path, content: object, *, kind: str = "vit_b_32") -> str:
    """The message with which a checkpoint is refused."""
    file = tmp_path / "tower.pt"
    torch.save(content, file)
    with pytest.raises(ValueError, match=r"^model\.visual_weights: ") as caught:
        load(file, kind=kind)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["vit_b_32", "rn50", "timm_vit", "timm_byobnet", "custom_text"])
def test_the_image_tower_is_that_of_the_file_and_the_text_tower_the_models_own(load, tmp_path, kind):
    torch.save(tuned(kind), tmp_path / "tower.pt")
    model = random_model(KINDS[kind][0])
    model.visual.load_state_dict(tuned(kind))
    plain, clip = load(None, kind=kind), load(tmp_path / "tower.pt", kind=kind)
    images = IMAGES[..., : clip.image_size, : clip.image_size]
    expected = (images - clip._mean) / clip._std
    torch.testing.assert_close(clip.encode_image(images), model.encode_image(expected), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(clip.encode_image(images), plain.encode_image(images), rtol=1e-2, atol=1e-2)
    texts = clip.tokenizer(["a photo of a cat"])
    assert torch.equal(clip.model.encode_text(texts), plain.model.encode_text(texts))


FORMS = {
    "bare": TOWER,
    "state_dict": {"epoch": 3, "state_dict": TOWER},
    "of TeCoA": {
        "epoch": 9,
        "best_acc1": torch.tensor(51.2),
        "state_dict": {},
        "add_prompter": {},
        "vision_encoder_state_dict": TOWER,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-5}]},
    },
    "module.": behind("module.", TOWER),
    "visual.": behind("visual.", TOWER),
    "model.visual.": {"state_dict": behind("model.visual.", TOWER)},
    "module.model.visual.": {"vision_encoder_state_dict": behind("module.model.visual.", TOWER)},
    "model.": behind("model.", TOWER),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_all_published_forms_give_the_same_tower(load, tmp_path, form, precision):
    def cast(content):
        if isinstance(content, dict):
            return {key: cast(value) for key, value in content.items()}
        return content.to(precision) if isinstance(content, Tensor) else content

    torch.save(cast(FORMS[form]), tmp_path / "tower.pth.tar")
    found = load(tmp_path / "tower.pth.tar").model.visual
    expected = random_model(KINDS["vit_b_32"][0]).visual
    expected.load_state_dict({name: weight.to(precision).float() for name, weight in TOWER.items()})
    torch.testing.assert_close(found(IMAGES), expected(IMAGES))
    assert {weight.dtype for weight in found.parameters()} == {torch.float32}


def test_a_tower_whose_counters_are_floats_too_is_read(load, tmp_path):
    """As after `tensor.half()` of a whole state dict; counters of batch norms decide nothing."""
    halves = {key: weight.half() for key, weight in tuned("rn50").items()}
    torch.save(halves, tmp_path / "half.pt")
    torch.save({key: weight.float() for key, weight in halves.items()}, tmp_path / "float.pt")
    found, expected = (load(tmp_path / f"{name}.pt", kind="rn50").encode_image(IMAGES) for name in ("half", "float"))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("prefix", ["", "visual.", "module.visual."])
def test_safetensors_are_read(load, tmp_path, prefix):
    save_file(behind(prefix, TOWER), tmp_path / "tower.safetensors")
    torch.save(TOWER, tmp_path / "tower.pt")
    found, expected = load(tmp_path / "tower.safetensors"), load(tmp_path / "tower.pt")
    assert torch.equal(found.encode_image(IMAGES), expected.encode_image(IMAGES))


def test_missing_unexpected_and_reshaped_weights_are_named_in_one_message(load, tmp_path):
    weights = {name: weight for name, weight in TOWER.items() if name not in ("proj", "ln_pre.bias")}
    weights |= {"extra": torch.zeros(3), "class_embedding": torch.zeros(7), "ln_post.bias": torch.zeros(64).int()}
    message = refusal(load, tmp_path, weights)
    assert "2 missing: proj, ln_pre.bias" in message or "2 missing: ln_pre.bias, proj" in message
    assert "1 unexpected: extra" in message
    assert "1 of another shape: class_embedding (7,) instead of (64,)" in message
    assert "1 quantized: ln_post.bias torch.int32" in message
    assert "model.name has to be the model that the tower was fine-tuned from" in message


def test_nothing_is_loaded_if_a_weight_is_missing_or_too_many(load, tmp_path):
    """A single one: no missing weight keeps its old value, no unexpected one is passed over."""
    for name in list(TOWER)[::4]:
        assert f"1 missing: {name}." in refusal(load, tmp_path, {key: TOWER[key] for key in TOWER if key != name})
    assert "1 unexpected: pad_up." in refusal(load, tmp_path, {**TOWER, "pad_up": torch.zeros(3)})


def test_a_tower_of_another_image_size_or_architecture_is_named_and_long_lists_are_cut(load, tmp_path):
    larger = {**TOWER, "positional_embedding": torch.zeros(82, 64)}
    message = refusal(load, tmp_path, larger)
    assert "1 of another shape: positional_embedding (82, 64) instead of (50, 64)" in message
    assert "of its architecture and image size" in message
    message = refusal(load, tmp_path, TOWER, kind="rn50")
    assert re.search(r"\d+ missing: .* and \d+ more; \d+ unexpected: .* and \d+ more", message) and len(message) < 2000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE, r"a text tower, too \(.*token_embedding\.weight.*\)\. Use it as model\.pretrained"),
        ({"state_dict": behind("module.", WHOLE)}, r"a text tower, too"),
        ({**behind("visual.", TOWER), "logit_scale": torch.ones(())}, r"a text tower, too \(logit_scale\)"),
        (random_model(KINDS["custom_text"][0]).state_dict(), "a text tower, too"),
        (
            {"state_dict": {"pad_up": torch.zeros(3)}, "vision_encoder_state_dict": TOWER},
            r"an image tower \(vision_encoder_state_dict\) and more: pad_up \(state_dict\), such as a visual prompt",
        ),
        ({"state_dict": TOWER, "ema": TOWER}, r"an image tower \(state_dict\) and more: .* \(ema\)"),
        ({"state_dict": TOWER, "pad_up": torch.zeros(3)}, r"more: pad_up \(no key above\)"),
        ({"model": TOWER}, r"tensors under 'model' alone; .*save `model\.visual\.state_dict\(\)`"),
        ({"model": {"visual": TOWER}}, r"tensors under 'model\.visual' alone"),
        ({"vision_model.embeddings.class_embedding": torch.zeros(3)}, "of transformers' CLIPModel"),
        ({}, "no tensors by name"),
        ([TOWER], "no tensors by name"),
        (random_model(KINDS["vit_b_32"][0]).visual, "Python objects beside tensors"),
        ({**TOWER, "proj": torch.full((64, 32), torch.nan)}, r"NaN or inf in visual\.proj"),
    ],
)
def test_a_file_of_something_else_is_named(load, tmp_path, content, message):
    torch.save(content, tmp_path / "tower.pt")
    with pytest.raises(ValueError, match=rf"^model\.(visual_weights|name): .*{message}"):
        load(tmp_path / "tower.pt")


def test_code_is_not_run(load, tmp_path):
    assert "unpickling can run code" in refusal(load, tmp_path, {**TOWER, "more": Malicious(tmp_path / "owned")})
    assert not (tmp_path / "owned").exists()
    torch.jit.script(torch.nn.Linear(3, 3)).save(tmp_path / "scripted.pt")
    with pytest.raises(ValueError, match="is a TorchScript archive, which holds code and is not run"):
        load(tmp_path / "scripted.pt")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_truncated_file_says_that_it_is_damaged(load, tmp_path, suffix, kept):
    file = tmp_path / f"tower.{suffix}"
    torch.save(TOWER, file) if suffix == "pt" else save_file(TOWER, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=rf"tower\.{suffix} cannot be used: .*(damaged or cut short|is empty)"):
        load(file)


def test_another_digest_is_refused_before_the_file_is_read(load, tmp_path):
    (tmp_path / "tower.pt").write_bytes(b"no weights")
    found = file_digest(tmp_path / "tower.pt")
    with pytest.raises(ValueError, match=rf"^model\.visual_sha256: .*tower\.pt has digest {found}, but {'0' * 64} is"):
        load(tmp_path / "tower.pt", sha256="0" * 64)


@pytest.mark.parametrize(("content", "kind"), [(b"version https://git-lfs", "Git LFS"), (b"<!doctype html>", "HTML")])
def test_what_was_downloaded_in_the_place_of_weights_is_named(load, tmp_path, content, kind):
    (tmp_path / "tower.pt").write_bytes(content)
    with pytest.raises(ValueError, match=f"holds no weights, but .*{kind}"):
        load(tmp_path / "tower.pt", sha256="0")


def test_a_missing_file_and_a_folder_are_named(load, tmp_path):
    for path in (tmp_path / "nowhere.pt", tmp_path):
        with pytest.raises(ValueError, match=f"{path} cannot be read .*; a readable file is allowed"):
            load(path, sha256="0")


def test_a_tower_lies_over_named_weights_too(monkeypatch, tmp_path):
    """As over `ViT-L-14` with the tag `openai`, for which the published files are."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16", KINDS["vit_b_32"][0])
    save_file(WHOLE, tmp_path / "whole.safetensors")
    torch.save(TOWER, tmp_path / "tower.pt")
    monkeypatch.setattr("stages.models.weights.hub_file", lambda *_, **__: tmp_path / "whole.safetensors")
    visual = {"visual_weights": str(tmp_path / "tower.pt"), "visual_sha256": file_digest(tmp_path / "tower.pt")}
    clip = load_clip("ViT-B-16", pretrained="openai", sha256=None, device=CPU, **visual)
    assert type(clip.model.visual.transformer.resblocks[0].mlp.gelu) is open_clip.transformer.QuickGELU
    assert torch.equal(clip.model.token_embedding.weight, WHOLE["token_embedding.weight"])
    assert torch.equal(clip.model.visual.class_embedding, TOWER["class_embedding"])
    assert clip.fingerprint == {
        "name": "ViT-B-16", "pretrained": "openai", "sha256": file_digest(tmp_path / "whole.safetensors"), **visual,
    }  # fmt: skip


def test_without_a_tower_nothing_is_added_to_the_provenance(load):
    assert load(None).fingerprint.keys() == {"name", "pretrained", "sha256"}


@pytest.mark.parametrize(("file", "sha256"), [("tower.pt", None), (None, "0" * 64)])
def test_file_and_digest_are_stated_together(file, sha256):
    with pytest.raises(ValueError, match="visual_weights and visual_sha256 have to be stated together"):
        Model(
            name="ViT-L-14", pretrained="openai", sha256=None, precision="fp32",
            visual_weights=file, visual_sha256=sha256,
        )  # fmt: skip


def test_a_method_is_loaded_with_its_tower_and_not_with_another(load, tmp_path):
    torch.save(TOWER, tmp_path / "tower.pt")
    clip = load(tmp_path / "tower.pt")
    width = KINDS["vit_b_32"][0]["embed_dim"]
    file = PromptFile(torch.eye(3, width)[None].numpy(), 100.0, list("abc"), "{}", {"model": clip.fingerprint})
    save_prompts(tmp_path / "prompts.safetensors", file)
    expected = torch.nn.functional.normalize(clip.encode_image(IMAGES), dim=-1)[:, :3] * 100
    torch.testing.assert_close(load_victim(tmp_path, device="cpu")(IMAGES), expected)
    torch.save({**TOWER, "proj": -TOWER["proj"]}, tmp_path / "tower.pt")
    with pytest.raises(ValueError, match=r"its prompts were made with the model .*visual_sha256: .*tower\.pt has dig"):
        load_victim(tmp_path, device="cpu")
