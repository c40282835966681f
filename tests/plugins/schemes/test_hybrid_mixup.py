"""hybrid-mixup against NumPy: the mixes, their peers, their weights, and what happens to lone images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import edgefw
from edgefw.contracts.loss import LossInput
from edgefw.errors import RecipeError
from edgefw.plugins.losses import feature
from edgefw.plugins.schemes import hybrid_mixup
from edgefw.testing.fakes import scheme_batch, student_network


def scheme(seed: int = 3, **options: float | str) -> hybrid_mixup.HybridMixup:
    context = edgefw.BuildContext(modalities=("rgb", "depth"), seed=seed)
    return hybrid_mixup.build(hybrid_mixup.HybridMixupConfig(**options), context)


def weights_in_numpy(seed: int, samples: list[int], alpha: float = 0.4) -> np.ndarray:
    return np.random.default_rng([seed, *samples]).beta(alpha, alpha, len(samples)).astype(np.float32)


def test_mixes_and_interpolations_equal_numpy() -> None:
    network, batch = student_network(), scheme_batch(missing={"depth": [1]})
    inputs = scheme().forward(network, batch)
    lam, pairs = weights_in_numpy(3, [10, 11, 12, 13]), [0, 2, 3]
    assert inputs.sample.tolist() == [10, 11, 12, 13, 10, 12, 13, 10, 12, 13]
    assert inputs.has_peer.tolist() == [False] * 7 + [True] * 3
    rgb, depth = (batch.images[name].numpy()[pairs] for name in ("rgb", "depth"))
    share = lam[pairs][:, None, None, None]
    with torch.no_grad():
        mixed = network(torch.from_numpy(share * rgb + (1 - share) * depth)).embedding.numpy()
        ends = [network(torch.from_numpy(images)).embedding.numpy() for images in (rgb, depth)]
    np.testing.assert_allclose(inputs.student.embedding[7:].detach().numpy(), mixed, atol=1e-5)
    between = lam[pairs][:, None] * ends[0] + (1 - lam[pairs][:, None]) * ends[1]
    np.testing.assert_allclose(inputs.peer.embedding[7:].detach().numpy(), between, atol=1e-5)
    assert torch.equal(inputs.teacher.embedding[7:], batch.teacher.embedding[pairs])
    assert inputs.modality[7:].tolist() == [0 if value >= 0.5 else 1 for value in lam[pairs]]


def test_the_feature_loss_against_the_peer_is_the_mse_of_the_mixes() -> None:
    inputs = scheme().forward(student_network(), scheme_batch())
    mix, peer = (side.embedding[8:].detach().numpy() for side in (inputs.student, inputs.peer))
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (mix, peer)]
    loss = feature.FeatureLoss("mse", against="peer")
    assert loss(inputs).item() == pytest.approx(float(((units[0] - units[1]) ** 2).mean()), rel=1e-4)


def test_the_gradient_of_mix_and_interpolation_reaches_the_network() -> None:
    network = student_network()
    inputs: LossInput = scheme().forward(network, scheme_batch())
    for side in (inputs.student, inputs.peer):
        (gradient,) = torch.autograd.grad(side.embedding[8:].sum(), network.head.weight, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_lam_depends_on_seed_and_samples_alone() -> None:
    sample = torch.arange(500)
    first = hybrid_mixup.mixing_weights(0.4, 3, sample)
    torch.manual_seed(99)
    np.random.seed(99)
    assert torch.equal(first, hybrid_mixup.mixing_weights(0.4, 3, sample))
    assert not torch.equal(first, hybrid_mixup.mixing_weights(0.4, 4, sample))
    assert not torch.equal(first, hybrid_mixup.mixing_weights(0.4, 3, sample.flip(0)))
    assert abs(first.mean().item() - 0.5) < 0.05  # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1))
    assert first.var().item() == pytest.approx(1 / (4 * 1.8), rel=0.1)


def test_equal_images_are_their_own_mix() -> None:
    batch, network = scheme_batch(), student_network()
    batch.images["depth"].copy_(batch.images["rgb"])
    inputs = scheme().forward(network, batch)
    torch.testing.assert_close(inputs.student.embedding[8:], inputs.peer.embedding[8:], atol=1e-5, rtol=1e-4)


def test_without_pairs_there_are_plain_rows_only() -> None:
    inputs = scheme().forward(student_network(), scheme_batch(missing={"depth": [0, 1, 2, 3]}))
    assert len(inputs.sample) == 4
    assert inputs.has_peer.tolist() == [False] * 4 and inputs.peer.embedding.shape == inputs.student.embedding.shape


def test_an_unknown_source_names_those_of_the_recipe() -> None:
    with pytest.raises(RecipeError, match="source: the recipe has no modality 'nir'. It has: rgb, depth"):
        scheme(source="nir")
