"""List which of open_clip's models can be defended: `python -m reports.studies.supported` writes reports/supported.csv.

A model is refused by its configuration, with the check that comes first whenever a model is loaded. Any other is built,
here without weights on the meta device, and checked further: the token at which its texts end, its image tower, its
text tower under embeddings, and features of one size. What needs weights is checked when they are loaded.
"""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from stages.models.clip import Clip
from stages.models.supported import check_end, refusal_of
from stages.models.text_tower import TextTower
from stages.runtime.startup import import_open_clip, import_timm

OUT = Path("reports/supported.csv")
META = torch.device("meta")


def row_of(name: str) -> dict[str, Any]:
    """Return what becomes of a model of open_clip: why it is refused, or what it is like."""
    configuration = import_open_clip().get_model_config(name)
    if refusal := refusal_of(name, configuration):
        return {"name": name, "refused": "; ".join(refusal.kinds)}
    clip = build(name)
    check_end(name, configuration, clip.tokenizer.eot_token_id)
    tower = TextTower(clip.model, clip.tokenizer)
    image_features = clip.encode_image(torch.empty(1, 3, clip.image_size, clip.image_size, device=META))
    text_features = clip.model.encode_text(clip.tokenizer(["a photo"]).to(META))
    if image_features.shape != text_features.shape:
        raise ValueError(f"{name}: image features {image_features.shape}, text features {text_features.shape}")
    sizes = {"image_size": clip.image_size, "context_length": tower.context_length}
    return {"name": name, "refused": "", **sizes, "fast": clip.is_fast}


def build(name: str) -> Clip:
    """Build a model without weights, which takes no memory."""
    import_timm()
    logging.getLogger().setLevel(logging.ERROR)  # open_clip tells the root logger that there are no weights
    open_clip = import_open_clip()
    with META:
        return Clip(open_clip.create_model(name, device=META), open_clip.get_tokenizer(name), {})


if __name__ == "__main__":
    rows = [row_of(name) for name in import_open_clip().list_models()]
    pd.DataFrame(rows).convert_dtypes().assign(open_clip=version("open_clip_torch")).to_csv(OUT, index=False)
