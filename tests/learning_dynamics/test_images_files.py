import gzip
import io
import pickle
import struct
import zipfile
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from learning_dynamics.images import load_array, load_cifar, load_folder, load_idx, load_images

RNG = np.random.default_rng(7)


class Explosive:
    """Unpickling this fails the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def cifar_bytes(images, *labels):
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([np.array(labels, np.uint8).T, planes], axis=1).tobytes()


def idx_bytes(array, code=8, shape=None):
    shape = array.shape if shape is None else shape
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + array.tobytes()


def npy_bytes(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def put(folder, name, content):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_bytes(content)
    return folder / name


# CIFAR ------------------------------------------------------------------------------------------


def test_cifar10_directory(tmp_path):
    images = pixels(6, 32, 32, 3)
    for i in range(5):
        put(tmp_path, f"data_batch_{i + 1}.bin", cifar_bytes(images[i : i + 1], [i]))
    put(tmp_path, "test_batch.bin", cifar_bytes(images[5:], [9]))
    names = [f"class{i}" for i in range(10)]
    put(tmp_path, "batches.meta.txt", "\n".join([*names, "", ""]).encode())
    for load in (load_cifar, load_images):
        train = load(tmp_path)
        np.testing.assert_array_equal(train.images, images[:5])
        np.testing.assert_array_equal(train.labels, np.arange(5))
        assert train.class_names == tuple(names)
    test = load_cifar(tmp_path, part="test")
    np.testing.assert_array_equal(test.images, images[5:])
    assert "test_batch.bin" in test.source


def test_cifar100_directory_has_two_labels(tmp_path):
    images = pixels(3, 32, 32, 3)
    put(tmp_path, "train.bin", cifar_bytes(images, [0, 19, 7], [99, 0, 50]))
    put(tmp_path, "coarse_label_names.txt", "\n".join(f"c{i}" for i in range(20)).encode())
    fine = load_cifar(tmp_path)
    np.testing.assert_array_equal(fine.images, images)
    np.testing.assert_array_equal(fine.labels, [99, 0, 50])
    assert fine.class_names[99] == "99"  # no file with the names
    coarse = load_cifar(tmp_path, labels="coarse")
    np.testing.assert_array_equal(coarse.labels, [0, 19, 7])
    assert coarse.class_names[19] == "c19"


def test_single_cifar_file_is_told_by_name_size_or_kind(tmp_path):
    images = pixels(2, 32, 32, 3)
    ten = put(tmp_path, "some.bin", cifar_bytes(images, [3, 1]))
    np.testing.assert_array_equal(load_images(ten).labels, [3, 1])
    hundred = put(tmp_path, "other.bin", cifar_bytes(images, [3, 1], [44, 45]))
    np.testing.assert_array_equal(load_cifar(hundred, kind="cifar100").labels, [44, 45])


def zeros(count):
    return bytes(count)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("data_batch_1.bin", zeros(3000), {}, "records of 3073 bytes, but got 3000 bytes"),
        ("test.bin", zeros(3073), {}, "CIFAR-100 records of 3074 bytes"),
        ("some.bin", zeros(5000), {}, "3073 or 3074"),
        ("some.bin", zeros(3073 * 3074), {}, "come with `kind`"),
        ("some.bin", b"", {}, "not empty"),
        ("some.bin", zeros(3073) + b"\x0a" + zeros(3072), {}, "below 10, but got label 10"),
        ("train.bin", b"\x14" + zeros(3073), {}, "coarse labels below 20"),
        ("train.bin", b"\0\x64" + zeros(3072), {}, "fine labels below 100"),
        ("train.bin", zeros(3074 * 2), {"max_bytes": 6000}, "at most 6000 bytes"),
        ("data_batch_1", pickle.dumps({b"data": Explosive()}), {}, "binary version"),
        ("data_batch_1.bin", pickle.dumps(Explosive()), {}, "binary version"),
    ],
)
def test_broken_cifar_files_are_named(tmp_path, name, content, options, message):
    path = put(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as error:
        load_cifar(path, **options)
    assert str(path) in str(error.value)


def test_broken_cifar_directories_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"data_batch_1\.bin or train\.bin.*none of them in"):
        load_cifar(tmp_path)
    put(tmp_path, "data_batch_1.bin", zeros(3073))
    with pytest.raises(ValueError, match=r"nothing at .*data_batch_2\.bin"):
        load_cifar(tmp_path)
    for i in range(2, 6):
        put(tmp_path, f"data_batch_{i}.bin", zeros(3073) if i != 4 else b"\xff" + zeros(3072))
    with pytest.raises(ValueError, match=r"label 255 in .*data_batch_4\.bin"):
        load_cifar(tmp_path)
    put(tmp_path, "data_batch_4.bin", zeros(3073))
    put(tmp_path, "batches.meta.txt", b"cat\ndog\n")
    with pytest.raises(ValueError, match=r"10 classes.*2 names in .*batches\.meta\.txt"):
        load_cifar(tmp_path)
    python = put(tmp_path / "py", "data_batch_1", pickle.dumps(Explosive())).parent
    for load in (load_cifar, load_images):
        with pytest.raises(ValueError, match=r"binary version.*py"):
            load(python)
    with pytest.raises(ValueError, match=r"nothing at .*absent"):
        load_cifar(tmp_path / "absent")


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("train.bin", {"part": "train"}, "`part` must be left out"),
        (".", {"kind": "cifar100"}, "`kind` must be left out"),
        (".", {"part": "validation"}, "'train', 'test'"),
        ("test_batch.bin", {"labels": "coarse"}, "`labels` must be one of 'fine'"),
        ("train.bin", {"kind": "cifar"}, "'cifar10', 'cifar100'"),
    ],
)
def test_cifar_options_that_do_not_apply_are_refused(tmp_path, target, options, message):
    put(tmp_path, "train.bin", zeros(3074))
    put(tmp_path, "test_batch.bin", zeros(3073))
    with pytest.raises(ValueError, match=message):
        load_cifar(tmp_path / target, **options)


# idx --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_with_and_without_labels(tmp_path, pack):
    images = pixels(4, 5, 6)
    file = put(tmp_path, "train-images-idx3-ubyte", pack(idx_bytes(images)))
    plain = load_images(file)
    assert plain.labels is None
    np.testing.assert_array_equal(plain.images, images)
    labels = np.array([2, 0, 1, 2], np.uint8)
    beside = put(tmp_path, "train-labels-idx1-ubyte", pack(idx_bytes(labels)))
    for loaded in (load_idx(file, beside), load_images(file)):
        np.testing.assert_array_equal(loaded.labels, labels)
        assert loaded.class_names == ("0", "1", "2")
    named = load_idx(file, beside, class_names=["a", "b", "c", "d"])
    assert named.class_names[3] == "d"
    colour = put(tmp_path, "colour.idx", pack(idx_bytes(pixels(2, 3, 4, 3))))
    assert load_idx(colour).images.shape == (2, 3, 4, 3)


GOOD = idx_bytes(np.zeros((2, 3, 4), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not empty"),
        (b"\0\0", "start like an idx file, 00 00"),
        (b"GIF89a", "start like an idx file"),
        (idx_bytes(np.zeros((2, 3, 4), ">f4"), code=0x0D), "0x08.*0x0d"),
        (idx_bytes(np.zeros(5, np.uint8)), "3 or 4 dimension"),
        (GOOD[:11], "whole idx header"),
        (GOOD[:-1], r"24 bytes.*\(2, 3, 4\)"),
        (GOOD + b"x", "24 bytes.*more"),
        (idx_bytes(np.zeros((2, 0, 4), np.uint8)), "empty in any dimension"),
        (idx_bytes(np.zeros(4, np.uint8), shape=(2**32 - 1,) * 3), "at most 4294967296 bytes"),
        (idx_bytes(np.zeros(4, np.uint8), shape=(2**10,) * 3), "1073741824 bytes"),
        (gzip.compress(idx_bytes(np.zeros(4, np.uint8), shape=(2**10,) * 3), mtime=0), "far fewer"),
        (gzip.compress(GOOD[:-1], mtime=0), "got 23 bytes"),
        (gzip.compress(GOOD, mtime=0)[:-9], "whole gzip file"),
        (gzip.compress(GOOD, mtime=0)[:10] + b"\xff" * 20, "whole gzip file"),
        (gzip.compress(GOOD, mtime=0)[:-8] + bytes(8), "whole gzip file.*CRC"),
    ],
)
def test_broken_idx_files_are_named(tmp_path, content, message):
    path = put(tmp_path, "images.idx", content)
    with pytest.raises(ValueError, match=message) as error:
        load_idx(path)
    assert str(path) in str(error.value)


def test_a_gzip_bomb_is_read_to_its_declared_size_only(tmp_path, monkeypatch):
    bomb = gzip.compress(GOOD + bytes(2**26))
    path = put(tmp_path, "bomb.gz", bomb)
    taken = []
    whole = gzip.GzipFile.read

    def counted(self, size=-1):
        taken.append(size)
        return whole(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(ValueError, match=r"24 bytes.*more.*bomb\.gz"):
        load_idx(path)
    assert min(taken) > 0
    assert sum(taken) <= 512 + 4 + 12 + 25  # a look at the header of a tar archive comes first


def test_idx_labels_that_do_not_fit_are_named(tmp_path):
    images = put(tmp_path, "images.idx", GOOD)
    few = put(tmp_path, "few.idx", idx_bytes(np.zeros(1, np.uint8)))
    with pytest.raises(ValueError, match=r"`labels_path`.* 2 images.*1 labels in .*few\.idx"):
        load_idx(images, few)
    large = put(tmp_path, "large.idx", idx_bytes(np.array([0, 7], np.uint8)))
    with pytest.raises(ValueError, match=r"below the number of classes 3.*label 7 in .*large\.idx"):
        load_idx(images, large, class_names="abc")
    with pytest.raises(ValueError, match=r"1 dimension.*images\.idx"):
        load_idx(images, images)
    with pytest.raises(ValueError, match=r"`labels_path`.*nothing at .*absent"):
        load_idx(images, tmp_path / "absent")


# folders ----------------------------------------------------------------------------------------


def save(path, array, **options):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(array).save(path, **options)
    return path


def test_class_folders_and_limit(tmp_path):
    images = {f"{c}/{i}.png": pixels(4, 6, 3) for c in ("cat", "ant") for i in range(3)}
    for name, image in images.items():
        save(tmp_path / name, image)
    put(tmp_path / "cat", "notes.txt", b"not an image")
    put(tmp_path / "cat", ".hidden.png", b"")
    for load in (load_folder, load_images):
        loaded = load(tmp_path)
        assert loaded.class_names == ("ant", "cat")
        np.testing.assert_array_equal(loaded.labels, [0, 0, 0, 1, 1, 1])
        np.testing.assert_array_equal(loaded[4], images["cat/1.png"])
    np.testing.assert_array_equal(load_folder(tmp_path, limit_per_class=2).labels, [0, 0, 1, 1])


def test_flat_folder_labels_by_photograph_and_keeps_sizes(tmp_path):
    save(tmp_path / "b.png", pixels(4, 6, 3))
    save(tmp_path / "a.tif", pixels(5, 5))
    loaded = load_folder(tmp_path)
    assert [image.shape for image in loaded] == [(5, 5), (4, 6, 3)]
    assert loaded.class_names == ("a.tif", "b.png")
    assert len(load_folder(tmp_path, limit_per_class=1)) == 1


def test_crop_is_central_and_gray_joins_colour(tmp_path):
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200
    save(tmp_path / "a.png", wide)
    save(tmp_path / "b.png", np.full((8, 8), 50, np.uint8))
    loaded = load_folder(tmp_path, size=4)
    assert loaded.images.shape == (2, 4, 4, 3)
    assert np.all(loaded[0] == 200)
    assert np.all(loaded[1] == 50)
    with pytest.raises(ValueError, match=r"at least 5 pixels.*12 x 4 in .*a\.png"):
        load_folder(tmp_path, size=5)
    assert load_folder(tmp_path, size=5, skip_small=True).class_names[1] == "b.png"
    with pytest.raises(ValueError, match="at least 9 pixels"):
        load_folder(tmp_path, size=9, skip_small=True)
    with pytest.raises(ValueError, match="`skip_small` must be left out"):
        load_folder(tmp_path, skip_small=True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "YCbCr"])
def test_eight_bit_modes_become_gray_or_colour(tmp_path, mode):
    kind = "tif" if mode in ("CMYK", "YCbCr") else "png"
    image = Image.fromarray(pixels(4, 5, 3)).convert(mode)
    options = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}
    image.save(tmp_path / f"a.{kind}", **options)
    loaded = load_images(tmp_path / f"a.{kind}")
    assert loaded.images.shape == ((1, 4, 5) if mode in ("1", "L", "LA") else (1, 4, 5, 3))
    assert loaded.class_names == (f"a.{kind}",)


def test_orientation_tag_is_applied(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6  # turn by a quarter
    save(tmp_path / "a.jpg", pixels(8, 16), exif=tag)
    assert load_images(tmp_path / "a.jpg").images.shape == (1, 16, 8)


def encoded(array, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def declared_png(width, height):
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not empty"),
        (b"no image at all", "image that Pillow reads"),
        (encoded(pixels(64, 64), "PNG")[:1000], "whole image"),
        (encoded(pixels(64, 64, 3), "JPEG")[:900], "whole image"),
        (encoded(pixels(64, 64), "TIFF")[:900], "Pillow reads|whole image"),
        (encoded(RNG.integers(0, 2**16, (4, 4), dtype=np.uint16), "PNG"), "8 bits a channel"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "Pillow reads"),
        (declared_png(10_000, 10_000), "excessive number of pixels"),
        (declared_png(10**9, 10**9), "excessive number of pixels"),
        (declared_png(5_000, 5_000), "at most 1000000 bytes.*25000000"),
    ],
)
def test_broken_image_files_are_named(tmp_path, content, message):
    path = put(tmp_path / "cat", "broken.png", content)
    for load, target in ((load_folder, tmp_path), (load_images, path)):
        with pytest.raises(ValueError, match=message) as error:
            load(target, max_bytes=10**6)
        assert str(path) in str(error.value)


def test_folders_that_make_no_sense_are_named(tmp_path):
    with pytest.raises(ValueError, match=f"image files.*none in {tmp_path}"):
        load_folder(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match=r"every class folder.*none in .*cat"):
        load_folder(tmp_path)
    save(tmp_path / "a.png", pixels(10, 10))
    with pytest.raises(ValueError, match=r"either .*a\.png beside cat/"):
        load_folder(tmp_path)
    (tmp_path / "cat").rmdir()
    save(tmp_path / "b.png", pixels(10, 10))
    with pytest.raises(ValueError, match=f"at most 150 bytes.*200.* in {tmp_path}"):
        load_folder(tmp_path, max_bytes=150)
    with pytest.raises(ValueError, match=r"directory.*a file at .*a\.png"):
        load_folder(tmp_path / "a.png")
    with pytest.raises(ValueError, match="`limit_per_class`"):
        load_folder(tmp_path, limit_per_class=0)


# arrays -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, ">f4"])
def test_npy(tmp_path, dtype, order):
    images = (pixels(3, 4, 5) / (1 if dtype is np.uint8 else 255)).astype(dtype, order=order)
    path = put(tmp_path, "a.npy", npy_bytes(images))
    for load in (load_array, load_images):
        loaded = load(path)
        assert loaded.images.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
        np.testing.assert_array_equal(loaded.images, images.astype(loaded.images.dtype))
        assert loaded.labels is None


@pytest.mark.parametrize("save_archive", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save_archive):
    images, labels = pixels(3, 4, 5, 3), np.array([2, 0, 1])
    save_archive(tmp_path / "a.npz", images=images, labels=labels)
    loaded = load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(loaded.images, images)
    np.testing.assert_array_equal(loaded.labels, labels)
    assert loaded.class_names == ("0", "1", "2")
    save_archive(
        tmp_path / "b.npz", x_train=images, y_train=labels, class_names=np.array(["a", "b", "c"])
    )
    loaded = load_array(tmp_path / "b.npz", images_key="x_train", labels_key="y_train")
    assert loaded.class_names == ("a", "b", "c")
    save_archive(tmp_path / "c.npz", images)
    assert len(load_array(tmp_path / "c.npz")) == 3


def npz_bytes(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


IMAGES = npy_bytes(np.zeros((2, 3, 3), np.uint8))
HUGE = IMAGES.replace(b"(2, 3, 3), }        ", b"(99999, 99999, 9), }")
EXPLOSIVE = npy_bytes(np.array([Explosive()], object), allow_pickle=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not empty"),
        (b"something else", "be an .npy or .npz file"),
        (pickle.dumps(Explosive()), "never loaded"),
        (EXPLOSIVE, "pickled objects are never loaded"),
        (npz_bytes(images=EXPLOSIVE), "pickled objects are never loaded"),
        (npz_bytes(images=IMAGES, labels=EXPLOSIVE), "pickled objects are never loaded"),
        (IMAGES[:7], "version 1.0"),
        (IMAGES[:40], "version 1.0"),
        (IMAGES.replace(b"'descr'", b"'descx'"), "version 1.0"),
        (IMAGES.replace(b"(2, 3, 3)", b"(2,-3,-3)"), "positive shape"),
        (IMAGES.replace(b"(2, 3, 3)", b"(2, 3, 3("), "version 1.0"),
        (b"\x93NUMPY\x03\0" + IMAGES[8:], "version 1.0.*version"),
        (IMAGES[:-1], "18 bytes.*17 bytes"),
        (IMAGES + b"x", "18 bytes.*more"),
        (HUGE, "at most 4294967296 bytes"),
        (npz_bytes(images=HUGE), "at most 4294967296 bytes"),
        (npz_bytes(images=IMAGES + bytes(10**6)), "18 bytes.*more"),
        (npz_bytes(images=IMAGES)[:-30], "whole .npz archive"),
        (npz_bytes(images=IMAGES).replace(b"PK\x03\x04", b"PK\x03\x05"), "\\.npz"),
        (npz_bytes(a=IMAGES, b=IMAGES), "array 'images'"),
        (npy_bytes(np.zeros((0, 3, 3), np.uint8)), "positive shape"),
        (npy_bytes(np.zeros((3, 3), np.uint8)), r"\(n, height, width\)"),
        (npy_bytes(np.zeros((2, 3, 3), np.int32)), "uint8"),
        (npy_bytes(np.full((2, 3, 3), 255.0)), r"\[0, 1\]"),
        (npz_bytes(images=IMAGES, labels=npy_bytes(np.array([0]))), "2 integers"),
        (npz_bytes(images=IMAGES, labels=npy_bytes(np.array([0, -1]))), "negative"),
        (npz_bytes(images=IMAGES, labels=npy_bytes(np.array([0, 2**40]))), "below 65536"),
        (
            npz_bytes(
                images=IMAGES,
                labels=npy_bytes(np.array([0, 2])),
                class_names=npy_bytes(np.array(["a", "b"])),
            ),
            "number of classes 2",
        ),
    ],
)
def test_broken_arrays_are_named(tmp_path, content, message):
    path = put(tmp_path, "broken.npy", content)
    with pytest.raises(ValueError, match=message) as error:
        load_array(path)
    assert str(path) in str(error.value)


def test_array_keys_that_do_not_apply_are_refused(tmp_path):
    single = put(tmp_path, "a.npy", IMAGES)
    with pytest.raises(ValueError, match="`labels_key` must be left out"):
        load_array(single, labels_key="y")
    archive = put(tmp_path, "a.npz", npz_bytes(images=IMAGES))
    for option in ("images_key", "labels_key"):
        with pytest.raises(ValueError, match=r"array 'y'.*\['images'\] in .*a\.npz"):
            load_array(archive, **{option: "y"})


# recognition ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not empty"),
        (b"plain text", "be CIFAR.*first bytes 70 6c"),
        (pickle.dumps(Explosive()), "never loaded"),
    ],
)
def test_unrecognised_files_are_named(tmp_path, content, message):
    path = put(tmp_path, "thing", content)
    with pytest.raises(ValueError, match=message) as error:
        load_images(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("load", [load_images, load_array, load_idx, load_cifar, load_folder])
def test_missing_paths_are_named(tmp_path, load):
    with pytest.raises(ValueError, match=r"nothing at .*absent"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("load", [load_array, load_idx, partial(load_cifar, kind="cifar10")])
def test_size_bound_must_be_positive(tmp_path, load):
    content = {load_array: IMAGES, load_idx: GOOD}.get(load, zeros(3073))
    with pytest.raises(ValueError, match="`max_bytes`"):
        load(put(tmp_path, "file.bin", content), max_bytes=0)
