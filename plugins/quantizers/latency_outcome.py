"""What a search for faster int8 came to, as a table and in words. It measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefw.plugins.quantizers.latency_search import EQUAL, Choice, Labels, Timing

if TYPE_CHECKING:
    from edgefw.plugins.quantizers.operator_groups import Group


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A search's end.

    Attributes:
        groups: all that could become int8.
        others: those that could not, labelled with the reason.
        choices: label -> what the timing of groups said.
        hurting: label -> cosine with that group alone in int8, of those taken out for accuracy.
        labels: groups that were left in int8.
        timing: the file with these groups against the float file; None with none.
        whole: why that file is not delivered; empty if it is, or if no group is left.
        min_cosine: the limit of accuracy.
    """

    groups: Sequence[Group]
    others: Sequence[Group]
    choices: Mapping[str, Choice]
    hurting: Mapping[str, float]
    labels: Labels
    timing: Timing | None
    whole: str
    min_cosine: float

    @property
    def stays_float(self) -> bool:
        """Whether there is no int8 file."""
        return bool(self.whole) or not self.labels

    def rows(self) -> list[dict[str, Any]]:
        """A row per group, those that could not become int8 last: group, nodes, share of the file's products (None where the
        graph does not tell), precision, p50 of the file with it in float and int8, why."""
        return [*map(self._timed_row, self.groups), *map(self._other_row, self.others)]

    def _timed_row(self, group: Group) -> dict[str, Any]:
        is_int8, why = self._reason(group.label)
        timing = self.choices[group.label].timing
        times = (timing.other_ms, timing.ms) if timing else (None, None)
        return self._row(group, "int8" if is_int8 else "float", times, why)

    def _other_row(self, group: Group) -> dict[str, Any]:
        return self._row(group, "float", (None, None), "not tried")

    def _row(self, group: Group, precision: str, times: tuple[float | None, float | None], why: str) -> dict[str, Any]:
        counts = [each.macs for each in (*self.groups, *self.others)]
        total = sum(count or 0 for count in counts) or 1
        return {
            "group": group.label,
            "nodes": len(group.nodes),
            "macs_share": None if group.macs is None else group.macs / total,
            "precision": precision,
            "float_ms": times[0],
            "int8_ms": times[1],
            "why": why,
        }

    def whole_file(self) -> dict[str, Any] | None:
        """The last comparison with the float file; None if no group was left for one."""
        timing = self.timing
        if timing is None:
            return None
        bounds = {"ratio": timing.ratio, "ratio_low": timing.low, "ratio_high": timing.high}
        return {**bounds, "int8_ms": timing.ms, "float_ms": timing.other_ms}

    def warnings(self, seconds: float) -> tuple[str, ...]:
        """What a user should read."""
        found = [f"{self._unmade()}: the float file stays"] if self.stays_float else []
        untried = sum(choice.timing is None for choice in self.choices.values())
        if untried:
            found.append(
                f"{untried} of {len(self.groups)} groups were not timed, as the search may take {seconds:g} s; "
                "give the quantizer more seconds"
            )
        return tuple(found)

    def _unmade(self) -> str:
        """Why there is no int8 file: the last comparison, accuracy, or time."""
        if self.whole:
            return self.whole
        if self.hurting:
            return f"nothing that is faster in int8 keeps a mean cosine of {self.min_cosine:g} to the float file"
        return "nothing was faster in int8"

    def _reason(self, label: str) -> tuple[bool, str]:
        """(whether a group is int8, why): the whole file's reason goes first, then accuracy, then the group's timing."""
        if self.whole:
            return False, self.whole
        if label in self.hurting:
            return False, f"hurts: cosine {self.hurting[label]:.4f} alone, below {self.min_cosine:g} together"
        choice = self.choices[label]
        return choice.is_int8, _timed(choice)


def _timed(choice: Choice) -> str:
    if choice.timing is None:
        return "not timed, the search was over" + (": the file is faster in int8 as a whole" if choice.is_int8 else "")
    if choice.timing.verdict == EQUAL:
        return "no difference beyond noise" + (": smaller in int8" if choice.is_int8 else "")
    return f"{choice.timing.verdict} in int8"
