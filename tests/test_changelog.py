"""The changelog is assembled from fragments, and every fragment of this repository is well-formed."""

from __future__ import annotations

import importlib.util
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
DAY = date(2026, 11, 22)


@pytest.fixture(scope="module")
def changelog() -> ModuleType:
    spec = importlib.util.spec_from_file_location("changelog", ROOT / "scripts" / "changelog.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    changes = tmp_path / "changes"
    changes.mkdir()
    (changes / "loss.added.md").write_text("A loss\nof two lines.\n")
    (changes / "crash.fixed.md").write_text("A crash.")
    return tmp_path


def test_the_fragments_of_this_repository_are_well_formed(changelog: ModuleType) -> None:
    changelog.fragments(ROOT / "changes")


def test_fragments_stand_under_unreleased_by_kind(changelog: ModuleType, project: Path) -> None:
    changelog.write(project, None, DAY)
    text = (project / "CHANGELOG.md").read_text()
    assert text.endswith("## Unreleased\n\n### Added\n\n- A loss of two lines.\n\n### Fixed\n\n- A crash.\n")
    changelog.write(project, None, DAY)
    assert (project / "CHANGELOG.md").read_text() == text


def test_a_release_uses_the_fragments_up_and_keeps_earlier_ones(changelog: ModuleType, project: Path) -> None:
    changelog.write(project, None, DAY)
    changelog.write(project, "0.1.0", DAY)
    assert list((project / "changes").iterdir()) == []
    (project / "changes" / "more.changed.md").write_text("More.")
    changelog.write(project, "0.2.0", DAY)
    text = (project / "CHANGELOG.md").read_text()
    assert "Unreleased" not in text
    assert text.index("## 0.2.0, 2026-11-22\n\n### Changed\n\n- More.") < text.index(
        "## 0.1.0, 2026-11-22\n\n### Added"
    )


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("loss.md", "A loss.", "is named <topic>.<added|changed|fixed|removed>.md"),
        ("loss.feature.md", "A loss.", "is named"),
        ("Loss.added.md", "A loss.", "is named"),
        ("loss.added.md", " \n", "is empty"),
        ("loss.added.md", "A loss", "ends with a full stop"),
        ("loss.added.md", "- A loss.", "plain text"),
        ("loss.added.md", "A loss.\n\nAnother.", "one paragraph"),
    ],
)
def test_a_malformed_fragment_is_named(
    changelog: ModuleType, tmp_path: Path, name: str, text: str, reason: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}: .*{reason.replace('|', '.').replace('<', '.')}"):
        changelog.fragments(tmp_path)
