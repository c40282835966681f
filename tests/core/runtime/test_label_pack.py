"""Label packs: the formula against NumPy, the file format, and one message for each thing that can be wrong."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.errors import BundleError
from edgefw.runtime.label_pack import Label, LabelPack, read_pack, write_pack

ENCODER = "a" * 64


def make(vectors_per_label=(1, 3, 2), width=16, seed=0, **changes):
    rng = np.random.default_rng(seed)
    labels = [
        Label(
            name=f"label {number}",
            vectors=rng.normal(size=(count, width)).astype(np.float32) * 7,
            bias=float(rng.normal()),
            threshold=0.2 * number / len(vectors_per_label),
            temperature=float(rng.uniform(0.5, 2)),
        )
        for number, count in enumerate(vectors_per_label)
    ]
    return LabelPack(**{"labels": labels, "logit_scale": 12.5, "encoder": ENCODER, "templates": ("a {}",), **changes})


def test_probabilities_follow_the_formula():
    pack = make()
    images = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    expected = np.zeros((5, 3))
    for row, image in enumerate(images.astype(np.float64)):
        for column, label in enumerate(pack.labels):
            cosines = [v @ image / np.linalg.norm(v) / np.linalg.norm(image) for v in label.vectors.astype(np.float64)]
            expected[row, column] = 12.5 * max(cosines) / label.temperature + label.bias
    expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(pack.probabilities(images), expected, rtol=1e-4)


def test_length_of_an_embedding_does_not_matter():
    pack = make()
    images = np.random.default_rng(2).normal(size=(4, 16)).astype(np.float32)
    np.testing.assert_allclose(pack.probabilities(images * 1e-6), pack.probabilities(images), rtol=1e-3)


def test_an_embedding_of_zeros_gives_numbers():
    assert np.isfinite(make().probabilities(np.zeros((1, 16), np.float32))).all()


def test_a_higher_bias_never_lowers_a_label():
    images = np.random.default_rng(3).normal(size=(20, 16)).astype(np.float32)
    pack = make()
    raised = [*pack.labels]
    raised[1] = Label(name="label 1", vectors=raised[1].vectors, bias=raised[1].bias + 1)
    higher = LabelPack(labels=raised, logit_scale=12.5, encoder=ENCODER)
    plain = LabelPack(
        labels=[
            pack.labels[0],
            Label(name="label 1", vectors=raised[1].vectors, bias=pack.labels[1].bias),
            *raised[2:],
        ],
        logit_scale=12.5,
        encoder=ENCODER,
    )
    assert (higher.probabilities(images)[:, 1] > plain.probabilities(images)[:, 1]).all()


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(["int8", "float16", "float32"]),
    scale=st.floats(1e-3, 1e4),
    template=st.text(max_size=20),
)
def test_a_pack_comes_back_from_its_file(tmp_path_factory, counts, width, seed, dtype, scale, template):
    pack = make(tuple(counts), width, seed, logit_scale=scale, templates=(template,))
    path = tmp_path_factory.mktemp("pack") / "labels.json"
    write_pack(pack, path, dtype)
    back = read_pack(path)
    assert back.names == pack.names
    assert back.templates == pack.templates
    assert back.logit_scale == pack.logit_scale
    assert [(x.bias, x.threshold, x.temperature) for x in back.labels] == [
        (x.bias, x.threshold, x.temperature) for x in pack.labels
    ]
    images = np.random.default_rng(seed).normal(size=(3, width)).astype(np.float32)
    np.testing.assert_allclose(
        back.cosines(images), pack.cosines(images), atol={"float32": 1e-6, "float16": 2e-3, "int8": 2e-2}[dtype]
    )


def test_ten_labels_of_a_clip_make_a_file_of_a_few_kilobytes(tmp_path):
    sizes = {}
    for dtype in ("int8", "float16", "float32"):
        write_pack(make((1,) * 10, width=512, teacher="b" * 64), tmp_path / "labels.json", dtype)
        sizes[dtype] = (tmp_path / "labels.json").stat().st_size
    assert sizes["int8"] < 9_000 < sizes["float16"] < 16_000 < sizes["float32"] < 30_000


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_any_other_json_is_refused_in_one_line(document):
    with pytest.raises(BundleError) as caught:
        LabelPack.from_json(document, "some.json")
    assert str(caught.value).startswith("some.json: ")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_pack_with_one_key_changed_is_refused_or_equal(data):
    document = make().to_json()
    key = data.draw(st.sampled_from(sorted(document)))
    document[key] = data.draw(JSON)
    if document == make().to_json():
        return
    with pytest.raises(BundleError) as caught:
        LabelPack.from_json(document, "p.json")
    assert "\n" not in str(caught.value)


def test_every_flipped_character_of_vectors_is_found():
    text = json.dumps(make(width=4).to_json())
    start = text.index('"vectors": "') + len('"vectors": "')
    end = text.index('"', start)
    for place in range(start, end):
        other = "A" if text[place] != "A" else "B"
        with pytest.raises(BundleError, match="damaged|not base64|do not make"):
            LabelPack.from_json(json.loads(text[:place] + other + text[place + 1 :]), "p.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": []}, "at least one label"),
        ({"logit_scale": 0.0}, "logit_scale must be above 0"),
        ({"labels": [Label(name=" ", vectors=np.ones((1, 2)))]}, "without a name"),
        ({"labels": [Label(name="a", vectors=np.zeros((1, 2)))]}, "not zero"),
        ({"labels": [Label(name="a", vectors=np.full((1, 2), np.nan))]}, "finite"),
        ({"labels": [Label(name="a", vectors=np.ones((0, 2)))]}, "needs vectors"),
        ({"labels": [Label(name="a", vectors=np.ones((1, 2))), Label(name="b", vectors=np.ones((1, 3)))]}, "one width"),
        ({"labels": [Label(name="a", vectors=np.ones((1, 2)))] * 2}, "'a' stands in the pack twice"),
        ({"labels": [Label(name="a", vectors=np.ones((1, 2)), threshold=1.5)]}, "threshold must be 0..1, got 1.5"),
        ({"labels": [Label(name="a", vectors=np.ones((1, 2)), temperature=0.0)]}, "temperature must be above 0"),
        ({"labels": [Label(name="a", vectors=np.ones((1, 2)), bias=np.inf)]}, "bias must be finite"),
    ],
)
def test_wrong_labels_are_refused(change, message):
    with pytest.raises(BundleError, match=message):
        make(**change)


def test_embeddings_of_another_width_are_refused():
    with pytest.raises(BundleError, match="wide, the label pack 16"):
        make().probabilities(np.ones((1, 8), np.float32))


def test_files_that_are_no_packs_give_one_message(tmp_path):
    cases = {"text.json": b"hello", "empty.json": b"", "list.json": b"[1]", "bytes.json": bytes(range(256))}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BundleError, match=name):
            read_pack(tmp_path / name)
    with pytest.raises(BundleError, match="absent.json: cannot be read"):
        read_pack(tmp_path / "absent.json")
    with pytest.raises(BundleError, match="cannot be written"):
        write_pack(make(), tmp_path / "text.json" / "below.json")


def test_a_pack_of_a_later_format_says_so():
    with pytest.raises(BundleError, match="format 4; this edgefw reads 1, 2 and 3"):
        LabelPack.from_json({**make().to_json(), "format": 4}, "p.json")
