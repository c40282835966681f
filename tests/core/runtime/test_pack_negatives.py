"""Negatives compete, are never said, and leave a pack without them as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.errors import BundleError
from edgefw.runtime.label_pack import Label, LabelPack, Negative, read_pack, write_pack

AXES = np.eye(4, dtype=np.float32)


def pack(**changes: object) -> LabelPack:
    """Labels car (two vectors) and dog; `road` is a negative of all, `toy` one of dog."""
    labels = [Label(name="car", vectors=AXES[[0, 1]]), Label(name="dog", vectors=AXES[[2]])]
    road = Negative(name="road", vectors=AXES[[3]])
    toy = Negative(name="toy", vectors=(AXES[[2]] + AXES[[1]]), of=("dog",))
    values = {"labels": labels, "negatives": [road, toy], "logit_scale": 10.0, "encoder": "a" * 64, **changes}
    return LabelPack(**values)


def by_hand(made: LabelPack, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and what is beaten, entry by entry in float64."""
    entries, count = [*made.labels, *made.negatives], len(made.labels)
    shares, beaten = np.zeros((len(images), count)), np.zeros((len(images), count), bool)
    for row, image in enumerate(images.astype(np.float64)):
        logits = []
        for entry in entries:
            cosines = [v @ image / np.linalg.norm(v) / np.linalg.norm(image) for v in entry.vectors.astype(np.float64)]
            logits.append(made.logit_scale * max(cosines) / entry.temperature + getattr(entry, "bias", 0.0))
        total = sum(np.exp(logits))
        for at, label in enumerate(made.labels):
            shares[row, at] = np.exp(logits[at]) / total
            for negative, logit in zip(made.negatives, logits[count:]):
                beaten[row, at] |= logit > logits[at] and (not negative.of or label.name in negative.of)
    return shares, beaten


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), labels=st.integers(1, 4), negatives=st.integers(0, 4))
def test_scores_follow_the_formula(seed, labels, negatives):
    rng = np.random.default_rng(seed)
    names = [f"l{at}" for at in range(labels)]

    def rows() -> np.ndarray:
        return rng.normal(size=(int(rng.integers(1, 4)), 6)).astype(np.float32)

    made = LabelPack(
        labels=[Label(name=name, vectors=rows(), bias=float(rng.normal())) for name in names],
        negatives=[
            Negative(
                name=f"n{at}",
                vectors=rows(),
                of=[name for name in names if rng.random() < 0.5],
                temperature=float(rng.uniform(0.5, 2)),
            )
            for at in range(negatives)
        ],
        logit_scale=5.0,
        encoder="a" * 64,
    )
    images = rng.normal(size=(8, 6)).astype(np.float32)
    shares, beaten = by_hand(made, images)
    scores = made.scores(images)
    np.testing.assert_allclose(scores.probabilities, shares, rtol=1e-4, atol=1e-9)
    np.testing.assert_array_equal(scores.beaten, beaten)
    np.testing.assert_array_equal(scores.cosines, made.cosines(images))
    assert scores.cosines.shape == (8, labels)


def said(made: LabelPack, *image: float) -> str | None:
    scores = made.scores(np.array([image], np.float32))
    return made.said(scores.probabilities[0], scores.beaten[0])


def test_an_image_that_is_more_like_a_negative_gets_no_label():
    assert said(pack(), 1.0, 0.0, 0.0, 0.9) == "car"
    assert said(pack(), 0.9, 0.0, 0.0, 1.0) is None
    assert said(pack(negatives=[]), 0.9, 0.0, 0.0, 1.0) == "car"
    assert said(pack(), 1.0, 0.0, 0.0, 1.0) == "car"  # as like the one as the other


def test_a_negative_of_one_label_leaves_the_others_alone():
    assert said(pack(), 0.0, 0.5, 0.9, 0.0) is None
    assert said(pack(), 0.0, 0.9, 0.5, 0.0) == "car"  # the toy is nearer than the dog, and no negative of the car


def test_the_nearest_of_several_vectors_counts():
    assert said(pack(), 0.0, 1.0, 0.0, 0.0) == "car"


def test_negatives_take_their_share_of_the_probability():
    image = np.array([[0.9, 0.1, 0.2, 0.5]], np.float32)
    plain, made = pack(negatives=[]), pack()
    assert plain.probabilities(image).sum() == pytest.approx(1.0)
    assert (made.probabilities(image) < plain.probabilities(image)).all()
    np.testing.assert_array_equal(made.cosines(image), plain.cosines(image))


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_they_come_back_from_the_file(tmp_path, dtype):
    write_pack(pack(), tmp_path / "p.json", dtype)
    back = read_pack(tmp_path / "p.json")
    assert [(one.name, tuple(one.of), one.temperature) for one in back.negatives] == [
        ("road", (), 1.0),
        ("toy", ("dog",), 1.0),
    ]
    image = np.array([[0.9, 0.1, 0.2, 0.5]], np.float32)
    np.testing.assert_allclose(back.probabilities(image), pack().probabilities(image), atol=0.02)


def test_only_what_needs_the_new_format_has_it():
    assert [pack(negatives=[]).to_json(dtype)["format"] for dtype in ("float16", "float32", "int8")] == [1, 1, 3]
    assert pack().to_json("float16")["format"] == 3
    assert "negatives" not in pack(negatives=[]).to_json("int8")


def test_a_document_of_an_older_format_holds_nothing_newer():
    document = pack().to_json()
    with pytest.raises(BundleError, match="p.json: a label pack of format 2 has no negatives"):
        LabelPack.from_json({**document, "format": 2}, "p.json")
    document = pack(negatives=[]).to_json("int8")
    with pytest.raises(BundleError, match="of format 1 has no int8 vectors"):
        LabelPack.from_json({**document, "format": 1}, "p.json")


def test_a_negative_that_was_taken_out_by_hand_is_found_out():
    document = json.loads(json.dumps(pack().to_json()))
    document["negatives"] = document["negatives"][:1]
    with pytest.raises(BundleError, match="damaged"):
        LabelPack.from_json(document, "p.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "car"}, "'car' is a label and a negative at once"),
        ({"name": "toy"}, "negative 'toy' stands in the pack twice"),
        ({"name": " "}, "a negative without a name"),
        ({"of": ("cat",)}, "negative 'road': is of 'cat', which is no label"),
        ({"temperature": 0.0}, "negative 'road': temperature must be above 0"),
        ({"vectors": np.zeros((1, 4), np.float32)}, "negative 'road': needs vectors that are finite"),
        ({"vectors": np.ones((1, 3), np.float32)}, "of one width"),
    ],
)
def test_wrong_negatives_are_refused(change, message):
    with pytest.raises(BundleError, match=message):
        pack(negatives=[replace(pack().negatives[0], **change), pack().negatives[1]])
