"""Alignment projectors in a phase: what they are given, what they train, and that they leave nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import training_toys as toys
from safetensors.torch import load_file

from edgefw.contracts.student import MapSpec
from edgefw.contracts.teacher import TokenSpec
from edgefw.plugins.losses.gl_tokens import GlTokensLoss
from edgefw.plugins.losses.pca_attention import PcaAttentionConfig, PcaAttentionLoss
from edgefw.plugins.projectors.gl import GroupWiseLinear
from edgefw.plugins.projectors.pca import PartiallyCrossAttention
from edgefw.plugins.schemes.dual_modality import DualModality
from edgefw.training.phase import PhaseLoss, train_phase

TOKENS = TokenSpec(grid=(3, 3), width=8, heads=2)
MAP = MapSpec(grid=(2, 2), channels=toys.WIDTH // 4)


class Attending(toys.ToyTeacher):
    """A teacher with made-up tokens, queries, keys and values that follow from the picture."""

    def encode_image(self, pixels, want=frozenset()):
        output = super().encode_image(pixels)
        draw = torch.Generator().manual_seed(3)
        weight = torch.randn(4, 9, 8, toys.EMBEDDING, generator=draw)
        tokens, *parts = torch.einsum("pnce,be->pbnc", weight, output.embedding)
        queries, keys, values = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in parts)
        return replace(output, tokens=tokens, queries=queries, keys=keys, values=values)


class Told(PartiallyCrossAttention):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__(MAP.channels, TOKENS)
        self.seen = []

    def forward(self, feature_map, teacher=None):
        self.seen.append((self.training, len(feature_map), teacher.queries.shape))
        return super().forward(feature_map, teacher)


def losses():
    torch.manual_seed(0)
    return (
        PhaseLoss(name="square", weight=1.0, module=toys.MeanSquare()),
        PhaseLoss(name="pca", weight=0.5, module=PcaAttentionLoss(PcaAttentionConfig()), projector=Told()),
        PhaseLoss(name="gl", weight=0.5, module=GlTokensLoss(), projector=GroupWiseLinear(MAP.channels, 8, (3, 3), 2)),
    )


def job(folder, **changes):
    given = {"teacher": Attending(), "losses": losses(), "scheme": DualModality(("rgb", "depth")), "epochs": 6}
    return toys.job(folder, want=frozenset({"tokens", "qkv"}), **{**given, **changes})


def test_projectors_see_rows_and_targets_are_trained_and_are_not_stored(tmp_path):
    made = losses()
    before = [{name: value.clone() for name, value in loss.projector.state_dict().items()} for loss in made[1:]]
    result = train_phase(job(tmp_path, losses=made))
    for loss, old in zip(made[1:], before):
        assert all(not torch.equal(value, old[name]) for name, value in loss.projector.state_dict().items())
    assert set(made[1].projector.seen) == {(True, 16, (16, 2, 9, 4))}  # 8 samples, two modalities
    assert set(load_file(result.weights)) == set(toys.network().state_dict())
    lines = [json.loads(line)["losses"] for line in result.metrics.read_text().splitlines()]
    assert lines[-1]["pca"] < lines[0]["pca"] and lines[-1]["gl"] < lines[0]["gl"]


def test_random_replacement_goes_on_where_a_stopped_phase_left_it(tmp_path):
    whole = train_phase(job(tmp_path / "whole", epochs=2))

    class Stop(Exception):
        pass

    def stop(step, _):
        if step == 5:
            raise Stop

    compute = {"checkpoint_every": 4}
    with pytest.raises(Stop):
        train_phase(job(tmp_path / "cut", epochs=2, compute=compute, callbacks=toys.Callbacks(step=stop)))
    resumed = train_phase(job(tmp_path / "cut", epochs=2, compute=compute, resume=True))
    assert all(torch.equal(v, resumed.network.state_dict()[k]) for k, v in whole.network.state_dict().items())


def test_a_cache_gives_the_projectors_what_the_teacher_would(tmp_path):
    asked = train_phase(job(tmp_path / "asked", data=toys.ToyData(turns=1), epochs=2))
    stored = train_phase(job(tmp_path / "stored", data=toys.ToyData(turns=1), epochs=2, cache={"views": 1}))
    for name, value in asked.network.state_dict().items():
        torch.testing.assert_close(stored.network.state_dict()[name], value, atol=1e-5, rtol=1e-4)
