"""The report's part on training: what a sampler reports is a table per phase, from the first epoch to the last."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgefw.reporting import part_training
from edgefw.reporting.html import write_report
from edgefw.reporting.run_data import RunData

WriteRun = Callable[..., Path]


def reported(epochs: int, **more: float) -> list[dict[str, Any]]:
    return [
        {"phase": "align", "step": 40 * (epoch - 1), "epoch": epoch, "sampler": {"anchors": 1400.0 + epoch, **more}}
        for epoch in range(1, epochs + 1)
    ]


def table(metrics: list[dict[str, Any]]) -> Mapping[str, Any]:
    (phase,) = part_training.curves(RunData(folder=Path(), name="r", metrics=metrics))["phases"]
    found: Mapping[str, Any] = phase["sampler"]
    return found


def test_counts_are_whole_numbers_and_names_are_words() -> None:
    found = table(reported(2, without_positive=3.0, negatives=2.875))
    assert found["epochs"] == [1, 2]
    assert found["rows"] == [
        ("anchors", ["1,401", "1,402"]),
        ("without positive", ["3", "3"]),
        ("negatives", ["2.875", "2.875"]),
    ]


@pytest.mark.parametrize(
    ("epochs", "shown"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 3, 4, 5, 6]), (7, [1, 2, 3, 5, 6, 7]), (120, [1, 25, 49, 72, 96, 120])],
)
def test_the_first_and_the_last_epoch_are_shown_and_some_between(epochs: int, shown: list[int]) -> None:
    found = table(reported(epochs))
    assert found["epochs"] == shown and found["total"] == epochs


def test_a_number_that_an_epoch_lacks_is_a_dash() -> None:
    found = table([*reported(1), {"phase": "align", "step": 9, "epoch": 2, "sampler": {"filled": 4.0}}])
    assert found["rows"] == [("anchors", ["1,401", "–"]), ("filled", ["–", "4"])]


def test_a_phase_without_a_report_has_no_table(tmp_path: Path, write_run: WriteRun) -> None:
    assert table([{"phase": "distil", "step": 1, "loss": 1.0}]) == {}
    assert 'class="sampler"' not in write_report(write_run(tmp_path)).read_text()


def test_the_page_shows_the_table_in_its_phase(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path)
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in reported(120, **{"<b>": 1.0}))
    training = write_report(folder).read_text().split('<section id="training">')[1].split("</section>")[0]
    distil, align = training.split("<h3>Phase align")
    assert 'class="sampler"' not in distil and align.count('class="sampler"') == 1
    assert "(6 of 120 epochs; all are in <code>metrics.jsonl</code>)" in align
    assert re.findall(r">epoch (\d+)<", align) == ["1", "25", "49", "72", "96", "120"]
    assert '<th scope="row">anchors</th><td class="n">1,401</td>' in align and "&lt;b&gt;" in align
