"""Digests are of the bytes that are meant, whatever else lies beside them and however git checks files out."""

import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stages.models.clip import load_clip, weights_digest
from stages.models.digests import file_digest
from stages.models.weights import find_source
from stages.runtime.params import load_params
from tests.imports import ROOT
from tests.models.random_models import KINDS, change_config, load_folder, random_model, save_random

CPU = torch.device("cpu")
EMBEDDED = Path("data/embedded")
TINY = EMBEDDED / "tiny-clip"
DOCS_COMMAND = re.search(
    "<!-- digest -->\n```bash\n(.*?)```", (ROOT / "docs/reproducibility.md").read_text("utf-8"), re.DOTALL
)[1]
TOKENIZER = ("text_cfg", "tokenizer_kwargs")
BESIDE = (
    *(".DS_Store", ".gitattributes", "README.md", "LICENSE", "Thumbs.db", "desktop.ini", "a name with blanks"),
    *("config.json", "open_clip_pytorch_model.bin", "model.safetensors", "logs/out.txt"),
    *("open_clip_model.safetensors.lock", ".cache/huggingface/download/open_clip_model.safetensors.lock"),
)


def shell(command: str) -> str:
    return subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout.split()[0]


def digest_of(folder: Path) -> str:
    return weights_digest(f"local-dir:{folder}", None)


def strew(folder: Path) -> None:
    for name in BESIDE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not read by open_clip")


@pytest.mark.parametrize("name", ["model", "it's a model; $(exit 1)"])
def test_the_command_of_the_docs_prints_the_digest_whatever_lies_beside(tmp_path, name):
    folder = tmp_path / name
    digest = save_random(folder, "vit_b_32")
    strew(folder)
    assert digest_of(folder) == digest
    (tmp_path / "here").symlink_to(folder)
    assert shell(DOCS_COMMAND.replace("FOLDER", str(tmp_path / "here"))) == digest
    load_folder(folder, digest)


@pytest.mark.parametrize("folder", sorted(EMBEDDED.glob("*-*")), ids=lambda folder: folder.name)
def test_the_command_of_the_docs_prints_the_digest_of_each_embedded_model(folder):
    assert shell(DOCS_COMMAND.replace("FOLDER", str(folder))) == digest_of(folder)


@pytest.mark.parametrize("kind", ["folder", "folder with a table elsewhere", "file"])
def test_the_command_of_the_error_prints_the_digest(tmp_path, monkeypatch, kind):
    folder, pretrained = tmp_path / "it's here", None
    shutil.copytree(TINY, folder)
    name = f"local-dir:{folder}"
    if kind == "folder":
        change_config(folder, *TOKENIZER, bpe_path=str(folder / "bpe_merges.txt.gz"))
    elif kind == "file":
        name, pretrained = "ViT-B-16", str(folder / "open_clip_model.safetensors")
    strew(folder)
    with pytest.raises(ValueError, match="0000 is expected") as caught:
        load_clip(name, pretrained=pretrained, sha256="0000", device=CPU)
    monkeypatch.chdir("/")  # it can be run anywhere
    assert shell(str(caught.value).splitlines()[-1]) in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors", "bpe_merges.txt.gz"])
def test_every_file_that_is_read_counts(tmp_path, name):
    folder = Path(shutil.copytree(TINY, tmp_path / "clip"))
    change_config(folder, *TOKENIZER, bpe_path=str(folder / "bpe_merges.txt.gz"))
    before = digest_of(folder)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert digest_of(folder) != before


def test_a_table_of_merges_counts_wherever_it_lies(tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "clip"))
    table = Path(shutil.move(folder / "bpe_merges.txt.gz", tmp_path / "bpe_merges.txt.gz"))
    change_config(folder, *TOKENIZER, bpe_path=str(table))
    before = digest_of(folder)
    table.write_bytes(table.read_bytes() + b" ")
    assert digest_of(folder) != before


@pytest.mark.parametrize(
    "names",
    [
        ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors"),
        ("open_clip_pytorch_model.bin", "model.safetensors"),
        ("mine.bin", "mine.safetensors"),
        ("epoch_3.pth",),
    ],
)
def test_what_is_digested_is_what_is_loaded(tmp_path, names):
    save_random(tmp_path, "vit_b_32")
    (tmp_path / "open_clip_model.safetensors").unlink()
    for scale, name in enumerate(names):
        weights = random_model(KINDS["vit_b_32"][0]).state_dict()
        weights["logit_scale"] = torch.tensor(float(scale))
        (save_file if name.endswith(".safetensors") else torch.save)(weights, tmp_path / name)
    source = find_source(f"local-dir:{tmp_path}", None)
    clip = load_folder(tmp_path, source.digest)
    assert clip.model.logit_scale.item() == names.index(source.file.name)
    assert file_digest(source.file) == sha256((tmp_path / source.file.name).read_bytes()).hexdigest()


def test_weights_that_cannot_be_opened_are_named(tmp_path):
    save_random(tmp_path, "vit_b_32")
    (tmp_path / "open_clip_model.safetensors").unlink()
    (tmp_path / "open_clip_model.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"open_clip_model\.safetensors cannot be read \(Is a directory\)"):
        digest_of(tmp_path)


def git(*arguments: object, folder: Path = ROOT) -> str:
    command = ["git", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Path:
    """A repository of what is tracked here, as it stands in the working tree."""
    folder = tmp_path_factory.mktemp("committed")
    for name in git("ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git("init", "-q", folder=folder)
    git("add", ".", folder=folder)
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "all", folder=folder)
    return folder


def test_a_clone_has_the_bytes_that_were_committed_even_if_git_is_told_to_change_line_ends(tmp_path, committed):
    setting = "core.autocrlf=true"
    git("-c", setting, "clone", "-q", committed, tmp_path / "clone")
    git("config", *setting.split("="), folder=tmp_path / "clone")
    names = git("ls-files", "-z", folder=committed).split("\0")[:-1]
    assert len(names) > 300
    changed = [name for name in names if (committed / name).read_bytes() != (tmp_path / "clone" / name).read_bytes()]
    assert changed == []
    (tmp_path / "clone/params.yaml").touch()
    assert git("status", "--porcelain", folder=tmp_path / "clone") == ""
    assert digest_of(tmp_path / "clone" / TINY) == load_params().model.sha256
