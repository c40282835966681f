"""The view without augmentation: the same geometry as evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from edgefw.contracts.student import InputSpec
from edgefw.plugins.modalities.depth import Depth, DepthConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig
from edgefw.plugins.views.none import NoneConfig, NoView

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (33, 47, 3), dtype=np.uint8)
METRES = RNG.uniform(0.5, 5, (33, 47)).astype(np.float32) * (RNG.uniform(size=(33, 47)) > 0.2)


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("values", [PICTURE, METRES], ids=["rgb", "depth"])
def test_training_without_augmentation_sees_what_evaluation_sees(values: np.ndarray, fit: str) -> None:
    modality = Rgb(RgbConfig(fit=fit)) if values.ndim == 3 else Depth(DepthConfig(fit=fit))
    contract = modality.preprocessing(InputSpec(size=20))
    view = NoView(NoneConfig(fit=fit))
    seen = view.geometric(contract.prepare(values), view.draw(np.random.default_rng(1)), 20)
    unit = view.photometric(contract.to_unit(seen), view.draw(np.random.default_rng(1)), modality)
    np.testing.assert_array_equal(contract.normalise(unit), contract(values))


def test_nothing_is_drawn_and_the_teacher_sees_everything() -> None:
    rng, untouched = np.random.default_rng(5), np.random.default_rng(5)
    draw = NoView(NoneConfig()).draw(rng)
    assert rng.random() == untouched.random()
    assert NoView(NoneConfig()).for_teacher(PICTURE, draw) is PICTURE
    assert NoView(NoneConfig()).clean_teacher  # one answer per image in a cache, however many turns it keeps
    assert NoView(NoneConfig(size=96)).size == 96
