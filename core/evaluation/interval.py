"""How far a mean over samples could have been off by the luck of the draw. Knows numbers, not what they measure."""

from __future__ import annotations

import numpy as np

_CELLS = 4_000_000


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values`, (low, high).

    For the uncertainty of an accuracy give 1.0 and 0.0 for right and wrong; for that of a difference between two
    models on the same samples give the differences, sample by sample.

    Args:
        values: (N,), finite.
        level: probability that the interval is meant to cover, in 0..1 without the ends.
        draws: resamples with replacement.
        seed: start of the draws; equal seeds give equal intervals.

    Source: Efron 1979, doi:10.1214/aos/1176344552; percentile interval.
    """
    if not 0.0 < level < 1.0 or draws < 1:
        raise ValueError(f"level must lie between 0 and 1 and draws be at least 1, got {level} and {draws}")
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // len(numbers))
    means = [
        numbers[generator.integers(0, len(numbers), (min(step, draws - at), len(numbers)))].mean(axis=1)
        for at in range(0, draws, step)
    ]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail])
    return float(low), float(high)
