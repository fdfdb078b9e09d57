"""Image files: whatever they hold becomes the right 8-bit RGB, or an error that names them."""

import io
import os
import shutil
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from stages.datasets.decode import FORMATS, LARGEST, LARGEST_FILE, decode, open_files, path_of, read_content
from tests.fuzz.images import encoded

SIDE = 16
RGB = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE + 8, 3), np.uint8)
GREY = RGB[..., 0]
BLOCKS = np.kron(RGB[:4, :6], np.ones((8, 8, 1), np.uint8))  # survives JPEG


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows=b"", transparent=b"") -> bytes:
    """A PNG as the standard describes it; `rows` are the packed samples of all rows."""
    stride = len(rows) // height
    data = b"".join(b"\0" + rows[row * stride : (row + 1) * stride] for row in range(height)) if stride else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    key = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + head + key + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def frames(kind, **options) -> bytes:
    return encoded(BLOCKS, kind, save_all=True, append_images=[Image.fromarray(255 - BLOCKS)], **options)


def pixels(tmp_path, content: bytes, name="image.jpg") -> np.ndarray:
    (tmp_path / name).write_bytes(content)
    image = decode(tmp_path / name)
    assert image.mode == "RGB" and not image.info and not image.getexif()
    return np.asarray(image)


DEEP = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 257

REFUSED = {
    "zero bytes": (b"", r"no whole image \(empty\); allowed are JPEG, PNG"),
    "text": (b"I am a photograph.\n" * 40, "no image; allowed are JPEG, PNG, .* of at most 64000000 pixels$"),
    "a web page": (b"<!DOCTYPE html><html></html>", "no image; allowed"),
    "SVG": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "no image; allowed"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "no image; allowed"),
    "half a JPEG": (encoded(RGB, "JPEG", quality=100)[:-600], "no whole image .*truncated"),
    "a JPEG without its last byte": (encoded(BLOCKS, "JPEG")[:-1], "no whole image .*truncated"),
    "half a PNG": (encoded(RGB)[:-200], "no whole image .*truncated"),
    "a damaged PNG": (encoded(RGB)[:80] + b"xxxx" + encoded(RGB)[84:], "no whole image"),
    "just above the own limit": (png(8000, LARGEST // 8000 + 1, 8, 2), "8000 x 8001 pixels; at most 64000000"),
    "above the limit of Pillow": (png(100_000, 100_000, 8, 2), "no whole image .*at most 64000000 pixels"),
    "GIF": (frames("GIF"), r"animated or several pages \(GIF\); one still image is allowed"),
    "WebP": (frames("WEBP"), r"animated or several pages \(WEBP\)"),
    "PNG": (frames("PNG"), r"animated or several pages \(PNG\)"),
    "TIFF": (frames("TIFF"), r"animated or several pages \(TIFF\)"),
    "32-bit TIFF": (encoded(DEEP.astype(np.int32), "TIFF"), "pixels of kind I; allowed are 1, L"),
    "12-bit TIFF": (
        encoded(Image.fromarray(GREY[:, :SIDE]), "TIFF").replace(
            struct.pack("<HHLHH", 258, 3, 1, 8, 0), struct.pack("<HHLHH", 258, 3, 1, 12, 0)
        ),
        "12-bit grey, which Pillow reads wrongly",
    ),
    "16-bit TIFF, white at 0": (
        encoded(DEEP, "TIFF").replace(struct.pack("<HHLHH", 262, 3, 1, 1, 0), struct.pack("<HHLHH", 262, 3, 1, 0, 0)),
        "16-bit grey with white at 0",
    ),
    "float TIFF": (encoded(GREY.astype(np.float32) / 255, "TIFF"), "pixels of kind F; allowed are 1, L"),
    "one transparent 16-bit colour": (png(16, 16, 16, 2, bytes(1536), bytes(6)), "one transparent colour .*RGB;16B"),
    "15 pixels wide": (encoded(RGB[:, :15]), "15 x 16 pixels; each side needs at least 16"),
    "aspect": (encoded(np.zeros((16, 321), np.uint8)), "321 x 16 pixels; an aspect of at most 20:1"),
    "JPEG 2000": (encoded(BLOCKS, "JPEG2000"), "no image; allowed"),
    "icon": (encoded(BLOCKS, "ICO"), "no image; allowed"),
    "PostScript": (encoded(BLOCKS, "EPS"), "no image; allowed"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("error")
def test_an_error_names_the_file_what_was_found_and_what_is_allowed(tmp_path, case):
    content, message = REFUSED[case]
    (tmp_path / "image.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=rf"image\.jpg: {message}"):
        decode(tmp_path / "image.jpg")


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, 20 * SIDE), (20 * SIDE, SIDE)], ids="{0[0]}x{0[1]}".format)
def test_the_limits_themselves_are_allowed(tmp_path, shape):
    assert pixels(tmp_path, encoded(np.full(shape, 7, np.uint8))).tolist() == np.full((*shape, 3), 7).tolist()


WHOLE = {f"{kind} {options}": encoded(BLOCKS[:16, :16], kind, **options) for kind, options in [
    ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {}), ("BMP", {}),
    ("TIFF", {}), ("PPM", {}),
]}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True))
@pytest.mark.filterwarnings("ignore:.*Truncated|.*Corrupt EXIF")
def test_a_file_cut_anywhere_is_refused_unless_no_pixel_is_lost(tmp_path_factory, kind, share):
    folder, content = tmp_path_factory.getbasetemp(), WHOLE[kind]
    whole = pixels(folder, content)
    try:
        cut = pixels(folder, content[: int(share * len(content))])
    except ValueError as error:
        assert "image.jpg: " in str(error)
    else:
        assert share > 0.5 and np.array_equal(cut, whole)


def test_damaged_images_are_refused_even_if_a_library_lets_pillow_take_them(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(AssertionError, match="accept damaged images"):
        pixels(tmp_path, encoded(BLOCKS, "JPEG")[:-200])


def test_nothing_is_decoded_before_the_header_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="at most"):
        pixels(tmp_path, png(9000, 9000, 8, 2))


def lengthened(path, size):
    """An image with a hole behind it, which takes no room on the disk."""
    Image.new("RGB", (16, 16), "red").save(path, "PNG")
    os.truncate(path, size)


@pytest.mark.parametrize("size", [LARGEST_FILE + 1, 10 * 2**30])
def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path, monkeypatch, size):
    lengthened(tmp_path / "large.png", size)
    for module in ("builtins", "io"):
        monkeypatch.setattr(f"{module}.open", lambda *_, **__: pytest.fail("the file was opened"))
    told = rf"large\.png: .*\({size} bytes; at most {LARGEST_FILE} are allowed\)"
    with pytest.raises(ValueError, match=told):
        decode(tmp_path / "large.png")
    with pytest.raises(ValueError, match=told):
        read_content(tmp_path, "large.png")


def test_a_file_of_just_as_many_bytes_is_decoded(tmp_path):
    lengthened(tmp_path / "large.png", LARGEST_FILE)
    assert decode(tmp_path / "large.png").getpixel((0, 0)) == (255, 0, 0)


def test_a_phone_photograph_with_a_preview_behind_it_is_one_image(tmp_path):
    content = frames("MPO", quality=100, subsampling=0)
    assert Image.open(io.BytesIO(content)).is_animated
    assert abs(pixels(tmp_path, content).astype(int) - BLOCKS).max() <= 3


DEEP_RGB = np.random.default_rng(1).integers(0, 2**16, (SIDE, SIDE, 3), np.uint16)


def test_16_bits_of_grey_keep_the_upper_8(tmp_path):
    values = np.array([0, 255, 256, 0x1234, 0x7FFF, 0x8000, 0xFEFF, 0xFFFF] * 32, np.uint16).reshape(16, 16)
    for content in (encoded(values), encoded(values, "TIFF"), encoded(Image.fromarray(values.astype(">u2")), "TIFF")):
        assert pixels(tmp_path, content)[0, :8, 0].tolist() == [0, 0, 1, 0x12, 0x7F, 0x80, 0xFE, 0xFF]
        assert np.array_equal(pixels(tmp_path, content), np.repeat(values[..., None] >> 8, 3, -1))


def test_16_bits_of_colour_are_read_as_those_of_grey(tmp_path):
    colour = pixels(tmp_path, png(SIDE, SIDE, 16, 2, DEEP_RGB.astype(">u2").tobytes()))
    assert np.array_equal(colour, DEEP_RGB >> 8)
    for channel in range(3):
        grey = pixels(tmp_path, png(SIDE, SIDE, 16, 0, DEEP_RGB[..., channel].astype(">u2").tobytes()))
        assert np.array_equal(grey[..., 0], colour[..., channel])


INK = {"none": (0, 0, 0, 0), "cyan": (255, 0, 0, 0), "mixed": (51, 102, 204, 85), "black": (0, 0, 0, 255)}


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("ink", INK)
def test_cmyk_becomes_rgb(tmp_path, kind, ink):
    options = {"quality": 100} if kind == "JPEG" else {}
    found = pixels(tmp_path, encoded(Image.new("CMYK", (SIDE, SIDE), INK[ink]), kind, **options))
    *cmy, black = INK[ink]
    expected = [(255 - part) * (255 - black) / 255 for part in cmy]
    assert abs(found - np.array(expected)).max() <= (2 if kind == "JPEG" else 0.5)


def on_white(colour, alpha):
    alpha = np.asarray(alpha)[..., None] / 255
    return np.asarray(colour) * alpha + 255 * (1 - alpha)


def test_alpha_is_composited_on_white(tmp_path):
    rgba = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    rgba[0, :, 3], rgba[1, :, 3] = 0, 255
    for content in (encoded(rgba), encoded(rgba, "TIFF"), encoded(rgba, "WEBP", lossless=True, exact=True)):
        found = pixels(tmp_path, content)
        assert abs(found - on_white(rgba[..., :3], rgba[..., 3])).max() <= 1
        assert (found[0] == 255).all() and np.array_equal(found[1], rgba[1, :, :3])
    found = pixels(tmp_path, encoded(Image.fromarray(rgba[..., 2:].copy(), "LA")))
    assert abs(found - on_white(np.repeat(rgba[..., 2:3], 3, -1), rgba[..., 3])).max() <= 1


def test_palettes_are_looked_up_and_their_transparent_entries_white(tmp_path):
    indices = Image.fromarray((np.arange(SIDE * SIDE, dtype=np.uint8) % 3).reshape(SIDE, SIDE), "P")
    indices.putpalette([200, 10, 20, 30, 200, 40, 50, 60, 200])
    opaque = [[200, 10, 20], [30, 200, 40], [50, 60, 200]]
    white, half = [255] * 3, [round(value) for value in on_white([50, 60, 200], 128)]
    for content, expected in (
        (encoded(indices), opaque),
        (encoded(indices, "GIF"), opaque),
        (encoded(indices, transparency=1), [opaque[0], white, opaque[2]]),
        (encoded(indices, "GIF", transparency=1), [opaque[0], white, opaque[2]]),
        (encoded(indices, transparency=bytes([255, 0, 128])), [opaque[0], white, half]),
    ):
        assert abs(pixels(tmp_path, content)[0, :3].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("depth", "colour", "rows", "key", "expected"),
    [
        (8, 0, bytes(range(256)), 9, [7, 8, 255, 10]),
        (8, 2, np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes(), 9, [7, 8, 255, 10]),
        (16, 0, (np.arange(256) * 256).astype(">u2").tobytes(), 9 * 256, [7, 8, 255, 10]),
        (16, 0, (np.arange(256) * 256).astype(">u2").tobytes(), 9 * 256 + 1, [7, 8, 9, 10]),
    ],
    ids=["grey", "colour", "16-bit grey", "16-bit grey, all 16 bits compared"],
)
def test_one_transparent_colour_of_a_png_is_white(tmp_path, depth, colour, rows, key, expected):
    transparent = struct.pack(">H", key) * (3 if colour == 2 else 1)
    found = pixels(tmp_path, png(16, 16, depth, colour, rows, transparent))
    assert found[0, 7:11].tolist() == [[value] * 3 for value in expected]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_rotation_is_applied_once(tmp_path, kind):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    turned = {
        2: BLOCKS[:, ::-1], 3: BLOCKS[::-1, ::-1], 4: BLOCKS[::-1], 5: BLOCKS.swapaxes(0, 1),
        6: np.rot90(BLOCKS, -1), 7: np.rot90(BLOCKS, 2).swapaxes(0, 1), 8: np.rot90(BLOCKS),
    }  # fmt: skip
    exif = Image.Exif()
    for orientation in range(10):
        exif[0x0112] = orientation
        found = pixels(tmp_path, encoded(BLOCKS, kind, exif=exif, **options))
        expected = turned.get(orientation, BLOCKS)
        assert found.shape == expected.shape, orientation
        assert abs(found.astype(int) - expected).max() <= (3 if kind == "JPEG" else 0), orientation
        assert ImageOps.exif_transpose(decode(tmp_path / "image.jpg")).size == found.shape[1::-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"])
@pytest.mark.filterwarnings("ignore:.*Corrupt EXIF")
def test_broken_exif_costs_no_image(tmp_path, kind, exif):
    plain = pixels(tmp_path, encoded(BLOCKS, kind))
    assert np.array_equal(pixels(tmp_path, encoded(BLOCKS, kind, exif=exif)), plain)


@pytest.mark.parametrize("kind", FORMATS, ids=str)
def test_the_content_decides_not_the_name(tmp_path, kind):
    found = pixels(tmp_path, encoded(Image.new("RGB", (16, 17), (200, 120, 40)), kind), name="image.txt")
    assert found.shape == (17, 16, 3) and abs(found.astype(int) - [200, 120, 40]).max() <= 5


def test_grey_and_black_and_white_become_rgb(tmp_path):
    assert np.array_equal(pixels(tmp_path, encoded(GREY)), np.repeat(GREY[..., None], 3, -1))
    expected = np.where(GREY[..., None] > 99, 255, 0).repeat(3, -1)
    assert np.array_equal(pixels(tmp_path, encoded(Image.fromarray(GREY > 99))), expected)
    assert np.array_equal(pixels(tmp_path, encoded(RGB)), RGB)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    (folder / "a").mkdir(parents=True)
    for value in range(4):
        Image.fromarray(np.full((16, 16), value, np.uint8)).save(folder / "a" / f"{value}.png")
    Image.fromarray(GREY).save(tmp_path / "secret.png")
    (tmp_path / "raw2").mkdir()  # beside it, with a longer name
    (folder / "a" / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "outside").symlink_to(tmp_path)
    (folder / "a" / "in.png").symlink_to("3.png")
    (folder / "a" / "circle.png").symlink_to("circle.png")
    (folder / "a" / "nowhere.png").symlink_to("missing")
    os.mkfifo(folder / "a" / "pipe.png")
    return folder


@pytest.mark.parametrize(
    "id", ["a/out.png", "../secret.png", "a/../../secret.png", "outside/secret.png", "../raw2/secret.png"]
)
@pytest.mark.parametrize("read", [read_content, path_of, lambda raw, id: open_files(raw)(id)])
def test_no_way_leads_out_of_the_raw_folder(raw, id, read):
    with pytest.raises(ValueError, match=rf"raw/{id}: leads out of .*raw to .*secret\.png; put the file itself"):
        read(raw, id)


def test_links_into_a_cache_of_dvc_are_followed_and_what_only_looks_like_one_is_not(raw, tmp_path):
    """DVC makes such links where `cache.type` is symlink; a path with `..` there is no link."""
    cached = tmp_path / "cache/files/md5/ab" / ("0" * 30)
    for name in (cached, cached.with_name("passwd"), tmp_path / "files/md5/abc" / ("0" * 30)):
        name.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(raw / "a" / "2.png", name)
    (raw / "a" / "cached.png").symlink_to(cached)
    assert open_files(raw)("a/cached.png").getpixel((0, 0))[0] == 2
    for target in (cached.with_name("passwd"), tmp_path / "files/md5/abc" / ("0" * 30)):
        (raw / "a" / "other.png").unlink(missing_ok=True)
        (raw / "a" / "other.png").symlink_to(target)
        with pytest.raises(ValueError, match="leads out"):
            read_content(raw, "a/other.png")
    with pytest.raises(ValueError, match="leads out"):
        read_content(raw, f"../cache/files/md5/ab/{'0' * 30}")


def test_links_inside_and_a_raw_folder_that_is_a_link_are_fine(raw, tmp_path):
    (tmp_path / "link").symlink_to(raw)
    images = map(open_files(tmp_path / "link"), ["a/2.png", "a/in.png", "a/0.png"])
    assert [image.getpixel((0, 0))[0] for image in images] == [2, 3, 0]


NO_FILES = {
    "a": "missing, or no ordinary file",
    "a/missing.png": "missing, or no ordinary file",
    "a/pipe.png": "missing, or no ordinary file",
    "a/circle.png": "a link to circle.png, missing or in a circle",
    "a/nowhere.png": "a link to missing, missing or in a circle",
}


@pytest.mark.parametrize("id", NO_FILES)
def test_what_is_no_file_is_named(raw, id):
    with pytest.raises(ValueError, match=rf"raw/{id}: no whole image \({NO_FILES[id]}\)"):
        open_files(raw)(id)
    with pytest.raises(ValueError, match=rf"raw/{id}: cannot be read \({NO_FILES[id]}\)"):
        read_content(raw, id)


def test_a_file_without_permission_is_named(raw, monkeypatch):
    """Root may read all, so the refusal of the system is played."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    with pytest.raises(ValueError, match=r"a/1\.png: no whole image .*Permission denied"):
        open_files(raw)("a/1.png")
    with pytest.raises(ValueError, match=r"a/1\.png: cannot be read .*Permission denied"):
        read_content(raw, "a/1.png")


def test_threads_get_the_images_of_their_ids(raw):
    ids = [f"a/{value}.png" for value in (3, 0, 2, 1)] * 50
    with ThreadPoolExecutor(8) as pool:
        found = [image.getpixel((5, 5))[0] for image in pool.map(open_files(raw), ids)]
    assert found == [3, 0, 2, 1] * 50
