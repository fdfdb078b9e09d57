"""Weights that open_clip cannot load: one message each that names what the file holds and what to do."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from stages.models.backbones import load_backbone
from stages.models.checkpoints import SETTINGS, misfit
from stages.models.clip import load_clip
from tests.models.random_models import KINDS, behind, change_config, load_folder, random_model, save_random

CPU = torch.device("cpu")
SMALL = KINDS["vit_b_32"][0]
MODEL = random_model(SMALL)
WHOLE, VISUAL = MODEL.state_dict(), MODEL.visual.state_dict()
TRANSFORMERS = {
    "vision_model.embeddings.class_embedding": torch.zeros(3),
    "text_model.final_layer_norm.bias": torch.zeros(3),
}


@pytest.fixture
def named(monkeypatch) -> str:
    """A model's name, of a small architecture."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16", SMALL)
    return "ViT-B-16"


def load(name: str, file: Path | None):
    return load_clip(name, pretrained=file and str(file), sha256=None, device=CPU)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (VISUAL, r"an image tower alone \(class_embedding\)"),
        (behind("module.", VISUAL), r"an image tower alone \(module\.class_embedding\)"),
        (behind("visual.", VISUAL), r"an image tower alone \(visual\.class_embedding\)"),
        ({"state_dict": VISUAL}, "image tower alone .*, under the key 'state_dict'"),
        ({"epoch": 3, "vision_encoder_state_dict": VISUAL, "optimizer": {"state": {}}}, "'vision_encoder_state_dict'"),
        (  # TeCoA: the key that open_clip looks at holds a visual prompt
            {"state_dict": {"pad_up": torch.zeros(3)}, "vision_encoder_state_dict": behind("module.", VISUAL)},
            "image tower alone .*, under the key 'vision_encoder_state_dict'",
        ),
        ({"model": {"visual": VISUAL}}, r"image tower alone .*, under the key 'model\.visual'"),
        (random_model(KINDS["rn50"][0]).visual.state_dict(), r"image tower alone \(conv1\.weight\)"),
        ({"model": WHOLE}, "the model lies under the key 'model' of the file"),
        ({"module": WHOLE}, "the model lies under the key 'module' of the file"),
        (behind("model.", WHOLE), r"the names of the weights begin with 'model\.'; save them without it"),
        ({"state_dict": behind("clip.", WHOLE)}, r"the names of the weights begin with 'clip\.'"),
        (TRANSFORMERS, r"the file is of transformers' CLIPModel \(vision_model\.embeddings\.class_embedding\)"),
        (MODEL, "Python objects beside tensors.*save `model.state_dict\\(\\)`"),
        ({"args": os.stat_result(range(10)), **WHOLE}, "Python objects beside tensors"),
        ([VISUAL], "no tensors by name"),
        (torch.zeros(3), "no tensors by name"),
        ({}, "no tensors by name"),
        (None, "no tensors by name"),
    ],
)
def test_a_checkpoint_of_something_else_is_named(named, tmp_path, content, message):
    file = tmp_path / "weights.pt"
    torch.save(content, file)
    with pytest.raises(ValueError, match=rf"(?s)cannot be loaded from .*weights\.pt: .*{message}"):
        load(named, file)


@pytest.mark.parametrize(
    ("weights", "message"), [(VISUAL, "image tower alone"), (TRANSFORMERS, "transformers' CLIPModel")]
)
def test_safetensors_and_folders_of_something_else_are_named_by_their_file(named, tmp_path, weights, message):
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=rf"weights\.safetensors: .*{message}"):
        load(named, tmp_path / "weights.safetensors")
    for file, save in (("open_clip_model.safetensors", save_file), ("pytorch_model.bin", torch.save)):
        folder = tmp_path / file.partition(".")[0]
        save_random(folder, "vit_b_32")
        (folder / "open_clip_model.safetensors").unlink()
        save(weights, folder / file)
        with pytest.raises(ValueError, match=rf"cannot be loaded from .*{file}: .*{message}"):
            load_folder(folder)


def test_a_folder_without_weights_says_which_there_may_be(tmp_path):
    save_random(tmp_path, "vit_b_32")
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"the folder holds no weights; a file such as open_clip_model\.safetensors"):
        load_folder(tmp_path)


def test_a_folder_in_the_place_of_weights_says_where_it_goes(named, tmp_path):
    with pytest.raises(
        ValueError, match=rf"is a folder; .* model\.name=local-dir:{tmp_path} and model\.pretrained=null"
    ):
        load(named, tmp_path)


def test_the_other_formats_ending_is_named(named, tmp_path):
    save_file(WHOLE, tmp_path / "weights.safetensors")
    shutil.move(tmp_path / "weights.safetensors", tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"holds safetensors; let its name end in \.safetensors"):
        load(named, tmp_path / "weights.pt")
    for zipped in (True, False):
        torch.save(WHOLE, tmp_path / "weights.safetensors", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match=r"a checkpoint of PyTorch and no safetensors; let its name end in \.pt"):
            load(named, tmp_path / "weights.safetensors")


@pytest.mark.parametrize("content", [b"hello", b"\x08\x07\x12\x07pytorch", b"{}"])
def test_what_is_no_file_of_weights_is_said_to_be_none(named, tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"it is no file of weights: it begins with b'"):
        load(named, tmp_path / "weights.pt")


def test_a_zip_archive_of_something_else_keeps_the_error_of_torch(named, tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("notes.txt", "no weights")
    with pytest.raises(ValueError, match="archive"):
        load(named, tmp_path / "weights.pt")


def test_a_checkpoint_that_holds_itself_ends(tmp_path):
    content = {"weights": WHOLE}
    content["again"] = content
    torch.save(content, tmp_path / "weights.pt")
    assert "the model lies under the key 'weights'" in misfit(tmp_path / "weights.pt")


def module_of(weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """A module that does nothing and has these weights."""
    top = torch.nn.Module()
    for key, weight in weights.items():
        module = top
        *path, last = key.split(".")
        for name in path:
            if not hasattr(module, name):
                module.add_module(name, torch.nn.Module())
            module = getattr(module, name)
        module.register_buffer(last, weight)
    return top


def test_a_torchscript_archive_is_named_and_the_command_of_the_message_converts_it(named, tmp_path):
    file = tmp_path / "it's OpenAI's \"ViT\".pt"
    halves = {key: weight.half() for key, weight in WHOLE.items()}
    torch.jit.script(module_of({**halves, **{setting: torch.tensor(7) for setting in SETTINGS}})).save(file)
    with pytest.raises(ValueError, match="is a TorchScript archive, which holds code and is not run") as caught:
        load(named, file)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-c", str(caught.value).splitlines()[1]]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "PATH": path})
    found = load(named, tmp_path / "weights.pt").model.state_dict()
    assert torch.equal(found["token_embedding.weight"], halves["token_embedding.weight"].float())


def test_a_surrogate_gets_the_same_message(named, tmp_path):
    torch.save(VISUAL, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"surrogate: open_clip:ViT-B-16 .* cannot be loaded: .* an image tower alone"):
        load_backbone("open_clip:ViT-B-16", pretrained=str(tmp_path / "weights.pt"), device=CPU)


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_configuration_with_a_byte_order_mark_says_how_to_save_it(tmp_path, mark):
    save_random(tmp_path, "vit_b_32")
    file = tmp_path / "open_clip_config.json"
    encoding = {b"\xef": "utf-8", b"\xff": "utf-16-le", b"\xfe": "utf-16-be"}[mark[:1]]
    file.write_bytes(mark + file.read_text().encode(encoding))
    with pytest.raises(
        ValueError, match=r"open_clip_config\.json begins with a byte-order mark; save it as UTF-8 without"
    ):
        load_folder(tmp_path, "0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "describes no model of open_clip"),
        ("null", "describes no model of open_clip"),
        ("{}", "describes no model of open_clip"),
        ('{"model_cfg": null}', "vision_cfg and text_cfg"),
        ('{"model_cfg": {"embed_dim": 3, "vision_cfg": {}}}', "vision_cfg and text_cfg"),
        ('{"model_cfg": {"vision_cfg": null, "text_cfg": {}}}', "vision_cfg and text_cfg"),
        ('{"model_type": "clip", "text_config": {}}', "describes no model of open_clip"),  # of transformers
        ("[" * 100_000, "is no JSON"),
        ('{"model_cfg": {"vision_cfg": {"image_size": null}, "text_cfg": {}}}', "takes images of None pixels"),
        ('{"model_cfg": {"vision_cfg": {"image_size": []}, "text_cfg": {}}}', "only square ones"),
        ('{"model_cfg": {"vision_cfg": {"image_size": "224"}, "text_cfg": {}}}', "takes images of 224 pixels"),
    ],
)
def test_a_configuration_of_something_else_is_named(tmp_path, content, message):
    save_random(tmp_path, "vit_b_32")
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(ValueError, match=rf"model\.name: .*{message}"):
        load_folder(tmp_path, "0")


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ([], "embed_dim", None),
        (["vision_cfg"], "layers", None),
        (["vision_cfg"], "width", "big"),
        (["text_cfg"], "heads", []),
        (["text_cfg"], "vocab_size", None),
        (["text_cfg"], "tokenizer_kwargs", "big"),
        (["text_cfg"], "tokenizer_kwargs", {"bpe_path": "missing.txt.gz"}),
    ],
)
def test_values_of_which_no_model_can_be_built_are_not_blamed_on_the_weights(tmp_path, block, key, value):
    save_random(tmp_path, "vit_b_32")
    file = change_config(tmp_path, *block, **{key: value})
    with pytest.raises(ValueError, match=rf"^model\.name: open_clip cannot build the model that {file} describes: "):
        load_folder(tmp_path)


@pytest.mark.parametrize("kind", ["vit_b_32", "custom_text"])
@pytest.mark.parametrize("tower", ["vision_cfg", "text_cfg"])
def test_tokens_beside_features_are_refused_by_name(tmp_path, kind, tower):
    save_random(tmp_path, kind)
    change_config(tmp_path, tower, output_tokens=True)
    with pytest.raises(ValueError, match=rf"the {tower} of .* has output_tokens: true, .* false is allowed"):
        load_folder(tmp_path)
    change_config(tmp_path, tower, output_tokens=False)
    load_folder(tmp_path)


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError])
def test_a_lack_of_memory_is_not_blamed_on_the_file(tmp_path, monkeypatch, kind):
    digest = save_random(tmp_path, "vit_b_32")

    def fails(*args, **kwargs):
        raise kind("unable to mmap 3042976 bytes from a file: Cannot allocate memory (12)")

    monkeypatch.setattr("stages.models.checkpoints.load_file", fails)
    monkeypatch.setattr("safetensors.torch.load_file", fails)  # imported by open_clip where it loads
    with pytest.raises(kind, match="Cannot allocate"):
        load_folder(tmp_path, digest)
