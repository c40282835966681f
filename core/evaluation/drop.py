"""Accuracy that a model loses against another one on the same samples, with its interval. Knows right and wrong, no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgefw.evaluation.interval import bootstrap_interval


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Percentage points that a model loses against its source; negative where it is better.

    Attributes:
        points: of the modality that loses most.
        low: lower end of the 95 % interval of `points`; None for a single sample, which says nothing of others.
        high: its upper end, or None.
        metric: what was right: "top1", the label; "agreement", the teacher's answer.
        modality: the one that loses most.
        n: samples of it that both models were asked about.
    """

    points: float
    low: float | None
    high: float | None
    metric: str
    modality: str
    n: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high), or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def worst_drop(metric: str, right: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Drop | None:
    """The drop of the modality that loses most; None without any sample.

    The interval is the paired percentile bootstrap: samples are drawn, each with what both models said of it, so that what is
    hard for both does not widen it. It covers the luck of the samples, not of the choice of the worst modality.

    Args:
        metric: what was right, see `Drop`.
        right: modality -> (N,) bool of the source and of the model, whether each was right about each sample.
    """
    lost = {role: source.astype(np.float64) - own for role, (source, own) in right.items() if len(own)}
    if not lost:
        return None
    worst = max(lost, key=lambda role: float(lost[role].mean()))
    points = 100.0 * lost[worst]
    low, high = bootstrap_interval(points) if len(points) > 1 else (None, None)
    return Drop(points=float(points.mean()), low=low, high=high, metric=metric, modality=worst, n=len(points))


def drop_text(drop: Mapping[str, Any] | None) -> str:
    """`2.0 points (-0.5 to 4.5)` of a drop's JSON; without an interval the points alone; empty of None."""
    if not drop:
        return ""
    said = f"{drop['points']:.1f} points"
    return said if drop["low"] is None else f"{said} ({drop['low']:.1f} to {drop['high']:.1f})"
