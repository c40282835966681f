"""Frame by frame: does the rule fire, and is the frame kept?

    a label begins to hold   when its score has reached `begin` in `frames` frames in a row
    it ceases to hold        when its score falls below `end` (hysteresis: end <= begin)
    the rule fires           while one of `any` holds (or there are none), all of `all` hold, and none of `none` does
    a frame is kept          when the rule fires, `cool_down` seconds have passed since the last one that was kept, and
                             one of the labels that hold has not used up its quota

Cool-down and quota count what was really stored, which `keep` is told. It knows scores and times; pictures and files it
never sees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgefw.runtime.trigger_rule import Rule, check_names

Outcome = Literal["quiet", "kept", "cool-down", "quota"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of a frame.

    Attributes:
        outcome: whether it is worth storing, or why not.
        holding: the labels of `any` and `all` that hold in it.
    """

    outcome: Outcome
    holding: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether the frame is worth storing."""
        return self.outcome == "kept"


class Trigger:
    """A rule with its memory.

    Args:
        rule: what is asked for.
        names: the labels whose scores will come, in order.
        thresholds: of labels that have one of their own, for a rule that begins at them.

    Raises:
        BundleError: if the rule names a label that is not among them.
    """

    def __init__(self, rule: Rule, names: Sequence[str], thresholds: Mapping[str, float] | None = None) -> None:
        check_names(rule, names, "trigger")
        self.rule = rule
        self._begin = rule.begins(thresholds or {})
        self._place = {name: list(names).index(name) for name in rule.named}
        self._streak = dict.fromkeys(rule.named, 0)
        self._holds = dict.fromkeys(rule.named, False)
        self._kept_at: float | None = None
        self._used: dict[str, deque[float]] = {name: deque() for name in rule.named}

    def look(self, time: float, scores: np.ndarray) -> Decision:
        """Decide about the next frame; if it is kept and stored, `keep` must follow.

        Args:
            time: seconds, never falling from frame to frame.
            scores: (K,) of all labels; NaN counts as below everything.
        """
        for name in self.rule.named:
            self._update(name, float(scores[self._place[name]]))
        holding = tuple(name for name in dict.fromkeys((*self.rule.any, *self.rule.all)) if self._holds[name])
        if not self._fires():
            return Decision(outcome="quiet", holding=holding)
        if self._kept_at is not None and time < self._kept_at + self.rule.cool_down:
            return Decision(outcome="cool-down", holding=holding)
        if not any(self._has_quota(name, time) for name in holding):
            return Decision(outcome="quota", holding=holding)
        return Decision(outcome="kept", holding=holding)

    def keep(self, time: float, holding: Sequence[str]) -> None:
        """The frame of that time was stored: the cool-down begins, and it counts for the quota of its labels."""
        self._kept_at = time
        self.count(time, holding)

    def count(self, time: float, holding: Sequence[str]) -> None:
        """A frame that counts for the quota of its labels; it may be one of a former run, before time 0."""
        if self.rule.quota is not None:
            for name in holding:
                if name in self._used and self._has_quota(name, time):
                    self._used[name].append(time)

    def _update(self, name: str, score: float) -> None:
        begin = self._begin[name]
        end = begin if self.rule.end is None else self.rule.end
        self._streak[name] = self._streak[name] + 1 if score >= begin else 0
        if self._holds[name]:
            self._holds[name] = score >= end
        else:
            self._holds[name] = self._streak[name] >= self.rule.frames

    def _fires(self) -> bool:
        rule, holds = self.rule, self._holds
        wanted = (not rule.any or any(holds[name] for name in rule.any)) and all(holds[name] for name in rule.all)
        return wanted and not any(holds[name] for name in rule.none)

    def _has_quota(self, name: str, time: float) -> bool:
        if self.rule.quota is None:
            return True
        used, begin = self._used[name], time - 3600.0 * self.rule.quota_hours
        while used and used[0] <= begin:
            used.popleft()
        return len(used) < self.rule.quota
