"""`report.html`: one file that asks for nothing. Fills templates/report.html.jinja from a run folder.

The page holds no script, and its content policy forbids every request, so it can be mailed, archived and printed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefw import __version__
from edgefw.errors import MissingDependency
from edgefw.reporting import (
    part_advice,
    part_choices,
    part_curation,
    part_layers,
    part_models,
    part_nearness,
    part_pictures,
    part_record,
    part_training,
)
from edgefw.reporting.predicted import read_predictions
from edgefw.reporting.run_data import RunData, read_run

if TYPE_CHECKING:
    from edgefw.contracts.run import ReportSection

FILE = "report.html"


def write_report(folder: Path, sections: Sequence[ReportSection] = ()) -> Path:
    """Write the report of a run folder, whole or partial, and return its path.

    Args:
        folder: the run folder; nothing but it is read.
        sections: what observers add, at the end.

    Raises:
        RunFolderError: if the folder is no run.
        MissingDependency: if jinja2 is not installed.
    """
    run = read_run(folder)
    page = render("report.html.jinja", **_content(run), sections=sections)
    return write_page(run.folder / FILE, page)


def render(template: str, **content: Any) -> str:
    """A page from a template, with the style sheet in it."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingDependency(
            'the HTML report needs the package jinja2, which is not installed. Install it: pip install "edgefw[train]"'
        ) from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=_loader()
    )
    return environment.get_template(template).render(style=_resource("report.css"), version=__version__, **content)


def write_page(path: Path, page: str) -> Path:
    """Write a page, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def _content(run: RunData) -> dict[str, Any]:
    names = run.stage("verify").get("labels") or run.stage("export").get("labels") or []
    predicted = read_predictions(run.folder / "verify" / "predictions.npz", [str(name) for name in names])
    return {
        "run": run,
        "finished": _finished(run),
        "best": part_models.best_of(run),
        "verdict": part_models.verdict(run),
        "tiles": part_models.tiles(run),
        "accuracy": part_models.accuracy(run, predicted),
        "budget": part_models.budget(run),
        "nearness": part_nearness.nearness(run),
        "blame": part_layers.blame(run),
        "choices": part_choices.choices(run),
        "advice": part_advice.advice(run),
        "cost": part_models.cost(run),
        "classes": part_models.classes(run, predicted),
        "confusions": part_models.confusions(run, predicted),
        "disagreements": part_pictures.disagreements(run),
        "curves": part_training.curves(run),
        "curation": part_curation.curation(run),
        "stages": part_record.stages(run),
        "plan": part_record.plan(run),
        "facts": part_record.facts(run),
        "plugins": part_record.plugins(run),
        "hashes": part_record.hashes(run),
        "licences": part_record.licences(run),
        "warnings": part_record.warnings(run),
    }


def _finished(run: RunData) -> str:
    """When the last complete stage was written, local time."""
    times = [file.stat().st_mtime for file in run.folder.glob("*/stage.json")]
    return datetime.fromtimestamp(max(times)).strftime("%d %B %Y, %H:%M").lstrip("0") if times else ""


def _loader() -> Any:
    from jinja2 import FunctionLoader

    return FunctionLoader(_resource)


def _resource(name: str) -> str:
    return files("edgefw.reporting").joinpath("templates", name).read_text(encoding="utf-8")
