"""How text features have moved, how near they lie to each other, where they fall among the images, as tables."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stages.evaluation.study import Study
from stages.interpretation.drift import moves
from stages.interpretation.pca import first_of_each, principal_plane, unit
from stages.models.logits import cosines
from stages.storage.embeddings import Bank

MOST_CLASSES = 40  # of a map of cosines: more names cannot be read
MOST_POINTS = 500  # of each kind in the plane
DIGITS = 6  # a sum may end otherwise elsewhere, behind these


def moves_table(study: Study, prompts: Sequence[str]) -> pa.Table:
    """How the text feature of each class has moved from the hand-written one.

    Returns:
        Rows: prompt, seed, class, cosine, towards, gain, common; see `stages.interpretation.drift.Moves`.
    """
    before, names = study.prompts["hand"].text_features[0], study.prompts["hand"].class_names
    rows = []
    for prompt in prompts:
        for seed, after in enumerate(study.prompts[prompt].text_features):
            moved = moves(before, after)
            numbers = [rounded(column).tolist() for column in (moved.cosine, moved.gain, moved.common)]
            for name, towards, cosine, gain, common in zip(names, moved.towards, *numbers, strict=True):
                ways = {"cosine": cosine, "towards": names[towards], "gain": gain, "common": common}
                rows.append({"prompt": prompt, "seed": seed, "class": name, **ways})
    return pa.Table.from_pylist(rows)


def cosines_table(study: Study) -> pa.Table:
    """Cosines between the text features of the first 40 classes, for the first tuning seed of each prompt.

    Returns:
        Rows: prompt, label, class, other_label, other, cosine.
    """
    rows = []
    for prompt, file in study.prompts.items():
        features, names = file.text_features[0, :MOST_CLASSES], file.class_names
        for (label, other), cosine in np.ndenumerate(rounded(cosines(features, features))):
            pair = {"label": label, "class": names[label], "other_label": other, "other": names[other]}
            rows.append({"prompt": prompt, **pair, "cosine": float(cosine)})
    return pa.Table.from_pylist(rows)


def plane_table(clean: Bank, attacked: Bank, study: Study) -> pa.Table:
    """Images clean and attacked, and the text features of the first tuning seeds, in the plane of the clean images.

    Args:
        clean: Embeddings of N images; the first of each class, then the second and so on, 500 at most, are shown.
        attacked: Of the same images, in the same order.
        study: The prompts.

    Returns:
        Rows: kind (clean, adversarial, hand, coop, advpt), label, x, y, distance (from the mean, in all dimensions).
    """
    chosen = first_of_each(clean.labels, MOST_POINTS)
    kinds = {"clean": (clean.embeddings[chosen], clean.labels[chosen])}
    kinds["adversarial"] = (attacked.embeddings[chosen], attacked.labels[chosen])
    for prompt, file in study.prompts.items():
        features = file.text_features[0, :MOST_POINTS]
        kinds[prompt] = (features, study.labels[: len(features)])
    plane = principal_plane(unit(kinds["clean"][0]))
    parts = []
    for kind, (features, labels) in kinds.items():
        coordinates, distances = plane.coordinates(unit(features))
        columns = {"x": coordinates[:, 0], "y": coordinates[:, 1], "distance": distances}
        numbers = {name: rounded(values) for name, values in columns.items()}
        parts.append(pa.table({"kind": [kind] * len(labels), "label": labels.astype(np.int64), **numbers}))
    return pa.concat_tables(parts)


def rounded(values: np.ndarray) -> np.ndarray:
    """Values to 6 digits; zero has no sign, which would be that of the rounding error."""
    return np.round(values, DIGITS) + 0.0
