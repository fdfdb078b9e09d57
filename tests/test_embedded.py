"""The embedded default: small, whole, and a CLIP worth attacking, judged with plain open_clip."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from stages.datasets.embedded import FOLDER, images_of, read_rows
from stages.models.clip import weights_digest
from stages.runtime.params import load_params

EMBEDDED = Path("data/embedded")
NAME = f"local-dir:{EMBEDDED}/tiny-clip"


def test_it_is_small_and_carries_its_licence():
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 9_000_000
    assert "MIT" in (EMBEDDED / "fashion/LICENSE").read_text(encoding="utf-8")


def test_the_default_parameters_state_its_digest():
    assert load_params().model.name == NAME
    assert load_params().model.sha256 == weights_digest(NAME, None)


def test_plain_open_clip_classifies_with_it():
    model, _, preprocess = open_clip.create_model_and_transforms(NAME)
    table = read_rows(FOLDER / "test.parquet")
    class_names = json.loads(table.schema.metadata[b"provenance"])["class_names"]
    grey = np.stack([np.frombuffer(image, np.uint8).reshape(28, 28) for image in table["image"].to_pylist()])
    images = torch.stack([preprocess(Image.fromarray(pixels)) for pixels in images_of(grey)])
    captions = open_clip.get_tokenizer(NAME)([f"a photo of a {name}." for name in class_names])
    with torch.inference_mode():
        image_features = model.eval().encode_image(images, normalize=True)
        predictions = (image_features @ model.encode_text(captions, normalize=True).T).argmax(-1)
    accuracy = np.mean(predictions.numpy() == table["label"].to_numpy())
    assert accuracy > 0.89
    assert image_features.shape == (1000, 128)


def test_raw_embeddings_do_not_saturate_the_feature_attack(clip):
    grey = np.stack([np.frombuffer(image, np.uint8).reshape(28, 28) for image in
                     read_rows(FOLDER / "train.parquet")["image"].to_pylist()[:500]])  # fmt: skip
    features = clip.encode_image(torch.tensor(images_of(grey)).permute(0, 3, 1, 2) / 255)
    assert features.std().item() == pytest.approx(0.45, abs=0.03)
