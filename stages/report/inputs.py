"""What `plot` and `model_card` read: rows, curves, images, measurements of a study, held against what made them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.datasets.card import Card
from stages.datasets.card_file import read_card
from stages.evaluation.study import TUNED, expected_provenance
from stages.report.origins import flat
from stages.report.tables import Rows
from stages.report.vocabulary import Threat
from stages.report.worst import pointwise_worst
from stages.runtime.params import Params
from stages.storage.images import images_provenance, read_images
from stages.storage.parquet import opened, read_table
from stages.storage.prompts import load_prompts
from stages.storage.provenance import Provenance, require


@dataclass(frozen=True)
class Found:
    """What was found in one study.

    Attributes:
        dataset: Whose test images were judged.
        card: What is known of that data set.
        class_names: The classes of this study, by label.
        prompts: What made each prompt.
        curves: Tuning curves; None where the prompts were tuned in another study.
        rows: The rows of each threat.
    """

    dataset: str
    card: Card
    class_names: list[str]
    prompts: dict[str, Provenance]
    curves: pd.DataFrame | None
    rows: Rows


def read_assessment(dataset: str, study: Found, settings: dict[str, Any]) -> pd.DataFrame:
    """What `assess` measured on a data set; the column `prompt` says on which prompt.

    Raises:
        ValueError: If it is missing or damaged, or was measured on other prompts or by other parameters.
    """
    path = Path(f"data/test/{dataset}/assessment.parquet")
    table, made_by = read_table(path)
    require(made_by, path, assess=settings, prompts=study.prompts[settings["prompt"]])
    return table.to_pandas().assign(prompt=settings["prompt"])


def read_words(dataset: str, study: Found) -> dict[str, pd.DataFrame]:
    """What the stage `words` found on a data set: the tables words, moves, cosines, plane.

    Raises:
        ValueError: If one is missing or damaged, or was made from other prompts.
    """
    tables = {}
    for name in ("words", "moves", "cosines", "plane"):
        path = Path(f"data/words/{dataset}/{name}.parquet")
        table, made_by = read_table(path)
        require(flat(made_by["prompts"]), path, **flat(study.prompts))
        tables[name] = table.to_pandas()
    return tables


def read_study(name: str, dataset: str, threats: list[Threat], params: Params) -> Found:
    """Reads what was found in one study.

    Raises:
        ValueError: If a file is missing or damaged, if prompts or rows are those of other parameters, or rows those of
            other prompts.
    """
    folder = Path(f"data/prompts/{name}")
    files = {prompt: folder / prompt / "prompts.safetensors" for prompt in TUNED}
    loaded = {
        prompt: load_prompts(path)
        for prompt, path in {"hand": Path(f"data/prompts/{dataset}/hand/prompts.safetensors"), **files}.items()
    }
    prompts = {prompt: file.provenance for prompt, file in loaded.items()}
    for prompt, made_by in prompts.items():
        require(made_by.get("tuned", made_by), folder / prompt, **expected_provenance(params)[prompt])
    chosen = {"seed": params.seed, "data": params.data.model_dump()}
    rows = {}
    worst = [threat for threat in threats if threat.name.startswith("worst_")]
    for threat in (one for one in threats if one not in worst):
        path = Path(f"data/rows/{name}/{threat.name}.parquet")
        table, made_by = read_table(path)
        require(flat(made_by["prompts"]), path, **flat(prompts))
        source = made_by["images" if threat.knowledge == "adaptive" else "features"]
        require(flat(source), path, **expected(dataset, threat), **flat(chosen))
        rows[threat.name] = table.to_pandas().assign(defence=threat.defence)
    rows |= {one.name: pointwise_worst([rows[part] for part in one.attack["of"]], one.name) for one in worst}
    tuned = read_curves({prompt: path.with_name("tuning.parquet") for prompt, path in files.items()}, prompts)
    card = read_card(dataset)
    return Found(dataset, card, loaded["advpt"].class_names, prompts, tuned, rows)


def read_curves(paths: dict[str, Path], prompts: dict[str, Provenance]) -> pd.DataFrame | None:
    """The tuning curves of the prompts of one study; None where they were tuned in another one.

    Raises:
        ValueError: If a file is damaged, or is the curve of another prompt.
    """
    if not all(path.is_file() for path in paths.values()):
        return None
    curves = []
    for prompt, path in paths.items():
        table, made_by = read_table(path)
        require(flat(made_by), path, **flat(prompts[prompt]))
        curves.append(table.to_pandas())
    return pd.concat(curves)


def expected(dataset: str, threat: Threat) -> Provenance:
    """What must have made the images of a threat, nested keys joined by dots."""
    return flat({"dataset": dataset, "split": "test", "attack": threat.attack})


def read_pixels(dataset: str, threat: Threat, ids: list[str]) -> np.ndarray:
    """The images of the given ids, in their order (N, H, W, 3); holds one shard at a time."""
    folder = {
        "clean": Path(f"data/clean/{dataset}/test/images"),
        "oblivious": Path(f"data/test/{dataset}/{threat.name}/images"),
        "adaptive": Path(f"data/test/{dataset}/{threat.name}/images/advpt-0"),
    }[threat.knowledge]
    require(flat(images_provenance(folder)), folder, **expected(dataset, threat))
    found = {}
    for shard in read_images(folder):
        found |= {id: pixels.copy() for id, pixels in zip(shard.ids, shard.pixels, strict=True) if id in ids}
        if len(found) == len(ids):
            break
    return np.stack([found[id] for id in ids])


def count_training_images(dataset: str) -> int:
    """How many training images took part."""
    with opened(Path(f"data/clean/{dataset}/train/features.parquet")) as file:
        return file.metadata.num_rows
