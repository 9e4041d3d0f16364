"""What a decoder would drop of a file: frames, bits beyond 8, channels, transparency."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from learning_dynamics.images._reading import unfit

__all__ = ["EIGHT_BITS", "FORMATS", "check_opaque", "check_whole"]

EIGHT_BITS = "hold 8 bits a channel: save floats in [0, 1] as .npy to keep more"
_BYTE = 8
_WHOLE_NUMBERS = (1, 4)  # sample formats of TIFF: unsigned, or not stated
_CHANNELS = {"1": 1, "L": 1, "P": 1, "LA": 2, "La": 2, "PA": 2, "RGB": 3, "YCbCr": 3, "LAB": 3}
_CHANNELS |= {"RGBA": 4, "RGBa": 4, "CMYK": 4}


def _tiff(file: Path, opened: Any) -> int:
    tags = opened.tag_v2
    samples, held = tags.get(277, 1), _CHANNELS.get(opened.mode, 0)
    if samples != held:
        raise unfit(file, "hold gray or colour, and at most transparency", f"{samples} channels")
    if opened.mode == "YCbCr" and tags.get(530) != (1, 1):  # Pillow unpacks no other pixels
        raise unfit(file, "hold as many pixels of each channel", f"ratios {tags.get(530)}")
    kinds = tags.get(339, (1,))
    if not set(kinds) <= set(_WHOLE_NUMBERS):
        raise unfit(file, "hold unsigned whole numbers", f"TIFF sample format {kinds}")
    return max(tags.get(258, (1,)))


def _bmp(file: Path, opened: Any) -> int:
    """The fourth byte of a pixel is padding, unless it differs from pixel to pixel."""
    if opened.tile and "BGRX" in opened.tile[0][3]:
        start, count = opened.tile[0][2], opened.width * opened.height
        with file.open("rb") as stream:
            stream.seek(start)
            padding = stream.read(4 * count)[3::4]
        if len(set(padding)) > 1:
            raise unfit(file, "hold no fourth channel: save colours only", "one that varies")
    return _BYTE


def _png(file: Path, opened: Any) -> int:
    return 16 if any("16" in str(tile[3]) for tile in opened.tile) else _BYTE


def _ppm(file: Path, opened: Any) -> int:
    """The largest value is an argument of the decoder where it is not 255."""
    found = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in opened.tile]
    return max([_BYTE, *(a.bit_length() for each in found for a in each if isinstance(a, int))])


def _jpeg2000(file: Path, opened: Any) -> int:
    data = file.read_bytes()
    start = data.find(b"\xff\x4f\xff\x51")  # start of the codestream, then its size marker
    if start < 0:
        raise unfit(file, "be a whole image", "no JPEG 2000 codestream")
    count = int.from_bytes(data[start + 40 : start + 42])
    depths = data[start + 42 : start + 42 + 3 * count : 3]
    if any(depth & 0x80 for depth in depths):
        raise unfit(file, "hold unsigned whole numbers", "signed ones")
    return max([_BYTE, *(depth + 1 for depth in depths)])


def _avif(file: Path, opened: Any) -> int:
    data = file.read_bytes()
    at = data.find(b"av1C")  # its third byte has a bit for 10 or 12 bits a channel
    return 10 if at >= 0 and data[at + 6 : at + 7] and data[at + 6] & 0x40 else _BYTE


def _sgi(file: Path, opened: Any) -> int:
    with file.open("rb") as stream:
        return _BYTE * stream.read(4)[3]


def _byte(file: Path, opened: Any) -> int:
    return _BYTE


# Formats with more than 8 bits are listed only with a way to tell.
_DEPTHS: dict[str, Callable[[Path, Any], int]] = {
    "AVIF": _avif,
    "BMP": _bmp,
    "GIF": _byte,
    "JPEG": _byte,
    "JPEG2000": _jpeg2000,
    "MPO": _byte,
    "PCX": _byte,
    "PNG": _png,
    "PPM": _ppm,
    "QOI": _byte,
    "SGI": _sgi,
    "SUN": _byte,
    "TGA": _byte,
    "TIFF": _tiff,
    "WEBP": _byte,
    "XBM": _byte,
}
FORMATS = tuple(_DEPTHS)


def check_whole(file: Path, opened: Image.Image) -> None:
    """Refuse a file of which 8-bit gray or colour would be a part.

    Raises:
        ValueError: on several frames, more than 8 bits a channel, signed or floating-point
            numbers, or channels that are no colours.
    """
    frames = getattr(opened, "n_frames", 1)
    if frames != 1:
        raise unfit(
            file,
            "hold one image: save the frames as files, or as an array (n, height, width) for .npy",
            f"{frames} frames",
        )
    bits = _DEPTHS[str(opened.format)](file, opened)
    if bits > _BYTE:
        raise unfit(file, EIGHT_BITS, f"{bits} bits")


def check_opaque(file: Path, image: Image.Image) -> None:
    """Refuse an image with pixels through which a background would be seen.

    Raises:
        ValueError: if a pixel is transparent.
    """
    if not image.has_transparency_data:
        return
    lowest = min(image.convert("RGBA").getchannel("A").tobytes())
    if lowest < 255:
        raise unfit(
            file,
            "be opaque: paste it onto a background first",
            f"transparency down to {lowest} of 255",
        )
