"""Why `labels refine` is for images of one label each: means of images that show several rank worse than the texts."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from edgefw.labels import prototypes

WIDTH, SHARES = 64, np.array([0.9, 0.7, 0.5, 0.5, 0.3, 0.3, 0.2, 0.1])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def scenes(several: bool, n: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts beside their meanings; images, sums of what they show, a common part and noise; and what they show."""
    world, draw, count = np.random.default_rng(0), np.random.default_rng(seed), len(SHARES)
    meanings, away = world.normal(size=(count, WIDTH)), 3.0 * world.normal(size=WIDTH)
    texts = unit(meanings + 0.5 * world.normal(size=meanings.shape))
    present = draw.random((n, count)) < SHARES if several else np.eye(count, dtype=bool)[np.arange(n) % count]
    return texts, unit(present @ meanings + away + draw.normal(size=(n, WIDTH))), present


def mean_auc(vectors: np.ndarray, several: bool) -> float:
    _, images, present = scenes(several, 400, seed=2)
    return float(np.mean([roc_auc_score(present[:, at], images @ vectors[at]) for at in range(len(vectors))]))


def refined(several: bool, weight: float) -> np.ndarray:
    """Each image as an example of every label in it."""
    texts, images, present = scenes(several)
    row, label = np.nonzero(present)
    return prototypes.moved(texts, images[row], label, weight)


def test_what_is_common_to_the_images_of_a_label_is_not_the_label_alone():
    texts = scenes(True)[0]
    for weight in (4.0, 1.0, 0.25):
        assert mean_auc(refined(False, weight), False) > mean_auc(texts, False) - 0.005
        assert mean_auc(refined(True, weight), True) < mean_auc(texts, True) - 0.03
