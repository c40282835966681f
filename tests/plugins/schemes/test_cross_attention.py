"""cross-attention against NumPy and torch's own attention: the adapter, its rows, its graphs, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgefw
from edgefw.contracts.student import StudentOutput
from edgefw.errors import RecipeError
from edgefw.plugins.quantizers.int8_qat import TrainingQuantizerConfig, build
from edgefw.plugins.quantizers.rounded_layers import RoundedLinear
from edgefw.plugins.schemes import cross_attention
from edgefw.plugins.schemes.attention_adapter import AttentionAdapter, fitting_heads, tokens_of
from edgefw.plugins.schemes.dual_modality import DualModality
from edgefw.testing.fakes import scheme_batch, student_network
from edgefw.training.assemble import assemble

MODALITIES = ("rgb", "depth")


def scheme(*modalities: str, seed: int = 0, **options: Any) -> cross_attention.CrossAttention:
    context = edgefw.BuildContext(modalities=modalities or MODALITIES, seed=seed)
    return cross_attention.build(cross_attention.CrossAttentionConfig(**options), context)


def drawn(adapter: nn.Module, seed: int = 5) -> nn.Module:
    """The adapter with random numbers everywhere, so that it does something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return adapter


def trained(made: cross_attention.CrossAttention) -> cross_attention.Adapted:
    network = made.network(student_network()).eval()
    drawn(network.adapter)
    return network


def added_in_numpy(adapter: AttentionAdapter, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What attention adds to one sample's tokens (N, C), head by head."""

    def layer(part: nn.Linear, values: np.ndarray) -> np.ndarray:
        return values @ part.weight.detach().numpy().T + part.bias.detach().numpy()

    query, key, value = layer(adapter.query, own), layer(adapter.key, other), layer(adapter.value, other)
    size = query.shape[1] // adapter.heads
    heads = []
    for at in range(0, query.shape[1], size):
        scores = query[:, at : at + size] @ key[:, at : at + size].T / np.sqrt(size)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(weights / weights.sum(axis=1, keepdims=True) @ value[:, at : at + size])
    return layer(adapter.out, np.concatenate(heads, axis=1))


def test_the_adapter_equals_numpy() -> None:
    adapter = drawn(AttentionAdapter(channels=6, width=8, heads=2))
    tokens = torch.randn(3, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    found = adapter(tokens).detach().numpy()
    for row, (own, other) in zip(found, tokens.numpy()):
        np.testing.assert_allclose(row, added_in_numpy(adapter, own, other), atol=1e-5)


def test_the_adapter_equals_torchs_multi_head_attention() -> None:
    adapter = drawn(AttentionAdapter(channels=8, width=8, heads=4))
    theirs = nn.MultiheadAttention(8, 4, batch_first=True)
    parts = [adapter.query, adapter.key, adapter.value]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.weight.copy_(adapter.out.weight)
        theirs.out_proj.bias.copy_(adapter.out.bias)
        own, other = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(2))
        wanted = theirs(own, other, other, need_weights=False)[0]
        torch.testing.assert_close(adapter(torch.stack([own, other], dim=1)), wanted, atol=1e-5, rtol=1e-5)


def test_the_order_of_the_other_images_cells_does_not_matter_and_that_of_the_own_ones_does() -> None:
    adapter = drawn(AttentionAdapter(channels=6, width=6, heads=3))
    own, other = torch.randn(2, 2, 7, 6, generator=torch.Generator().manual_seed(3))
    order = torch.tensor([3, 1, 0, 6, 2, 5, 4])
    plain = adapter(torch.stack([own, other], dim=1))
    torch.testing.assert_close(adapter(torch.stack([own, other[:, order]], dim=1)), plain, atol=1e-5, rtol=1e-5)
    turned = adapter(torch.stack([own[:, order], other], dim=1))
    torch.testing.assert_close(turned, plain[:, order], atol=1e-5, rtol=1e-5)


def test_adapted_rows_are_the_head_of_the_mean_of_the_adapted_tokens() -> None:
    """Of a student that pools by the mean, computed in NumPy from its maps."""
    student = MeanStudent()
    network = scheme().network(student).eval()
    adapter: Any = drawn(network.adapter)
    batch = scheme_batch()
    inputs = scheme().forward(network, batch)
    with torch.no_grad():
        maps = [student.maps(batch.images[name]).flatten(2).transpose(1, 2).numpy() for name in MODALITIES]
        for row, (rgb, depth) in enumerate(zip(*maps)):
            adapted = depth + added_in_numpy(adapter, depth, rgb)
            wanted = student.head(torch.from_numpy(adapted.mean(axis=0, dtype=np.float32)))
            torch.testing.assert_close(inputs.student.embedding[8 + row], wanted, atol=1e-5, rtol=1e-4)
            own = inputs.student.map[8 + row].flatten(1).T.numpy()
            np.testing.assert_allclose(own, adapted, atol=1e-5)


def test_rows_are_all_images_then_one_per_pair_with_the_teachers_answer() -> None:
    batch = scheme_batch(("rgb", "depth", "nir"), missing={"depth": [1], "nir": [0, 2], "rgb": [3]})
    made = scheme("rgb", "depth", "nir")
    inputs = made.forward(trained(made), batch)
    assert inputs.sample.tolist() == [10, 11, 12] + [10, 12, 13] + [11, 13] + [10, 12] + [11]
    assert inputs.modality.tolist() == [0] * 3 + [1] * 3 + [2] * 2 + [1] * 2 + [2]
    assert torch.equal(inputs.teacher.embedding[8:], batch.teacher.embedding[[0, 2, 1]])
    assert inputs.label[8:].tolist() == batch.label[[0, 2, 1]].tolist()


def test_without_pairs_the_rows_are_those_of_dual_modality() -> None:
    batch = scheme_batch(missing={"depth": [0, 1], "rgb": [2, 3]})
    network = trained(scheme())
    inputs, plain = scheme().forward(network, batch), DualModality(MODALITIES).forward(network.student, batch)
    assert inputs.sample.tolist() == plain.sample.tolist() == [10, 11, 12, 13]
    assert torch.equal(inputs.student.embedding, plain.student.embedding)


def test_a_new_adapter_changes_nothing_and_learns_from_the_first_step() -> None:
    network = scheme().network(student_network())
    inputs = scheme().forward(network, scheme_batch())
    torch.testing.assert_close(inputs.student.embedding[8:], inputs.student.embedding[4:8])
    inputs.student.embedding[8:].sum().backward()
    assert network.adapter.out.weight.grad.abs().sum() > 0


def test_the_gradient_of_adapted_rows_reaches_both_images() -> None:
    network, batch = trained(scheme()), scheme_batch()
    for pixels in batch.images.values():
        pixels.requires_grad_(True)
    scheme().forward(network, batch).student.embedding[8:].sum().backward()
    assert all(pixels.grad.abs().sum() > 0 for pixels in batch.images.values())


def test_embedding_together_is_the_adapted_row_in_any_order_and_batch() -> None:
    made = scheme()
    network, batch = trained(made), scheme_batch()
    with torch.no_grad():
        rows = made.forward(network, batch).student.embedding[8:]
        found = made.embed_together(network, batch.images)
        turned = made.embed_together(network, {name: batch.images[name] for name in ("depth", "rgb")})
        alone = made.embed_together(network, {name: pixels[1:2] for name, pixels in batch.images.items()})
    for other in (found, turned):
        torch.testing.assert_close(other, rows, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, rows[1:2], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        single = made.embed(network, "depth", batch.images["depth"])
    assert not torch.allclose(single, rows, atol=1e-3)


def test_there_is_a_graph_for_single_images_and_one_per_other_sensor() -> None:
    graphs = scheme("depth", "rgb", "nir").signatures(("depth", "rgb", "nir"))
    assert [graph.name for graph in graphs] == ["encoder", "rgb+depth", "rgb+nir"]
    assert graphs[0].roles == ("depth", "rgb", "nir")
    assert graphs[1].inputs == graphs[1].serves == ("rgb", "depth") and graphs[1].roles == ("rgb+depth",)


def test_the_adapter_starts_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first = scheme(seed=4).network(student_network()).adapter.query.weight
    torch.random.manual_seed(99)
    assert torch.equal(first, scheme(seed=4).network(student_network()).adapter.query.weight)
    assert not torch.equal(first, scheme(seed=5).network(student_network()).adapter.query.weight)
    torch.random.set_rng_state(state)


def test_a_training_time_quantizer_rounds_the_adapter_too() -> None:
    made = scheme()
    quantizer = build(TrainingQuantizerConfig(), edgefw.BuildContext(path="train[0].quantizer"))
    network: Any = assemble(student_network(), made, quantizer).train()
    rounded = {name for name, module in network.named_modules() if isinstance(module, RoundedLinear)}
    assert {"adapter.query", "adapter.key", "adapter.value", "adapter.out", "lift"} <= rounded
    drawn(network.adapter)
    batch = scheme_batch()
    made.forward(network, batch).student.embedding.sum().backward()
    network.eval()
    with torch.no_grad():
        wanted = made.embed_together(network, batch.images)
        found = made.embed_together(quantizer.convert(network), batch.images)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_heads_follow_the_width() -> None:
    assert [fitting_heads(width) for width in (384, 12, 7, 22)] == [8, 6, 7, 2]
    assert scheme().network(student_network()).adapter.heads == 8  # the map has 8 channels
    assert scheme(width=6, heads=3).network(student_network()).adapter.query.weight.shape == (6, 8)


def test_tokens_are_cells_row_by_row() -> None:
    own, other = torch.arange(12.0).view(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)
    tokens = tokens_of(own, other)
    assert tokens.shape == (1, 2, 6, 2)
    assert tokens[0, 0].tolist() == [[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11]]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: scheme(source="nir"), "source: the recipe has no modality 'nir'. It has: rgb, depth."),
        (lambda: scheme("rgb"), "the recipe has one modality, rgb: nothing can look at it. Add another."),
        (
            lambda: scheme(heads=3).network(student_network()),
            "scheme.heads: 3 does not divide the width 8. Choose from: 1, 2, 4, 8.",
        ),
        (lambda: scheme().network(Mapless()), "needs a student with a map or tokens, and this one has none."),
        (lambda: scheme().network(nn.Linear(2, 2)), "the quantizer hides them. Use int8-qat, or train without"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, text: str) -> None:
    with pytest.raises(RecipeError) as error:
        make()
    assert text in str(error.value)


class MeanStudent(nn.Module):
    """A student whose pooled vector is the mean of its map."""

    def __init__(self) -> None:
        super().__init__()
        fake = student_network()
        self.trunk: Any = fake.trunk
        self.head = nn.Linear(8, 16)
        self.spec = type(fake.spec)(**{**fake.spec.__dict__, "width": 8})

    def maps(self, pixels: Tensor) -> Tensor:
        found: Tensor = torch.tanh(self.trunk.convolution(pixels))
        return found

    def forward(self, pixels: Tensor) -> StudentOutput:
        own = self.maps(pixels)
        pooled = own.mean(dim=(2, 3))
        return StudentOutput(self.head(pooled), pooled, own)


class Mapless(MeanStudent):
    """The same, and says that it has no map."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = type(self.spec)(**{**self.spec.__dict__, "map": None})
