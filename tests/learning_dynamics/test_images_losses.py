"""Images are read whole or refused by name: depth, frames, channels, transparency, containers."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
import zlib
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from PIL import Image

from learning_dynamics.images import (
    ImageSet,
    cut_patches,
    grayscale,
    load_array,
    load_folder,
    load_idx,
    load_images,
)

RNG = np.random.default_rng(3)
COLOUR = RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8)
GRAY = np.ascontiguousarray(COLOUR[..., 0])
DEEP = RNG.integers(0, 65536, (8, 10, 3), dtype=np.uint16)
OPAQUE = np.concatenate([COLOUR, np.full((8, 10, 1), 255, np.uint8)], axis=-1)
CLEAR = OPAQUE.copy()
CLEAR[0, 0, 3] = 7
EIGHT_BITS = r"`path` must hold 8 bits a channel.*\.npy.*"


def written(folder, name, image, **options):
    Image.init()
    if name[-4:] in ("avif", ".qoi") and name[-4:].strip(".").upper() not in Image.SAVE:
        pytest.skip("a Pillow that cannot write the format")
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(
        folder / name, **options
    )
    return folder / name


@pytest.mark.parametrize("image", [COLOUR, GRAY, OPAQUE], ids=["colour", "gray", "opaque"])
@pytest.mark.parametrize("kind", ["png", "bmp", "tif", "tga", "jp2", "sgi", "ppm", "webp"])
def test_what_was_written_is_read(tmp_path, kind, image):
    options = {"lossless": True} if kind == "webp" else {}
    found = load_images(written(tmp_path, f"a.{kind}", image, **options))[0]
    wanted = image[..., :3] if image.ndim == 3 else image
    if kind == "webp" and image.ndim == 2:  # a format without gray
        wanted = np.stack([image] * 3, axis=-1)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["png", "tif", "tga", "jp2", "sgi", "webp", "qoi", "bmp"])
def test_transparency_is_refused(tmp_path, kind):
    options = {"lossless": True} if kind == "webp" else {}
    file = written(tmp_path, f"a.{kind}", CLEAR, **options)
    with pytest.raises(ValueError, match=r"`path` must (be opaque|hold no fourth).*a\.") as error:
        load_images(file)
    assert kind == "bmp" or "transparency down to 7 of 255" in str(error.value)


def test_transparent_colours_of_a_palette_are_refused(tmp_path):
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE)
    plain = written(tmp_path, "a.png", palette)
    np.testing.assert_array_equal(load_images(plain)[0], np.array(palette.convert("RGB")))
    files = [
        written(tmp_path, "b.png", palette, transparency=bytes([0, 128])),
        written(tmp_path, "c.gif", palette, transparency=3),
        written(tmp_path, "d.png", COLOUR, transparency=tuple(int(c) for c in COLOUR[0, 0])),
        written(tmp_path, "e.png", Image.merge("LA", [Image.fromarray(GRAY)] * 2)),
    ]
    for file in files:
        with pytest.raises(ValueError, match="must be opaque"):
            load_images(file)
    unused = written(tmp_path, "f.png", COLOUR, transparency=(1, 2, 3))
    np.testing.assert_array_equal(load_images(unused)[0], COLOUR)


def deep_png(colour_type, pixels):
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


FOUR = np.concatenate([DEEP, DEEP[..., :1]], axis=-1)
BIG = DEEP.astype(">u2").tobytes()
DEEP_FILES = {
    "gray.png": deep_png(0, DEEP[..., 0]),
    "gray-alpha.png": deep_png(4, DEEP[..., :2]),
    "colour.png": deep_png(2, DEEP),
    "colour-alpha.png": deep_png(6, FOUR),
    "colour.ppm": b"P6\n10 8\n65535\n" + BIG,
    "ten-bits.ppm": b"P6\n10 8\n1000\n" + (DEEP % 1000).astype(">u2").tobytes(),
    "plain.ppm": b"P3\n10 8\n65535\n" + b" ".join(str(x).encode() for x in DEEP.ravel()),
    "gray.pgm": b"P5\n10 8\n65535\n" + DEEP[..., 0].astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_deep_colour_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(DEEP_FILES[name])
    with pytest.raises(ValueError, match=EIGHT_BITS + name):
        load_images(tmp_path / name)


def test_other_deep_formats_are_refused(tmp_path):
    files = [
        written(tmp_path, "a.jp2", np.ascontiguousarray(DEEP[..., 0])),
        written(tmp_path, "b.sgi", COLOUR, bpc=2),
        written(tmp_path, "c.tif", DEEP[..., 0].astype(np.float32)),
        written(tmp_path, "d.tif", DEEP[..., 0].astype(np.int32)),
    ]
    for file in files:
        with pytest.raises(ValueError, match=EIGHT_BITS + file.name):
            load_images(file)
    # the depth of each component follows the size marker of the codestream
    coded = bytearray(written(tmp_path, "e.j2k", COLOUR).read_bytes())
    coded[42] = 11
    (tmp_path / "e.j2k").write_bytes(coded)
    with pytest.raises(ValueError, match=EIGHT_BITS + r"got 12 bits|must be a whole image"):
        load_images(tmp_path / "e.j2k")


@pytest.mark.parametrize("small", [15, 200])
def test_fewer_levels_are_spread_over_the_bytes(tmp_path, small):
    levels = COLOUR % (small + 1)
    (tmp_path / "a.ppm").write_bytes(b"P6\n10 8\n%d\n" % small + levels.tobytes())
    found = load_images(tmp_path / "a.ppm")[0]
    np.testing.assert_allclose(found / 255, levels / small, atol=0.5001 / 255)


PLANES = np.moveaxis(COLOUR, -1, 0)
RGB = {"photometric": "rgb"}
SEPARATE = {**RGB, "planarconfig": "separate"}
GRAYS = {"photometric": "minisblack"}
TIFFS = {
    "planes": (PLANES, SEPARATE, COLOUR),
    "big": (COLOUR, {**RGB, "bigtiff": True}, COLOUR),
    "big-endian": (COLOUR, {**RGB, "byteorder": ">"}, COLOUR),
    "white is zero": (GRAY, {"photometric": "miniswhite"}, 255 - GRAY),
    "deep planes": (np.moveaxis(DEEP, -1, 0), SEPARATE, "16 bits"),
    "deep": (DEEP, RGB, "16 bits"),
    "deep ink": (FOUR, {"photometric": "separated"}, "16 bits"),
    "long": (DEEP.astype(np.uint32), RGB, "must be"),
    "float": (DEEP.astype(np.float32), RGB, "must be"),
    "double": (DEEP[..., 0].astype(np.float64), GRAYS, "must be"),
    "complex": (GRAY.astype(np.complex128), {}, "must be"),
    "signed": (GRAY.astype(np.int8), GRAYS, "unsigned whole numbers"),
    "infrared": (CLEAR, {**RGB, "extrasamples": ["unspecified"]}, "got 4 channels"),
    "associated": (CLEAR, {**RGB, "extrasamples": ["assocalpha"]}, "must be opaque"),
    "two grays": (
        COLOUR[..., :2],
        {**GRAYS, "planarconfig": "contig", "extrasamples": ["unspecified"]},
        "got 2 channels|image that Pillow reads",
    ),
    "stack": (np.stack([GRAY] * 50), GRAYS, "hold one image.*got 50 frames"),
    "colour stack": (np.stack([COLOUR] * 3), RGB, "got 3 frames"),
}


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(tmp_path, name):
    array, options, wanted = TIFFS[name]
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    if isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(load_images(tmp_path / "a.tif")[0], wanted)
        return
    for load, path in ((load_images, tmp_path / "a.tif"), (load_folder, tmp_path)):
        with pytest.raises(ValueError, match=rf"`path`.*({wanted}).*a\.tif"):
            load(path)


def test_luminance_and_chrominance_are_read_right_or_refused(tmp_path):
    """Pillow before 13 refuses them without compression; none unpacks ratios other than 1."""
    smooth = np.add.outer(np.arange(16) * 8, np.arange(16) * 6).astype(np.uint8)
    colour = np.stack([smooth, smooth // 2, 255 - smooth], axis=-1)
    image = Image.fromarray(colour).convert("YCbCr")
    packed = written(tmp_path, "a.tif", image, compression="tiff_lzw")
    np.testing.assert_allclose(load_images(packed)[0], colour, atol=3)
    plain = written(tmp_path, "b.tif", image)
    with suppress(ValueError):
        np.testing.assert_allclose(load_images(plain)[0], colour, atol=3)
    content, tag = plain.read_bytes(), struct.pack("<HHI", 530, 3, 2)
    assert content.count(tag + struct.pack("<HH", 1, 1)) == 1
    halved = content.replace(tag + struct.pack("<HH", 1, 1), tag + struct.pack("<HH", 2, 2))
    plain.write_bytes(halved)
    with pytest.raises(ValueError, match=r"`path` must (hold as many pixels|be a whole image)"):
        load_images(plain)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif", "a.mpo", "a.jpg", "a.avif"])
def test_frames_are_refused(tmp_path, name):
    options = {"format": "MPO"} if name == "a.jpg" else {}
    second = [Image.fromarray(255 - COLOUR)]
    file = written(tmp_path, name, COLOUR, save_all=True, append_images=second, **options)
    with pytest.raises(ValueError, match=r"`path` must hold one image: save.*got 2 frames"):
        load_images(file)


@pytest.mark.parametrize("kind", ["png", "tif", "webp", "jpg"])
def test_orientation_is_applied_once(tmp_path, kind):
    smooth = np.add.outer(np.arange(8) * 9, np.arange(16) * 7).astype(np.uint8)
    image = np.stack([smooth] * 3, axis=-1)
    tag = Image.Exif()
    tag[0x0112] = 6
    options = {"lossless": True} if kind == "webp" else {"quality": 100} if kind == "jpg" else {}
    found = load_images(written(tmp_path, f"a.{kind}", image, exif=tag, **options))[0]
    np.testing.assert_allclose(found, np.rot90(image, -1), atol=2)


def test_formats_without_a_rule_are_refused(tmp_path):
    for kind in ("ico", "dds", "icns"):
        with pytest.raises(ValueError, match=f"must be one of AVIF, BMP.*{kind.upper()} in"):
            load_images(written(tmp_path, f"a.{kind}", np.tile(COLOUR, (4, 4, 1))))


def damaged_tiff():
    """A fax image of which libtiff passes over the broken lines."""
    stream = io.BytesIO()
    bits = np.random.default_rng(0).integers(0, 2, (64, 64), dtype=np.uint8)
    image = Image.fromarray(bits * 255).convert("1")
    image.save(stream, "TIFF", compression="group4")
    content = bytearray(stream.getvalue())
    content[100:140] = b"\x55" * 40
    return bytes(content)


READ = """
import sys, warnings
from learning_dynamics.images import load_images
try:
    print(load_images(sys.argv[1])[0].sum())
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("filters", ["ignore", "error"])
def test_nothing_leaks_and_filters_change_nothing(tmp_path, filters):
    (tmp_path / "a.tif").write_bytes(damaged_tiff())
    environment = {**os.environ, "PYTHONWARNINGS": filters}
    command = [sys.executable, "-c", READ, str(tmp_path / "a.tif")]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert found.stderr == ""
    assert "must be a whole image, but got Fax4Decode" in found.stdout


def test_damage_that_libtiff_passes_over_is_refused(tmp_path, capfd):
    (tmp_path / "a.tif").write_bytes(damaged_tiff())
    with pytest.raises(ValueError, match=r"whole image, but got Fax4Decode.*a\.tif"):
        load_images(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""


def test_warnings_of_decoders_are_not_shown(tmp_path):
    """Metadata that end too early are passed over, with and without `-W error`."""
    file = written(tmp_path, "a.tif", COLOUR, description="words" * 20)
    content = file.read_bytes().replace(b"words" * 20, b"words")
    for kind in ("error", "always"):
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter(kind)
            (tmp_path / "b.tif").write_bytes(content)
            with suppress(ValueError):
                load_images(tmp_path / "b.tif")
        assert not shown


def test_what_others_write_meanwhile_stays(capfd):
    from learning_dynamics.images._complaints import complaints

    with complaints() as said:
        os.write(2, b"50%: a progress bar\nValueError: of a thread\nWARNING: of another\n")
        os.write(2, b"TIFFFillStrip: Read error.\nFax4Decode: Bad.\nMissingRequired: A tag.\n")
    assert said == ["TIFFFillStrip: Read error.", "Fax4Decode: Bad.", "MissingRequired: A tag."]
    others = "50%: a progress bar\nValueError: of a thread\nWARNING: of another\n"
    assert capfd.readouterr().err == others


# arrays and containers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((50, 3, 32, 32), np.uint8), "have the channels last"),
        (np.zeros((50, 1, 28, 28), np.uint8), "have the channels last"),
        ((np.zeros((3, 8, 9), np.uint8), np.zeros((3, 7, 9), np.uint8)), "have the channels last"),
        (np.zeros((64, 64, 3), np.uint8), "be several images.*one in colour"),
        (np.ma.masked_equal(np.eye(4)[None], 1), "have no masked entries"),
        ((np.ma.masked_equal(np.eye(4), 1),), "have no masked entries"),
        (np.zeros((2, 4, 4), np.complex64), "be real"),
        (np.zeros((2, 4, 4), np.uint16), "be uint8"),
    ],
)
def test_arrays_that_lose_something_are_refused(images, message):
    with pytest.raises(ValueError, match=f"`images` must {message}"):
        ImageSet(images)
    with pytest.raises(ValueError, match=f"`images` must {message}"):
        cut_patches(images, 2, grayscale=False)


def test_hyperspectral_images_and_small_ones_stay(tmp_path):
    for shape in ((5, 8, 8, 31), (5, 3, 3, 64), (9, 4, 4), (6, 8, 4), (2, 32, 3, 3)):
        assert ImageSet(np.zeros(shape, np.uint8)).images.shape == shape
    with pytest.raises(ValueError, match="`image` must have the channels last"):
        grayscale(np.zeros((3, 8, 8)))
    np.save(tmp_path / "a.npy", np.zeros((50, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match=r"channels last.*a\.npy"):
        load_images(tmp_path / "a.npy")


def test_labels_that_lose_something_are_refused():
    images = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="`labels` must have no masked"):
        ImageSet(images, np.ma.array([0, 1], mask=[0, 1]))
    with pytest.raises(ValueError, match=r"`labels` must be below 2\^63"):
        ImageSet(images, np.array([0, 2**64 - 1], np.uint64))
    with pytest.raises(ValueError, match="`indices` must have no masked"):
        ImageSet(images).select(np.ma.array([0, 1], mask=[0, 1]))


def test_arrays_left_over_in_an_archive_are_refused(tmp_path):
    images, labels = np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 0])
    np.savez(tmp_path / "a.npz", images=images, label=labels)
    with pytest.raises(ValueError, match=r"`path` must hold `images`.*also arrays \['label'\]"):
        load_images(tmp_path / "a.npz")
    found = load_array(tmp_path / "a.npz", labels_key="label")
    np.testing.assert_array_equal(found.labels, labels)
    names = np.array([b"caf\xc3\xa9", b"tea"])
    np.savez(tmp_path / "b.npz", images=images, labels=labels, class_names=names)
    assert load_array(tmp_path / "b.npz").class_names == ("café", "tea")


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", ["", "images", "labels", "both"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_labels_beside_images_packed_or_not(tmp_path, packed, dot):
    parts = {
        f"t-images{dot}idx3-ubyte": ("images", idx(np.zeros((2, 4, 4), np.uint8))),
        f"t-labels{dot}idx1-ubyte": ("labels", idx(np.array([1, 0], np.uint8))),
    }
    files = []
    for name, (what, content) in parts.items():
        gz = packed in (what, "both")
        files.append(tmp_path / f"{name}{'.gz' * gz}")
        files[-1].write_bytes(gzip.compress(content) if gz else content)
    np.testing.assert_array_equal(load_images(files[0]).labels, [1, 0])


def tar_bytes(names=()):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def zip_bytes(names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return stream.getvalue()


TAR = tar_bytes(["data_batch_1.bin"])
PICKLE = pickle.dumps([1, 2])
UNPACKED = "be unpacked first"
CONTAINERS = {
    "a.tar": (TAR, UNPACKED, "a tar archive"),
    "empty.tar.gz": (gzip.compress(tar_bytes()), UNPACKED, "a tar archive in a gzip file"),
    "cifar-10-binary.tar.gz": (gzip.compress(TAR), UNPACKED, "a tar archive in a gzip file"),
    "a.tar.bz2": (bz2.compress(TAR), UNPACKED, "a tar archive in a bzip2 file"),
    "a.tar.xz": (lzma.compress(TAR), UNPACKED, "a tar archive in a xz file"),
    "mnist.pkl.gz": (gzip.compress(PICKLE), "without pickles", "a pickle in a gzip file"),
    "a.pkl": (PICKLE, "without pickles", "a pickle"),
    "tensor.pt": (zip_bytes(["tensor/data.pkl"]), "without pickles", "a PyTorch archive"),
    "photographs.zip": (zip_bytes(["a.png", "b.png"]), UNPACKED, "a zip archive of 2 files"),
    "a.png.gz": (gzip.compress(b"\x89PNG\r\n"), UNPACKED, "content begins with 89 50 4e 47"),
    "images.idx.bz2": (bz2.compress(idx(np.zeros((2, 4, 4), np.uint8))), UNPACKED, "a bzip2 file"),
    "broken.xz": (lzma.compress(TAR)[:20], "be a whole xz file|be unpacked", ""),
    "a.zst": (b"(\xb5/\xfd" + bytes(20), UNPACKED, "a zstd file"),
    "a.7z": (b"7z\xbc\xaf'\x1c" + bytes(20), UNPACKED, "a 7z archive"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + bytes(20), r"hold its images as \.npy", "an HDF5 file"),
    "a.mat": (b"MATLAB 5.0 MAT-file" + bytes(20), r"hold its images as \.npy", "a MATLAB file"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_are_named_with_what_to_do(tmp_path, name):
    content, demand, got = CONTAINERS[name]
    (tmp_path / name).write_bytes(content)
    loaders = (load_images, load_array) if name == "a.tar" else (load_images,)
    for load in loaders:
        with pytest.raises(ValueError, match=rf"`path` must .*({demand}).*{got}.*{name}"):
            load(tmp_path / name)


def test_arguments_are_called_by_their_names(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(TAR))
    with pytest.raises(ValueError, match="`images_path` must be unpacked first"):
        load_idx(tmp_path / "a.gz")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"\0\0\x0d\x03" + bytes(12)))
    with pytest.raises(ValueError, match="`path` must hold unsigned bytes"):
        load_images(tmp_path / "b.gz")
