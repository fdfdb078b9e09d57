"""Geometry and colours of images against open_clip's own preprocessing, bit for bit."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from stages.models.clip import Clip
from stages.models.device import to_tensor
from tests.models.random_models import KINDS, random_model

CPU = torch.device("cpu")
MODEL = random_model(KINDS["vit_b_32"][0])


def clip_with(**preprocess) -> Clip:
    size = {"size": MODEL.visual.image_size}
    open_clip.set_model_preprocess_cfg(MODEL, {**KINDS["vit_b_32"][1], **preprocess, **size})
    return Clip(MODEL, None, {})


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("size", [(224, 224), (640, 480), (281, 500), (100, 31), (224, 300), (225, 224)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    "mode", [{"resize_mode": "shortest"}, {"resize_mode": "longest", "fill_color": 77}, {"resize_mode": "squash"}]
)
def test_pixels_then_mean_and_std_equal_open_clip(size, interpolation, mode):
    clip = clip_with(interpolation=interpolation, **mode)
    cfg = open_clip.transform.PreprocessCfg(**clip.model.visual.preprocess_cfg)
    expected = open_clip.transform.image_transform_v2(cfg, is_train=False)(picture(*size))
    pixels = clip.fit(picture(*size))
    assert pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8
    found = (to_tensor(pixels[None], CPU) - clip._mean) / clip._std
    assert torch.equal(found[0], expected)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_an_image_of_the_right_size_comes_back_unchanged(mode):
    assert np.array_equal(clip_with(resize_mode=mode).fit(picture(224, 224)), np.asarray(picture(224, 224)))


def test_colours_are_converted_before(clip):
    with pytest.raises(AssertionError, match="RGBA"):
        clip.fit(picture(40, 40).convert("RGBA"))


@pytest.mark.parametrize(
    "odd", [{"mean": [0.1, 0.2]}, {"std": [0.0] * 3}, {"mean": "a"}, {"mean": [None] * 3}, {"interpolation": "cubic"}]
)
def test_preprocessing_that_makes_no_numbers_of_an_image_is_refused(odd):
    with pytest.raises(ValueError, match=r"preprocess_cfg in open_clip_config\.json: .*" + next(iter(odd))):
        clip_with(**odd)
