"""Class folders for verifying a bundle: which images, which labels."""

import pytest

from edgefw.errors import DataError
from edgefw.labels.folders import LabelledFolder, parse_data

NAMES = ("coffee mug", "Table")


@pytest.fixture
def folder(tmp_path):
    for name in ("coffee_mug/1.png", "COFFEE-MUG/2.png", "table/deep/3.png", "chair/4.png", "5.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "data"


def test_folder_names_match_labels_without_capitals_and_punctuation(folder):
    found = LabelledFolder(modality="rgb", folder=folder, names=NAMES).images()
    assert {path.name: label for path, label in found} == {"1.png": 0, "2.png": 0, "3.png": 1, "4.png": -1, "5.png": -1}


def test_the_first_sensor_is_meant_unless_another_is_named(folder, tmp_path):
    (tmp_path / "other").mkdir()
    found = parse_data([str(folder), f"depth={tmp_path / 'other'}"], ("rgb", "depth"), NAMES)
    assert [(entry.modality, entry.folder) for entry in found] == [("rgb", folder), ("depth", tmp_path / "other")]


def test_a_folder_with_an_equals_sign_in_its_name_is_a_folder(tmp_path):
    (tmp_path / "lr=0.1").mkdir()
    (found,) = parse_data([str(tmp_path / "lr=0.1")], ("rgb",), NAMES)
    assert found.folder == tmp_path / "lr=0.1"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["absent"], "^absent: there is no folder absent"),
        (["~nobody-of-this-name/x"], "^~nobody-of-this-name/x: there is no folder ~nobody"),
        ([""], "^a folder: its name is empty ''. Is a variable not set"),
        (["rgb="], "^rgb=: its name is empty ''"),
        (["sonar=x"], "^sonar=x: no modality 'sonar'"),
        ([".", "rgb=."], "^rgb=.: modality 'rgb' is given twice"),
    ],
)
def test_mistakes_are_told(texts, message):
    with pytest.raises(DataError, match=message):
        parse_data(texts, ("rgb", "depth"), NAMES)
