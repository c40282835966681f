"""Frozen: every observer hook of API 1, with every argument it had."""

import edgefw

calls = []


@edgefw.hookimpl
def edgefw_run_started(run):
    calls.append(("run_started", run.folder, run.recipe, run.config))


@edgefw.hookimpl
def edgefw_stage_started(run, stage):
    calls.append(("stage_started", stage))


@edgefw.hookimpl
def edgefw_step_finished(run, phase, step, metrics):
    calls.append(("step_finished", phase, step, dict(metrics)))


@edgefw.hookimpl
def edgefw_stage_finished(run, stage, result, skipped):
    calls.append(("stage_finished", stage, dict(result), skipped))


@edgefw.hookimpl
def edgefw_run_finished(run, error):
    calls.append(("run_finished", error))


@edgefw.hookimpl
def edgefw_report_sections(run):
    from edgefw.contracts.run import ReportSection

    return [ReportSection(title="API 1", html="<p>still here</p>")]
