"""Neighbourhood attention against loops in NumPy, with neighbourhoods moved inwards at the border."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgefw.plugins.students.dat_parts.neighbourhood import NeighbourhoodAttention, kernel_side, neighbours


def nearest(position: int, side: int, kernel: int) -> range:
    """The `kernel` positions around one, moved inwards where they would leave the map."""
    first = min(max(position - kernel // 2, 0), side - kernel)
    return range(first, first + kernel)


def by_loops(attention: NeighbourhoodAttention, cells: np.ndarray) -> np.ndarray:
    side, kernel, heads = attention.side, attention.kernel, attention.heads
    depth = attention.width // heads
    state = {name: value.detach().double().numpy() for name, value in attention.state_dict().items()}
    qkv = cells @ state["qkv.weight"].T + state["qkv.bias"]
    query, key, value = np.split(qkv.reshape(side, side, 3 * heads, depth), 3, axis=2)
    table = state["relative_position_bias_table"].reshape(2 * kernel - 1, 2 * kernel - 1, heads)
    mixed = np.zeros((side, side, heads, depth))
    for row in range(side):
        for column in range(side):
            around = [(r, c) for r in nearest(row, side, kernel) for c in nearest(column, side, kernel)]
            assert len(around) == kernel**2
            for head in range(heads):
                logits = np.array(
                    [
                        query[row, column, head] @ key[r, c, head] / np.sqrt(depth)
                        + table[r - row + kernel - 1, c - column + kernel - 1, head]
                        for r, c in around
                    ]
                )
                weights = np.exp(logits) / np.exp(logits).sum()
                mixed[row, column, head] = sum(w * value[r, c, head] for w, (r, c) in zip(weights, around))
    return mixed.reshape(side, side, -1) @ state["output.weight"].T + state["output.bias"]


@pytest.mark.parametrize(("side", "kernel"), [(6, 3), (7, 5), (5, 5), (2, 1)])
def test_neighbourhoods_are_those_of_the_loops(side: int, kernel: int) -> None:
    torch.manual_seed(0)
    attention = NeighbourhoodAttention(side, 8, 2, kernel)
    torch.nn.init.normal_(attention.relative_position_bias_table)
    cells = torch.randn(2, side, side, 8)
    with torch.no_grad():
        found = attention(cells).numpy()
    expected = np.stack([by_loops(attention, image.double().numpy()) for image in cells])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_neighbours_move_inwards_at_the_border() -> None:
    assert neighbours(5, 3).tolist() == [[0, 1, 2], [0, 1, 2], [1, 2, 3], [2, 3, 4], [2, 3, 4]]


def test_a_small_map_has_a_smaller_odd_neighbourhood() -> None:
    assert [kernel_side(side, 7) for side in (56, 7, 6, 4, 2)] == [7, 7, 5, 3, 1]


def test_a_distant_cell_changes_nothing() -> None:
    torch.manual_seed(0)
    attention = NeighbourhoodAttention(8, 8, 2, 3)
    cells = torch.randn(1, 8, 8, 8)
    moved = cells.clone()
    moved[:, 7, 7] += 1.0
    with torch.no_grad():
        change = (attention(moved) - attention(cells)).abs().amax(-1)[0]
    assert (change > 1e-6).nonzero().min() == 6  # only the corner of 2 x 2 whose neighbourhoods hold the cell
