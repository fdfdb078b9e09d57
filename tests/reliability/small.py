"""A small run of all stages in a folder of its own, each in a fork of this process: quick to start, easy to kill."""

import hashlib
import importlib
import os
import resource
import shutil
import sys
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from stages.runtime.startup import import_open_clip
from tests.imports import ROOT
from tests.micro import ASSESS, METHODS, yaml

ADVPT = ("fashion", "all", "tune_bank", "advpt")
JPEG = ("fashion", "all", "defended", "advpt_jpeg")
ADV_VLP = ("fashion", "all", "adversarial", "adv_vlp")
ORDER = [
    ("fetch", "fashion"),
    ("extract", "fashion"),
    ("zero_shot", "fashion", "all", "zero_shot"),
    ("craft", "fashion"),
    ("embed", "fashion"),
    ("tune", *ADVPT),
    ("tune", "fashion", "all", "tune_clean", "coop"),
    ("refresh", "fashion", "all", "advpt_refreshed"),
    ("adversarial", "fashion", "all", "adv_vlp"),
    ("defend", "fashion", "all", "advpt_jpeg"),
    ("attack_oblivious", "fashion", "pgd_eps8"),
    ("attack_oblivious", "fashion", "transfer_eps8"),
    *(("evaluate", "fashion", "all", *method) for method in METHODS),
    ("evaluate_images", *JPEG),
    ("evaluate_images", *ADV_VLP),
    *(("attack_adaptive", "fashion", "all", *method, "adaptive_eps4") for method in METHODS),
    ("attack_adaptive", *JPEG, "adaptive_eps4"),
    ("attack_adaptive", *ADV_VLP, "adaptive_eps4"),
    ("assess", "fashion"),
    ("interpret", "fashion"),
    ("model_card", "fashion", "all"),
]


@dataclass(frozen=True)
class Small:
    """A folder in which stages run.

    Attributes:
        folder: Where.
        params: Values of params.yaml.
    """

    folder: Path
    params: dict = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path) -> "Small":
        """A folder in which nothing has run: 60 training and 30 test images in shards of 5."""
        for name in ("fashion", "tiny-clip"):
            shutil.copytree(ROOT / "data/embedded" / name, folder / "data/embedded" / name)
        params = yaml.load(ROOT / "params.yaml")
        params["data"] |= {"shots": 6, "test_images": 30, "shard_rows": 5}
        params["runtime"]["workers"] = 1
        params["methods"] = {group: {name: params["methods"][group][name]} for group, name in METHODS}
        params["attack"]["steps"] = 10
        params["tune"] |= {"epochs": 30}
        params["methods"]["refresh"]["advpt_refreshed"] |= {"rounds": 2}
        adv_vlp = {"kind": "adv_vlp", "eps": [4], "epochs": 6, "batch_size": 40, "tuning_seeds": 2, "context_length": 4}
        params["methods"]["adversarial"] = {"adv_vlp": adv_vlp}
        params["oblivious"] = {name: params["oblivious"][name] for name in ("pgd_eps8", "transfer_eps8")}
        params["oblivious"]["pgd_eps8"] |= {"steps": 5}
        params["oblivious"]["transfer_eps8"] |= {"steps": 5}
        params["oblivious"]["transfer_eps8"]["surrogate"] |= {"epochs": 1, "batch_size": 20}
        params["adaptive"] = {"adaptive_eps4": params["adaptive"]["adaptive_eps4"]}
        params["adaptive"]["adaptive_eps4"] |= {"steps": 5, "images": 15}
        defence = {"kind": "jpeg", "quality": 75}
        params["methods"]["defended"] = {"advpt_jpeg": {"method": "advpt", "defence": defence}}
        params["assess"] = {**ASSESS, "images": 6}
        small = cls(folder, params)
        small.write_params()
        return small

    def write_params(self) -> None:
        """Brings params.yaml to what `params` says."""
        with (self.folder / "params.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(self.params, file)

    def copy(self, folder: Path) -> "Small":
        """The same folder once more."""
        shutil.copytree(self.folder, folder)
        return Small(folder, deepcopy(self.params))

    def start(self, stage: str, *arguments: str, largest: int = resource.RLIM_INFINITY) -> int:
        """Starts a stage; returns the process id. What it says goes to a file of its name.

        Args:
            stage: Its name.
            arguments: Its arguments.
            largest: Bytes to which the system lets a file grow.
        """
        main = importlib.import_module(f"stages.{stage}").main
        import_open_clip()  # here, once, and not in every fork
        sys.stdout.flush()
        if pid := os.fork():
            return pid
        code, (soft, hard) = 0, resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            os.chdir(self.folder)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
            said = main(*arguments)
        except ValueError as error:
            code, said = 1, f"error: {error}"
        except BaseException as error:  # a traceback, for a user
            code, said = 2, f"bug: {error!r}"
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.said(stage).write_text(said, encoding="utf-8")
        os._exit(code)

    def said(self, stage: str) -> Path:
        """Where the closing line of a stage goes."""
        return self.folder.parent / f"{self.folder.name}-{stage}.txt"

    def finish(self, stage: str, *arguments: str, **how: int) -> tuple[int, str]:
        """Runs a stage to its end; its exit code and last words."""
        _, status = os.waitpid(self.start(stage, *arguments, **how), 0)
        return os.waitstatus_to_exitcode(status), self.said(stage).read_text(encoding="utf-8")

    def run(self, stage: str, *arguments: str, code: int = 0) -> str:
        """Runs a stage, which has to end as foretold, and returns its last words."""
        found, said = self.finish(stage, *arguments)
        assert found == code, said
        return said

    def digests(self) -> dict[str, str]:
        """sha256 of every file under data/ but those that were there before."""
        files = (path for path in (self.folder / "data").rglob("*") if path.is_file())
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(files)
            if not (name := str(path.relative_to(self.folder / "data"))).startswith(("embedded", "raw"))
        }

    def remove(self, *stage: str) -> None:
        """Remove what a stage makes, as DVC does before it runs it."""
        for out in outs_of(*stage):
            path = self.folder / "data" / out
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def temporary(self) -> list[Path]:
        """What interrupted runs have left."""
        return list(self.folder.rglob(".*partial*"))


def outs_of(stage: str, *arguments: str) -> list[str]:
    """Return what a stage makes, below data/."""
    dataset, *rest = arguments
    name = rest[0] if rest else None
    path = "/".join(arguments)
    return {
        "craft": [f"images/{dataset}/train/bank"],
        "embed": [f"features/{dataset}/train/bank.parquet"],
        "attack_oblivious": [f"images/{dataset}/test/{name}", f"features/{dataset}/test/{name}.parquet"],
        "tune": [f"prompts/{path}"],
        "refresh": [f"prompts/{dataset}/{name}/refresh/{rest[-1]}", f"refreshed/{path}.parquet"] if rest else [],
        "extract": [
            out
            for split in ("train", "test")
            for out in (f"images/{dataset}/{split}/clean", f"features/{dataset}/{split}/clean.parquet")
        ],
        "zero_shot": [f"prompts/{dataset}/{name}/zero_shot/{arguments[-1]}"],
        "adversarial": [f"prompts/{dataset}/{name}/adversarial/{arguments[-1]}"],
        "defend": [f"prompts/{dataset}/{name}/defended/{arguments[-1]}"],
        "evaluate": [f"predictions/{path}/oblivious.parquet"],
        "evaluate_images": [f"predictions/{path}/oblivious.parquet"],
        "interpret": [f"interpretation/{dataset}"],
        "model_card": [f"model_cards/{dataset}/{name}.md"],
        "assess": [f"assessment/{dataset}.parquet"],
        "attack_adaptive": [f"images/{dataset}/adaptive/{'/'.join(rest)}", f"predictions/{path}.parquet"],
    }[stage]
