"""Which groups of a network should be int8, decided by comparisons of whole files. It knows names and numbers, no model.

One group is flipped at a time, the one with the most work first, and a flip stays where it makes the file faster beyond noise. A
whole file is timed each time: what a group costs depends on its neighbours, between which values are converted. From the faster of the
two ends (everything float, everything int8) the search can stop at any moment and never be behind where it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Labels = frozenset[str]
"""The groups that are int8."""
FASTER, EQUAL, SLOWER = "faster", "equal", "slower"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One file beside another, in turns.

    Attributes:
        ratio: median of the calls' ratios, this file's time over the other's.
        low, high: 95 % interval of that median, free of any distribution (order statistics of the sign test) but as if calls were
            independent of each other, which those of one turn are not quite.
        ms, other_ms: p50 of both.
    """

    ratio: float
    low: float
    high: float
    ms: float
    other_ms: float

    @property
    def verdict(self) -> str:
        """Whether this file is faster or slower than the other one beyond noise."""
        return FASTER if self.high < 1 else SLOWER if self.low > 1 else EQUAL


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a group became, and the timing of the file with it in int8 against the same file with it in float; None untried."""

    is_int8: bool
    timing: Timing | None = None


Compare = Callable[[Labels, Labels], Timing]
"""Times the file in which the first groups are int8 against that of the second."""


@dataclass
class Search:
    """One search over groups.

    Args:
        labels: of the groups, the most work first.
        compare: times two files.
        time_is_out: asked before each comparison but the first.
    """

    labels: Sequence[str]
    compare: Compare
    time_is_out: Callable[[], bool]
    choices: dict[str, Choice] = field(default_factory=dict)

    def run(self) -> Labels:
        """The groups that are int8 in the fastest file that was found; none where float is the fastest."""
        every: Labels = frozenset(self.labels)
        whole = self.compare(every, frozenset())
        if whole.verdict == FASTER:
            return self._descend(every)
        found = self._descend(frozenset())
        if found or self.time_is_out():
            return found
        return self._from_the_other_end(every)

    def _from_the_other_end(self, every: Labels) -> Labels:
        """Groups that are faster in int8 together only, as conversions between them fall away."""
        alone = dict(self.choices)
        found = self._descend(every)
        if found and not self.time_is_out() and self.compare(found, frozenset()).verdict == FASTER:
            return found
        self.choices = alone
        return frozenset()

    def _descend(self, start: Labels) -> Labels:
        current = start
        self.choices = {label: Choice(is_int8=label in start) for label in self.labels}
        for label in self.labels:
            if self.time_is_out():
                break
            flipped = current ^ {label}
            timing = self.compare(current | {label}, current - {label})
            wanted = FASTER if label in flipped else SLOWER
            current = flipped if timing.verdict == wanted else current
            self.choices[label] = Choice(is_int8=label in current, timing=timing)
        return current


@dataclass(frozen=True, kw_only=True)
class Hurting:
    """Groups that were taken out of int8, each with the cosine of it alone; whether what is left is accurate, or time was out before."""

    taken: Mapping[str, float] = field(default_factory=dict)
    is_enough: bool = True


def timing_of(seconds: Sequence[float], others: Sequence[float]) -> Timing:
    """The comparison of files that took turns; `seconds[i]` and `others[i]` are of turns that followed each other.

    Source: the interval of a median from order statistics, Conover, Practical Nonparametric Statistics, 1999, section 3.2.
    """
    own, other = np.asarray(seconds, np.float64), np.asarray(others, np.float64)
    ratios = np.sort(own / other)
    count = len(ratios)
    rank = round(count / 2 - 0.98 * np.sqrt(count))  # from 1
    low, high = (ratios[rank - 1], ratios[count - rank]) if rank > 0 else (0.0, np.inf)
    return Timing(
        ratio=float(np.median(ratios)),
        low=float(low),
        high=float(high),
        ms=float(np.median(own) * 1e3),
        other_ms=float(np.median(other) * 1e3),
    )


def without_the_worst(
    start: Labels,
    cosine: Callable[[Labels], float],
    least: float,
    time_is_out: Callable[[], bool],
    say: Callable[[str], None],
) -> Hurting:
    """Groups to take out of int8 until the cosine is at least `least`, the worst first.

    Args:
        start: groups that are int8.
        cosine: mean cosine to the float file with these groups in int8; 1 with none.
        least: wanted.
        time_is_out: asked before each file but the first.
        say: told of each group that is taken out.
    """
    found = cosine(start)
    if found >= least:
        return Hurting()
    say(f"mean cosine {found:.4f}, {least:g} is wanted: looking for what hurts among {len(start)} groups in int8")
    alone: dict[str, float] = {}
    for label in sorted(start):
        if time_is_out():
            return Hurting(is_enough=False)
        alone[label] = cosine(frozenset({label}))
    current = start
    taken: dict[str, float] = {}
    for label in sorted(start, key=lambda name: (alone[name], name)):
        if time_is_out():
            return Hurting(taken=taken, is_enough=False)
        current -= {label}
        taken[label] = alone[label]
        found = cosine(current) if current else 1.0
        say(f"{label} goes back to float: mean cosine {found:.4f}")
        if not current or found >= least:
            break
    return Hurting(taken=taken)
