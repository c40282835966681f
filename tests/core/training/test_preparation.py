"""What cannot be combined is refused before any work is done."""

from __future__ import annotations

import pytest
import training_toys as toys

from edgefw.errors import RecipeError
from edgefw.plugins.quantizers.int8_qat import TrainingQuantizerConfig, build
from edgefw.plugins.schemes.split_stem import SplitStem, SplitStemConfig
from edgefw.plugins.schemes.transfer import Transfer
from edgefw.registry.technique import BuildContext
from edgefw.training.phase import train_phase

SCHEMES = {
    "split-stem": SplitStem(SplitStemConfig(), ("rgb", "depth")),
    "transfer": Transfer("rgb", ("depth",), 0.0, ("rgb", "depth")),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_a_training_time_quantizer_is_refused_where_it_does_not_reach_what_is_exported(tmp_path, name):
    quantizer = build(TrainingQuantizerConfig(), BuildContext(path="train[0].quantizer"))
    job = toys.job(tmp_path, scheme=SCHEMES[name], quantizer=quantizer)
    with pytest.raises(RecipeError, match=r"^train\[0\].quantizer: scheme '.*' exports parts .* int8-static"):
        train_phase(job)
    assert not any(tmp_path.iterdir())
