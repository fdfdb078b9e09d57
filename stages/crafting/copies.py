"""Shifted and mirrored copies of training images."""

import numpy as np

from stages.attacks.noise import ImageNoise
from stages.storage.images import Images

LARGEST_SHIFT = 3 / 32  # of the image's size


def with_copies(images: Images, copies: int, *, seed: int) -> Images:
    """Return images and `copies - 1` changed versions of each behind them, the same whichever images are beside it.

    A version is shifted by up to LARGEST_SHIFT along both axes, its edges repeated, and mirrored with probability 1/2.

    Args:
        images: N images.
        copies: Versions of each, at least 1, the image itself among them.
        seed: Of shifts and mirrors, which also depend on the images' ids.

    Returns:
        N · copies images; `/1` and so on behind an id marks the changed ones.
    """
    size = images.pixels.shape[1]
    shift = round(LARGEST_SHIFT * size)
    padded = np.pad(images.pixels, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
    ids, pixels = [*images.ids], [images.pixels]
    for number in range(1, copies):
        ids += [f"{id}/{number}" for id in images.ids]
        drawn = ImageNoise(seed, images.ids).beside(f"copy {number}").uniform((3,)).numpy()
        corners = (drawn[:, :2] * (2 * shift + 1)).astype(int)
        cut = (image[y : y + size, x : x + size] for image, (y, x) in zip(padded, corners, strict=True))
        pixels.append(
            np.stack([one[:, :: 1 if keep < 0.5 else -1] for one, keep in zip(cut, drawn[:, 2], strict=True)])
        )
    return Images(ids, np.tile(images.labels, copies), np.concatenate(pixels))
