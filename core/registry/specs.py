"""Every hook of edgefw: one registration hook per kind, and the observers of a run.

Registration hooks are historic: a module that is loaded later is asked at once. Each is called with `register`, a
function that takes one `Technique`; call it zero or more times, return nothing:

    @edgefw.hookimpl
    def edgefw_register_losses(register):
        register(Technique(name="acme-x", config=AcmeConfig, build=build))

Observer hooks are plain: every implementation is called, return values are collected where the docstring says so. An
implementation may take fewer arguments than listed here; arguments are only ever added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgefw.contracts.run import ReportSection, RunInfo
    from edgefw.registry.technique import Register

hookspec = pluggy.HookspecMarker("edgefw")
hookimpl = pluggy.HookimplMarker("edgefw")


class RegistrationHooks:
    """One hook per kind; `register` takes a `Technique` of that kind."""

    @hookspec(historic=True)
    def edgefw_register_teachers(self, register: Register) -> None:
        """Offer teachers: `build` returns an `edgefw.contracts.teacher.Teacher`."""

    @hookspec(historic=True)
    def edgefw_register_students(self, register: Register) -> None:
        """Offer students: `build` returns an `edgefw.contracts.student.Student`."""

    @hookspec(historic=True)
    def edgefw_register_projectors(self, register: Register) -> None:
        """Offer projectors: `build` returns a module as `edgefw.contracts.projector` describes."""

    @hookspec(historic=True)
    def edgefw_register_losses(self, register: Register) -> None:
        """Offer losses: `build` returns an `edgefw.contracts.loss.Loss`."""

    @hookspec(historic=True)
    def edgefw_register_schemes(self, register: Register) -> None:
        """Offer schemes: `build` returns an `edgefw.contracts.scheme.Scheme`."""

    @hookspec(historic=True)
    def edgefw_register_samplers(self, register: Register) -> None:
        """Offer samplers: `build` returns an `edgefw.contracts.sampler.Sampler`."""

    @hookspec(historic=True)
    def edgefw_register_views(self, register: Register) -> None:
        """Offer views: `build` returns an `edgefw.contracts.view.View`."""

    @hookspec(historic=True)
    def edgefw_register_quantizers(self, register: Register) -> None:
        """Offer quantizers: `build` returns a quantizer of one level, see `edgefw.contracts.quantizer`."""

    @hookspec(historic=True)
    def edgefw_register_modalities(self, register: Register) -> None:
        """Offer modalities: `build` returns an `edgefw.contracts.modality.Modality`."""

    @hookspec(historic=True)
    def edgefw_register_datasets(self, register: Register) -> None:
        """Offer data sets: `build` returns an `edgefw.contracts.dataset.Dataset`."""

    @hookspec(historic=True)
    def edgefw_register_backends(self, register: Register) -> None:
        """Offer backends: `build` returns an `edgefw.contracts.backend.Backend`."""


class ObserverHooks:
    """What happens in a run, for trackers. An observer that raises is disabled with one warning; the run goes on."""

    @hookspec
    def edgefw_run_started(self, run: RunInfo) -> None:
        """Before the first stage. `run` names the folder, the recipe and the resolved config."""

    @hookspec
    def edgefw_stage_started(self, run: RunInfo, stage: str) -> None:
        """Before a stage that is not skipped."""

    @hookspec
    def edgefw_step_finished(self, run: RunInfo, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """After each logged optimiser step; `metrics` holds the total, each loss by name, and the learning rate."""

    @hookspec
    def edgefw_stage_finished(self, run: RunInfo, stage: str, result: Mapping[str, Any], skipped: bool) -> None:
        """After a stage; `result` is what stands in its `result.json`."""

    @hookspec
    def edgefw_run_finished(self, run: RunInfo, error: BaseException | None) -> None:
        """At the very end, also of a run that failed."""

    @hookspec
    def edgefw_report_sections(self, run: RunInfo) -> list[ReportSection]:  # type: ignore[empty-body]
        """Sections to add to `report.html`; the lists of all observers are joined."""
