"""Image files give the pixels that they were made from, and folders the classes that were meant."""

import os
import struct
import unicodedata
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import nn
from torchvision.datasets import ImageFolder

import dimscope as ds
from dimscope.errors import BadSource, CaptureWarning

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREYS = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
DEEP = RNG.integers(0, 2**16, (6, 9)).astype(np.uint16)
DEEP[0, :3] = 0, 2**15, 2**16 - 1
ALPHA = RNG.integers(0, 255, (6, 9), dtype=np.uint8)
BITS = GREYS > 127
STRIPE = RNG.integers(0, 256, (1, 5000, 3), dtype=np.uint8)
FLOATS = RNG.random((6, 9), dtype=np.float32)
ORIENTATION = 0x0112


def three(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, axis=2)


def scaled(values, full=2**16 - 1):
    """Round to 8 bits, in integers."""
    return three((values.astype(np.int64) * 510 + full) // (2 * full))


def pixels(image):
    return torch.from_numpy(np.array(image))


def read(path):
    """Decode a file as the only image of a folder."""
    folder = path.parent / "folder" / "only"
    folder.mkdir(parents=True)
    os.replace(path, folder / path.name)
    return ds.image_folder(folder.parent, preprocessing=pixels)[0][0].numpy()


def palette_image():
    image = Image.fromarray(np.arange(54, dtype=np.uint8).reshape(6, 9), mode=None).convert("L")
    image = Image.frombytes("P", (9, 6), image.tobytes())
    image.putpalette(COLOURS.tobytes())
    return image


def turned(orientation):
    """The pixels that a camera stores so that a viewer shows COLOURS."""
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: np.rot90,  # a viewer turns by 90 degrees clockwise
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undo[orientation](COLOURS))


def interlaced_png(path):
    """Adam7, which Pillow does not write: seven passes over the pixels."""
    import zlib

    rows = b""
    for y, x, dy, dx in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):  # fmt: skip
        part = COLOURS[y::dy, x::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    png(path, struct.pack(">IIBBBBB", 9, 6, 8, 2, 0, 0, 1), zlib.compress(rows))


def deep_png(path, values, colour_type):
    import zlib

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    png(path, struct.pack(">IIBBBBB", 9, 6, 16, colour_type, 0, 0, 0), zlib.compress(rows))


def png(path, header, data):
    import zlib

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def tiff(path, bits, data, photometric=1, sample_format=1):
    """One strip, uncompressed."""
    entries = [
        (256, 9), (257, 6), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1), (278, 6),
        (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    fields = b"".join(
        struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in entries
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + struct.pack("<I", 0)
    path.write_bytes(head + data)


def save(values, **options):
    return lambda path: Image.fromarray(values).save(path, **options)


def twelve_bits(path):
    data = bytearray()
    for row in (DEEP >> 4).astype(int):
        text = "".join(f"{value:012b}" for value in row)
        text += "0" * (-len(text) % 8)
        data += int(text, 2).to_bytes(len(text) // 8, "big")
    tiff(path, 12, bytes(data))


ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()

KINDS = {
    "grey 8": ("a.png", save(GREYS), three(GREYS)),
    "rgb": ("a.png", save(COLOURS), COLOURS),
    "grey 16 png": ("a.png", save(DEEP), scaled(DEEP)),
    "grey 16 tiff": ("a.tif", save(DEEP), scaled(DEEP)),
    "grey 16 big-endian tiff": (
        "a.tif",
        lambda path: Image.frombytes("I;16B", (9, 6), DEEP.astype(">u2").tobytes()).save(path),
        scaled(DEEP),
    ),
    "grey 16 pgm": (
        "a.pgm",
        lambda path: path.write_bytes(b"P5 9 6 65535\n" + DEEP.astype(">u2").tobytes()),
        scaled(DEEP),
    ),
    "grey 12 in pgm": (
        "a.pgm",
        lambda path: path.write_bytes(b"P5 9 6 4095\n" + (DEEP >> 4).astype(">u2").tobytes()),
        scaled(DEEP >> 4, 4095),
    ),
    "grey 12 tiff": ("a.tif", twelve_bits, scaled(DEEP >> 4, 4095)),
    "rgb 16 png": ("a.png", lambda path: deep_png(path, three(DEEP), 2), three(DEEP >> 8)),
    "float tiff": ("a.tiff", save(FLOATS), three(np.rint(FLOATS * 255).astype(np.uint8))),
    "palette": ("a.png", lambda path: palette_image().save(path), COLOURS),
    "palette gif": ("a.gif", lambda path: palette_image().save(path), COLOURS),
    "cmyk tiff": (
        "a.tif",
        lambda path: Image.merge(
            "CMYK", [*Image.fromarray(255 - COLOURS).split(), Image.new("L", (9, 6), 0)]
        ).save(path),
        COLOURS,
    ),
    "1-bit": ("a.png", save(BITS), three(BITS * 255)),
    "1-bit pbm": ("a.pbm", save(BITS), three(BITS * 255)),
    "1-bit tiff, fax": ("a.tif", save(BITS, compression="group4"), three(BITS * 255)),
    "opaque alpha": (
        "a.png", save(np.dstack([COLOURS, np.full((6, 9), 255, np.uint8)])), COLOURS,
    ),
    "interlaced png": ("a.png", interlaced_png, COLOURS),
    "webp lossless": ("a.webp", save(COLOURS, lossless=True, exact=True), COLOURS),
    "bmp": ("a.BMP", save(COLOURS), COLOURS),
    "tiff lzw": ("a.TIFF", save(COLOURS, compression="tiff_lzw"), COLOURS),
    "ppm": ("a.ppm", save(COLOURS), COLOURS),
    "tga": ("a.tga", save(COLOURS), COLOURS),
    "jpeg 2000": ("a.jp2", save(COLOURS, irreversible=False), COLOURS),
    "colour profile, not applied": ("a.png", save(COLOURS, icc_profile=ICC), COLOURS),
    "1 x 1": ("a.png", save(COLOURS[:1, :1]), COLOURS[:1, :1]),
    "1 x 5000": ("a.png", save(STRIPE), STRIPE),
    "wrong suffix": ("a.jpg", save(COLOURS, format="PNG"), COLOURS),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_image_folder_reads_the_pixels_that_a_file_was_made_from(tmp_path, kind):
    name, write, expected = KINDS[kind]
    write(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name), expected)


CONSTANT = np.full((16, 16, 3), [200, 90, 30], np.uint8)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.jpg", "RGB", {"quality": 95}),
        ("a.JPEG", "RGB", {"quality": 95, "progressive": True, "subsampling": 2}),
        ("a.jfif", "RGB", {"quality": 95, "format": "JPEG", "keep_rgb": True}),
        ("a.jpg", "YCbCr", {"quality": 95}),
        ("a.jpg", "CMYK", {"quality": 95}),
        ("a.jpg", "L", {"quality": 95}),
        ("a.webp", "RGB", {"quality": 95}),
        ("a.avif", "RGB", {"quality": 95}),
    ],
)
def test_image_folder_reads_lossy_files_to_three_levels(tmp_path, name, mode, options):
    image = Image.fromarray(CONSTANT).convert(mode)
    image.save(tmp_path / name, **options)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(read(tmp_path / name) - expected).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_image_folder_shows_photographs_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(turned(orientation)).save(tmp_path / name, exif=exif, **lossless)
    np.testing.assert_array_equal(read(tmp_path / name), COLOURS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_folder_shows_jpeg_photographs_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(turned(orientation))
    image.resize((image.width * 16, image.height * 16), Image.NEAREST).save(
        tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0
    )
    difference = read(tmp_path / "a.jpg")[8::16, 8::16].astype(int) - COLOURS
    assert np.abs(difference).max() <= 5


def test_image_folder_reads_past_damaged_exif_data(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=b"Exif\0\0not a TIFF header")
    np.testing.assert_array_equal(read(tmp_path / "a.png"), COLOURS)


@pytest.mark.parametrize("kind", ["rgba", "la", "palette", "palette index", "rgb colour key"])
def test_image_folder_drops_transparency_as_torchvision_does_and_warns(tmp_path, kind):
    path, expected = tmp_path / "a.png", COLOURS
    if kind == "rgba":
        Image.fromarray(np.dstack([COLOURS, ALPHA])).save(path)
    elif kind == "la":
        Image.fromarray(np.dstack([GREYS, ALPHA])).save(path)
        expected = three(GREYS)
    elif kind == "rgb colour key":
        Image.fromarray(COLOURS).save(path, transparency=tuple(COLOURS[2, 3].tolist()))
    else:
        transparency = ALPHA.tobytes() if kind == "palette" else 5
        palette_image().save(path, transparency=transparency)
    with pytest.warns(CaptureWarning, match="transparent pixels; their transparency is dropped"):
        found = read(path)
    np.testing.assert_array_equal(found, expected)
    with warnings.catch_warnings(action="ignore"):
        loaded = ImageFolder(tmp_path / "folder")[0][0]
    np.testing.assert_array_equal(found, np.asarray(loaded))


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif", "a.png"])
def test_image_folder_reads_the_first_frame_and_warns(tmp_path, name):
    frames = [Image.fromarray(np.full((6, 9), level, np.uint8)) for level in (10, 200, 90)]
    lossless = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **lossless)
    with pytest.warns(CaptureWarning, match="has 3 frames, of which only the first"):
        np.testing.assert_array_equal(read(tmp_path / name), np.full((6, 9, 3), 10))


def test_image_folder_takes_the_preview_of_a_photograph_for_no_frame(tmp_path):
    photograph, preview = Image.fromarray(CONSTANT), Image.fromarray(CONSTANT[::2, ::2])
    photograph.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview], quality=95)
    assert np.abs(read(tmp_path / "a.jpg").astype(int) - CONSTANT).max() <= 3


def test_image_folder_warns_once_of_16_bit_files_that_lose_most_of_their_levels(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(3):
        save(DEEP >> 4)(tmp_path / "a" / f"{number}.png")
    images = ds.image_folder(tmp_path, preprocessing=pixels)
    with pytest.warns(CaptureWarning, match=r"values end at 4095 of 65535; .*17 levels") as caught:
        values = [image for image, _ in images]
    assert len(caught) == 1
    np.testing.assert_array_equal(values[2], scaled(DEEP >> 4))


def broken(file, content):
    return file, lambda path: path.write_bytes(content)


def truncated(name, **options):
    def write(path):
        noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, **options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return name, write


UNREADABLE = {
    "empty": (*broken("a.png", b""), r"a.png \(empty\)"),
    "text": (*broken("a.jpg", b"no image at all"), "Pillow does not know its format"),
    "heic": (
        *broken("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        r"a.heic \(Pillow cannot read .heic here; 1 in all\)",
    ),
    "truncated png": (*truncated("a.png"), "a.png is not a readable image.*replace the file"),
    "truncated jpeg": (*truncated("a.jpg"), "a.jpg is not a readable image.*truncated"),
    "truncated bmp": (*truncated("a.bmp"), "a.bmp is not a readable image.*truncated"),
    "truncated tiff": (*truncated("a.tif", compression="tiff_lzw"), "not a readable image"),
    "truncated webp": (*truncated("a.webp"), "not a readable image"),
    "damaged gif": (*broken("a.gif", b"GIF89a"), r"a.gif \(damaged\)"),
    "truncated gif": (*truncated("a.gif"), "not a readable image"),
    "float of 255": ("a.tif", save(FLOATS * 255), r"from .* must lie within \[0, 1\]; scale all"),
    "float nan": ("a.tif", save(FLOATS * np.nan), r"values from nan to nan, but they must lie"),
    "32-bit": ("a.tif", save(DEEP.astype(np.int32)), "32-bit integers, whose range is unknown"),
    "signed": (
        "a.tif",
        lambda path: tiff(path, 16, DEEP.tobytes(), sample_format=2),
        "signed or 32-bit integers",
    ),
    "white is 0": (
        "a.tif",
        lambda path: tiff(path, 16, DEEP.tobytes(), photometric=0),
        "0 is white.*save it with 0 as black",
    ),
    "bomb": (
        "a.ppm",
        lambda path: path.write_bytes(b"P6 60000 60000 255\n"),
        "a.ppm is not a readable image.*exceeds limit",
    ),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # from Pillow itself
@pytest.mark.parametrize("kind", UNREADABLE)
def test_image_folder_refuses_files_that_it_cannot_read_right(tmp_path, kind):
    name, write, message = UNREADABLE[kind]
    write(tmp_path / name)
    with pytest.raises(BadSource, match=message):
        read(tmp_path / name)


def test_image_folder_refuses_links_to_nothing_and_what_is_no_file(tmp_path):
    images = classes(tmp_path, "cat/1.png")
    (images / "cat" / "2.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(images / "cat" / "3.png")
    with pytest.raises(
        BadSource, match=r"2.png \(not readable: No such file.*3.png \(not a file\)"
    ):
        ds.image_folder(images)


# --- folders -----------------------------------------------------------------------------------


def classes(tmp_path, *names):
    """Write images, and text into files of other kinds; return their folder."""
    for number, name in enumerate(names):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg", ".gif", ".jfif"):
            image = Image.fromarray(np.full((6, 9, 3), number, np.uint8))
            image.save(path, format="PNG")
        elif path.suffix:
            path.write_text("text")
        else:
            path.mkdir(exist_ok=True)
    return tmp_path / "images"


def test_image_folder_has_the_order_of_torchvision(tmp_path):
    names = [
        "dog",
        "Zebra",
        "cat",
        "class10",
        "class9",
        "étang",
        "象",
        unicodedata.normalize("NFD", "é"),
    ]
    files = ["10.png", "9.png", "B.PNG", "a/2.jpg", "a.b/1.png", "a/b/1.png", "é.png", "a b.png"]
    images = classes(tmp_path, *(f"{name}/{file}" for name in names for file in files))
    found, expected = ds.image_folder(images), ImageFolder(images)
    assert found.classes == expected.classes
    assert found.class_to_idx == expected.class_to_idx
    assert found.samples == expected.samples
    assert found.targets == expected.targets
    assert isinstance(found, ImageFolder)


def test_image_folder_leaves_out_what_systems_and_editors_leave_behind(tmp_path):
    images = classes(
        tmp_path, "cat/1.png", "dog/2.png", "cat/Thumbs.db", "cat/.DS_Store.x", "cat/._1.png",
        "__MACOSX/cat/._1.png", "__MACOSX/cat/1.png", ".ipynb_checkpoints/1-checkpoint.png",
        "dog/.ipynb_checkpoints/2-checkpoint.png", "dog/@eaDir/2.png", "readme.md", ".git/a.png",
        "desktop.ini",
    )  # fmt: skip
    (images / "cat" / ".DS_Store.x").rename(images / "cat" / ".DS_Store")
    found = ds.image_folder(images)
    assert found.classes == ["cat", "dog"]
    assert [os.path.relpath(path, images) for path, _ in found.samples] == [
        "cat/1.png",
        "dog/2.png",
    ]


def test_image_folder_names_the_files_that_it_skips(tmp_path):
    images = classes(
        tmp_path, "cat/1.png", "cat/.2.png", "cat/a.txt", "cat/in/b.csv", "dog/c.xml", "dog/1.png"
    )
    with pytest.warns(
        CaptureWarning, match=r"skipped 4 files \(cat/.2.png, cat/a.txt, cat/in/b.cs"
    ):
        assert len(ds.image_folder(images)) == 2
    classes(tmp_path / "other", "cat/1.png", "cat/a.txt")
    with pytest.warns(
        CaptureWarning,
        match=r"skipped 1 file \(cat/a.txt\) in \S+: without an image suffix, or hidden; 1 image ",
    ):
        ds.image_folder(tmp_path / "other" / "images")


def test_image_folder_reads_images_that_torchvision_skips(tmp_path):
    images = classes(tmp_path, "cat/1.png", "cat/2.gif", "cat/3.jfif")
    assert (len(ds.image_folder(images)), len(ImageFolder(images))) == (3, 1)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/cat/1.png", "val/cat/2.png"],
         r"train and val, which are splits.*; give one of them: \S+images/train or \S+images/val"),
        (["Test_set/cat/1.png", "training/cat/2.png", "test-2/cat/3.png"],
         "Test_set and test-2 and training, which are splits"),
        (["images/cat/1.png", "images/dog/2.png"],
         r"single folder, images, which holds folders \(cat, dog\).*give \S+images/images;"),
        (["cat/1.png", "dog"], r"class folder \S+dog has no images: it is empty; add images"),
        (["cat/1.png", "dog/a.txt"], r"holds 1 file \(dog/a.txt\) without an image suffix; give"),
        (["cat/1.png", "2.png", "3.png"], r"2 files \(2.png, 3.png\) beside class folders \(cat\)"),
        (["1.png"], r"not hold one folder for each class, but 1 file \(1.png\); put the images"),
        (["notes.txt"], "does not hold one folder for each class; put the images of each class"),
        ([".hidden/1.png"], "does not hold one folder for each class"),
        (["__MACOSX/1.png"], "is an empty folder"),
    ],
)  # fmt: skip
def test_image_folder_refuses_folders_whose_classes_are_unclear(tmp_path, names, message):
    images = classes(tmp_path, *names)
    with pytest.raises(BadSource, match=message):
        ds.image_folder(images)


def test_image_folder_takes_class_names_that_look_like_one_split(tmp_path):
    images = classes(tmp_path, "train/1.png", "bus/2.png", "testament/3.png")
    assert ds.image_folder(images).classes == ["bus", "testament", "train"]


def test_image_folder_refuses_what_is_no_folder(tmp_path):
    with pytest.raises(BadSource, match="nowhere is not a folder; give a folder"):
        ds.image_folder(tmp_path / "nowhere")


def test_image_folder_counts_subfolders_to_their_class(tmp_path):
    images = classes(tmp_path, "cat/1.png", "cat/persian/2.png", "dog/poodle/3.png")
    assert ds.image_folder(images).targets == [0, 0, 1]


@pytest.mark.parametrize("target", ["images", "images/cat", "images/dog"])
def test_image_folder_refuses_links_that_count_images_twice(tmp_path, target):
    images = classes(tmp_path, "cat/1.png", "dog/2.png")
    (images / "dog" / "link").symlink_to(tmp_path / target)
    with pytest.raises(
        BadSource, match=r"dog/link leads to the folder \S+ again.*remove this symb"
    ):
        ds.image_folder(images)


def test_image_folder_follows_links_to_other_folders(tmp_path):
    images = classes(tmp_path, "cat/1.png")
    other = classes(tmp_path / "other", "dog/2.png")
    (images / "dog").symlink_to(other / "dog")
    assert ds.image_folder(images).classes == ["cat", "dog"]


def test_image_folder_refuses_names_that_no_file_can_store(tmp_path):
    images = classes(tmp_path, "cat/1.png")
    os.makedirs(os.fsencode(images) + b"/caf\xe9")
    with pytest.raises(BadSource, match=r"'caf\\udce9' .* is not valid UTF-8; rename it"):
        ds.image_folder(images)


class Average(nn.Module):
    def forward(self, x):
        return x.mean([2, 3])


@pytest.mark.filterwarnings("ignore:.*levels remain:dimscope.errors.CaptureWarning")
def test_profile_of_a_folder_measures_the_decoded_pixels(tmp_path):
    folder = tmp_path / "cells" / "one"
    folder.mkdir(parents=True)
    for number in range(12):
        values = np.full((6, 6), 5000 * number, np.uint16)
        Image.fromarray(values).save(folder / f"{number:02}.png")
    activations = ds.capture(
        Average(),
        ds.image_folder(
            tmp_path / "cells", preprocessing=lambda image: pixels(image).permute(2, 0, 1).float()
        ),
    )
    expected = np.rint(5000 * np.arange(12) / 257)
    np.testing.assert_array_equal(activations["output"][:, 0], expected)
