"""Checks of what is listed: no image in two classes or splits, every class with images to tune on."""

from collections.abc import Sequence

import numpy as np

FEWEST_FOR_DLR = 4  # classes: the targeted DLR divides by a difference between the third and fourth largest logit


def check_listing(
    ids: Sequence[str],
    splits: Sequence[str],
    labels: np.ndarray,
    digests: Sequence[bytes] | Sequence[str],
    *,
    classes: int,
    overlap_limit: float,
    strict: bool,
) -> list[str]:
    """Compares all images of a data set with each other, by the digests of their contents.

    Args:
        ids: N names.
        splits: `train` or `test`, N of them.
        labels: Class indices (N,).
        digests: N digests, all of them bytes or all of them hexadecimal.
        classes: Number K of classes.
        overlap_limit: Largest allowed share of the test images that are training images too.
        strict: Whether an image under two classes is an error, as in the user's own folder, or only noted, as in
            published data sets that are known to hold some.

    Returns:
        Notes for the report, one sentence each; often none.

    Raises:
        ValueError: If a label is out of range, a class has no training image although others have, too many test
            images are training images too, or (strict) an image lies under two classes; the message names an example.
    """
    labels, train = np.asarray(labels), np.asarray(splits) == "train"
    assert len(ids) == len(train) == len(labels) == len(digests)
    require_labels(ids, labels, train, classes)
    _, first, content = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    return [
        *overlap(ids, train, content, limit=overlap_limit),
        *two_classes(ids, labels, first[content], strict=strict),
        *few_classes(classes),
    ]


def require_labels(ids: Sequence[str], labels: np.ndarray, train: np.ndarray, classes: int) -> None:
    """Every label names a class, and every class has a training image unless there are none at all."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise ValueError(f"{ids[wrong[0]]}: label {labels[wrong[0]]}; allowed are 0 to {classes - 1}")
    missing = np.setdiff1d(np.arange(classes), labels[train])
    if train.any() and missing.size:
        raise ValueError(
            f"{missing.size} of {classes} classes have no training image (labels {', '.join(map(str, missing[:10]))}); "
            "each class needs one, or none has any"
        )


def overlap(ids: Sequence[str], train: np.ndarray, content: np.ndarray, *, limit: float) -> list[str]:
    """Counts the test images that are training images too.

    Args:
        ids: N names.
        train: Mask (N,), the rest is the test split.
        content: Number of each image's content (N,), the same for equal contents.
        limit: Largest allowed share.

    Raises:
        ValueError: If the share is larger.
    """
    shared = np.flatnonzero(~train & np.isin(content, content[train]))
    if not shared.size:
        return []
    twin = np.flatnonzero(train & (content == content[shared[0]]))[0]
    count = f"{shared.size} of {np.sum(~train)} test images are training images too"
    if shared.size > limit * np.sum(~train):
        raise ValueError(
            f"{count}, such as {ids[shared[0]]} (= {ids[twin]}); "
            f"fetch.overlap_limit allows a share of {limit:g}: remove them from one split"
        )
    return [count]


def two_classes(ids: Sequence[str], labels: np.ndarray, twins: np.ndarray, *, strict: bool) -> list[str]:
    """Counts the images that lie under more than one class.

    Args:
        ids: N names.
        labels: Class indices (N,).
        twins: Position of the first image with the same content (N,).
        strict: Whether one is an error.

    Raises:
        ValueError: If there is one and `strict`.
    """
    clashes = np.flatnonzero(labels != labels[twins])
    if not clashes.size:
        return []
    clash = clashes[0]
    if strict:
        raise ValueError(
            f"{ids[twins[clash]]} and {ids[clash]} are the same image under two classes; one class is allowed: "
            f"remove one of them ({np.unique(twins[clashes]).size} such images in all)"
        )
    return [f"images that lie under more than one class: {np.unique(twins[clashes]).size}"]


def few_classes(classes: int) -> list[str]:
    """Says what is left out when there are fewer classes than the targeted DLR loss needs."""
    if classes >= FEWEST_FOR_DLR:
        return []
    return [f"{classes} classes: attacks on the targeted DLR loss need {FEWEST_FOR_DLR} and are left out"]
