"""Preprocessing steps against torchvision, matplotlib and NumPy; the contract as JSON."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from edgefw.errors import BundleError, DataError, EdgefwError, PluginError
from edgefw.runtime.preprocessing import JET, Preprocessing, Step, shortest_side

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISE = Step("normalise", {"mean": MEAN, "std": STD})
RNG = np.random.default_rng(5)


def rgb_chain(*geometry: Step) -> Preprocessing:
    return Preprocessing("rgb", {}, (*geometry, Step("scale", {"divisor": 255.0}), NORMALISE))


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def run(step: Step, values: np.ndarray) -> np.ndarray:
    return step._checked().apply(values)


def test_stretching_equals_torchvision() -> None:
    image = picture(61, 83)
    reference = transforms.Compose(
        [
            transforms.Resize((48, 48), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )(Image.fromarray(image))
    result = rgb_chain(Step("resize", {"size": 48, "filter": "bicubic"}))(image)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    np.testing.assert_allclose(result, reference.numpy(), atol=1e-6)


@pytest.mark.parametrize("shape", [(61, 83), (83, 61), (50, 50), (49, 200), (48, 49)])
def test_shortest_side_and_centre_crop_equal_torchvision(shape: tuple[int, int]) -> None:
    image = picture(*shape)
    reference = transforms.Compose(
        [transforms.Resize(48), transforms.CenterCrop(48), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )(Image.fromarray(image))
    chain = rgb_chain(
        Step("resize", {"size": 48, "filter": "bilinear", "fit": "shortest"}), Step("centre-crop", {"size": 48})
    )
    np.testing.assert_allclose(chain(image), reference.numpy(), atol=1e-6)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 512))
def test_shortest_side_keeps_the_ratio(height: int, width: int, size: int) -> None:
    new_height, new_width = shortest_side(height, width, size)
    assert min(new_height, new_width) == size
    assert abs(max(new_height, new_width) - size * max(height, width) / min(height, width)) <= 1


def test_min_max_ignores_missing_readings() -> None:
    values = np.array([[0, 2], [3, 6]], np.float32)
    np.testing.assert_allclose(run(Step("min-max", {}), values), [[np.nan, 0], [0.25, 1]])


def test_min_max_can_count_zeros_as_readings() -> None:
    values = np.array([[0, 2], [3, 6]], np.float32)
    np.testing.assert_allclose(run(Step("min-max", {"invalid": None}), values), values / 6)


@pytest.mark.parametrize("value", [0.0, 4.0])
def test_min_max_of_a_flat_image_has_no_reading_above_zero(value: float) -> None:
    result = run(Step("min-max", {}), np.full((3, 3), value, np.float32))
    assert np.isnan(result).all() if value == 0 else (result == 0).all()


def test_metric_range_is_the_written_formula() -> None:
    values = np.array([[0, 0.2, 0.5], [2.5, 4.5, 9]], np.float32)
    expected = (np.clip(values, 0.5, 4.5) - 0.5) / 4.0
    expected[0, 0] = np.nan
    np.testing.assert_allclose(run(Step("metric-range", {"near": 0.5, "far": 4.5}), values), expected, rtol=1e-6)


def test_jet_is_matplotlibs_jet() -> None:
    reference = matplotlib.colormaps["jet"]
    values = np.concatenate([np.linspace(0, 1, 5001), [np.nan]]).astype(np.float32)[None]
    result = run(Step("jet", {}), values)
    assert result.dtype == np.uint8 and JET.shape == (256, 3)
    np.testing.assert_array_equal(result, reference(values, bytes=True)[..., :3])


def test_holes_are_filled_last() -> None:
    chain = Preprocessing(
        "depth",
        {},
        (
            Step("min-max", {}),
            Step("resize", {"size": 4, "filter": "bilinear"}),
            Step("fill", {"value": 0.0}),
            Step("repeat-channels", {"channels": 3}),
            Step("normalise", {"mean": [0.5] * 3, "std": [0.5] * 3}),
        ),
    )
    depth = np.ones((8, 8), np.float32)
    depth[:, 4:] = 2
    depth[:4] = 0
    result = chain(depth)
    assert result.shape == (3, 4, 4)
    np.testing.assert_allclose(result[:, :2], -1)
    np.testing.assert_allclose(result[:, 2:, 3], 1)


def test_the_four_stages_make_the_whole() -> None:
    chain = rgb_chain(Step("resize", {"size": 32, "filter": "bicubic"}))
    image = picture(40, 50)
    unit = chain.to_unit(chain.geometry(chain.prepare(image)))
    assert unit.shape == (32, 32, 3) and 0 <= unit.min() and unit.max() <= 1
    np.testing.assert_array_equal(chain.normalise(unit), chain(image))


def test_grey_input_of_one_channel_works_without_repeating() -> None:
    steps = (Step("resize", {"size": 8, "filter": "bilinear"}), Step("normalise", {"mean": [0.0], "std": [1.0]}))
    assert Preprocessing("depth", {}, steps)(np.ones((9, 9), np.float32)).shape == (1, 8, 8)


def test_wrong_channels_are_a_data_error() -> None:
    with pytest.raises(DataError, match="3 channels expected, the image has 4"):
        rgb_chain()(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(DataError, match="needs one channel, got 3"):
        run(Step("repeat-channels", {"channels": 3}), np.zeros((8, 8, 3), np.float32))
    with pytest.raises(DataError, match="no middle of 9 pixels"):
        run(Step("centre-crop", {"size": 9}), np.zeros((8, 20), np.float32))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resize", {"size": 0, "filter": "bicubic"}, "size"),
        ("resize", {"size": 8, "filter": "cubic"}, "filter"),
        ("resize", {"size": 8, "filter": "lanczos", "antialias": False}, "antialias: false needs a filter of nearest"),
        ("metric-range", {"near": 3, "far": 1}, "far must be larger than near"),
        ("normalise", {"mean": [0.5], "std": [0.0]}, "std"),
        ("normalise", {"mean": [0.5], "std": [1.0, 1.0]}, "mean has 1 numbers and std 2"),
        ("scale", {"divisor": float("nan")}, "divisor"),
        ("min-max", {"invalids": 0}, "invalids"),
        ("hha", {}, "'hha' is unknown. Steps: min-max"),
    ],
)
def test_a_wrong_step_says_what_is_wrong(name: str, options: dict, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Step(name, options)


def test_stages_never_run_backwards() -> None:
    with pytest.raises(PluginError, match="steps must come in the order prepare, geometry"):
        Preprocessing("depth", {}, (Step("resize", {"size": 8, "filter": "box"}), Step("min-max", {}), NORMALISE))
    with pytest.raises(PluginError, match="end with one normalise"):
        Preprocessing("depth", {}, (Step("min-max", {}),))


STEPS = st.one_of(
    st.builds(lambda size, filter: Step("resize", {"size": size, "filter": filter}), st.integers(1, 40),
              st.sampled_from(["nearest", "box", "bilinear", "bicubic", "lanczos"])),
    st.builds(lambda size: Step("centre-crop", {"size": size}), st.integers(1, 8)),
    st.builds(lambda divisor: Step("scale", {"divisor": divisor}), st.floats(0.5, 65535)),
    st.just(Step("clip", {"low": 0.0, "high": 1.0})),
    st.just(Step("fill", {"value": 0.25})),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=5), st.integers(0, 9))
def test_a_json_round_trip_changes_no_bit(steps: list[Step], seed: int) -> None:
    order = sorted(steps, key=lambda step: ("prepare", "geometry", "to_unit").index(step.stage))
    chain = Preprocessing("rgb", {"fit": "stretch", "pair": (1, 2)}, (*order, NORMALISE))
    copy = Preprocessing.from_json(json.loads(json.dumps(chain.to_json())))
    assert copy == chain and pickle.loads(pickle.dumps(chain)) == chain
    image = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    try:
        first = chain(image)
    except DataError:
        return
    assert first.tobytes() == copy(image).tobytes() == chain(image.copy()).tobytes()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["resize", "normalise", "rgb", "scale"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["steps", "modality", "options", "name", "size", "mean", "std"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_any_other_document_is_a_bundle_error(document: object) -> None:
    try:
        Preprocessing.from_json(document)
    except BundleError as error:
        assert isinstance(error, EdgefwError) and str(error).startswith("preprocessing contract:")


def test_an_unknown_step_of_a_newer_bundle_is_named() -> None:
    document = rgb_chain().to_json()
    document["steps"].insert(0, {"name": "fisheye", "k": 1})
    with pytest.raises(BundleError, match="'fisheye' is unknown"):
        Preprocessing.from_json(document)


def test_the_device_side_imports_no_torch() -> None:
    code = "import sys, edgefw.runtime.preprocessing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
