"""`report.html`: everything of a run in one file that asks for nothing, whatever is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from edgefw.contracts.run import ReportSection
from edgefw.errors import RunFolderError
from edgefw.recipe.schema import STAGES
from edgefw.reporting.html import write_report
from edgefw.reporting.run_data import STAGE_ORDER

WriteRun = Callable[..., Path]


class Page(HTMLParser):
    """What a page is made of: tags, addresses it names, and open tags that are never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, write_run: WriteRun) -> str:
    return write_report(write_run(tmp_path_factory.mktemp("run"))).read_text()


def test_the_page_is_well_formed_and_asks_for_nothing(full: str) -> None:
    page = Page(full)
    assert page.open == []
    assert "script" not in page.tags and "iframe" not in page.tags
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "default-src 'none'" in full
    assert "url(" not in full and "@import" not in full


def test_no_table_makes_the_page_wider_than_its_window() -> None:
    for name in ("report.html.jinja", "compare.html.jinja"):
        text = (files("edgefw.reporting") / "templates" / name).read_text()
        tables = text.count("<table")
        assert tables and tables == text.count('<div class="wide"><table') + text.count(
            '<div class="wide">\n    <table'
        ), name


def test_every_part_is_filled(full: str) -> None:
    assert "Nothing to show" not in full and 'class="absent"' not in full
    figures = re.findall(r"<svg .*?</svg>", full, flags=re.DOTALL)
    titles = [ElementTree.fromstring(svg)[0].text for svg in figures]
    assert titles == [
        "zero-shot top-1 by model and modality",
        "Accuracy against latency, disc area is file size",
        "student, rgb",
        "student, depth",
        "onnxruntime-int8-static, rgb",
        "onnxruntime-int8-static, depth",
        "Loss of phase distil",
        "Validation of phase distil",
        "Loss of phase align",
        "Validation of phase align",
        "Kept samples by pseudo-label",
        "Confidence of the teacher",
        "Seconds of each stage",
    ]
    images = Page(full).images
    assert len(images) == 8 + 2
    assert all(image["alt"] and (image["src"] or "").startswith("data:image/") for image in images)


def test_curation_shows_the_surest_kept_and_left_out_of_a_label(full: str) -> None:
    part = full.split('id="curation"')[1].split('id="stages"')[0]
    assert "the surest 50 %" in part
    rows = part.split("Pictures of each label")[1].split("<tr>")
    row = next(row for row in rows if ">ball<" in row)
    kept, left_out = row.split("<td>")[1:]
    assert kept.count("data:image/jpeg") == 1 and "picture not stored" in kept and "90.0 %" in kept
    assert left_out.count("data:image/jpeg") == 1 and "70.0 %" in left_out
    assert not any(">bottle<" in row for row in rows)


def test_the_headline_says_what_came_of_it(full: str) -> None:
    assert "Budget met" in full and "All 5 checks hold" in full
    assert "points to the teacher" in full and "2.43 ms" in full and "2.40 MB" in full
    assert "activations of 2 layers stay in float" in full
    assert "2 training samples are left out as unreadable" in full
    assert "CC0-1.0 (drawn)" in full


def test_a_failed_budget_is_named(tmp_path: Path, write_run: WriteRun) -> None:
    page = write_report(write_run(tmp_path, fails=True)).read_text()
    assert "Budget not met" in page
    assert "1 of 5 checks fail: onnxruntime-int8-dynamic (max_drop)." in page


PARTS = ("recipe.yaml", "resolved.yaml", "environment.json", "metrics.jsonl", "curate", "train", "export", "verify")


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_costs_only_itself(part: str, tmp_path: Path, write_run: WriteRun) -> None:
    page = write_report(write_run(tmp_path, leave_out=(part,))).read_text()
    assert Page(page).open == []
    if part in ("verify", "metrics.jsonl", "curate"):
        assert "Nothing to show" in page


def test_a_run_that_has_only_begun_has_a_report(tmp_path: Path, write_run: WriteRun) -> None:
    page = write_report(write_run(tmp_path, leave_out=(*PARTS, "result.json"))).read_text()
    assert "Not finished" in page and "Stages that are complete: none." in page
    assert Page(page).open == []


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"evaluation": null, "artefacts": null, "budget": null}'])
def test_a_damaged_result_is_a_missing_one(damage: str, tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path)
    (folder / "verify" / "result.json").write_text(damage)
    (folder / "verify" / "predictions.npz").write_bytes(damage.encode())
    (folder / "environment.json").write_text(damage)
    (folder / "resolved.yaml").write_text(damage)
    (folder / "curate" / "kept.parquet").write_text(damage)
    assert Page(write_report(folder).read_text()).open == []


def test_names_from_data_cannot_become_markup(tmp_path: Path, write_run: WriteRun) -> None:
    hostile = '<img src=x onerror="alert(1)">'
    folder = write_run(tmp_path)
    result = json.loads((folder / "verify" / "result.json").read_text())
    result["labels"] = [hostile, *result["labels"][1:]]
    result["evaluation"].append({"model": hostile, "modality": hostile, "metric": hostile, "value": 0.5, "n": 1})
    result["disagreements"][0].update({"id": hostile, "label": hostile, "teacher": hostile})
    result["warnings"] = [hostile]
    curated = json.loads((folder / "curate" / "result.json").read_text())
    curated["per_label"][0]["label"] = curated["per_label"][0]["pictures"][0]["id"] = curated["rule"] = hostile
    (folder / "curate" / "result.json").write_text(json.dumps(curated))
    (folder / "verify" / "result.json").write_text(json.dumps(result))
    (folder / "run.json").write_text(json.dumps({"recipe": hostile}))
    page = write_report(folder).read_text()
    assert hostile not in page and "&lt;img src=x" in page
    assert len(Page(page).images) == 8 + 2


def test_pictures_outside_the_run_or_of_other_kinds_are_not_embedded(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path / "run")
    secret = tmp_path / "secret.png"
    secret.write_bytes((folder / "verify" / "pictures").glob("*.png").__next__().read_bytes())
    (folder / "verify" / "pictures" / "text.png").write_text("no picture")
    result = json.loads((folder / "verify" / "result.json").read_text())
    for row, picture in zip(
        result["disagreements"], ["../secret.png", str(secret), "verify/pictures/text.png", "gone"]
    ):
        row["picture"] = picture
    (folder / "verify" / "result.json").write_text(json.dumps(result))
    part = write_report(folder).read_text().split('id="disagreements"')[1].split('id="training"')[0]
    assert part.count("<img") == 4 and part.count("picture not stored") == 4


def test_samples_without_labels_or_modalities_are_counted_out(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path)
    with np.load(folder / "verify" / "predictions.npz") as stored:
        arrays = dict(stored)
    arrays["labels"] = np.full(400, -1)
    np.savez(folder / "verify" / "predictions.npz", **arrays)
    assert "there are no labelled predictions" in write_report(folder).read_text()


def test_many_classes_are_shown_as_a_pattern(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 200, 400)
    choices = {"student/rgb": generator.integers(0, 200, 400), "student/depth": np.full(400, -1)}
    np.savez(folder / "verify" / "predictions.npz", labels=labels, **choices)
    page = write_report(folder).read_text()
    assert "200 classes are too many for a table" in page and len(page) < 2_000_000
    assert Page(page).open == []


def test_sections_of_observers_are_added_as_they_are(tmp_path: Path, write_run: WriteRun) -> None:
    page = write_report(
        write_run(tmp_path), [ReportSection(title="Tracker <1>", html="<p>id <b>7</b></p>")]
    ).read_text()
    assert "<h2>Tracker &lt;1&gt;</h2><p>id <b>7</b></p>" in page


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no run of edgefw. Give the folder"):
        write_report(tmp_path)
    with pytest.raises(RunFolderError, match="does not exist"):
        write_report(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_the_report_knows_the_stages_of_a_recipe() -> None:
    assert STAGE_ORDER == STAGES
