"""Halves of the classes: the base classes that a prompt is tuned on, and the new ones that it has never seen."""

HALVES = ("base", "new")


def labels_of(part: str | None, classes: int) -> range:
    """Return the labels of `base` (the first half, the larger one of an odd number), `new` (the rest), or None (all).

    Raises:
        ValueError: If there is no such part, or it would hold fewer than two classes.

    Source: CoCoOp (Zhou et al. 2022), sec. 4.1.
    """
    half = (classes + 1) // 2
    parts = {None: range(classes), "base": range(half), "new": range(half, classes)}
    if part not in parts:
        raise ValueError(f"no part of the classes called {part!r}; there are: {', '.join(HALVES)}")
    if len(parts[part]) < 2:
        raise ValueError(f"{classes} classes cannot be halved: a classifier needs at least 2, so 4 are the fewest")
    return parts[part]
