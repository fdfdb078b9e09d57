"""Embeddings x prompts -> rows: the one evaluation path of clean, oblivious and adaptive threats."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.banks.bank import Bank
from stages.banks.provenance import require
from stages.prompts.classify import cosine_logits, judge
from stages.prompts.file import PromptFile, load_prompts

PROMPTS = ("hand", "coop", "advpt")


def rows_of(bank: Bank, prompts: PromptFile, *, dataset: str, threat: str, prompt: str, seed: int) -> pa.Table:
    """Judges each embedding by one prompt of one tuning seed.

    Returns:
        N rows: id, dataset, threat, defence, prompt, seed, label, prediction, correct, margin.
    """
    logits = cosine_logits(bank.embeddings, prompts.text_features[seed], prompts.logit_scale)
    predictions, margins = judge(logits, bank.labels)
    count = len(bank.ids)
    columns = {
        "id": pa.array(bank.ids, pa.string()),
        "dataset": pa.repeat(dataset, count),
        "threat": pa.repeat(threat, count),
        "defence": pa.repeat("none", count),
        "prompt": pa.repeat(prompt, count),
        "seed": pa.repeat(seed, count),
        "label": pa.array(bank.labels, pa.int64()),
        "prediction": pa.array(predictions, pa.int64()),
        "correct": pa.array(predictions == bank.labels, pa.bool_()),
        "margin": pa.array(margins.astype(np.float32)),
    }
    return pa.table(columns)


def accuracy_of(rows: pa.Table) -> float:
    """The share of rows that are right."""
    return float(np.mean(rows["correct"].to_numpy()))


def read_prompts(dataset: str, **expected: object) -> dict[str, PromptFile]:
    """Reads the prompts that are compared everywhere, by name.

    Raises:
        ValueError: If one is missing or damaged, or its provenance differs from what is expected.
    """
    found = {}
    for prompt in PROMPTS:
        path = Path(f"data/prompts/{dataset}/{prompt}/prompts.safetensors")
        found[prompt] = load_prompts(path)
        require(found[prompt].provenance, path, dataset=dataset, **expected)
    return found
