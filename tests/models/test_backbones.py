"""Frozen features of torchvision, timm and open_clip against their own networks; where weights come from."""

import hashlib
import socket
import threading
import time

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.v2.functional import normalize, resize

from stages.models import backbones
from stages.models.backbones import Backbone, Input, fetched, load_backbone
from tests.models.random_models import KINDS, PREPROCESS, VIT, Malicious, random_model, save_model, save_random
from tests.victims import frozen

CPU = torch.device("cpu")
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}


def load(name: str, pretrained: object = None) -> Backbone:
    return load_backbone(name, pretrained=pretrained, device=CPU)


@torch.no_grad()
def test_torchvision_is_its_network_up_to_the_last_layer():
    backbone = load("torchvision:resnet18")
    network = torchvision.models.resnet18().eval()
    network.load_state_dict(backbone.body.state_dict(), strict=False)
    expected = nn.Sequential(*list(network.children())[:-1])(normalize(IMAGES, **IMAGENET)).flatten(1)
    torch.testing.assert_close(backbone(IMAGES), expected)
    assert backbone.feature_width == 512 and backbone.sha256 is None


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "scale", "side"),
    [("test_mambaout", IMAGENET, 64), ("test_resnet", HALF, 64), ("test_vit", HALF, 160)],
)
def test_timm_is_its_network_without_classes(name, scale, side):
    backbone = load(f"timm:{name}")
    network = timm.create_model(name, num_classes=0).eval()
    network.load_state_dict(backbone.body.state_dict())
    expected = network(normalize(resize(IMAGES, [side, side], antialias=True), **scale))
    torch.testing.assert_close(backbone(IMAGES), expected)
    assert backbone.feature_width == expected.shape[1]


@torch.no_grad()
@pytest.mark.parametrize("side", [64, 224, 320])
def test_open_clip_is_its_raw_image_features(tmp_path, side):
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    backbone = load(f"open_clip:local-dir:{tmp_path}") if save_random(tmp_path, "rn50") else None
    fitted = resize(images, [224, 224], antialias=True)
    expected = random_model(KINDS["rn50"][0]).encode_image(normalize(fitted, PREPROCESS["mean"], PREPROCESS["std"]))
    torch.testing.assert_close(backbone(images), expected)
    assert backbone.feature_width == 32


def test_the_digest_is_that_of_the_weights(tmp_path):
    digest = save_random(tmp_path, "vit_b_32")
    assert load(f"open_clip:local-dir:{tmp_path}").sha256 == digest


def test_tokens_beside_features_are_left_out(tmp_path):
    configuration = {**KINDS["vit_b_32"][0], "vision_cfg": {**VIT, "output_tokens": True}}
    save_model(tmp_path, random_model(configuration), configuration, PREPROCESS)
    assert load(f"open_clip:local-dir:{tmp_path}")(IMAGES).shape == (2, 32)


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "timm:test_resnet", "timm:test_vit"])
def test_an_attack_moves_images_and_no_weight(name):
    backbone = load(name)
    images = IMAGES.clone().requires_grad_()
    with frozen(backbone):
        (gradient,) = torch.autograd.grad(backbone(images).square().sum(), images)
    assert gradient.isfinite().all() and (gradient.flatten(1).norm(dim=1) > 0).all()
    assert not any(module.training for module in backbone.modules())


def test_random_weights_are_the_same_each_time_and_draw_from_no_one():
    state = torch.get_rng_state()
    first = load("timm:test_resnet")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(load("timm:test_resnet", False)(IMAGES), first(IMAGES))


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "timm:test_resnet"])
@pytest.mark.parametrize("classes", [None, 3])
def test_a_file_of_ones_own_may_have_any_classifier(tmp_path, name, classes):
    kind, _, model = name.partition(":")
    build = {"torchvision": torchvision.models.get_model, "timm": timm.create_model}[kind]
    network = build(model, num_classes=classes or 1000)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "whole.pth")
    backbone = load(name, str(tmp_path / "whole.pth"))
    for key, weight in backbone.body.state_dict().items():
        assert torch.equal(weight, network.state_dict()[key]), key
    assert backbone.sha256 == hashlib.sha256((tmp_path / "whole.pth").read_bytes()).hexdigest()
    if not classes:
        save_file({k: w.contiguous() for k, w in backbone.body.state_dict().items()}, tmp_path / "headless.safetensors")
        assert torch.equal(load(name, str(tmp_path / "headless.safetensors"))(IMAGES), backbone(IMAGES))


SPOILT = {
    "missing": lambda key, weights: {name: weight for name, weight in weights.items() if name != key},
    "foreign": lambda key, weights: {**weights, "fc_norm.weight": torch.ones(1)},
    "NaN": lambda key, weights: {**weights, key: torch.full_like(weights[key], torch.nan)},
    "size mismatch": lambda key, weights: {**weights, key: weights[key][:1]},
}


@pytest.mark.parametrize("how", SPOILT)
def test_weights_of_another_model_are_refused(tmp_path, how):
    weights = load("timm:test_resnet").body.state_dict()
    key = next(key for key in weights if key.endswith("conv1.weight"))
    torch.save(SPOILT[how](key, weights), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"timm:test_resnet .*other\.pth\) cannot be loaded: [^$]*{how}"):
        load("timm:test_resnet", str(tmp_path / "other.pth"))


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "timm:test_resnet"])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path, name):
    weights = load(name).body.state_dict()
    torch.save({"state_dict": weights, "more": Malicious(tmp_path / "owned")}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth\) cannot be loaded"):
        load(name, str(tmp_path / "bad.pth"))
    assert not (tmp_path / "owned").exists()


def test_a_file_without_weights_is_named(tmp_path):
    (tmp_path / "pointer.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"pointer\.pth holds no weights, but a Git LFS pointer"):
        load("timm:test_resnet", str(tmp_path / "pointer.pth"))


def test_a_tag_of_timm_is_fetched_from_its_repository(monkeypatch, tmp_path):
    network = timm.create_model("test_vit")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    asked = []
    monkeypatch.setattr(backbones, "hub_file", lambda *asks, **_: asked.append(asks) or tmp_path / "model.safetensors")
    backbone = load("timm:test_vit", "r160_in1k")
    assert asked == [("timm/test_vit.r160_in1k", ("model.safetensors", "pytorch_model.bin"))]
    assert torch.equal(backbone.body.patch_embed.proj.weight, network.patch_embed.proj.weight)
    save_file({k: w for k, w in network.state_dict().items() if k != "norm.bias"}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"timm:test_vit .* cannot be loaded: .*\n.*Missing key.*norm\.bias"):
        load("timm:test_vit", "r160_in1k")


def test_a_tag_of_torchvision_comes_from_torchs_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    network = torchvision.models.mobilenet_v3_small()
    url = torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1.url
    file = tmp_path / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir()
    torch.save(network.state_dict(), file)
    with pytest.raises(ValueError, match=rf"{file.name} is damaged"):  # it is not torchvision's own, by its digest
        load("torchvision:mobilenet_v3_small", "IMAGENET1K_V1")
    monkeypatch.setattr(backbones, "fetched", lambda asked, _: file if asked == url else None)
    backbone = load("torchvision:mobilenet_v3_small", "IMAGENET1K_V1")
    assert torch.equal(backbone.body.features[0][0].weight, network.features[0][0].weight)


def test_a_download_of_torchvision_is_kept_and_checked(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()[:8]
    for name in (f"good-{digest}.pth", "bad-00000000.pth"):
        (tmp_path / name).write_bytes(content)
    good = tmp_path / f"good-{digest}.pth"
    kept = fetched(good.as_uri(), "good")
    good.unlink()
    assert fetched(good.as_uri(), "good") == kept == tmp_path / "hub/checkpoints" / good.name
    assert kept.read_bytes() == content
    with pytest.raises(ValueError, match=r"bad is not here and cannot be fetched\. Looked for .*invalid hash value"):
        fetched((tmp_path / "bad-00000000.pth").as_uri(), "bad")


def test_no_weights_and_no_network_is_one_error_within_seconds(no_network, tmp_path):
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"timm:resnet18 \(tv_in1k\) is not here.*timm/resnet18\.tv_in1k: .*refused"):
        load("timm:resnet18", "tv_in1k")
    with pytest.raises(ValueError, match=r"some model is not here.*weights-0123\.pth; .*refused"):
        fetched(f"{no_network}/weights-0123.pth", "some model")
    assert time.monotonic() - began < 10
    assert socket.getdefaulttimeout() is None and not list((tmp_path / "checkpoints").iterdir())


def test_a_server_that_never_answers_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(backbones, "PATIENCE", 0.1)
    with socket.socket() as silent, pytest.raises(ValueError, match=r"cannot be fetched.*timed out"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        threading.Timer(3, silent.close).start()  # then the connection is reset, which is another error
        fetched(f"http://127.0.0.1:{silent.getsockname()[1]}/weights-0123.pth", "some model")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("torchvision:resnet5O", "torchvision:resnet50"),
        ("resnet50", "near it: "),
        ("keras:resnet18", "timm:resnet18"),
        ("timm:test_rensett", "timm:test_resnet"),
        ("open_clip:ViT-B/16", "open_clip:ViT-B-16"),
    ],
)
def test_an_unknown_name_shows_the_kinds_and_what_is_near(name, near):
    with pytest.raises(
        ValueError, match=rf"nobody knows '{name}'; allowed are torchvision:, timm:, open_clip: .*{near}"
    ):
        load(name)


@pytest.mark.parametrize(
    ("name", "pretrained", "tags"),
    [
        ("torchvision:resnet18", "IMAGENET1K_V3", "DEFAULT, IMAGENET1K_V1"),
        ("timm:resnet18", "a9_in1k", "a1_in1k, a2_in1k"),  # the default first
        ("timm:test_resnet", "nowhere.pth", "r160_in1k"),
        ("timm:legacy_senet154", "in1k", "none"),  # its weights are not on the hub
        ("open_clip:RN50", "openia", "openai, yfcc15m"),
    ],
)
def test_an_unknown_tag_shows_those_there_are(name, pretrained, tags):
    with pytest.raises(ValueError, match=f"'?{pretrained}'? is neither a file nor a tag.*: {tags}"):
        load(name, pretrained)


def test_a_network_without_a_linear_classifier_or_without_pooling_is_refused():
    with pytest.raises(ValueError, match=r"squeezenet1_1 .*cannot be loaded: it has no linear layer"):
        load("torchvision:squeezenet1_1")
    with pytest.raises(ValueError, match="no features"):
        Backbone(nn.Conv2d(3, 4, 1), Input([0.5] * 3, [0.5] * 3, (8, 8), fixed=False), sha256=None)


@pytest.mark.parametrize(
    ("name", "size"), [("torchvision:resnet18", None), ("torchvision:efficientnet_v2_s", (384, 384))]
)
def test_a_network_that_takes_no_small_images_gets_its_own_size(monkeypatch, name, size):
    monkeypatch.setattr(Backbone, "forward", lambda *_: torch.zeros(1, 2))
    assert load(name).size == size
