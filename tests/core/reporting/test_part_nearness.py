"""The report's part about answers, from a record of `verify` to rows of text."""

from pathlib import Path

from edgefw.reporting.html import write_report
from edgefw.reporting.part_nearness import nearness
from edgefw.reporting.run_data import read_run


def test_every_artefact_and_modality_has_a_row_of_batches_and_one_of_single_images(tmp_path: Path, write_run) -> None:
    folder = write_run(tmp_path / "run")
    rows = nearness(read_run(folder))["rows"]
    names = {row["artefact"] for row in rows}
    assert len(rows) == 2 * len(names) and len(names) > 1
    first, second = rows[:2]
    assert (first["modality"], first["way"], second["way"]) == ("rgb", "in batches", "one by one")
    assert first["cosines"] == ["0.9941", "0.9800", "0.9700"] and first["errors"] == ["0.0421", "0.2"]
    assert first["agreement"] == "96.8 %" and first["n"] == 200
    assert second["cosines"][1] == "0.9712" and second["n"] == 8
    assert "one by one" in write_report(folder).read_text()


def test_an_artefact_without_distances_has_no_row(tmp_path: Path, write_run) -> None:
    run = read_run(write_run(tmp_path / "run"))
    for artefact in run.stages["verify"]["artefacts"]:
        artefact["modalities"] = {"rgb": {"cosine_mean": None, "batch_1": None}}
    assert "compared" in nearness(run)["absent"]
