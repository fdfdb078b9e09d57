"""Damaged images of all formats through `decode`: `python -W always -m tests.fuzz.images FOLDER COUNT`."""

import io
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from stages.datasets.decode import FORMATS, LARGEST, decode
from tests.fuzz.limits import case, limit_memory, refused, report
from tests.fuzz.mutations import mutated

HEIGHT, WIDTH = 20, 24
MEMORY = 16 * LARGEST  # bytes: the pixels as read, with alpha, on white, and as RGB, at 4 bytes each
SIDES = (0, 1, 15, 16, 25, 100, 1000, 4000, 8000, 65_535)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def whole_images() -> dict[str, list[bytes]]:
    """Small images by format: colour, grey, palette, alpha, 1 and 16 bits, with EXIF, by several compressions."""
    random = np.random.default_rng(0)
    rgb = Image.fromarray(np.kron(random.integers(0, 256, (5, 6, 3), np.uint8), np.ones((4, 4, 1), np.uint8)))
    grey, palette, bits, rgba = (rgb.convert(mode) for mode in ("L", "P", "1", "RGBA"))
    rgba.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274] = 6
    numbers = " ".join(map(str, np.asarray(rgb).flat))
    cases = {
        "JPEG": [(rgb, {}), (rgb, {"progressive": True, "exif": exif}), (rgb.convert("CMYK"), {}), (grey, {})],
        "PNG": [(rgb, {}), (palette, {"transparency": 3}), (rgba, {"exif": exif}), (deep, {}), (bits, {})],
        "BMP": [(rgb, {}), (palette, {}), (bits, {})],
        "GIF": [(palette, {}), (palette, {"transparency": 1}), (grey, {"interlace": 0})],
        "WEBP": [(rgb, {}), (rgba, {"lossless": True, "exif": exif}), (rgba, {})],
        "TIFF": [(rgb, {}), (rgba, {"exif": exif}), (deep, {}), (bits, {"compression": "group4"})]
        + [(rgb, {"compression": kind}) for kind in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")],
        "PPM": [(rgb, {}), (grey, {}), (bits, {})],
    }
    files = {kind: [encoded(image, kind, **options) for image, options in cases[kind]] for kind in FORMATS}
    files["PPM"].append(f"P3\n{WIDTH} {HEIGHT}\n255\n{numbers}\n".encode())
    return files


def claim_size(content: bytes, random: Random) -> bytes:
    """Writes other sides into the header, wherever the true ones stand, and the header's checksum into a PNG."""
    sides = [random.choice(SIDES)] * 2 if random.random() < 0.5 else random.choices(SIDES, k=2)
    for pattern in (">II", "<II", ">HH", "<HH"):
        for new in (sides, sides[::-1]):
            old = (WIDTH, HEIGHT) if new is sides else (HEIGHT, WIDTH)
            content = content.replace(struct.pack(pattern, *old), struct.pack(pattern, *new), 1)
    for tag, old, new in ((256, WIDTH, sides[0]), (257, HEIGHT, sides[1])):
        for form in (3, 4):  # a TIFF has them as short or long numbers
            content = content.replace(struct.pack("<HHLL", tag, form, 1, old), struct.pack("<HHLL", tag, form, 1, new))
    content = content.replace(b"\n%d %d\n" % (WIDTH, HEIGHT), b"\n%d %d\n" % tuple(sides), 1)
    if content.startswith(b"\x89PNG"):
        content = content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:]
    return content


def main(folder: Path, count: int) -> None:
    """Tries so many damaged images, of all formats alike."""
    files = whole_images()
    every = [file for kind in FORMATS for file in files[kind]]
    figures = Counter()
    limit_memory(MEMORY)
    for index in range(count):
        random = Random(index)
        kind = FORMATS[index % len(FORMATS)]
        content = random.choice(files[kind])
        content = claim_size(content, random) if index % 29 == 0 else mutated(content, random, every)
        path = folder / f"{index}.jpg"
        path.write_bytes(content)
        with case(str(path)):
            figures["images refused" if refused(lambda path=path: check(decode(path)), path) else "images decoded"] += 1
        path.unlink()
        figures["images tried"] += 1
    report(figures)


def check(image: Image.Image) -> None:
    assert image.mode == "RGB" and image.size[0] * image.size[1] <= LARGEST and not image.info


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
