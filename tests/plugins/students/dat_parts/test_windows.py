"""Window attention against loops in NumPy: windows, shift, mask, and the position table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgefw.plugins.students.dat_parts.windows import WindowAttention, join, split, window_side


def by_loops(attention: WindowAttention, cells: np.ndarray) -> np.ndarray:
    """Each cell attends to the cells of its window; windows are moved by `shift`, and do not wrap around the map."""
    side, window, shift, heads = attention.side, attention.window, attention.shift, attention.heads
    depth = attention.width // heads
    state = {name: value.detach().double().numpy() for name, value in attention.state_dict().items()}
    qkv = cells @ state["qkv.weight"].T + state["qkv.bias"]
    query, key, value = np.split(qkv.reshape(side, side, 3 * heads, depth), 3, axis=2)
    table = state["relative_position_bias_table"].reshape(2 * window - 1, 2 * window - 1, heads)
    mixed = np.zeros((side, side, heads, depth))
    places = [(row, column) for row in range(side) for column in range(side)]
    for row, column in places:
        same = [
            (r, c)
            for r, c in places
            if (r - shift) // window == (row - shift) // window and (c - shift) // window == (column - shift) // window
        ]
        for head in range(heads):
            logits = np.array(
                [
                    query[row, column, head] @ key[r, c, head] / np.sqrt(depth)
                    + table[row - r + window - 1, column - c + window - 1, head]
                    for r, c in same
                ]
            )
            weights = np.exp(logits) / np.exp(logits).sum()
            mixed[row, column, head] = sum(w * value[r, c, head] for w, (r, c) in zip(weights, same))
    return mixed.reshape(side, side, -1) @ state["output.weight"].T + state["output.bias"]


@pytest.mark.parametrize(("side", "window", "shifted"), [(6, 3, False), (6, 3, True), (8, 4, True), (4, 4, True)])
def test_windows_are_those_of_the_loops(side: int, window: int, shifted: bool) -> None:
    torch.manual_seed(0)
    attention = WindowAttention(side, 8, 2, window, shifted)
    torch.nn.init.normal_(attention.relative_position_bias_table)
    cells = torch.randn(2, side, side, 8)
    with torch.no_grad():
        found = attention(cells).numpy()
    expected = np.stack([by_loops(attention, image.double().numpy()) for image in cells])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_split_and_join_are_inverse() -> None:
    cells = torch.randn(2, 6, 6, 5)
    assert torch.equal(join(split(cells, 6, 3), 6, 3), cells)


def test_the_window_is_the_nearest_divisor_of_the_side() -> None:
    assert [window_side(side, 7) for side in (56, 28, 14, 7)] == [7, 7, 7, 7]
    assert [window_side(side, 7) for side in (24, 16, 8, 4, 2, 11)] == [6, 8, 8, 4, 2, 11]


def test_a_window_of_the_whole_map_is_not_shifted() -> None:
    assert WindowAttention(7, 8, 2, 7, shifted=True).shift == 0
    assert WindowAttention(14, 8, 2, 7, shifted=True).shift == 3
