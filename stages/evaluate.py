"""evaluate: prompts x stored features -> data/rows/<study>/<threat>.parquet, one row per example. No CLIP in memory.

The threat `clean` judges the clean test features; with a defence, those of what it makes of the images. The study is
the data set itself unless its prompts were tuned elsewhere (imagenet_to_dtd) or know only some of its classes
(dtd_base, dtd_new).
"""

from dataclasses import replace
from pathlib import Path

from stages.evaluation.study import accuracy_of, expected_provenance, judged, read_study
from stages.runtime.cli import command
from stages.runtime.params import load_params, threat_of
from stages.storage.embeddings import read_bank
from stages.storage.files import replacing, require_writable
from stages.storage.parquet import write_table
from stages.storage.provenance import provenance, require


def main(dataset: str, threat: str, study: str | None = None, defence: str | None = None) -> str:
    """Judges the same features by every prompt and tuning seed."""
    params = load_params()
    name = f"{threat}+{defence}" if defence else threat
    out = Path(f"data/rows/{study or dataset}/{name}.parquet")
    require_writable(out)
    expected = {} if threat == "clean" else {"attack": threat_of(params.oblivious, threat).model_dump()}
    if defence is not None:
        path = Path(f"data/test/{dataset}/{threat}+{defence}/features.parquet")
        expected["defence"] = threat_of(params.defences, defence).model_dump()
    elif threat == "clean":
        path = Path(f"data/clean/{dataset}/test/features.parquet")
    else:
        path = Path(f"data/test/{dataset}/{threat}/features.parquet")
    bank, made_by = read_bank(path)
    data, seed = params.data.model_dump(), params.seed
    require(made_by, path, dataset=dataset, split="test", data=data, seed=seed, **expected)

    same = {"model": made_by["model"], "dataset_sha256": made_by["dataset_sha256"]}
    compared = read_study(dataset, study or dataset, expected_provenance(params), **same)
    bank = bank.take(compared.takes_part(bank.labels))
    bank = replace(bank, labels=compared.relabel(bank.labels))
    rows = {
        prompt: [
            judged(bank, compared, threat=name, defence=defence or "none", prompt=prompt, seed=seed)
            for seed in range(len(file.text_features))
        ]
        for prompt, file in compared.prompts.items()
    }
    with replacing(out) as temporary:
        parts = [part for parts in rows.values() for part in parts]
        write_table(temporary, parts, provenance(features=made_by, prompts=compared.provenances))
    headline = ", ".join(f"{prompt} {accuracy_of(parts):.3f}" for prompt, parts in rows.items())
    told = "right" if threat == "clean" and not defence else "right on these images alone, clean or not"
    return f"wrote {out}, n = {len(bank.ids)}, {told}: {headline}"


if __name__ == "__main__":
    command(main)
