"""A committed entry, copied and changed in one way, with digests that fit the change."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages.entries.record import ENTRIES, ENTRY, OUTCOMES, PROMPTS, read_outcomes, write_outcomes
from stages.storage.images import Images, read_all_images, write_images
from stages.storage.parquet import checksum_of
from stages.storage.prompts import PromptFile, load_prompts, save_prompts
from tests.imports import ROOT

EPS = 4


class Copy:
    """A copy of the entry of one method of the default."""

    def __init__(self, folder: Path, method: str = "advpt", *, model: str = "tiny-clip") -> None:
        self.folder = folder
        shutil.copytree(ROOT / ENTRIES / f"fashion-{model}-{method}", folder)
        self.record = json.loads((folder / ENTRY).read_text())
        self.outcomes = read_outcomes(folder, self.record)
        self.images_folder = folder / f"images/eps{EPS}"

    @property
    def result(self) -> dict:
        """The results at EPS."""
        return next(one for one in self.record["results"] if one["eps"] == EPS)

    @property
    def images(self) -> Images:
        """The attacked images at EPS."""
        return read_all_images(self.images_folder)

    def store(self, images: Images) -> None:
        """Store other attacked images at EPS."""
        shutil.rmtree(self.images_folder)
        write_images(self.images_folder, [images], {})

    def fell_to(self, id: str, threat: str) -> None:
        """State another outcome of an image at EPS."""
        self.outcomes.loc[(self.outcomes["id"] == id) & (self.outcomes["eps"] == EPS), "fell_to"] = threat

    def fallen(self) -> pd.DataFrame:
        """The outcomes of the images that fell to an attack at EPS."""
        rows = self.outcomes[self.outcomes["eps"] == EPS]
        return rows[~rows["fell_to"].isin(["", "clean"])]

    @property
    def prompts(self) -> PromptFile:
        """The prompts."""
        return load_prompts(self.folder / PROMPTS)

    def remake(self, *, provenance: dict | None = None, **changes: object) -> None:
        """Store the prompts with some attributes changed, and with some keys of their provenance."""
        prompts = self.prompts
        provenance = {**prompts.provenance, **(provenance or {})}
        save_prompts(self.folder / PROMPTS, replace(prompts, **{"provenance": provenance, **changes}))

    def sign(self) -> Path:
        """Write the record with digests of the files as they are."""
        write_outcomes(self.folder, self.outcomes)
        files = {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != ENTRY
        }
        self.record |= {"files": files, "outcomes_sha256": checksum_of(self.folder / OUTCOMES)}
        (self.folder / ENTRY).write_text(json.dumps(self.record))
        return self.folder


def without(images: Images, id: str) -> Images:
    """Return all images but one."""
    return images.take(np.array([other != id for other in images.ids]))
