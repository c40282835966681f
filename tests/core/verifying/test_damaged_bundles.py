"""Bundles whose hashes fit and whose JSON holds what no edgefw writes: one message, or told and verified, never a traceback."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.cli.main import run
from edgefw.errors import BundleError, EdgefwError
from edgefw.labels.folders import parse_data
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.bundle_text import describe, differences, document
from edgefw.runtime.hashes import write_sums
from edgefw.verifying.bundle_check import verify_bundle
from edgefw.verifying.reference_check import own_reference

QUALITY = {
    "precision": "fp32", "latency_ms_p50": 1.0, "latency_ms_p95": 2.0, "slowdown": 0.5, "int8_share": 0.5, "samples": 9,
    "top1": {"rgb": 0.5}, "drop": {"points": 1.0, "low": 0.5, "high": 2.0, "metric": "top1", "modality": "rgb", "n": 9},
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, small_bundle):
    """A bundle with everything that `bundle show` tells and `verify` asks."""
    folder = small_bundle.write_small_bundle(tmp_path_factory.mktemp("damaged") / "bundle")
    small_bundle.add_map(small_bundle.add_reference(folder))
    return small_bundle.change_manifest(folder, lambda manifest: manifest["artefacts"][1].update(quality=QUALITY))


@pytest.fixture
def change(bundle):
    """Change a JSON file of the bundle, with hashes that fit, until the test ends."""
    good = {path: path.read_text() for path in (bundle / "manifest.json", bundle / "reference.json")}

    def write(part, alter):
        stated = json.loads((bundle / part).read_text())
        alter(stated)
        (bundle / part).write_text(json.dumps(stated))
        write_sums(bundle)

    yield write
    for path, text in good.items():
        path.write_text(text)
    write_sums(bundle)


def put(*keys, value):
    def alter(stated):
        for key in keys[:-1]:
            stated = stated[key]
        stated[keys[-1]] = value

    return alter


QUALITY_0 = ("artefacts", 0, "quality")
STEPS = ("modalities", "rgb", "preprocessing", "steps")


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (put("provenance", "licences", value=["MIT"]), "provenance: Value error, licences: Input should be a valid dict"),
        (put("provenance", "licences", value={"data": 1}), "licences.data: Input should be a valid string, got 1"),
        (put(*QUALITY_0, value={"latency_ms_p50": "fast"}), "latency_ms_p50: Input should be a valid number, got 'fast'"),
        (put(*QUALITY_0, value={"latency_ms_p50": 10**400}), "artefacts.0.quality: Value error, latency_ms_p50: "),
        (put(*QUALITY_0, value={"drop": 3}), "drop: Input should be a valid dict"),
        (put(*QUALITY_0, value={"drop": {"points": 1.0, "low": 2.0, "high": None}}), "low and high must both be numbers"),
        (put(*QUALITY_0, value={"top1": {"rgb": "0.5"}}), "top1.rgb: Input should be a valid number, got '0.5'"),
        (put("artefacts", 0, "inputs", value={"image": [-1]}), "artefacts.0.inputs.image.0: "),
        (put("artefacts", 0, "inputs", value={"image": [3, 10**9, 10**9]}), "268435456 are allowed"),
        (put(*STEPS, value=[1]), "modalities.rgb: preprocessing contract: not in the form that edgefw writes"),
        (put(*STEPS, value=[{"name": "blur"}]), "modalities.rgb: preprocessing contract: preprocessing step 'blur' is unknown"),
    ],
)  # fmt: skip
def test_a_manifest_that_holds_something_else_is_refused_by_every_command(
    bundle, change, pictures, alter, said, capsys
):
    change("manifest.json", alter)
    for words in (["bundle", "show", bundle], ["label", bundle, pictures], ["verify", bundle, "--data", pictures]):
        assert run([str(word) for word in words]) == 2
        told = capsys.readouterr().err
        assert said in told and len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (put("student", value={}), "probabilities: of 'rgb', of which student has no embeddings"),
        (put("student", "rgb", value=""), "probabilities.rgb: must be a row per pattern (0) of a number per label (3)"),
        (put("probabilities", "rgb", value=[[0.5, 0.5]]), "probabilities.rgb: must be a row per pattern (3) of a number per"),
        (put("probabilities", "rgb", value=[[0.5, 0.5]] * 3), "probabilities.rgb: must be a row per pattern (3) of a number"),
        (put("labels", value=["red"]), "probabilities.rgb: must be a row per pattern (3) of a number per label (1)"),
        (put("answers", "onnxruntime-fp32", "rgb", value="AAAA"), "an entry is no table of width 8"),
        (put("answers", "onnxruntime-fp32", "nir", value=""), "answers of 'onnxruntime-fp32' to 'nir', and the sensors are rgb, depth"),
        (put("probes", value={}), "answers of 'onnxruntime-fp32' to 'rgb', and no probe of 'rgb'. Do not use this bundle."),
    ],
)  # fmt: skip
def test_reference_answers_that_do_not_fit_are_refused(bundle, change, pictures, alter, said, capsys):
    change("reference.json", alter)
    with open_bundle(bundle) as opened, pytest.raises(BundleError) as caught:
        own_reference(opened)
    assert said in str(caught.value)
    assert run(["verify", str(bundle), "--data", str(pictures)]) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) == 1


@pytest.mark.parametrize(("depth", "code"), [(50, 0), (64, 2), (300, 2), (900, 2)])
def test_values_in_values_without_end_are_refused(bundle, change, depth, code, capsys):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    change("manifest.json", put("provenance", "deep", value=value))
    for words in (["show"], ["show", "--json"], ["diff", str(bundle)]):
        assert run(["bundle", words[0], str(bundle), *words[1:]]) == code
        assert (code == 0) is ("values in values" not in capsys.readouterr().err)


def test_a_key_of_another_edgefw_among_those_that_are_shown_is_kept(bundle, change):
    change("manifest.json", put("artefacts", 1, "quality", "colour", value={"a": [1]}))
    with open_bundle(bundle) as opened:
        assert opened.artefact().quality == {**QUALITY, "colour": {"a": [1]}}
        assert document(opened)["manifest"]["artefacts"][1]["quality"]["colour"] == {"a": [1]}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def with_a_value_replaced(stated, data):
    place, key = stated, data.draw(st.sampled_from(sorted(stated)))
    while data.draw(st.booleans()) and isinstance(place[key], dict | list) and place[key]:
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
    place[key] = data.draw(JSON)


@pytest.mark.parametrize("part", ["manifest.json", "reference.json"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_bundle_with_any_value_replaced_is_refused_or_told_and_verified(bundle, pictures, part, data):
    good = (bundle / part).read_text()
    stated = json.loads(good)
    with_a_value_replaced(stated, data)
    try:
        (bundle / part).write_text(json.dumps(stated))
        write_sums(bundle)
        with open_bundle(bundle) as opened:
            assert describe(opened) and differences(opened, opened) == []
            folders = parse_data([str(pictures)], opened.modalities, ())
            verify_bundle(opened, folders, opened.label_pack(), threads=1, seconds=0.001, memory=False)
    except EdgefwError as error:
        assert str(error)
    finally:
        (bundle / part).write_text(good)
        write_sums(bundle)
