"""The rgb modality: every kind of file, oriented, in three channels, or one clear error."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgefw.contracts.student import InputSpec
from edgefw.errors import CapabilityError, DataError
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig

RGB = Rgb(RgbConfig())
SCENE = np.random.default_rng(1).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_a_png_comes_back_as_it_was() -> None:
    values = RGB.decode(encoded(Image.fromarray(SCENE)), "scene.png")
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, SCENE)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000"])
def test_other_formats_give_three_channels(format: str) -> None:
    image = Image.fromarray(np.tile(SCENE.mean((0, 1), keepdims=True).astype(np.uint8), (12, 20, 1)))
    values = RGB.decode(encoded(image, format), f"scene.{format}")
    assert values.shape == (12, 20, 3)
    assert np.abs(values.astype(int) - np.asarray(image)).max() <= 4


def test_exif_orientation_turns_the_picture_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show it upright
    data = encoded(Image.fromarray(SCENE), "PNG", exif=exif)
    np.testing.assert_array_equal(RGB.decode(data, "turned.png"), np.rot90(SCENE, -1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    format = "TIFF" if mode == "CMYK" else "PNG"
    image = Image.fromarray(SCENE).convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    values = RGB.decode(encoded(image, format), "scene")
    np.testing.assert_array_equal(values, np.asarray(image.convert("RGB")))


def test_grey_of_16_bits_is_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20)
    values = RGB.decode(encoded(Image.fromarray(grey)), "grey16.png")
    np.testing.assert_array_equal(values[..., 0], np.rint(grey / 257).astype(np.uint8))
    assert (values[..., 0] == values[..., 2]).all()


def test_transparency_is_dropped_not_blended() -> None:
    clear = np.dstack([SCENE, np.zeros(SCENE.shape[:2], np.uint8)])
    np.testing.assert_array_equal(RGB.decode(encoded(Image.fromarray(clear)), "clear.png"), SCENE)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_an_error(format: str, part: float) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(picture), format)
    with pytest.raises(DataError, match=r"^cut\.img: "):
        RGB.decode(data[: int(len(data) * part)], "cut.img")


def test_the_error_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match=r"^a\.jpg: the file is empty\.$"):
        RGB.decode(b"", "a.jpg")
    with pytest.raises(DataError, match=r"^notes\.jpg: no image format that Pillow knows\.$"):
        RGB.decode(b"these are notes, not a photograph", "notes.jpg")
    with pytest.raises(DataError, match=r"^f\.tif: an image of floating-point numbers"):
        RGB.decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "f.tif")


@pytest.mark.parametrize("head", [b"II*\0", b"MM\0*"])
def test_a_tiff_of_another_kind_is_called_a_tiff(head: bytes) -> None:
    with pytest.raises(DataError, match=r"^bands\.tif: a TIFF that Pillow cannot read as one colour picture\.$"):
        Rgb(RgbConfig()).decode(head + bytes(60), "bands.tif")


def test_a_decompression_bomb_is_an_error() -> None:
    header = struct.pack(">II", 60000, 60000) + bytes([8, 2, 0, 0, 0])
    small = encoded(Image.fromarray(SCENE))
    with pytest.raises(DataError, match=r"^bomb\.png: "):
        RGB.decode(small[:16] + header + small[29:], "bomb.png")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "WEBP"]), st.integers(0, 200))
def test_damaged_bytes_give_a_picture_or_a_data_error(junk: bytes, format: str, at: int) -> None:
    data = encoded(Image.fromarray(SCENE), format)
    damaged = data[:at] + junk + data[at + len(junk) :]
    try:
        assert RGB.decode(damaged, "x").shape[2] == 3
    except DataError as error:
        assert str(error).startswith("x: ")


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_preprocessing_gives_the_students_input(fit: str) -> None:
    chain = Rgb(RgbConfig(fit=fit)).preprocessing(InputSpec(size=8))
    result = chain(SCENE)
    assert result.shape == (3, 8, 8) and result.dtype == np.float32
    assert chain.modality == "rgb" and Rgb(RgbConfig(**chain.options)).config.fit == fit


def test_a_student_of_other_channels_is_refused() -> None:
    with pytest.raises(CapabilityError, match="gives 3 channels; the student takes 1"):
        RGB.preprocessing(InputSpec(size=8, channels=1, mean=(0.5,), std=(0.5,)))


def test_a_photograph_is_its_own_picture() -> None:
    assert RGB.picture(SCENE) is SCENE and RGB.colour
