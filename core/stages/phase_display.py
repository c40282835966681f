"""From a phase's callbacks to bars and observers. It shows numbers and knows nothing of how they come about."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from edgefw.reporting.progress import format_values

if TYPE_CHECKING:
    from typing import Self

    from edgefw.reporting.progress import Bar
    from edgefw.stages.context import StageContext
    from edgefw.training.job import Callbacks


class PhaseDisplay:
    """One phase on the screen; a context manager that ends the bar it shows, whatever happens."""

    def __init__(self, context: StageContext, phase: str) -> None:
        self._context = context
        self._phase = phase
        self._stack = ExitStack()
        self._bar: Bar | None = None
        self._label = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def callbacks(self) -> Callbacks:
        """What the phase calls."""
        from edgefw.training.job import Callbacks

        return Callbacks(
            started=self.started,
            step=self.step,
            validation=self.validation,
            caching=self.caching,
            sampler=self.sampler,
        )

    def started(self, steps: int, first: int) -> None:
        """The loop begins (or goes on) at step `first` of `steps`."""
        self._open(f"train {self._phase}", steps, first)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """A logged step."""
        if self._bar is not None:
            self._bar.update(step, _shown(metrics))
        self._context.observers.call(
            "edgefw_step_finished", run=self._context.run, phase=self._phase, step=step, metrics=metrics
        )

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """A validation: a line that stays."""
        shown = format_values(self._summary(values))
        self._context.progress.say(f"train {self._phase}  step {step}  validation  {shown}")
        named = {f"validation/{name}": value for name, value in values.items()}
        self._context.observers.call(
            "edgefw_step_finished", run=self._context.run, phase=self._phase, step=step, metrics=named
        )

    def sampler(self, step: int, values: Mapping[str, float]) -> None:
        """What the sampler found for the epoch that begins: a line that stays."""
        self._context.progress.say(f"train {self._phase}  step {step}  sampler  {format_values(values)}")
        named = {f"sampler/{name}": value for name, value in values.items()}
        self._context.observers.call(
            "edgefw_step_finished", run=self._context.run, phase=self._phase, step=step, metrics=named
        )

    def caching(self, done: int, total: int, split: str) -> None:
        """The teacher's answers about a split are being stored."""
        label = f"teacher looks at {split}"
        if self._bar is None or self._label != label:
            self._open(label, total, 0)
        if self._bar is not None:
            self._bar.update(done)

    def _summary(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """Totals, and what tells modalities apart where there are several; the metrics file has everything."""
        several = len(self._context.composition.modalities) > 1
        return {
            name: value
            for name, value in values.items()
            if "/" not in name or (several and not name.startswith("loss/"))
        }

    def _open(self, label: str, total: int, start: int) -> None:
        self._stack.close()
        self._label = label
        self._bar = self._stack.enter_context(self._context.progress.bar(label, total, start))


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    """What fits on a line: the loss, its terms if there are several, the learning rate."""
    values = {name: value for name, value in metrics.items() if name not in ("gradient_norm", "epoch")}
    terms = [name for name in values if name not in ("loss", "lr")]
    return {name: value for name, value in values.items() if name not in terms or len(terms) > 1}
