"""Where weights come from: the tag's own settings, files of one's own, and none at all."""

import pickle
import time

import huggingface_hub
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from stages.models.clip import load_clip, weights_digest
from stages.models.digests import file_digest
from stages.models.weights import WEIGHTS, find_source
from tests.models.random_models import KINDS, Malicious, random_model, save_random

CPU = torch.device("cpu")
SMALL = KINDS["vit_b_32"][0]
IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def load(name: str, pretrained: str | None = None, sha256: str | None = None):
    return load_clip(name, pretrained=None if pretrained is None else str(pretrained), sha256=sha256, device=CPU)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """ViT-B-16 made small, and a file of random weights for it, to which every download leads."""
    for name in ("ViT-B-16", "ViT-B-16-quickgelu"):
        config = {**SMALL, "quick_gelu": True} if "quick" in name else SMALL
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    file = tmp_path / "weights.safetensors"
    save_file(random_model(SMALL).state_dict(), file)
    monkeypatch.setattr("stages.models.weights.hub_file", lambda *_, **__: file)
    return file


@pytest.mark.filterwarnings("error:QuickGELU mismatch")
@pytest.mark.parametrize(
    ("name", "tag", "quick"),
    [
        ("ViT-B-16", "openai", True),
        ("ViT-B-16", "metaclip_400m", True),
        ("ViT-B-16", "laion2b_s34b_b88k", False),
        ("ViT-B-16", "datacomp_xl_s13b_b90k", False),
        ("ViT-B-16-quickgelu", "openai", True),
    ],
)
def test_the_activation_is_the_tags_own(small, name, tag, quick):
    clip = load(name, tag)
    expected = open_clip.create_model("ViT-B-16-quickgelu" if quick else "ViT-B-16", pretrained=str(small)).eval()
    activation = open_clip.transformer.QuickGELU if quick else torch.nn.GELU
    for tower in (clip.model.visual.transformer, clip.model.transformer):
        assert {type(block.mlp.gelu) for block in tower.resblocks} == {activation}
    captions = open_clip.tokenize(["a photo of a cat"])
    assert torch.equal(clip.model.encode_text(captions), expected.encode_text(captions))
    torch.testing.assert_close(clip.encode_image(IMAGES), expected.encode_image((IMAGES - clip._mean) / clip._std))


@pytest.mark.parametrize(("name", "quick"), [("ViT-B-16", False), ("ViT-B-16-quickgelu", True)])
def test_a_file_follows_the_name(small, name, quick):
    clip = load(name, small)
    assert (type(clip.model.transformer.resblocks[0].mlp.gelu) is not torch.nn.GELU) == quick
    assert clip.fingerprint == {"name": name, "pretrained": str(small), "sha256": file_digest(small)}


def test_preprocessing_is_the_tags_own(small, monkeypatch):
    tag = {"hf_hub": "org/model/", "mean": (0.1,) * 3, "std": (0.2,) * 3, "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED["ViT-B-16"], "mine", tag)
    clip = load("ViT-B-16", "mine")
    assert clip.model.visual.preprocess_cfg["resize_mode"] == "squash"
    assert clip.model.visual.preprocess_cfg["size"] == (224, 224)
    assert clip._mean.flatten().tolist() == pytest.approx([0.1] * 3)


def test_every_tag_of_open_clip_has_a_repository_of_the_hub():
    tags = [open_clip.get_pretrained_cfg(*pair) for pair in open_clip.list_pretrained()]
    assert tags and all(tag["hf_hub"].count("/") == 2 for tag in tags)


def test_a_tag_wins_over_a_file_of_its_name(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai").write_text("something else")
    assert weights_digest("ViT-B-16", "openai") == file_digest(small)


def cache(monkeypatch, folder, repository: str) -> str:
    """A random model as if the hub had been asked for it before; returns its digest."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(folder))
    home = folder / f"models--{repository.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text("0123abcd")
    return save_random(home / "snapshots/0123abcd", "custom_text")


def test_a_model_of_the_hub_comes_from_its_cache_without_a_request(monkeypatch, tmp_path):
    digest = cache(monkeypatch, tmp_path, "org/robust-clip")
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", None)
    (tmp_path / "models--org--robust-clip/snapshots/0123abcd/README.md").write_text("counts for nothing")
    clip = load("hf-hub:org/robust-clip", sha256=digest)
    assert clip.fingerprint == {"name": "hf-hub:org/robust-clip", "pretrained": None, "sha256": digest}
    assert clip.image_size == 224 and clip.model.visual.preprocess_cfg["resize_mode"] == "squash"
    with pytest.raises(ValueError, match="0000 is expected"):
        load("hf-hub:org/robust-clip", sha256="0000")


@pytest.mark.parametrize(
    ("name", "pretrained", "repository"),
    [
        ("ViT-B-32", "laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("RN50", "openai", "timm/resnet50_clip.openai"),
        ("hf-hub:timm/x", None, "timm/x"),
    ],
)
def test_no_weights_and_no_network_is_one_error_within_seconds(no_network, tmp_path, name, pretrained, repository):
    began = time.monotonic()
    with pytest.raises(ValueError, match="cannot be fetched") as caught:
        load(name, pretrained, "abc123")
    assert time.monotonic() - began < 10
    folder = f"{tmp_path}/models--{repository.replace('/', '--')}"
    for part in (name, pretrained or "its own weights", "abc123", folder, f"{no_network}/{repository}", "refused"):
        assert part in str(caught.value)
    assert str(caught.value).endswith("model.sha256 (abc123) is of another model, set model.sha256=null.")


def test_a_repository_without_weights_says_so(monkeypatch, tmp_path):
    cache(monkeypatch, tmp_path, "org/clip")
    (tmp_path / "models--org--clip/snapshots/0123abcd" / WEIGHTS[0]).unlink()

    def answer(*_, **__):
        raise huggingface_hub.errors.EntryNotFoundError("404")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
    with pytest.raises(ValueError, match=f"org/clip has no {WEIGHTS[0]} or"):
        load("hf-hub:org/clip")


def test_a_file_of_another_model_lists_keys_and_shapes(small, tmp_path):
    weights = random_model(SMALL).state_dict()
    weights["visual.proj"] = torch.zeros(3, 3)
    weights["foreign"] = weights.pop("ln_final.bias")
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="cannot be loaded") as caught:
        load("ViT-B-16", tmp_path / "other.safetensors")
    for part in ("other.safetensors", "ln_final.bias", "foreign", "visual.proj", "[3, 3]", "[64, 32]"):
        assert part in str(caught.value)


def test_hundreds_of_wrong_keys_are_cut(small, tmp_path):
    save_file(random_model(KINDS["rn50"][0]).state_dict(), tmp_path / "rn50.safetensors")
    with pytest.raises(ValueError, match="Missing key") as caught:
        load("ViT-B-16", tmp_path / "rn50.safetensors")
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_a_malicious_pickle_is_refused_and_does_not_run(small, tmp_path, save):
    save({"state_dict": random_model(SMALL).state_dict(), "more": Malicious(tmp_path / "owned")}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"cannot be loaded from .*bad\.pt"):
        load("ViT-B-16", tmp_path / "bad.pt")
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_tensors_is_loaded(small, tmp_path):
    weights = {f"module.{key}": weight for key, weight in random_model(SMALL).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "epoch_3.pt")
    torch.testing.assert_close(
        load("ViT-B-16", tmp_path / "epoch_3.pt").encode_image(IMAGES), load("ViT-B-16", small).encode_image(IMAGES)
    )


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "holds no weights, but a Git LFS pointer"),
        (b"\n<!DOCTYPE html>", "holds no weights, but HTML"),
        (b"", "cannot be loaded from"),
        (None, "cannot be loaded from"),
    ],
    ids=["pointer", "web page", "nothing", "truncated"],
)
def test_a_file_without_weights_is_named(small, tmp_path, suffix, content, message):
    file = tmp_path / f"broken.{suffix}"
    if content is None:  # truncated
        weights = random_model(SMALL).state_dict()
        torch.save(weights, file) if suffix == "pt" else save_file(weights, file)
        content = file.read_bytes()[:-1000]
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load("ViT-B-16", file)
    assert str(file) in str(caught.value)


def test_a_folder_carries_its_own_weights(tmp_path):
    save_random(tmp_path, "vit_b_32")
    with pytest.raises(ValueError, match=r"model\.pretrained: local-dir:.* only null is allowed; got openai"):
        find_source(f"local-dir:{tmp_path}", "openai")


def test_a_misspelt_name_shows_what_is_near():
    with pytest.raises(ValueError, match=r"near it: .*ViT-B-16,"):
        load("ViT-B/16", "openai")
