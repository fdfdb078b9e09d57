"""Embeddings x prompts -> rows: the one evaluation path of clean, oblivious and adaptive threats."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from stages.banks.bank import Bank
from stages.banks.provenance import Provenance
from stages.banks.table import write_table
from stages.prompts.classify import cosine_logits, judge
from stages.prompts.file import PromptFile


def rows_of(bank: Bank, prompts: PromptFile, *, dataset: str, threat: str, prompt: str, seed: int) -> pd.DataFrame:
    """Judges each embedding by one prompt of one tuning seed.

    Returns:
        N rows: id, dataset, threat, defence, prompt, seed, label, prediction, correct, margin.
    """
    logits = cosine_logits(bank.embeddings, prompts.text_features[seed], prompts.logit_scale)
    predictions, margins = judge(logits, bank.labels)
    return pd.DataFrame(
        {
            "id": bank.ids,
            "dataset": dataset,
            "threat": threat,
            "defence": "none",
            "prompt": prompt,
            "seed": seed,
            "label": bank.labels,
            "prediction": predictions,
            "correct": predictions == bank.labels,
            "margin": margins.astype(np.float32),
        }
    )


def write_rows(path: Path, rows: list[pd.DataFrame], provenance: Provenance) -> None:
    """Writes rows as one Parquet file."""
    write_table(path, [pa.Table.from_pandas(part, preserve_index=False) for part in rows], provenance)
