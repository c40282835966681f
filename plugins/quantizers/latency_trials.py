"""Files of one network with some of its groups in int8, opened as on the device, timed and compared with the float file.

Two files take turns of some calls, each first every other time, on real calibration rows, so that a busy machine is busy for both. It
measures; what follows from a number, `latency_search` decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefw.errors import EdgefwError, ExportError
from edgefw.evaluation.comparison import row_cosines
from edgefw.plugins.quantizers.held_rows import HeldRows, held_rows, only, without
from edgefw.plugins.quantizers.latency_search import Labels, Timing, timing_of
from edgefw.runtime.benchmark import turn

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.contracts.quantizer import Calibration
    from edgefw.plugins.quantizers.operator_groups import Group
    from edgefw.plugins.quantizers.static_writer import StaticWriter

ROWS = 32
"""Calibration rows on which answers are compared, at most; ranges do without them."""
_BATCH, _FED, _KEPT = 8, 8, 3


@dataclass
class Trials:
    """Writes, opens, times.

    Attributes:
        source: the float file, which stands for no group in int8.
        folder: where a trial file may lie while it is opened.
        writer: of the source.
        groups: all of them.
        calibration: rows; those on which answers are compared, and with which files are timed, are left out of the ranges.
        opened: opens a file as the device will.
        comparisons: how many were made.
    """

    source: Path
    folder: Path
    writer: StaticWriter
    groups: Sequence[Group]
    calibration: Calibration
    opened: Callable[[Path], Runner]
    comparisons: int = 0
    _open: dict[Labels, Runner] = field(default_factory=dict)
    _rows: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.held: HeldRows = held_rows(self.calibration, ROWS)
        self.ranges: Calibration = without(self.calibration, self.held.left_out)

    def prepare(self) -> None:
        """Measure ranges, which all files share, before the first comparison."""
        self._runner(frozenset(group.label for group in self.groups))

    def compare(self, one: Labels, other: Labels, seconds: float = 0.6, least: int = 15) -> Timing:
        """Time the file of the first groups against that of the second, for `seconds`, at least `least` calls of each and two turns of each."""
        calls = [partial(_answers, self._runner(labels)) for labels in (one, other)]
        feeds = self._single()
        taken: tuple[list[float], list[float]] = ([], [])
        began, round_ = time.perf_counter(), 0
        while round_ % 2 or len(taken[0]) < least or time.perf_counter() - began < seconds:
            found = {at: turn(calls[at], feeds, round_) for at in ((0, 1) if round_ % 2 else (1, 0))}
            both = min(len(found[0]), len(found[1]))
            for at in (0, 1):
                taken[at].extend(found[at][:both])
            round_ += 1
        self.comparisons += 1
        return timing_of(*taken)

    def cosine(self, labels: Labels) -> float:
        """Mean cosine of a file's answers to the float file's, of the worst modality; NaN counts as -1."""
        answers, expected = self._asked(self._runner(labels)), self._asked(self._runner(frozenset()))
        cosines = np.nan_to_num(row_cosines(answers, expected), nan=-1.0)
        rows = self.held.rows
        return min(float(cosines[np.isin(rows, own)].mean()) for own in self.held.judged.values())

    def write(self, labels: Labels, target: Path) -> None:
        """Write the file in which these groups are int8, at least one of them."""
        out = [name for group in self.groups if group.label not in labels for name in group.nodes]
        self.writer.write(target, self.ranges, [*self.writer.excluded, *out])

    def _runner(self, labels: Labels) -> Runner:
        """Opened once while it is used; the float file always stays open."""
        if labels not in self._open:
            file = self.source
            if labels:
                file = self.folder / "trial.onnx"
                self.write(labels, file)
            self._open[labels] = self.opened(file)
        self._open[labels] = self._open.pop(labels)  # the latest last
        for old in [key for key in self._open if key][:-_KEPT]:
            del self._open[old]
        return self._open[labels]

    def _asked(self, runner: Runner) -> np.ndarray:
        """(N, D) of the judged rows."""
        rows = self._samples()
        places = range(0, len(self.held.rows), _BATCH)
        parts = [_answers(runner, {name: values[at : at + _BATCH] for name, values in rows.items()}) for at in places]
        answers = np.concatenate(parts)
        return answers.reshape(len(answers), -1)

    def _samples(self) -> dict[str, np.ndarray]:
        self._rows = self._rows or only(self.calibration, self.held.rows)
        return self._rows

    def _single(self) -> list[Mapping[str, np.ndarray]]:
        rows, count = self._samples(), min(_FED, len(self.held.rows))
        return [{name: values[at : at + 1] for name, values in rows.items()} for at in range(count)]


def _answers(runner: Runner, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    try:
        return runner.run(feeds)
    except EdgefwError:
        raise
    except Exception as error:  # a runtime raises its own types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExportError(
            f"a file with some layers in int8 opens and does not run ({reason}). Use int8-static."
        ) from error
