"""Sorts the lines of metrics.jsonl into curves: per phase, what was logged at which step.

Knows training steps, validations and what samplers report of an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgefw.reporting.numbers import known

Curve = list[tuple[float, float]]
"""(step, value) in the order of the steps."""


@dataclass(frozen=True)
class PhaseCurves:
    """The curves of one phase.

    Attributes:
        phase: its name.
        loss: the weighted sum.
        losses: each loss by name, where there is more than one.
        validation_loss: the loss on the validation split.
        validation: any other validation quantity by name, such as "accuracy" or "accuracy, depth"; without the parts of
            the validation loss ("loss/feature").
        sampler: epoch -> what the sampler reported of it, by name; empty for a sampler that reports nothing.
    """

    phase: str
    loss: Curve = field(default_factory=list)
    losses: dict[str, Curve] = field(default_factory=dict)
    validation_loss: Curve = field(default_factory=list)
    validation: dict[str, Curve] = field(default_factory=dict)
    sampler: dict[int, dict[str, float]] = field(default_factory=dict)


def phase_curves(metrics: Sequence[Mapping[str, Any]]) -> list[PhaseCurves]:
    """Curves of every phase, in order. A step that is logged twice (after a resume) counts as it was logged last."""
    phases: dict[str, PhaseCurves] = {}
    for row in metrics:
        if known(row.get("step")) is None:
            continue
        curves = phases.setdefault(str(row.get("phase", "")), PhaseCurves(str(row.get("phase", ""))))
        if "validation" in row:
            _add_validation(curves, float(row["step"]), row["validation"])
        elif "sampler" in row:
            _add_sampler(curves, row.get("epoch"), row["sampler"])
        else:
            _add_step(curves, float(row["step"]), row)
    return [_ordered(curves) for curves in phases.values()]


def smoothed(curve: Curve, share: float = 0.05) -> Curve:
    """The curve as an average over a window of that share of its points; short curves stay as they are."""
    half = int(len(curve) * share / 2)
    if half < 1:
        return curve
    values = [value for _, value in curve]
    windows = [values[max(0, at - half) : at + half + 1] for at in range(len(values))]
    return [(step, sum(window) / len(window)) for (step, _), window in zip(curve, windows, strict=True)]


def thinned(curve: Curve, most: int = 600) -> Curve:
    """At most about so many points, the last one among them."""
    step = max(1, len(curve) // most)
    return curve[::step] + ([curve[-1]] if curve and (len(curve) - 1) % step else [])


def flat_numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of nested mappings under joined names: {"accuracy": {"rgb": 0.9}} gives {"accuracy, rgb": 0.9}."""
    found: dict[str, float] = {}
    for name, value in values.items():
        label = f"{prefix}, {name}" if prefix else str(name)
        if isinstance(value, Mapping):
            found.update(flat_numbers(value, label))
        elif (number := known(value)) is not None:
            found[label] = number
    return found


def _add_step(curves: PhaseCurves, step: float, row: Mapping[str, Any]) -> None:
    if (loss := known(row.get("loss"))) is not None:
        curves.loss.append((step, loss))
    losses = row.get("losses")
    if isinstance(losses, Mapping) and len(losses) > 1:
        for name, value in flat_numbers(losses).items():
            curves.losses.setdefault(name, []).append((step, value))


def _add_validation(curves: PhaseCurves, step: float, values: object) -> None:
    for name, value in flat_numbers(values if isinstance(values, Mapping) else {}).items():
        if name == "loss":
            curves.validation_loss.append((step, value))
        elif not name.startswith(("loss/", "loss, ")):
            curves.validation.setdefault(name.replace("/", ", "), []).append((step, value))


def _add_sampler(curves: PhaseCurves, epoch: object, values: object) -> None:
    number, found = known(epoch), flat_numbers(values if isinstance(values, Mapping) else {})
    if number is not None and found:
        curves.sampler[int(number)] = found


def _ordered(curves: PhaseCurves) -> PhaseCurves:
    def last_at_each_step(curve: Curve) -> Curve:
        return sorted(dict(curve).items())

    return PhaseCurves(
        curves.phase,
        last_at_each_step(curves.loss),
        {name: last_at_each_step(curve) for name, curve in curves.losses.items()},
        last_at_each_step(curves.validation_loss),
        {name: last_at_each_step(curve) for name, curve in curves.validation.items()},
        dict(sorted(curves.sampler.items())),
    )
