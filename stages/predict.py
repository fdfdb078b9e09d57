"""predict: a method and images of your own -> the likeliest classes of each, by the method and the hand-written prompt.

A tool, no stage: it reads what stages made and writes no file.

    python -m stages.predict data/prompts/fashion/all/tune_bank/advpt photo.jpg folder
"""

import argparse
import gc
import io
import sys
from pathlib import Path

from stages.datasets.decode import decode
from stages.datasets.places import collecting, files_at, shortened
from stages.evaluation.predict import load_methods, predict_image
from stages.report.terminal import as_json, as_table
from stages.runtime.cli import errors_as_messages, visible
from stages.runtime.params import load_params


def main(arguments: list[str] | None = None) -> None:
    """Print the predictions for each image."""
    gc.enable()
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description=__doc__.split("\n\n")[0])
    parser.add_argument("prompts", type=Path, help="a folder of data/prompts, or its prompts.safetensors")
    parser.add_argument("images", type=Path, nargs="+", help="image files, folders of them")
    parser.add_argument("--json", action="store_true", help="one JSON object per image, each on a line of its own")
    parser.add_argument("--top", type=int, default=3, help="how many classes (3)")
    parser.add_argument("--seed", type=int, default=0, help="which tuning seed of the prompts (0)")
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where the terminal's own encoding lacks a letter
    with errors_as_messages(parser.prog):
        predict(**vars(options))


def predict(prompts: Path, images: list[Path], *, json: bool, top: int, seed: int) -> None:
    """Classify image by image.

    Raises:
        ValueError: If prompts or model are missing or do not fit, or, after the others were classified, some images.
    """
    if top < 1:
        raise ValueError(f"--top: {top}; at least 1 class is allowed")
    paths: list[Path] = []
    faults: list[str] = []
    for place in images:
        with collecting(faults):
            paths += files_at(place)
    params = load_params()
    methods = load_methods(prompts, params, seed=seed)
    clip = methods[0].victim.clip
    named, model = params.model.model_dump(exclude={"precision"}), clip.fingerprint
    if {**named, "sha256": named["sha256"] or model["sha256"]} != {**dict.fromkeys(named), **model}:
        tower = f", image tower {model['visual_weights']}" if model.get("visual_weights") else ""
        theirs = f"{model['name']}, sha256 {model['sha256']}{tower}"
        note = f"params.yaml names another model; these prompts were made with {theirs}, which is used"
        print(visible(note), file=sys.stderr)
    formatted = as_json if json else as_table
    for path in paths:
        with collecting(faults):
            image = decode(path)
            print(formatted(path, image.size, clip.image_size, predict_image(image, methods, top=top)))
    if faults:
        raise ValueError(f"{len(faults)} files or folders cannot be classified:\n{shortened(faults)}")


if __name__ == "__main__":
    main()
