"""Pieces: built once, in the right order, with the same weights for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgefw.environment import environment
from edgefw.errors import RecipeError
from edgefw.pieces import Pieces
from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
RECIPE = """
seed: 3
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk, head: {name: mlp}}
train: [{name: distil, losses: [{name: feature}], steps: 1}]
compute: {device: cpu}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    for name in ("red", "green"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        (tmp_path / "data" / "train" / name / "1.png").write_bytes(b"")
    return tmp_path


def pieces(folder: Path, *overrides: str) -> Pieces:
    return Pieces(compose(read_recipe(str(folder / "tiny.yaml"), overrides), Registry()), folder)


def state(built: Pieces, seed: int | None = None) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in built.student_network(seed).state_dict().items()}


def test_a_student_has_the_same_weights_for_the_same_seed_only(folder: Path) -> None:
    first, again, other = state(pieces(folder)), state(pieces(folder)), state(pieces(folder), seed=4)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_the_head_fits_trunk_and_teacher(folder: Path) -> None:
    network = pieces(folder).student_network().eval()
    assert network(torch.zeros(2, 3, 16, 16)).embedding.shape == (2, 8)


def test_building_a_student_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    pieces(folder).student_network()
    assert torch.equal(torch.rand(3), expected)


def test_pieces_are_built_once(folder: Path) -> None:
    built = pieces(folder)
    assert built.teacher is built.teacher
    assert built.dataset is built.dataset
    assert built.modalities["rgb"] is built.modalities["rgb"]


def test_the_teacher_sees_the_first_modality_of_photographs(folder: Path) -> None:
    assert pieces(folder).teacher_modality == "rgb"
    (folder / "tiny.yaml").write_text(RECIPE.replace("{rgb: {name: rgb}}", "{depth: {name: depth}, rgb: {name: rgb}}"))
    assert pieces(folder).teacher_modality == "rgb"


def test_without_photographs_there_is_one_message(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(RECIPE.replace("{rgb: {name: rgb}}", "{depth: {name: depth}}"))
    with pytest.raises(RecipeError, match="modalities: none of depth shows photographs"):
        _ = pieces(folder).teacher_modality


def test_evaluation_labels_are_the_recipes_or_the_data_sets(folder: Path) -> None:
    assert pieces(folder).evaluation_labels() == ["green", "red"]
    assert pieces(folder, "evaluate.labels=[sky, sea]").evaluation_labels() == ["sky", "sea"]
    (folder / "names.txt").write_text("one\ntwo\n")
    assert pieces(folder, "evaluate.labels=names.txt").evaluation_labels() == ["one", "two"]


def test_an_evaluation_label_listed_twice_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"evaluate\.labels: listed more than once: sky"):
        pieces(folder, "evaluate.labels=[sky, sea, sky]").evaluation_labels()


def test_several_templates_give_the_normalised_mean(folder: Path) -> None:
    built = pieces(folder)
    templates = ["a {} thing", "a red and {} thing"]
    one, two = (built.teacher.encode_text([template.replace("{}", "blue")]).numpy() for template in templates)
    expected = (one + two) / np.linalg.norm(one + two)
    np.testing.assert_allclose(built.text_embeddings(["blue"], templates), expected, atol=1e-6)
    np.testing.assert_allclose(built.text_embeddings(["blue"], templates[0]), one, atol=1e-6)


def test_the_environment_names_versions_plugins_and_the_machine(folder: Path) -> None:
    recipe = read_recipe(str(folder / "tiny.yaml"))
    record = environment(compose(recipe, Registry()), Registry())
    plugins = {(row["kind"], row["name"]): (row["distribution"], row["version"]) for row in record["plugins"]}
    assert plugins["teacher", "tiny-colours"] == ("edgefw-tiny", "1.0")
    assert plugins["projector", "mlp"][0] == "edgefw"
    assert record["packages"]["torch"] == torch.__version__.split("+")[0]
    assert record["hardware"]["cores"] >= 1
