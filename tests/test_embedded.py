"""The embedded default: small, whole, and a CLIP worth attacking, judged with plain open_clip."""

import re
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stages.models.clip import weights_digest
from stages.models.device import to_tensor
from tests.fashion import fashion

EMBEDDED = Path("data/embedded")
README = (EMBEDDED / "README.md").read_text(encoding="utf-8")
NAME = f"local-dir:{EMBEDDED}/tiny-clip"
BASES = {"tiny-fare": "tiny-clip", "tiny-tecoa": "tiny-clip", "photo-fare": "photo-clip", "photo-tecoa": "photo-clip"}
MODELS = ["tiny-clip", "tiny-vit", "photo-clip", "photo-vit", *BASES]


def test_it_is_small_and_carries_its_licence():
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 25_000_000
    for name in MODELS:
        assert sum(path.stat().st_size for path in (EMBEDDED / name).iterdir()) < 5_000_000
    assert "MIT" in (EMBEDDED / "fashion/LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_the_readme_states_the_digest_of_each_model(name):
    digests = dict(re.findall(r"^\| `([a-z-]+)` \|.*`([0-9a-f]{64})` \|$", README, re.MULTILINE))
    assert digests[name] == weights_digest(f"local-dir:{EMBEDDED}/{name}", None)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_recipe_and_learnt_the_words_of_its_captions(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EMBEDDED))
    import make
    import make_photos

    module = make if name.startswith("tiny-") else make_photos
    assert name in module.RECIPES
    model = open_clip.create_model(f"local-dir:{EMBEDDED}/{name}").eval()
    captions = [template.format(word) for template in module.TEMPLATES for word in module.CLASS_NAMES]
    tokens = open_clip.get_tokenizer(f"local-dir:{EMBEDDED}/{name}")(captions)
    assert (model.token_embedding.weight[tokens[tokens != 0]].norm(dim=-1) > 0).all()
    with torch.inference_mode():
        text_features = model.encode_text(tokens, normalize=True).view(len(module.TEMPLATES), 10, -1)
    assert (text_features[0] @ text_features[0].T - torch.eye(10)).max() < 0.9


@pytest.mark.parametrize("name", BASES)
def test_a_robust_model_has_the_text_tower_of_its_plain_one(name):
    plain, robust = (load_file(EMBEDDED / folder / "open_clip_model.safetensors") for folder in (BASES[name], name))
    moved = {key for key in plain if not torch.equal(plain[key], robust[key])}
    assert "visual.conv1.weight" in moved
    assert all(key.startswith("visual.") for key in moved)
    merges = [(EMBEDDED / folder / "bpe_merges.txt.gz").read_bytes() for folder in (BASES[name], name)]
    assert merges[0] == merges[1]


@pytest.mark.parametrize(
    ("name", "least"), [("tiny-clip", 0.89), ("tiny-vit", 0.86), ("tiny-fare", 0.86), ("tiny-tecoa", 0.85)]
)
def test_plain_open_clip_classifies_with_it(name, least):
    name = f"local-dir:{EMBEDDED}/{name}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    rows, class_names = fashion("test")
    images = torch.stack([preprocess(Image.fromarray(pixels)) for pixels in rows.pixels])
    captions = open_clip.get_tokenizer(name)([f"a photo of a {word}." for word in class_names])
    with torch.inference_mode():
        image_features = model.eval().encode_image(images, normalize=True)
        predictions = (image_features @ model.encode_text(captions, normalize=True).T).argmax(-1)
    assert (predictions.numpy() == rows.labels).mean() > least
    assert image_features.shape == (1000, 128)


def test_raw_embeddings_do_not_saturate_the_feature_attack(clip):
    images, _ = fashion("train", 500)
    features = clip.encode_image(to_tensor(images.pixels, torch.device("cpu")))
    assert features.std().item() == pytest.approx(0.45, abs=0.03)
