"""Several views per sample from a recipe: what fits, what is refused, and a run that is trained and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefw import engine
from edgefw.errors import CapabilityError, RecipeError
from edgefw.recipe.compose import compose
from edgefw.recipe.read import Recipe, read_recipe
from edgefw.registry.loading import Registry

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
RECIPE = """
data: {name: sample, train: 12, val: 2, test: 4, size: 32}
modalities: {rgb: {name: rgb}, depth: {name: depth}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
train:
  - name: distil
    sampler: {name: view-groups, views: 3}
    views: {name: multi-view}
    losses:
      - {name: feature}
      - {name: view-consistency, weight: 0.5}
      - {name: view-adversarial, weight: 0.02, against: clean, hidden: 8, every: 2}
    steps: 4
    batch: 4
    select: {by: last}
compute: {device: cpu, log_every: 1}
verify: {max_drop: null, min_cosine: null, max_slowdown: null}
"""


@pytest.fixture(autouse=True)
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TINY)
    monkeypatch.setenv("EDGEFW_PLUGINS", "edgefw-tiny")
    monkeypatch.delenv("EDGEFW_CACHE", raising=False)


def recipe(folder: Path, *overrides: str) -> Recipe:
    (folder / "recipe.yaml").write_text(RECIPE)
    return read_recipe(str(folder / "recipe.yaml"), overrides)


def losses_of(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "train/distil/metrics.jsonl").read_text().splitlines()]
    return [line["losses"] for line in found if "losses" in line]


def test_views_reach_the_losses_with_a_cache_of_one_answer_per_sample(tmp_path: Path) -> None:
    engine.run(recipe(tmp_path, "train.distil.cache.views=1"), Registry(), tmp_path / "run", until="train")
    named = {"feature", "view-consistency", "view-adversarial", "view-adversarial/adversary"}
    for line in losses_of(tmp_path / "run"):
        assert line.keys() == named
        assert all(np.isfinite(value) and value > 0 for value in line.values())


def test_a_loss_between_views_asks_for_the_sampler_and_for_clean_ones(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="'view-consistency' needs sampler.views; sampler 'shuffle' provides"):
        compose(recipe(tmp_path, "train.distil.sampler.name=shuffle"), Registry())
    with pytest.raises(CapabilityError, match="'view-adversarial' needs view.clean; view 'crop-flip' provides nothing"):
        compose(recipe(tmp_path, "train.distil.views.name=crop-flip"), Registry())


def test_a_cache_is_refused_where_the_teacher_would_see_every_view(tmp_path: Path) -> None:
    changes = ("train.distil.views.name=crop-flip", "train.distil.losses.2=null", "train.distil.cache.views=2")
    with pytest.raises(
        RecipeError,
        match="train\\[0\\].cache: sampler 'view-groups' puts several views of a sample into a batch, and view "
        "'crop-flip' shows the teacher each of them",
    ):
        engine.run(recipe(tmp_path, *changes), Registry(), tmp_path / "run", until="train")
    fine = ("train.distil.views.teacher=clean",)
    engine.run(recipe(tmp_path, *changes, *fine), Registry(), tmp_path / "run", until="train")
    assert losses_of(tmp_path / "run")
