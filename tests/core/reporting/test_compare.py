"""Runs side by side, and the table a run ends with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefw.cli.main import run as command_line
from edgefw.errors import RunFolderError
from edgefw.reporting.compare import compare, write_comparison
from edgefw.reporting.tables import failed_checks, print_summary

WriteRun = Callable[..., Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, write_run: WriteRun) -> list[Path]:
    base = tmp_path_factory.mktemp("runs")
    one, other = write_run(base / "one"), write_run(base / "two", fails=True)
    text = (other / "resolved.yaml").read_text()
    (other / "resolved.yaml").write_text(
        text.replace("distance: l1", "distance: cosine, weight: 2").replace("seed: 1", "")
    )
    return [one, other]


def test_only_what_differs_is_listed_under_its_recipe_path(runs: list[Path]) -> None:
    assert dict(compare(runs).differences) == {
        "seed": ("1", "–"),
        "train[0].losses[0].distance": ("l1", "cosine"),
        "train[0].losses[0].weight": ("–", "2"),
    }


def test_results_hold_every_model_and_the_cost(runs: list[Path], tmp_path: Path, write_run: WriteRun) -> None:
    early = write_run(tmp_path / "early", leave_out=("verify",))
    comparison = compare([*runs, early])
    results = dict(comparison.results)
    assert comparison.names == ("one", "two", "early")
    assert results["status"] == ("ok", "gate-failed", "incomplete")
    assert results["latency, p50"] == ("2.43 ms", "2.43 ms", "–")
    assert results["time of train"] == ("1 min 1 s",) * 3
    assert "metric" not in results


def test_the_table_has_a_row_per_run_and_model_and_an_equal_teacher_once(
    runs: list[Path], tmp_path: Path, write_run: WriteRun
) -> None:
    comparison = compare(runs)
    assert comparison.modalities == ("rgb", "depth")
    assert [(row.run, row.model) for row in comparison.table[:3]] == [
        ("every run", "teacher"),
        ("one", "student"),
        ("one", "onnxruntime-fp32"),
    ]
    assert len(comparison.table) == 1 + 2 * 4
    verified = json.loads((runs[0] / "verify" / "result.json").read_text())["evaluation"]
    for row in comparison.table:
        own = {r["modality"]: r["value"] for r in verified if (r["model"], r["metric"]) == (row.model, "top1")}
        assert row.accuracy == own
        assert row.average == pytest.approx((own["rgb"] + own["depth"]) / 2)
        assert row.train_seconds == (None if row.model == "teacher" else 61.4)
    file = next(row for row in comparison.table if row.model == "onnxruntime-int8-static")
    assert (file.bytes, file.latency_ms_p50) == (2_402_118, 2.43)
    early = write_run(tmp_path / "early", leave_out=("verify",))
    assert compare([early, early]).table == ()


def test_a_model_that_lacks_a_modality_has_no_average(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / name) for name in ("both", "one-eye")]
    result = json.loads((folders[1] / "verify" / "result.json").read_text())
    result["evaluation"] = [row for row in result["evaluation"] if row["modality"] == "rgb"]
    (folders[1] / "verify" / "result.json").write_text(json.dumps(result))
    averages = {(row.run, row.model): row.average for row in compare(folders).table}
    assert averages["both", "student"] is not None
    assert averages["one-eye", "student"] is None
    assert averages["one-eye", "teacher"] is None and averages["both", "teacher"] is not None


def test_runs_of_one_name_are_told_apart(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / side / "run", leave_out=("verify", "curate")) for side in "ab"]
    assert compare(folders).names == ("a/run", "b/run")
    assert compare(folders[:1] * 2).names == (f"{folders[0]} (1)", f"{folders[0]} (2)")


def test_one_run_is_no_comparison(runs: list[Path]) -> None:
    with pytest.raises(RunFolderError, match="at least two run folders, got 1"):
        compare(runs[:1])


def test_the_page_holds_the_tables(runs: list[Path], tmp_path: Path) -> None:
    page = write_comparison(compare(runs), tmp_path / "deep" / "compare.html").read_text()
    assert (
        "train[0].losses[0].distance" in page
        and "gate-failed" in page
        and "every run" in page
        and "<script" not in page
    )


def test_the_command_prints_tables_json_and_a_page(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(path) for path in runs]
    assert command_line(["compare", *paths]) == 0
    printed = capsys.readouterr().out
    assert "train[0].losses[0].distance" in printed
    heading = next(line for line in printed.splitlines() if line.lstrip().startswith("run "))
    assert heading.split() == ["run", "model", "rgb", "depth", "average", "size", "latency,", "p50", "training"]
    assert len([line for line in printed.splitlines() if line.lstrip().startswith("two ")]) == 4
    assert command_line(["compare", *paths, "--json", "--html", str(tmp_path / "c.html")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["status"] for run in document["runs"]] == ["ok", "gate-failed"]
    assert {"key": "seed", "values": ["1", "–"]} in document["differences"]
    assert {row["model"] for row in document["table"]} >= {"teacher", "student", "onnxruntime-fp32"}
    assert (tmp_path / "c.html").is_file()
    assert command_line(["compare", paths[0], paths[0]]) == 0
    assert "The resolved recipes are equal." in capsys.readouterr().out
    assert command_line(["compare", paths[0]]) == 2


def test_the_summary_has_a_row_per_model_and_names_what_failed(runs: list[Path]) -> None:
    result = json.loads((runs[1] / "verify" / "result.json").read_text())
    stream = io.StringIO()
    print_summary(result, stream)
    printed = stream.getvalue()
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert "onnxruntime-int8-static *" in printed
    assert lines["onnxruntime-int8-dynamic"].rstrip().endswith("not met")
    assert "6.31 ms" in lines["onnxruntime-fp32"] and "8.41 MB" in lines["onnxruntime-fp32"]
    assert lines["teacher"].count("%") == 2
    assert failed_checks(result) == ["onnxruntime-int8-dynamic: max_drop is 5.2, the limit is 1"]
    assert printed.rstrip().endswith("budget not met: onnxruntime-int8-dynamic: max_drop is 5.2, the limit is 1")
    assert max(len(line) for line in printed.splitlines()) <= 120


def test_the_summary_says_how_long_a_quantised_file_takes_beside_float_where_that_is_known() -> None:
    artefacts = [
        {"name": "onnxruntime-fp32", "latency_ms_p50": 4.0, "slowdown": None},
        {"name": "onnxruntime-int8-qat", "latency_ms_p50": 6.0, "slowdown": 1.5},
    ]
    stream = io.StringIO()
    print_summary({"artefacts": artefacts}, stream)
    heading, _, float_row, int8_row = [line for line in stream.getvalue().splitlines() if line.strip()]
    end = heading.index("of float") + len("of float")
    assert (float_row[:end].split()[-1], int8_row[:end].split()[-2:]) == ("–", ["x", "1.50"])
    stream = io.StringIO()
    print_summary({"artefacts": artefacts[:1]}, stream)
    assert "of float" not in stream.getvalue()


def test_a_summary_that_nobody_looks_at_is_as_wide_as_it_must_be() -> None:
    sensors = [f"sensor-number-{number}" for number in range(8)]
    evaluation = [{"model": "student", "modality": name, "metric": "top1", "value": 0.5, "n": 9} for name in sensors]
    stream = io.StringIO()
    print_summary({"evaluation": evaluation, "artefacts": []}, stream)
    assert "…" not in stream.getvalue() and all(name in stream.getvalue() for name in sensors)


def test_report_command_writes_the_page_and_says_where(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["report", str(runs[0])]) == 0
    assert f"Report: {runs[0] / 'report.html'}" in capsys.readouterr().out
    assert command_line(["report", str(runs[0]), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "ok" and document["bytes"] == (runs[0] / "report.html").stat().st_size


def test_report_command_refuses_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["report", str(tmp_path)]) == 2
    assert "is no run of edgefw" in capsys.readouterr().err
