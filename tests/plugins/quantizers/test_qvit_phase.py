"""Phases with qvit and its loss: against the network of an earlier phase, interrupted and resumed, averaged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import edgefw
from edgefw.contracts.student import InputSpec
from edgefw.plugins.losses.distribution_guided import DistributionGuidedLoss
from edgefw.plugins.quantizers.qvit import QvitConfig, build
from edgefw.plugins.students.timm import TimmStudent
from edgefw.training.assemble import load_trained
from edgefw.training.job import Callbacks, PhaseLoss
from edgefw.training.network import StudentNetwork
from edgefw.training.phase import train_phase

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures"))

import training_toys as toys


def network(seed: int = 0) -> StudentNetwork:
    torch.manual_seed(seed)
    backbone = VisionTransformer(
        img_size=toys.SIZE, patch_size=2, embed_dim=16, depth=2, num_heads=2, num_classes=0, drop_path_rate=0.2
    )
    return StudentNetwork(
        TimmStudent(backbone, InputSpec(size=toys.SIZE), "none", "test"), nn.Linear(16, toys.EMBEDDING)
    )


def job(folder: Path, **changes: Any) -> Any:
    given: dict[str, Any] = {
        "quantizer": build(QvitConfig(), edgefw.BuildContext()),
        "losses": (
            PhaseLoss(name="square", weight=1.0, module=toys.MeanSquare()),
            PhaseLoss(name="distribution-guided", weight=0.5, module=DistributionGuidedLoss()),
        ),
        "student": network(),
        "reference": network().eval(),
        "validation": toys.ToyData(size=8, turns=1),
        "select": {"by": "loss"},
        "data": toys.ToyData(size=24),
        "ema": 0.8,
    }
    return toys.job(folder, **{**given, **changes})


def test_a_phase_resumes_byte_for_byte(tmp_path: Path) -> None:
    whole = train_phase(job(tmp_path / "whole")).weights.read_bytes()

    def stop(step: int, metrics: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_phase(job(tmp_path / "parts", callbacks=Callbacks(step=stop)))
    assert train_phase(job(tmp_path / "parts", resume=True)).weights.read_bytes() == whole


def test_the_loss_is_measured_and_the_weights_load_into_a_network_made_anew(tmp_path: Path) -> None:
    made = job(tmp_path)
    result = train_phase(made)
    assert result.losses["distribution-guided"] > 0 and result.validation["loss/distribution-guided"] > 0
    assert result.network(torch.randn(2, 3, toys.SIZE, toys.SIZE)).attention is None
    state = load_file(result.weights)
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert any(name.endswith("q_norm.gamma") and bool((value != 1).any()) for name, value in state.items())
    loaded = load_trained(result.weights, network(3), made.scheme, made.quantizer)
    pixels = torch.randn(4, 3, toys.SIZE, toys.SIZE)
    assert torch.equal(loaded(pixels).embedding, result.network(pixels).embedding)


def test_checkpointing_reads_the_same_attention(tmp_path: Path) -> None:
    """Learnt numbers are the same; moving averages take each batch twice, as a batch norm's do."""
    plain = load_file(train_phase(job(tmp_path / "plain", epochs=1)).weights)
    saving = load_file(train_phase(job(tmp_path / "saving", epochs=1, gradient_checkpointing=True)).weights)
    learnt = [name for name in plain if name.rsplit(".", 1)[1] in ("weight", "bias", "gamma", "beta", "theta")]
    assert any(name.endswith("gamma") for name in learnt)
    for name in learnt:
        torch.testing.assert_close(saving[name], plain[name], atol=1e-5, rtol=1e-4)
