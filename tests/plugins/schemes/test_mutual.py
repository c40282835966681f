"""Two students: whose rows are whose, who is the peer, what is exported, and one step against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import edgefw
from edgefw.errors import RecipeError
from edgefw.plugins.losses import mutual_kl
from edgefw.plugins.schemes import mutual
from edgefw.testing.fakes import scheme_batch, student_network

CONTEXT = edgefw.BuildContext(modalities=("rgb", "depth"), seed=7)


def scheme(**options: str) -> mutual.Mutual:
    return mutual.build(mutual.MutualConfig(**{"modality": "depth", **options}), CONTEXT)


def test_each_student_has_its_rows_and_the_other_as_peer() -> None:
    made, batch = scheme(), scheme_batch(missing={"depth": [1]})
    network = made.network(student_network())
    inputs = made.forward(network, batch)
    shown = batch.images["depth"][[0, 2, 3]]
    first, second = network.first(shown).embedding, network.second(shown).embedding
    assert torch.equal(inputs.student.embedding, torch.cat([first, second]))
    assert torch.equal(inputs.peer.embedding, torch.cat([second, first]))
    assert inputs.sample.tolist() == [10, 12, 13] * 2 and inputs.modality.tolist() == [1] * 6
    assert torch.equal(inputs.teacher.embedding, batch.teacher.embedding[[0, 2, 3] * 2])
    assert inputs.has_peer is None


def test_the_gradient_of_mutual_learning_is_one_divergence_per_student() -> None:
    """With mutual-kl, each student's gradient is that of the mean over its images of KL(stop(other) || own), halved."""
    made, batch = scheme(), scheme_batch()
    network, text = made.network(student_network()), torch.eye(16)[:5]
    inputs = made.forward(network, batch)
    loss = mutual_kl.MutualKlLoss(temperature=1.0)
    loss(replace(inputs, text=text)).backward()
    logits = [logits_of(student, batch.images["depth"], text) for student in (network.first, network.second)]
    p, r = (np.exp(value) / np.exp(value).sum(axis=1, keepdims=True) for value in logits)
    value = ((r * np.log(r / p)).sum(axis=1) + (p * np.log(p / r)).sum(axis=1)).mean() / 2
    assert loss(replace(inputs, text=text)).item() == pytest.approx(value, rel=1e-4)
    for student, own, other in ((network.first, p, r), (network.second, r, p)):
        twin = student_network()
        twin.load_state_dict(student.state_dict())
        unit = nn.functional.normalize(twin(batch.images["depth"]).embedding, dim=1)
        slope = torch.from_numpy((own - other) / len(own) / 2).float()
        ((unit @ text.T) * slope).sum().backward()
        torch.testing.assert_close(student.head.weight.grad, twin.head.weight.grad, atol=1e-6, rtol=1e-3)


def logits_of(student: nn.Module, pixels: torch.Tensor, text: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        rows = student(pixels).embedding.numpy()
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ text.numpy().T


@pytest.mark.parametrize("anew", ["head", "all"])
def test_the_second_student_starts_elsewhere_and_the_same_for_one_seed(anew: str) -> None:
    student = student_network()
    before = torch.get_rng_state()
    one, two = (scheme(anew=anew).network(student) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state()) and one.first is student
    assert torch.equal(one.second.head.weight, two.second.head.weight)
    assert not torch.equal(one.second.head.weight, student.head.weight)
    same = torch.equal(one.second.trunk.convolution.weight, student.trunk.convolution.weight)
    assert same == (anew == "head")


def test_the_first_student_is_exported() -> None:
    made = scheme(serve="all")
    network, pixels = made.network(student_network()), torch.rand(2, 3, 32, 32)
    assert torch.equal(made.embed(network, "depth", pixels), network.first(pixels).embedding)
    (signature,) = made.signatures(("rgb", "depth"))
    assert (signature.inputs, signature.serves) == (("depth",), ("rgb", "depth"))
    assert scheme().signatures(("rgb", "depth"))[0].serves == ("depth",)


def test_a_second_student_that_would_be_equal_is_refused() -> None:
    with pytest.raises(RecipeError, match="anew: head: nothing of the second student can be drawn anew"):
        scheme().network(nn.Flatten())
