"""The multispectral modality: file formats, bands by name and number, scaling, how the student takes them, messages."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from png16_files import png16
from pydantic import ValidationError

from edgefw.contracts.student import InputSpec
from edgefw.data.student_input import check_student_input
from edgefw.errors import CapabilityError, DataError, MissingDependency
from edgefw.plugins.modalities.band_names import BAND_ORDERS, position
from edgefw.plugins.modalities.multispectral import Multispectral, MultispectralConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig

DN = np.random.default_rng(5).integers(1, 6000, (16, 16, 13)).astype(np.uint16)
INPUT = InputSpec(size=16, mean=(0.0,) * 3, std=(1.0,) * 3)


def geotiff(values: np.ndarray, nodata: str | None = None, **options: object) -> bytes:
    """As GDAL writes it: bands as samples of a pixel, the model's scale and tie point, perhaps a no-data number."""
    tags = [(33550, "d", 3, (10.0, 10.0, 0.0), False), (33922, "d", 6, (0.0, 0.0, 0.0, 6e5, 5e6, 0.0), False)]
    if nodata is not None:
        tags.append((42113, "s", 0, nodata, False))
    file = io.BytesIO()
    layout = {"photometric": "minisblack", "planarconfig": "contig", **options}
    tifffile.imwrite(file, values, extratags=tags, metadata=None, **layout)
    return file.getvalue()


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def modality(**options: object) -> Multispectral:
    return Multispectral(MultispectralConfig(**options))


def decode(data: bytes, **options: object) -> np.ndarray:
    return modality(**{"names": "eurosat", "bands": "all", "take": "bands", **options}).decode(data, "m")


@pytest.mark.parametrize(
    "data",
    [
        geotiff(DN),
        geotiff(DN, compression="deflate", predictor=True),
        geotiff(np.moveaxis(DN, 2, 0), planarconfig="separate"),
        geotiff(DN, tile=(16, 16)),
        geotiff(DN, byteorder=">"),
        geotiff(DN, bigtiff=True),
        npy(DN),
        npy(np.moveaxis(DN, 2, 0)),
    ],
    ids=["contig", "deflate", "separate", "tiled", "big-endian", "bigtiff", "npy", "npy-bands-first"],
)
def test_every_layout_gives_the_same_reflectance(data: bytes) -> None:
    layout = "bands-first" if data == npy(np.moveaxis(DN, 2, 0)) else "auto"
    np.testing.assert_allclose(decode(data, layout=layout), DN / 10000, rtol=1e-6)


def test_the_shorter_axis_of_an_array_counts_bands() -> None:
    wide = np.moveaxis(DN, 2, 0).repeat(2, axis=2)
    np.testing.assert_allclose(decode(npy(wide)), DN.repeat(2, axis=1) / 10000, rtol=1e-6)


def test_the_paper_takes_b12_out_of_eurosats_order() -> None:
    chain = modality(names="eurosat", bands=["B12"])
    values = chain.decode(geotiff(DN), "m")
    swir = np.clip(DN[:, :, 11] / 4095, 0, 1)  # the twelfth of b1..b12, b8a
    np.testing.assert_allclose(chain.preprocessing(INPUT)(values), np.stack([swir] * 3), atol=1e-6)
    np.testing.assert_allclose(chain.picture(values)[..., 2], np.rint(swir * 255), atol=1)


def test_high_1_is_dn_over_10000() -> None:
    chain = modality(bands=[12], high=1.0, low=0.0)
    result = chain.preprocessing(INPUT)(chain.decode(geotiff(DN), "m"))
    np.testing.assert_allclose(result[1], DN[:, :, 11] / 10000, atol=1e-6)


def test_bands_by_name_and_by_number_are_the_same_and_keep_the_recipes_order() -> None:
    named, counted = (decode(geotiff(DN), bands=bands) for bands in (["b8a", "B03", "B01"], [13, 3, 1]))
    np.testing.assert_array_equal(named, counted)
    np.testing.assert_allclose(named, DN[:, :, [12, 2, 0]] / 10000, rtol=1e-6)


@given(st.sampled_from(sorted(BAND_ORDERS)), st.integers(0, 12), st.booleans(), st.booleans())
def test_every_spelling_of_a_name_finds_its_place(order: str, at: int, zero: bool, lower: bool) -> None:
    names = BAND_ORDERS[order]
    at %= len(names)
    spelling = f"B0{names[at][1:]}" if zero else names[at]
    assert position(spelling.lower() if lower else spelling, names) == at == position(at + 1, names)


def test_offset_scale_and_missing_numbers() -> None:
    stored = np.array([[[1000, 3000, 0]]], np.uint16).repeat(4, 0).repeat(5, 1)
    values = decode(npy(stored), names=["a", "b", "c"], offset=-1000, missing=0)
    np.testing.assert_allclose(values[0, 0], [0.0, 0.2, np.nan], atol=1e-7)
    eight = decode(npy(np.full((4, 5, 3), 51, np.uint8)), names=["a", "b", "c"])
    np.testing.assert_allclose(eight, 0.2, rtol=1e-6)
    floats = decode(npy(np.full((4, 5, 3), 0.3, np.float32)), names=["a", "b", "c"])
    np.testing.assert_allclose(floats, 0.3, rtol=1e-6)


def test_a_geotiffs_own_no_data_number_is_no_reading() -> None:
    stored = DN.copy()
    stored[3, 4] = 0
    values = decode(geotiff(stored, nodata="0"))
    assert np.isnan(values[3, 4]).all() and np.isfinite(np.delete(values.reshape(256, 13), 52, 0)).all()
    assert np.isfinite(decode(geotiff(stored))).all()


def test_min_max_spans_the_chosen_bands_together() -> None:
    chain = modality(names="eurosat", bands=["B04", "B03", "B02"], take="bands", encoding="min-max")
    result = chain.preprocessing(INPUT)(chain.decode(geotiff(DN), "m"))
    chosen = DN[:, :, [3, 2, 1]].astype(float)
    np.testing.assert_allclose(result.transpose(1, 2, 0), (chosen - chosen.min()) / np.ptp(chosen), atol=1e-5)


def test_a_16_bit_png_is_one_band_or_as_many_as_it_has_channels() -> None:
    file = io.BytesIO()
    Image.fromarray(DN[:, :, 0]).save(file, "PNG")
    np.testing.assert_allclose(decode(file.getvalue(), names=None, bands=[1]), DN[:, :, 0] / 10000, rtol=1e-6)
    for count in (2, 3, 4):
        bands = list(range(count, 0, -1))
        values = decode(png16(DN[:, :, :count]), names=None, bands=bands)
        np.testing.assert_allclose(values, DN[:, :, count - 1 :: -1] / 10000, rtol=1e-6)


def test_a_picture_shows_red_green_and_blue_to_the_teacher() -> None:
    chain = modality(names="eurosat", bands="all", take="bands", picture=["B04", "B03", "B02"])
    picture = chain.picture(chain.decode(geotiff(DN), "m"))
    expected = np.rint(np.clip(DN[:, :, [3, 2, 1]] / 4095, 0, 1) * 255)
    np.testing.assert_allclose(picture, expected, atol=1)
    assert chain.shows_photographs and not modality(bands=[1]).shows_photographs and not chain.colour


def test_a_picture_may_show_one_band_as_grey() -> None:
    chain = modality(bands=[12], picture=[12, 12, 12])
    picture = chain.picture(chain.decode(geotiff(DN), "m"))
    assert (picture == picture[..., :1]).all()


def test_without_a_picture_people_see_the_mean_band() -> None:
    chain = modality(names="eurosat", bands="all", take="bands")
    values = chain.decode(geotiff(DN), "m")
    expected = np.clip((DN / 10000).mean(axis=2) / 0.4095, 0, 1) * 255
    np.testing.assert_allclose(chain.picture(values)[..., 0], expected, atol=1)


def test_bands_and_student_channels_must_agree_in_one_message() -> None:
    thirteen = modality(names="eurosat", bands="all", take="bands")
    wide = InputSpec(size=8, channels=13, mean=(0.5,) * 13, std=(0.25,) * 13)
    assert thirteen.preprocessing(wide)(thirteen.decode(geotiff(DN), "m")).shape == (13, 8, 8)
    with pytest.raises(CapabilityError) as caught:
        check_student_input({"ms": thirteen}, INPUT)
    assert str(caught.value) == (
        "modalities.ms: modality 'multispectral' gives 13 bands (take: bands); the student takes 3 channels. One "
        "student takes one number of channels from every modality, unless its scheme states another: change "
        "student.channels, the number of bands, or take one band with take: replicate."
    )
    with pytest.raises(
        CapabilityError, match=r"^modalities.rgb: modality 'rgb' gives 3 channels; the student takes 13"
    ):
        check_student_input({"ms": thirteen, "rgb": Rgb(RgbConfig())}, wide)
    check_student_input({"rgb": Rgb(RgbConfig()), "swir": modality(bands=[12])}, INPUT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"nothing of the kind", "neither .npy, TIFF nor an image format"),
        (geotiff(DN)[:700], "the TIFF cannot be decoded"),
        (npy(DN)[:200], "npy file cannot be read"),
        (npy(np.ones((2, 3, 4, 5))), r"shape \(2, 3, 4, 5\) is no multispectral image"),
        (npy(np.array([[["a"]]])), "array of <U1 is no multispectral image"),
        (png16(DN[:, :, :3])[:90], r"the PNG cannot be decoded \(it is cut short\)"),
        (geotiff(DN[:, :, :10]), r"the file has 10 bands, names lists 13 \(B1, "),
    ],
)
def test_a_wrong_file_is_one_message(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^m: .*{message}"):
        decode(data)


def test_a_band_that_a_file_lacks_is_one_message() -> None:
    with pytest.raises(DataError, match="^m: the file has 3 bands, the recipe asks for band 5"):
        decode(npy(DN[:, :, :3]), names=None, bands=[5])


def test_a_missing_tifffile_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingDependency, match=r'^m: TIFF files .* pip install "edgefw\[multispectral\]"'):
        decode(GEOTIFF)


GEOTIFF = geotiff(DN)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 400))
def test_damaged_bytes_give_reflectance_or_a_data_error(junk: bytes, at: int) -> None:
    try:
        values = decode(GEOTIFF[:at] + junk + GEOTIFF[at + len(junk) :])
        assert values.dtype == np.float32 and values.ndim == 3
    except DataError as error:
        assert str(error).startswith("m: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "bands"),
        ({"bands": "all"}, "bands: all needs names"),
        ({"bands": [1, 2]}, "take: replicate needs one band, got 2"),
        ({"bands": ["B12"]}, "names says nothing about the file's bands"),
        ({"bands": ["B13"], "names": "eurosat"}, "there is no band 'B13'. Close: B"),
        ({"bands": ["B10"], "names": "sentinel-2-l2a"}, "there is no band 'B10'"),
        ({"bands": [0]}, "bands count from 1"),
        ({"bands": [14], "names": "eurosat"}, "bands count from 1 to 13"),
        ({"bands": [1, 2, 3], "take": "bands", "picture": [1, 2, 4]}, "picture: 4 is none of the chosen bands"),
        ({"bands": [1], "names": "landsat"}, "eurosat"),
        (
            {"bands": [12, 12], "take": "bands"},
            r"bands\[1\]: 12 is the band of bands\[0\] \(12\); name each band once",
        ),
        (
            {"bands": [12, 1, "b012"], "names": "eurosat", "take": "bands"},
            r"bands\[2\]: b012 is the band of bands\[0\] \(12\)",
        ),
        ({"bands": [12, 12]}, "name it alone with take: replicate"),
        ({"bands": [1], "names": ["B1", "B2", "b01"]}, r"names\[2\]: b01 is names\[0\] again; give every band"),
        ({"bands": [True]}, "bands\n.*true \\(entry 0\\) is no band; give its name, or its number from 1"),
        ({"bands": [2, False], "take": "bands"}, r"false \(entry 1\) is no band"),
        ({"bands": [1, 2, 3], "take": "bands", "picture": [3, True, 1]}, "picture\n.*true \\(entry 1\\)"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MultispectralConfig(**options)
