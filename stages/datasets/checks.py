"""Checks of what is listed: no image in two classes or splits, every class with images to tune on."""

import numpy as np

from stages.datasets.index import Index
from stages.datasets.places import collecting, shortened

FEWEST_FOR_DLR = 4  # classes: the targeted DLR divides by a difference between the third and fourth largest logit


def check_index(index: Index, *, classes: int, overlap_limit: float, own: bool) -> list[str]:
    """Compare all images of a data set with each other, by the digests of their contents.

    Args:
        index: All images.
        classes: Number K of classes.
        overlap_limit: Largest allowed share of the test images that are training images too.
        own: Whether these are the user's own images. There an image under two classes is an error; published data sets
            are known to hold some, which are noted. Labels of the user's images follow folders, which were checked.

    Returns:
        Notes for the report, one sentence each; often none.

    Raises:
        ValueError: If a label is out of range, a class has no training image although others have, too many test
            images are training images too, or (own) an image lies under two classes; the message names the images.
    """
    train = np.asarray(index.splits) == "train"
    if not own:
        require_labels(index, train, classes)
    _, first, content = np.unique(np.asarray(index.digests), return_index=True, return_inverse=True)
    notes: list[str] = []
    faults: list[str] = []
    with collecting(faults):
        notes += overlap(index, train, content, limit=overlap_limit)
    with collecting(faults):
        notes += two_classes(index, first[content], strict=own)
    if faults:
        raise ValueError("\n".join(faults))
    return notes + few_classes(classes)


def require_labels(index: Index, train: np.ndarray, classes: int) -> None:
    """Refuse a label without a class, and a class without a training image unless none has any."""
    wrong = np.flatnonzero((index.labels < 0) | (index.labels >= classes))
    if wrong.size:
        raise ValueError(f"{index.ids[wrong[0]]}: label {index.labels[wrong[0]]}; allowed are 0 to {classes - 1}")
    missing = np.setdiff1d(np.arange(classes), index.labels[train])
    if train.any() and missing.size:
        raise ValueError(
            f"{missing.size} of {classes} classes have no training image (labels {', '.join(map(str, missing[:10]))}); "
            "each class needs one, or none has any"
        )


def overlap(index: Index, train: np.ndarray, content: np.ndarray, *, limit: float) -> list[str]:
    """Count the test images that are training images too, given a number for the content of each image (N,)."""
    shared = np.flatnonzero(~train & np.isin(content, content[train]))
    if not shared.size:
        return []
    count = f"{shared.size} of {np.sum(~train)} test images are training images too"
    if shared.size > limit * np.sum(~train):
        twins = {content[place]: index.ids[place] for place in np.flatnonzero(train)[::-1]}  # the first of each
        pairs = [f"{index.ids[place]} = {twins[content[place]]}" for place in shared]
        raise ValueError(
            f"{count}; fetch.overlap_limit allows a share of {limit:g}: remove them from one split\n{shortened(pairs)}"
        )
    return [count]


def two_classes(index: Index, twins: np.ndarray, *, strict: bool) -> list[str]:
    """Count the images that lie under more than one class, given the first image with the same content (N,)."""
    clashes = np.flatnonzero(index.labels != index.labels[twins])
    if not clashes.size:
        return []
    count = f"images that lie under more than one class: {np.unique(twins[clashes]).size}"
    if strict:
        pairs = [f"{index.ids[place]} = {index.ids[twins[place]]}" for place in clashes]
        raise ValueError(f"{count}; one class is allowed: remove one of each pair\n{shortened(pairs)}")
    return [count]


def few_classes(classes: int) -> list[str]:
    """Say what is left out when there are fewer classes than the targeted DLR loss needs."""
    if classes >= FEWEST_FOR_DLR:
        return []
    return [f"{classes} classes: attacks on the targeted DLR loss need {FEWEST_FOR_DLR} and are left out"]
