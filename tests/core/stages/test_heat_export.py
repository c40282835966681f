"""A run with `export.heat: true`: the map file beside the others, in the bundle, and what the device makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw import engine
from edgefw.cli.main import run as command_line
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.run_folder import RunFolder
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.heat import heat_maps
from edgefw.runtime.opening import Opener, single_input


@pytest.fixture(scope="module")
def heated(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, exported again with maps."""
    folder = Path(shutil.copytree(project / "run", tmp_path_factory.mktemp("heated") / "run"))
    before = RunFolder(folder).completed("train")
    engine.run(read_recipe(str(project / "tiny.yaml"), ["export.heat=true"]), Registry(), folder, resume=True)
    assert RunFolder(folder).completed("train") == before  # training is not done again
    return folder


def test_the_map_is_a_file_of_its_own_and_the_others_stay_as_they_were(run: Path, heated: Path, result: Any) -> None:
    plain, made = result(run, "export"), result(heated, "export")
    assert "maps" not in plain and "maps" not in json.loads((run / "bundle/manifest.json").read_text())
    assert [record["sha256"] for record in made["artefacts"]] == [record["sha256"] for record in plain["artefacts"]]
    (record,) = made["maps"]
    assert (record["name"], record["details"]["grid"]) == ("map-onnxruntime-fp32", [4, 4])
    assert record["details"]["mean_error"] < 1e-4
    with open_bundle(heated) as bundle:
        (entry,) = bundle.manifest.maps
        assert bundle.map("depth") is bundle.map("rgb") is entry
        assert entry.artefact.sha256 == record["sha256"] and entry.artefact.file in bundle.sums
        assert [artefact.name for artefact in bundle.manifest.artefacts] == [own["name"] for own in made["artefacts"]]


def test_the_mean_of_the_cells_is_what_the_float_file_says(project: Path, heated: Path) -> None:
    image = np.asarray(Image.open(project / "data/test-green-1.png"))
    with open_bundle(heated) as bundle:
        cells = heat_maps(bundle, "rgb", 1).look(image)
        entry, opener, pack = bundle.artefact("onnxruntime-fp32"), Opener(bundle), bundle.label_pack()
        own = opener.runner(entry, 1).run({single_input(entry): opener.preprocessing("rgb")(image)[None]})[0]
        cosines = cells.cosines(pack)
    np.testing.assert_allclose(cells.embeddings.mean(axis=(0, 1)), own, atol=1e-4)
    unit = cells.embeddings / np.linalg.norm(cells.embeddings, axis=2, keepdims=True)
    for label, heat in zip(pack.labels, cosines):
        text = label.vectors[0] / np.linalg.norm(label.vectors[0])
        np.testing.assert_allclose(heat, unit @ text, atol=1e-5)
    assert cosines.mean(axis=(1, 2)).argmax() == pack.names.index("green")


def test_bundle_show_names_the_map_and_a_plain_bundle_says_how_to_get_one(
    run: Path, heated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["bundle", "show", str(heated)]) == 0
    assert "map of 4 x 4 cells: rgb, depth" in capsys.readouterr().out
    with open_bundle(run) as bundle, pytest.raises(Exception, match="has no map of rgb images") as told:
        bundle.map("rgb")
    assert "export.heat=true" in str(told.value)


def test_a_student_without_a_map_is_refused_before_anything_is_trained(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = "student={name: timm, model: crossvit_tiny_240}"
    arguments = ["run", str(project / "tiny.yaml"), "export.heat=true", student, "--out", str(tmp_path / "run")]
    assert command_line(arguments) == 2
    assert "export.heat: heat maps need student.map; student 'timm' provides" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
