"""defend: the prompts of another method, and a defence in front of it -> a method of the group `defended`.

The output holds the prompts of the method behind the defence, so a change of these reaches what stands on them, and a
change of other methods nothing.
"""

from dataclasses import replace

from stages.evaluation.study import read_method
from stages.runtime.cli import command
from stages.runtime.method_blocks import Defended
from stages.runtime.params import load_params
from stages.storage.files import replacing, require_writable
from stages.storage.layout import method_folder
from stages.storage.prompts import save_prompts
from stages.storage.provenance import with_versions


def main(dataset: str, study: str, method: str) -> str:
    """Write the prompts of the method that the block names, with the defence in their provenance."""
    params = load_params()
    found = params.methods.find("defended", method)
    assert isinstance(found.block, Defended)
    out = method_folder(dataset, study, "defended", method)
    require_writable(out)
    behind = next(one for one in params.methods.all() if one.name == found.block.method)
    prompts = read_method(dataset, study, behind, params)
    same = {name: prompts.provenance[name] for name in ("dataset", "dataset_sha256", "study", "model", "seed")}
    made_by = with_versions(**same, method=method, block=found.settings(params.tune), behind=prompts.provenance)
    with replacing(out) as folder:
        folder.mkdir()
        save_prompts(folder / "prompts.safetensors", replace(prompts, provenance=made_by))
    return f"wrote {out}, {behind.name} behind {found.block.defence.kind}"


if __name__ == "__main__":
    command(main)
