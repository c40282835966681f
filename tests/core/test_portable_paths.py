"""File names in options that are found again elsewhere."""

import pytest

from edgefw.errors import RecipeError
from edgefw.portable_paths import portable, resolved
from edgefw.recipe import shipped


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """A package of recipes with one asset."""
    root = tmp_path / "recipes"
    (root / "assets" / "quickstart").mkdir(parents=True)
    (root / "assets" / "quickstart" / "teacher.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(shipped, "folder", lambda: root)
    return root / "assets"


def test_a_shipped_asset_is_named_by_its_place_in_the_package(assets, tmp_path):
    option = {"weights": str(assets / "quickstart/teacher.safetensors"), "model": "ViT-B-32", "size": 3}
    stored = portable(option, tmp_path)
    assert stored == {"weights": "${shipped:quickstart/teacher.safetensors}", "model": "ViT-B-32", "size": 3}
    assert resolved(stored) == option


def test_a_path_behind_a_prefix_is_found_too(assets, tmp_path):
    (tmp_path / "mine").mkdir()
    option = [f"local-dir:{assets / 'quickstart'}", "local-dir:mine", "hf-hub:org/model", "~nobody/x:y"]
    stored = portable(option, tmp_path)
    assert stored == [
        "local-dir:${shipped:quickstart}",
        f"local-dir:{tmp_path / 'mine'}",
        "hf-hub:org/model",
        "~nobody/x:y",
    ]
    assert resolved(stored)[0] == option[0]


def test_a_relative_file_becomes_absolute_and_a_tag_stays_a_tag(tmp_path, assets):
    (tmp_path / "w.pt").write_bytes(b"")
    stored = portable({"weights": "w.pt", "tag": "laion2b_s34b_b88k", "parts": ["w.pt", 1, None]}, tmp_path)
    assert stored == {
        "weights": str(tmp_path / "w.pt"),
        "tag": "laion2b_s34b_b88k",
        "parts": [str(tmp_path / "w.pt"), 1, None],
    }


def test_texts_that_are_no_paths_stay_as_they_are(tmp_path, assets):
    texts = ["", "a" * 5000, "bad\0name", "a photo of a {}"]
    assert portable(texts, tmp_path) == texts
    assert resolved(texts) == texts


def test_an_asset_that_is_not_here_is_named(assets):
    with pytest.raises(RecipeError, match="no shipped asset 'other/x'"):
        resolved(["${shipped:other/x}"])
