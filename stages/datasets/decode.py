"""Decoding of image files: whatever the file holds becomes an upright 8-bit RGB image, or an error that names the file.

Colour profiles are ignored, as open_clip's own preprocessing does.
"""

import mmap
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

# Pillow warns without naming a file: of lost pixels, which are an error in the end, and of metadata that is not used
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MODES_16 = ("I;16", "I;16B", "I;16L", "I;16N")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", *MODES_16)
LARGEST = 64_000_000  # pixels; below the number from which Pillow warns
LARGEST_FILE = 2**30  # bytes; so many pixels take 0.77e9 in the bulkiest format, a PPM that writes numbers as text
SMALLEST_SIDE = 16  # pixels
STEEPEST_ASPECT = 20  # longer side over shorter side
IN_CACHE = re.compile(r".*/files/md5/[0-9a-f]{2}/[0-9a-f]{30}")  # a file in a cache of DVC, named by its content

BITS, COMPRESSION, BLACK, ORIENTATION = 258, 259, 262, 274  # TIFF and EXIF tags; BLACK is PhotometricInterpretation
TURN = Image.Transpose
TURNS = {2: TURN.FLIP_LEFT_RIGHT, 3: TURN.ROTATE_180, 4: TURN.FLIP_TOP_BOTTOM, 5: TURN.TRANSPOSE, 6: TURN.ROTATE_270,
         7: TURN.TRANSVERSE, 8: TURN.ROTATE_90}  # fmt: skip


def open_files(raw: Path) -> Callable[[str], Image.Image]:
    """Return a function that decodes an image of the raw folder by its id."""
    return lambda id: decode(path_of(raw, id))


def path_of(raw: Path, id: str) -> Path:
    """Return the file of an id.

    Raises:
        ValueError: If it lies outside the raw folder, by `..` or through a link that does not end in a cache of DVC.
    """
    path = raw / id
    real = Path(os.path.realpath(path))  # unlike `resolve`, no error for links in a circle
    if real.is_relative_to(os.path.realpath(raw)) or (path.is_symlink() and IN_CACHE.fullmatch(real.as_posix())):
        return path
    raise ValueError(f"{path}: leads out of {raw} to {real}; put the file itself there")


def read_content(raw: Path, id: str) -> bytes:
    """Return the bytes of an image's file, which tell it from all others; a ValueError names one that is unreadable."""
    path = path_of(raw, id)
    try:
        require_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error}); a readable file is allowed") from error


def require_regular(path: Path) -> None:
    """Raise an OSError for what would fail at once, wait for ever, as a pipe does, or fill the memory when read."""
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"a link to {path.readlink()}, missing or in a circle")
    if not path.is_file():
        raise FileNotFoundError("missing, or no ordinary file")
    if not (size := path.stat().st_size):
        raise OSError("empty")
    if size > LARGEST_FILE:
        raise OSError(f"{size} bytes; at most {LARGEST_FILE} are allowed")


def decode(path: Path) -> Image.Image:
    """Decode one image file; its content decides the format, not its name. Safe to call from several threads.

    Args:
        path: The file.

    Returns:
        8-bit RGB, upright, transparency laid on white, without metadata.

    Raises:
        ValueError: If the file cannot be read, is damaged, or is not one still image of an allowed format, number of
            pixels, side, aspect and kind of pixel; the message names the file, what was found and what is allowed.
    """
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "a library makes Pillow accept damaged images"
    allowed = f"allowed are {', '.join(FORMATS)} of at most {LARGEST} pixels"
    try:
        require_regular(path)
        # mapped, so that however much a damaged header has Pillow read, no more memory is taken than the file has bytes
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            Image.open(content, formats=FORMATS) as image,  # type: ignore[arg-type]
        ):
            if not (fault := fault_of(image)):
                image.load()
                return to_rgb(upright(image))
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: no image; {allowed}") from error
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise ValueError(f"{path}: no whole image ({error}); {allowed}") from error
    raise ValueError(f"{path}: {fault}")


def fault_of(image: ImageFile.ImageFile) -> str | None:
    """Return what the header says against the image, and what is allowed; None if nothing."""
    size = "{} x {} pixels".format(*image.size)
    short, long = sorted(image.size)
    if short * long > LARGEST:
        return f"{size}; at most {LARGEST} are allowed"
    if short < SMALLEST_SIDE:
        return f"{size}; each side needs at least {SMALLEST_SIDE}"
    if long > STEEPEST_ASPECT * short:
        return f"{size}; an aspect of at most {STEEPEST_ASPECT}:1 is allowed"
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a camera's JPEG with a preview behind it
        return f"animated or several pages ({image.format}); one still image is allowed"
    if image.mode not in MODES:
        return f"pixels of kind {image.mode}; allowed are {', '.join(MODES)}"
    if kind := misread(image):
        return f"{kind}, which Pillow reads wrongly; allowed are 8 bits, or 16 with black at 0"
    return None


def misread(image: ImageFile.ImageFile) -> str | None:
    """Name the kinds of pixel that Pillow takes for others without an error; None if it is none of them."""
    tags = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and not {BITS, COMPRESSION, BLACK} <= set(tags):
        return "a TIFF that does not state its bits, its compression and what black is"
    if image.mode in MODES_16 and tags.get(BITS, (16,)) != (16,):
        return f"{tags[BITS][0]}-bit grey"
    if image.mode in MODES_16 and tags.get(BLACK, 1) != 1:
        return "16-bit grey with white at 0"
    if "transparency" in image.info and (kind := image.tile[0].args) in ("L;2", "L;4", "RGB;16B"):
        return f"one transparent colour among pixels of kind {kind}"
    return None


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF rotation (Pillow itself has done so for a TIFF, and removed the tag)."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except SyntaxError:  # EXIF that Pillow cannot read; the pixels are whole, and in a JPEG it says nothing either
        return image
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any of MODES to RGB without metadata: 16 bits keep the upper 8, transparency is laid on white."""
    if image.mode in MODES_16:  # upper 8 bits and alpha, as Pillow reads 16-bit colour
        values = np.asarray(image)
        alpha = np.where(values == image.info.get("transparency", -1), 0, 255)
        image = Image.fromarray(np.stack([values >> 8, alpha], axis=-1).astype(np.uint8), "LA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb
