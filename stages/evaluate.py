"""evaluate: prompts x stored features -> data/rows/<dataset>/<threat>.parquet, one row per example. No CLIP in memory.

The threat `clean` judges the clean test features.
"""

from pathlib import Path

from stages.banks.bank import read_bank
from stages.banks.files import replacing
from stages.banks.provenance import provenance, require
from stages.banks.table import write_table
from stages.command import command
from stages.judging import accuracy_of, read_prompts, rows_of
from stages.params import load_params, threat_of


def main(dataset: str, threat: str) -> str:
    """Judges the same features by every prompt and tuning seed."""
    params = load_params()
    if threat == "clean":
        path, expected = Path(f"data/clean/{dataset}/test/features.parquet"), {}
    else:
        path = Path(f"data/test/{dataset}/{threat}/features.parquet")
        expected = {"attack": threat_of(params.oblivious, threat).model_dump()}
    bank, made_by = read_bank(path)
    require(made_by, path, dataset=dataset, split="test", **expected)

    prompts = read_prompts(dataset, model=made_by["model"], dataset_sha256=made_by["dataset_sha256"])
    rows = {
        prompt: [
            rows_of(bank, file, dataset=dataset, threat=threat, prompt=prompt, seed=seed)
            for seed in range(len(file.text_features))
        ]
        for prompt, file in prompts.items()
    }
    out = Path(f"data/rows/{dataset}/{threat}.parquet")
    made_from = provenance(features=made_by, prompts={prompt: file.provenance for prompt, file in prompts.items()})
    with replacing(out) as temporary:
        write_table(temporary, [part for parts in rows.values() for part in parts], made_from)
    right = {prompt: [accuracy_of(part) for part in parts] for prompt, parts in rows.items()}
    headline = ", ".join(f"{prompt} {sum(seeds) / len(seeds):.3f}" for prompt, seeds in right.items())
    return f"wrote {out}, n = {len(bank.ids)}, right: {headline}"


if __name__ == "__main__":
    command(main)
