"""Tables of the text features: how they moved, how similar they are, where they are among the images."""

import numpy as np
import pyarrow as pa

from stages.interpretation.drift import drift
from stages.interpretation.pca import first_of_each, principal_plane, unit
from stages.models.logits import cosines
from stages.storage.embeddings import Bank
from stages.storage.prompts import PromptFile

MOST_CLASSES = 40  # of a map of cosines: more names cannot be read
MOST_POINTS = 500  # of each kind in the plane
DIGITS = 6  # a sum may end otherwise elsewhere, behind these
DRIFT_COLUMNS = {
    "method": pa.string(), "seed": pa.int64(), "class": pa.string(), "cosine": pa.float64(),
    "towards": pa.string(), "gain": pa.float64(), "common": pa.float64(),
}  # fmt: skip


def with_own_text_features(methods: dict[str, PromptFile], reference: str) -> dict[str, PromptFile]:
    """Leave out methods with the text features of the reference, such as class biases: they would cover its marks.

    Args:
        methods: By name.
        reference: The name of the reference method.
    """
    same = methods[reference].text_features[0]
    return {name: one for name, one in methods.items() if name == reference or (one.text_features != same).any()}


def drift_table(reference: PromptFile, tuned: dict[str, PromptFile]) -> pa.Table:
    """Describe how the text feature of each class moved from that of the reference.

    Args:
        reference: The reference method.
        tuned: The methods that have a context, by name; perhaps none.

    Returns:
        Rows: method, seed, class, cosine, towards, gain, common; see `stages.interpretation.drift.Drift`.
    """
    before, names = reference.text_features[0], reference.class_names
    rows = []
    for method, prompts in tuned.items():
        for seed, after in enumerate(prompts.text_features):
            moved = drift(before, after)
            numbers = (rounded(column).tolist() for column in (moved.cosine, moved.gain, moved.common))
            for name, towards, cosine, gain, common in zip(names, moved.towards, *numbers, strict=True):
                rows.append((method, seed, name, cosine, names[towards], gain, common))
    lines = [dict(zip(DRIFT_COLUMNS, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(lines, schema=pa.schema(DRIFT_COLUMNS))


def cosines_table(methods: dict[str, PromptFile]) -> pa.Table:
    """Return the cosines between the text features of the first 40 classes, for the first tuning seed of each method.

    Rows: method, label, class, other_label, other, cosine.
    """
    rows = []
    for method, prompts in methods.items():
        features, names = prompts.text_features[0, :MOST_CLASSES], prompts.class_names
        for (label, other), cosine in np.ndenumerate(rounded(cosines(features, features))):
            pair = {"label": label, "class": names[label], "other_label": other, "other": names[other]}
            rows.append({"method": method, **pair, "cosine": float(cosine)})
    return pa.Table.from_pylist(rows)


def pca_table(clean: Bank, attacked: Bank, methods: dict[str, PromptFile]) -> pa.Table:
    """Project images clean and attacked, and text features, onto the two principal components of the clean images.

    Args:
        clean: Embeddings of N images; the first of each class, then the second and so on, 500 at most, are shown.
        attacked: Of the same images, in the same order.
        methods: By name; the text features of their first tuning seeds are shown.

    Returns:
        Rows: kind (clean, adversarial, or a method), label, x, y, distance (from the mean, in all dimensions).
    """
    chosen = first_of_each(clean.labels, MOST_POINTS)
    kinds = {"clean": (clean.embeddings[chosen], clean.labels[chosen])}
    kinds["adversarial"] = (attacked.embeddings[chosen], attacked.labels[chosen])
    for method, prompts in methods.items():
        features = prompts.text_features[0, :MOST_POINTS]
        kinds[method] = (features, np.arange(len(features)))
    plane = principal_plane(unit(kinds["clean"][0]))
    parts = []
    for kind, (features, labels) in kinds.items():
        coordinates, distances = plane.coordinates(unit(features))
        columns = {"x": coordinates[:, 0], "y": coordinates[:, 1], "distance": distances}
        numbers = {name: rounded(values) for name, values in columns.items()}
        parts.append(pa.table({"kind": [kind] * len(labels), "label": labels.astype(np.int64), **numbers}))
    return pa.concat_tables(parts)


def rounded(values: np.ndarray) -> np.ndarray:
    """Return values to 6 digits; zero has no sign, which would be that of the rounding error."""
    return np.round(values, DIGITS) + 0.0
