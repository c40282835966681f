"""Which samples a phase trains on where few have an image of a sensor: whole epochs, plans, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw import engine
from edgefw.cli.main import run as edgefw
from edgefw.contracts.dataset import FileReference, Sample
from edgefw.errors import DataError, RecipeError
from edgefw.plugins.schemes.dual_modality import DualModality
from edgefw.plugins.schemes.single_modality import SingleModality
from edgefw.plugins.schemes.transfer import Transfer
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.stages.used_samples import told, used_samples

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_pieces"
SAMPLES, EVERY = 60, 20  # 3 of 60 have a depth map: 5 %
RECIPE = """
seed: 3
data: {name: csv, file: scenes.csv}
modalities: {rgb: {name: rgb}, depth: {name: depth}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
train:
  - {name: first, scheme: {name: dual-modality}, losses: [{name: feature}], epochs: 1, batch: 8}
  - {name: rare, scheme: {name: dual-modality}, losses: [{name: feature}], epochs: 3, batch: 2}
evaluate: {labels: [red, green, blue]}
compute: {device: cpu}
"""
DEPTH_ALONE = ("{name: single-modality, modality: depth}", "[{name: feature}]")
MUTUAL = ("{name: mutual, modality: depth}", "[{name: feature}, {name: mutual-kl}]")
TRANSFER = ("{name: transfer}", "[{name: feature, against: reference, distance: mse}]")
MID = (
    "{name: split-stem, match: mid, own: 0.5}",
    "[{name: feature, of: map, against: reference, distance: mse}]",
)
MIXUP = ("{name: hybrid-mixup}", "[{name: feature}, {name: feature, against: peer, distance: mse}]")
ATTENTION = ("{name: cross-attention, heads: 2}", "[{name: feature}]")
STEMS = ("{name: split-stem, own: 0.5}", "[{name: feature}]")
BOTH = ("{name: dual-modality}", "[{name: feature}]")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe beside 60 training scenes, of which 3 have a depth map, and validation scenes of both kinds."""
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    monkeypatch.delenv("EDGEFW_CACHE", raising=False)
    rng, rows = np.random.default_rng(0), ["id,split,label,rgb,depth"]
    for split, count, every in (("train", SAMPLES, EVERY), ("val", 6, 5), ("test", 4, 2)):
        for number in range(count):
            rgb, depth = f"{split}-{number}.png", f"{split}-{number}-depth.png"
            Image.fromarray(rng.integers(0, 255, (20, 20, 3)).astype(np.uint8)).save(tmp_path / rgb)
            if number % every == 0:
                Image.fromarray(rng.integers(500, 3000, (20, 20)).astype(np.uint16)).save(tmp_path / depth)
            label = ("red", "green", "blue")[number % 3]
            rows.append(f"{split}-{number},{split},{label},{rgb},{depth if number % every == 0 else ''}")
    (tmp_path / "scenes.csv").write_text("\n".join(rows))
    (tmp_path / "rare.yaml").write_text(RECIPE)
    return tmp_path / "rare.yaml"


def train(recipe: Path, *overrides: str, **options: Any) -> list[dict[str, Any]]:
    engine.run(read_recipe(str(recipe), overrides), Registry(), recipe.parent / "run", until="train", **options)
    phases: list[dict[str, Any]] = json.loads((recipe.parent / "run" / "train" / "result.json").read_text())["phases"]
    return phases


def second(pieces: tuple[str, str]) -> list[str]:
    scheme, losses = pieces
    return [f"train.1.scheme={scheme}", f"train.1.losses={losses}"]


@pytest.mark.parametrize("pieces", [DEPTH_ALONE, MUTUAL, TRANSFER, MID])
def test_a_phase_goes_over_the_samples_that_its_scheme_uses(recipe: Path, capsys, pieces: tuple[str, str]) -> None:
    first, rare = train(recipe, *second(pieces))
    assert (first["samples"], first["steps"]) == (60, 7)
    assert (rare["samples"], rare["steps"], rare["epochs"]) == (3, 3, 3)
    said = capsys.readouterr().err
    assert said.count("57 of 60 kept samples have no image that scheme") == 1
    assert "train[1]: 57 of 60" in said and "can use; it trains on the other 3\n" in said
    assert rare["validation"]["loss"] >= 0


@pytest.mark.parametrize("pieces", [BOTH, MIXUP, ATTENTION, STEMS])
def test_schemes_that_use_every_image_use_every_sample(recipe: Path, capsys, pieces: tuple[str, str]) -> None:
    _, rare = train(recipe, *second(pieces), "train.1.epochs=1")
    assert (rare["samples"], rare["steps"]) == (60, 30)
    assert "have no image that scheme" not in capsys.readouterr().err


def test_the_teacher_cache_holds_the_samples_that_are_left(recipe: Path) -> None:
    train(recipe, *second(DEPTH_ALONE), "train.1.cache={views: 2}")
    keys = [json.loads(path.read_text()) for path in (recipe.parent / "run").rglob("key.json")]
    assert 3 in [value for key in keys for value in values_of(key, "samples")]


def values_of(value: Any, name: str) -> list[Any]:
    """Everything that stands under a name in nested JSON."""
    if not isinstance(value, dict):
        return []
    return [
        *([value[name]] if name in value else []),
        *(found for part in value.values() for found in values_of(part, name)),
    ]


def test_mining_looks_for_groups_among_the_samples_that_are_left(recipe: Path) -> None:
    table = recipe.parent / "scenes.csv"
    rows = [row.split(",") for row in table.read_text().splitlines()]
    for number, row in enumerate(rows[1 : SAMPLES + 1]):
        row[4] = "train-0-depth.png" if number % EVERY in (0, 3) else ""  # two of each colour
    table.write_text("\n".join(",".join(row) for row in rows))
    mined = "{name: semi-hard-triplet, margin: 2.0, empty: closest}"
    losses = "[{name: feature}, {name: triplet, margin: 0.3}]"
    changes = [*second((DEPTH_ALONE[0], losses)), f"train.1.sampler={mined}", "train.1.select={by: last}"]
    assert train(recipe, *changes)[1]["samples"] == 6


def test_a_finished_phase_is_used_again_and_says_nothing(recipe: Path, capsys) -> None:
    before = train(recipe, *second(TRANSFER))
    capsys.readouterr()
    assert train(recipe, *second(TRANSFER), "compute.log_every=3") == before
    assert "have no image" not in capsys.readouterr().err


def without_pairs(recipe: Path) -> None:
    """Depth maps stay, but their samples lose the photograph, and the teacher with it."""
    table = recipe.parent / "scenes.csv"
    rows = [row.split(",") for row in table.read_text().splitlines()]
    for row in rows[1:]:
        if row[1] == "train" and row[4]:
            row[3] = ""
    table.write_text("\n".join(",".join(row) for row in rows))


@pytest.mark.parametrize(("pieces", "needed"), [(DEPTH_ALONE, "depth"), (TRANSFER, "rgb+depth"), (MID, "rgb+depth")])
def test_a_scheme_without_any_sample_is_refused_before_the_first_phase(
    recipe: Path, capsys, pieces: tuple[str, str], needed: str
) -> None:
    without_pairs(recipe)
    with pytest.raises(DataError) as caught:
        train(recipe, *second(pieces))
    name = pieces[0].strip("{}").split(",")[0].removeprefix("name: ")
    expected = (
        f"train[1].scheme: '{name}' trains on samples with {needed}, and none of the 57 training samples is one. "
    )
    assert str(caught.value).startswith(expected)
    assert not (recipe.parent / "run" / "train" / "first").exists()
    assert edgefw(["check", str(recipe), *second(pieces)]) == 2
    assert f"\nError: {expected}" in capsys.readouterr().err


def test_too_few_for_a_batch_are_refused_before_the_first_phase(recipe: Path, capsys) -> None:
    changes = [*second(DEPTH_ALONE), "train.1.batch=4"]
    words = "57 of 60 {} samples have no image that scheme 'single-modality' (depth) can use. "
    with pytest.raises(DataError, match="3 samples fill no batch of 4") as caught:
        train(recipe, *changes)
    assert str(caught.value).startswith("train[1]: " + words.format("kept"))
    assert not (recipe.parent / "run" / "train" / "first").exists()
    assert edgefw(["check", str(recipe), *changes]) == 2
    message = capsys.readouterr().err
    assert words.format("training") in message and "3 samples fill no batch of 4" in message


def test_a_loss_that_no_validation_sample_has_is_refused(recipe: Path) -> None:
    table = recipe.parent / "scenes.csv"
    table.write_text("\n".join(row for row in table.read_text().splitlines() if row[:5] not in ("val-0", "val-5")))
    table.write_text(table.read_text() + "\nval-6,val,red,,val-0-depth.png")
    with pytest.raises(
        RecipeError, match=r"^train\[1\].select.by: 'loss' cannot be measured: 4 of 4 validation samples"
    ):
        train(recipe, *second(TRANSFER))
    assert not (recipe.parent / "run" / "train" / "first").exists()
    assert train(recipe, *second(TRANSFER), "train.1.select={by: last}")[1]["steps"] == 3


@pytest.fixture
def plan(recipe: Path, capsys) -> Callable[..., dict[str, Any]]:
    def planned(*changes: str) -> dict[str, Any]:
        assert edgefw(["check", str(recipe), "--json", *changes]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return planned


def test_the_plan_counts_what_the_scheme_uses(recipe: Path, plan, capsys) -> None:
    changes = [*second(TRANSFER), "train.1.cache={views: 3}", "train.1.views={name: crop-flip}"]
    found = plan(*changes)
    first, rare = found["phases"]
    assert (first["samples"], first["steps"], first["at_most"]) == (60, 7, False)
    assert (rare["samples"], rare["steps"], rare["at_most"]) == (3, 3, False)
    assert found["disk"]["teacher_cache"] == 4 * 8 * (3 * 3 + 6)
    (sentence,) = (line for line in found["warnings"] if line.startswith("train"))
    assert sentence == (
        "train[1]: 57 of 60 training samples have no image that scheme 'transfer' (rgb+depth) can use; "
        "they are left out of the phase"
    )
    curated = plan(*changes, "curate={labels: [red, green], keep: 0.5}")["phases"]
    assert [(phase["samples"], phase["at_most"]) for phase in curated] == [(30, False), (3, True)]
    assert edgefw(["check", str(recipe), *changes, "curate={labels: [red, green], keep: 0.5}"]) == 0
    assert "3 steps of 2 of at most 3 samples" in capsys.readouterr().out


def sample(*names: str) -> Sample:
    return Sample(id="-".join(names), images={name: FileReference(Path(name)) for name in names})


def test_samples_are_chosen_by_their_images_in_order() -> None:
    names = ("rgb", "depth", "nir")
    samples = [sample("rgb"), sample("rgb", "nir"), sample("depth", "nir"), sample("nir"), sample("rgb", "depth")]
    transfer = Transfer("rgb", ("depth", "nir"), 0.0, names)
    used = used_samples(transfer, samples, names)
    assert used.rows.tolist() == [1, 4] and used.left_out == 3
    assert told(used, transfer, "transfer", names, "kept") == (
        "3 of 5 kept samples have no image that scheme 'transfer' (rgb+depth or rgb+nir) can use"
    )
    assert used_samples(SingleModality("nir", names, "own"), samples, names).rows.tolist() == [1, 2, 3]
    assert used_samples(DualModality(names), samples, names).rows.tolist() == [0, 1, 2, 3, 4]
