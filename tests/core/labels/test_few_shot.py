"""Label packs refined with examples: the formulas in plain loops, scikit-learn's own probabilities, and what improves."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from edgefw.errors import DataError
from edgefw.labels import logistic_head, prototypes
from edgefw.labels.examples import Examples
from edgefw.runtime.label_pack import Label, LabelPack, Negative

WIDTH, SCALE = 12, 15.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def scene(each=(3, 2, 4), seed=0, noise=0.5, wrong=0.8):
    """A pack whose texts point beside their classes, and examples that all lie off in one direction of no meaning."""
    rng = np.random.default_rng(seed)
    centres, away = rng.normal(size=(len(each), WIDTH)), 3.0 * rng.normal(size=WIDTH)
    texts = unit(centres + wrong * rng.normal(size=centres.shape))
    meaning = np.linalg.qr(np.concatenate([centres, texts]).T)[0]
    away = away - meaning @ (meaning.T @ away)
    labels = np.repeat(np.arange(len(each)), each)
    images = unit(centres[labels] + away + noise * rng.normal(size=(len(labels), WIDTH)))
    names = [Label(name=f"c{at}", vectors=row[None].astype(np.float32), bias=0.1 * at) for at, row in enumerate(texts)]
    return LabelPack(labels=names, logit_scale=SCALE, encoder="e" * 64), Examples(embeddings=images, labels=labels)


def by_hand(pack, x, y, weight):
    """v_k of the formula, label by label, example by example."""
    texts = [np.float64(label.vectors[0]) / np.linalg.norm(np.float64(label.vectors[0])) for label in pack.labels]
    if math.isinf(weight):
        return np.array(texts)
    away = []
    for at in sorted(set(y)):
        own = [row for row, label in zip(x, y) if label == at]
        away.append(sum(own) / len(own) - texts[at])
    apart = sum(away) / len(away)
    vectors = []
    for at, text in enumerate(texts):
        total = weight * text
        for row, label in zip(x, y):
            if label == at:
                total = total + row - apart
        vectors.append(text if at not in y else total / math.sqrt(float(total @ total)))
    return np.array(vectors)


def loss_by_hand(pack, examples, weight, factor):
    """The log loss with every example left out in turn."""
    x, y, found = examples.embeddings, list(examples.labels), []
    for row in range(len(y)):
        vectors = by_hand(pack, np.delete(x, row, 0), y[:row] + y[row + 1 :], weight)
        logits = [
            SCALE * float(x[row] @ v) / (label.temperature * factor) + label.bias
            for v, label in zip(vectors, pack.labels)
        ]
        found.append(math.log(sum(math.exp(value) for value in logits)) - logits[y[row]])
    return sum(found) / len(found)


def test_vectors_weight_and_temperature_are_those_of_the_formula():
    pack, examples = scene()
    refined = prototypes.refine(pack, examples)
    losses = {
        (weight, factor): loss_by_hand(pack, examples, weight, factor)
        for weight in prototypes.WEIGHTS
        for factor in prototypes.FACTORS
    }
    assert (refined.weight, refined.factor) == min(losses, key=losses.__getitem__)
    assert math.isfinite(refined.weight)
    assert refined.after[1] == pytest.approx(min(losses.values()), abs=1e-5)
    assert refined.before[1] == pytest.approx(losses[np.inf, 1.0], abs=1e-5)
    vectors = np.concatenate([label.vectors for label in refined.pack.labels])
    np.testing.assert_allclose(
        vectors, by_hand(pack, examples.embeddings, list(examples.labels), refined.weight), atol=1e-6
    )
    assert {label.temperature for label in refined.pack.labels} == {refined.factor}


def test_examples_lower_the_loss_of_other_images_of_the_same_classes():
    pack, _ = scene(wrong=2.5)
    _, few = scene(each=(4, 4, 4), wrong=2.5)
    held = Examples(embeddings=scene((40, 40, 40), wrong=2.5)[1].embeddings, labels=np.repeat(np.arange(3), 40))
    for refined in (prototypes.refine(pack, few).pack, logistic_head.refine(pack, few).pack):
        assert accuracy(refined, held) > accuracy(pack, held) + 0.1


def accuracy(pack, examples):
    return float((pack.probabilities(examples.embeddings.astype(np.float32)).argmax(1) == examples.labels).mean())


def test_a_heavy_text_hardly_moves_and_a_light_one_goes_to_its_examples():
    pack, examples = scene()
    texts = prototypes.text_vectors(pack)
    near = [
        np.sum(prototypes.moved(texts, examples.embeddings, examples.labels, weight) * texts, axis=1)
        for weight in (np.inf, 1e6, 16.0, 4.0, 1.0)
    ]
    np.testing.assert_allclose(near[0], 1.0)
    np.testing.assert_allclose(near[1], 1.0, atol=1e-6)
    assert all((closer >= further).all() for closer, further in itertools.pairwise(near[1:]))


def test_a_label_without_examples_keeps_its_vectors_and_can_still_win():
    pack, examples = scene(each=(6, 6, 30), seed=4, noise=0.3, wrong=1.4)
    seen = examples.labels < 2
    few = Examples(embeddings=examples.embeddings[seen], labels=examples.labels[seen])
    rest = Examples(embeddings=examples.embeddings[~seen], labels=examples.labels[~seen])
    assert accuracy(prototypes.refine(pack, few).pack, rest) > 0.8 > accuracy(pack, rest)
    with pytest.raises(DataError, match="no example of 'c2': a logistic head needs one of every label"):
        logistic_head.refine(pack, few)
    np.testing.assert_array_equal(prototypes.refine(pack, few).pack.labels[2].vectors, pack.labels[2].vectors)


@pytest.mark.parametrize("each", [(3, 2, 4), (9, 8)])
def test_the_packs_probabilities_are_those_of_both_heads_mean(each):
    pack, examples = scene(each, wrong=2.5)
    head = logistic_head.refine(pack, examples)
    texts = np.array([label.vectors[0] for label in pack.labels], np.float64)
    away = np.mean([examples.embeddings[examples.labels == at].mean(0) - texts[at] for at in range(len(each))], axis=0)
    rows = np.concatenate([examples.embeddings, unit(texts + away)])
    model = LogisticRegression(C=head.strength, max_iter=2000)
    model.fit(rows, [*examples.labels, *range(len(each))])
    new = unit(np.random.default_rng(5).normal(size=(20, WIDTH)))
    fitted = model.decision_function(new)
    fitted = np.stack([-fitted / 2, fitted / 2], axis=1) if len(each) == 2 else fitted
    biases, found = (
        np.array([label.bias for label in pack.labels]),
        np.log(head.pack.probabilities(new.astype(np.float32))),
    )
    logits = (1 - head.share) * (SCALE * new @ texts.T / head.factor + biases) + head.share * fitted
    assert head.share > 0
    np.testing.assert_allclose(found, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), atol=1e-4)


def test_where_a_head_knows_less_than_the_texts_the_vectors_stay():
    pack, examples = scene(each=(1, 2, 1), wrong=0.0, noise=1.0)
    head = logistic_head.refine(pack, examples)
    before = pack.cosines(examples.embeddings.astype(np.float32))
    assert head.strength is None and {label.temperature for label in head.pack.labels} == {head.factor}
    np.testing.assert_array_equal(head.pack.cosines(examples.embeddings.astype(np.float32)), before)
    assert head.after[1] <= head.before[1]


def test_one_example_of_each_label_is_enough_and_one_label_is_not():
    pack, examples = scene(each=(1, 1, 1))
    prototypes.refine(pack, examples)
    logistic_head.refine(pack, examples)
    alone = Examples(embeddings=examples.embeddings[:1], labels=examples.labels[:1])
    for refine in (prototypes.refine, logistic_head.refine):
        with pytest.raises(DataError, match="all examples are of 'c0': examples of two labels at least are needed"):
            refine(pack, alone)


@pytest.mark.filterwarnings("error")  # scikit-learn takes many classes of few samples for a regression
def test_few_examples_of_many_labels_are_no_cause_for_a_warning():
    texts = np.eye(24)
    weights, bias = logistic_head.fit(texts, texts[:3], np.arange(3), strength=1.0)
    assert weights.shape == (24, 24) and bias.shape == (24,)


def test_negatives_keep_their_vectors_and_count_in_the_log_loss():
    pack, examples = scene()
    texts = [label.vectors[0] for label in pack.labels]
    negative = Negative(name="none of them", vectors=(texts[0] - texts[1])[None])
    given = replace(pack, negatives=[negative])
    refined = prototypes.refine(given, examples)
    np.testing.assert_array_equal(refined.pack.negatives[0].vectors, negative.vectors)
    assert refined.pack.negatives[0].temperature == pytest.approx(refined.factor)
    rows = np.log(given.probabilities(examples.embeddings.astype(np.float32)))[
        np.arange(len(examples.labels)), examples.labels
    ]
    assert refined.before[1] == pytest.approx(-rows.mean(), rel=1e-5)
    assert refined.before[1] > prototypes.refine(pack, examples).before[1]


def test_a_logistic_head_refuses_negatives():
    pack, examples = scene()
    negative = Negative(name="nothing", vectors=pack.labels[0].vectors)
    with pytest.raises(DataError, match="the pack has negatives \\('nothing'\\).*--by prototype"):
        logistic_head.refine(replace(pack, negatives=[negative]), examples)
