"""Certify methods by randomised smoothing: `python -m reports.studies.certified` writes reports/certified.csv.

The lower bound of robustness, in L2, beside the upper bounds of attacks: the first tuning seed of each method on a
class-balanced draw of test images of the default data set. A ball of eps in L-infinity lies in an L2 ball of radius
eps · sqrt(3 · H · W), at 32 pixels 0.87 for eps 4/255: smaller radii certify nothing at the eps of the attacks.
"""

import hashlib
from itertools import product

import pandas as pd
import torch

from stages.evaluation.load import load_victim
from stages.evaluation.smoothing import certified_accuracy, certify
from stages.evaluation.subset import draw_from
from stages.models.device import to_tensor
from stages.runtime.params import load_params
from stages.storage.layout import clean_images, prompts_file

METHODS = ("zero_shot/zero_shot", "refresh/advpt_refreshed", "adversarial/pixel_prompt")
IMAGES, SELECTION, DRAWS, ALPHA = 100, 100, 1000, 0.001
SIGMAS = (0.1, 0.25)
RADII = [0.0, 0.1, 0.2, 0.3, 0.5]


def main() -> pd.DataFrame:
    """Certify each method at each noise level."""
    params = load_params()
    (dataset, *_) = params.datasets
    source = clean_images(dataset, "test")
    drawn = draw_from(source, range(10), IMAGES, seed=params.seed).images()
    images, labels = to_tensor(drawn.pixels, torch.device("cpu")), drawn.labels
    sizes = {"selection": SELECTION, "draws": DRAWS, "batch_size": 500}
    lines = []
    for method, sigma in product(METHODS, SIGMAS):
        path = prompts_file(dataset, "all", *method.split("/"))
        # without the check of its input: noisy images leave [0, 1]
        victim = load_victim(path, device="cpu").undefended()
        generator = torch.Generator().manual_seed(params.seed)
        found = certify(victim, images, sigma=sigma, alpha=ALPHA, generator=generator, **sizes)
        certified = zip(RADII, certified_accuracy(found, labels, RADII), strict=True)
        line = {"method": method.split("/")[1], "sigma": sigma, "n": len(labels)}
        line |= {f"L2 {radius:g}": share for radius, share in certified}
        lines.append(line | {"prompts_sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
        print(lines[-1], flush=True)
    return pd.DataFrame(lines)


if __name__ == "__main__":
    main().to_csv("reports/certified.csv", index=False, lineterminator="\n")
