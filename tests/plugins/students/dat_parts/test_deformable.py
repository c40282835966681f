"""Deformable attention against NumPy: offsets, bilinear reading and position table by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgefw.plugins.students.dat_parts.deformable import DeformableAttention, even_points

State = dict[str, np.ndarray]


def bilinear(values: np.ndarray, x: float, y: float) -> np.ndarray:
    """Values (rows, columns, ...) at a place whose -1 and +1 are the outermost cells; zero beyond the map."""
    rows, columns = values.shape[:2]
    column, row = (x + 1) / 2 * (columns - 1), (y + 1) / 2 * (rows - 1)
    total = np.zeros(values.shape[2:])
    for r in range(rows):
        for c in range(columns):
            total = total + max(0.0, 1 - abs(row - r)) * max(0.0, 1 - abs(column - c)) * values[r, c]
    return total


def along(count: int) -> np.ndarray:
    return np.array([2 * i / (count - 1) - 1 if count > 1 else 0.0 for i in range(count)])


def points_by_hand(state: State, query: np.ndarray, stride: int, kernel: int, offset_range: float | None) -> np.ndarray:
    """Places (x, y) from the queries (side, side, C) of one group: (points side, points side, 2)."""
    side = query.shape[0]
    border = kernel // 2
    padded = np.pad(query, ((border, border), (border, border), (0, 0)))
    weight = state["offsets.convolution.weight"][:, 0]  # (C, k, k)
    count = side // stride
    result = np.zeros((count, count, 2))
    for i in range(count):
        for j in range(count):
            patch = padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            seen = np.einsum("rsc,crs->c", patch, weight) + state["offsets.convolution.bias"]
            normed = (seen - seen.mean()) / np.sqrt(seen.var() + 1e-5)
            normed = normed * state["offsets.norm.weight"] + state["offsets.norm.bias"]
            active = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in normed])
            offset = state["offsets.output.weight"] @ active
            place = np.array([along(count)[j], along(count)[i]])
            if offset_range is None:
                result[i, j] = np.clip(place + offset, -1, 1)
            else:
                result[i, j] = place + offset_range * np.tanh(offset) / max(count - 1, 1)
    return result


def by_hand(attention: DeformableAttention, cells: np.ndarray, stride: int, kernel: int) -> np.ndarray:
    side, heads, groups, width = attention.side, attention.heads, attention.groups, attention.width
    depth, group_width = width // heads, width // groups
    state = {name: value.detach().double().numpy() for name, value in attention.state_dict().items()}
    query = cells @ state["query.weight"].T + state["query.bias"]
    sampled, points = [], []
    for group in range(groups):
        part = slice(group * group_width, (group + 1) * group_width)
        places = points_by_hand(state, query[..., part], stride, kernel, attention.offset_range).reshape(-1, 2)
        points.append(places)
        sampled.append(np.stack([bilinear(cells[..., part], x, y) for x, y in places]))
    read = np.concatenate(sampled, axis=1)  # (points, C)
    key, value = np.split(read @ state["key_value.weight"].T + state["key_value.bias"], 2, axis=1)
    mixed = np.zeros((side, side, width))
    for head in range(heads):
        part, places = slice(head * depth, (head + 1) * depth), points[head // (heads // groups)]
        table = state["relative_position_bias_table"][head]
        for i in range(side):
            for j in range(side):
                bias = [bilinear(table, (along(side)[j] - x) / 2, (along(side)[i] - y) / 2) for x, y in places]
                logits = key[:, part] @ query[i, j, part] / np.sqrt(depth) + np.array(bias)
                weights = np.exp(logits) / np.exp(logits).sum()
                mixed[i, j, part] = weights @ value[:, part]
    return mixed @ state["output.weight"].T + state["output.bias"]


def made(side: int, stride: int, kernel: int, offset_range: float | None, reach: float = 1.0) -> DeformableAttention:
    torch.manual_seed(0)
    attention = DeformableAttention(side, 16, 4, 2, stride, kernel, offset_range)
    torch.nn.init.normal_(attention.relative_position_bias_table)
    torch.nn.init.normal_(attention.offsets.output.weight, std=reach)
    torch.nn.init.normal_(attention.offsets.norm.bias)
    return attention


@pytest.mark.parametrize(
    ("side", "stride", "kernel", "offset_range"),
    [(4, 1, 5, 2.0), (4, 2, 3, 2.0), (4, 2, 5, None), (6, 2, 5, None), (2, 2, 3, None)],
)
def test_it_is_the_formula_written_out(side: int, stride: int, kernel: int, offset_range: float | None) -> None:
    attention = made(side, stride, kernel, offset_range)
    cells = torch.randn(2, side, side, 16)
    with torch.no_grad():
        found = attention(cells).numpy()
    expected = np.stack([by_hand(attention, image.double().numpy(), stride, kernel) for image in cells])
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_without_offsets_and_stride_it_is_global_attention() -> None:
    attention = made(5, 1, 3, None, reach=0.0)
    torch.nn.init.zeros_(attention.relative_position_bias_table)
    cells = torch.randn(2, 5, 5, 16)
    with torch.no_grad():
        query, (key, value) = attention.query(cells), attention.key_value(cells).chunk(2, dim=-1)
        parts = [part.reshape(2, 25, 4, 4).transpose(1, 2) for part in (query, key, value)]
        mixed = torch.nn.functional.scaled_dot_product_attention(*parts)
        expected = attention.output(mixed.transpose(1, 2).reshape(2, 5, 5, 16))
        torch.testing.assert_close(attention(cells), expected, atol=1e-5, rtol=1e-5)


def test_a_range_bounds_how_far_a_point_moves() -> None:
    attention = made(8, 2, 5, 2.0, reach=100.0)
    with torch.no_grad():
        moved = attention.points(torch.randn(1, 8, 8, 16)) - even_points(4)
    spacing = 2 / 3  # of a grid of 4 from -1 to +1
    assert moved.abs().max() == pytest.approx(spacing, rel=1e-3)


def test_points_without_a_range_stay_on_the_map() -> None:
    attention = made(8, 2, 5, None, reach=100.0)
    with torch.no_grad():
        assert attention.points(torch.randn(1, 8, 8, 16)).abs().max() == 1.0


def test_groups_have_points_of_their_own() -> None:
    with torch.no_grad():
        first, second = made(4, 1, 3, 2.0).points(torch.randn(1, 4, 4, 16))
    assert not torch.allclose(first, second)
