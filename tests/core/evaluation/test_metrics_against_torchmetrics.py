"""The same metrics against torchmetrics. Slow only because importing torchmetrics takes longer than all other tests."""

from __future__ import annotations

import numpy as np
import pytest

from edgefw.evaluation import (
    auc_one_vs_rest,
    balanced_top1,
    expected_calibration_error,
    per_class_accuracy,
    retrieval_recall,
    softmax,
    top1,
    zero_shot_scores,
)


def _drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 7, 400)
    return softmax(generator.normal(size=(400, 7)) + np.eye(7)[labels], 2.0), labels


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_classification_metric_equals_torchmetrics(seed: int) -> None:
    import torch
    from torchmetrics.functional import classification

    scores, labels = _drawn(seed)
    given = (torch.tensor(scores), torch.tensor(labels), 7)
    assert top1(scores, labels) == pytest.approx(float(classification.multiclass_accuracy(*given, average="micro")))
    each = classification.multiclass_accuracy(*given, average="none").numpy()
    np.testing.assert_allclose(per_class_accuracy(scores, labels, 7), each, rtol=1e-6)
    assert balanced_top1(scores, labels) == pytest.approx(float(each.mean()))
    assert auc_one_vs_rest(scores, labels) == pytest.approx(float(classification.multiclass_auroc(*given)), abs=1e-6)
    for bins in (1, 10, 15):
        error = classification.multiclass_calibration_error(*given, n_bins=bins, norm="l1")
        assert expected_calibration_error(scores, labels, bins) == pytest.approx(float(error), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3, 10])
def test_retrieval_equals_torchmetrics_hit_rate(k: int) -> None:
    import torch
    from torchmetrics.functional.retrieval import retrieval_hit_rate

    generator = np.random.default_rng(k)
    queries, gallery = generator.normal(size=(40, 8)), generator.normal(size=(50, 8))
    relevant = generator.random((40, 50)) < 0.04
    cosines = zero_shot_scores(queries, gallery)
    rows = [
        float(retrieval_hit_rate(torch.tensor(cosines[i]), torch.tensor(relevant[i]), top_k=k))
        for i in np.flatnonzero(relevant.any(axis=1))
    ]
    assert retrieval_recall(queries, gallery, relevant, k) == pytest.approx(np.mean(rows))
