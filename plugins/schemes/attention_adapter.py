"""One multi-head attention from the cells of one map to those of another: what the second image adds to the first.

Per head, with N tokens of one image as queries and the N tokens of the other as keys and values:
    A = softmax(Q K^T / sqrt(width / heads)) V,   Q = own W_q,  K = other W_k,  V = other W_v,   added = concat(A) W_o
W_o starts at zero, so that a new adapter adds nothing. It knows tensors; which images are whose, it does not know.
Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class AttentionAdapter(nn.Module):
    """(B, 2, N, C) tokens, own ones first, to what is added to the own ones, (B, N, C).

    It takes one tensor, so that a training-time quantizer can prepare it like a student. The projections are layers of
    their own, not `torch.nn.MultiheadAttention`'s one matrix, for the same reason.

    Args:
        channels: C.
        width: of queries, keys and values together.
        heads: divides `width`.
    """

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(channels, width)
        self.value = nn.Linear(channels, width)
        self.out = nn.Linear(width, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """What the other image adds to each token."""
        own, other = tokens[:, 0], tokens[:, 1]  # (B, N, C)
        query, key, value = self._split(self.query(own)), self._split(self.key(other)), self._split(self.value(other))
        attended = scaled_dot_product_attention(query, key, value)  # (B, heads, N, width / heads)
        added: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return added

    def _split(self, values: Tensor) -> Tensor:
        """(B, N, width) to (B, heads, N, width / heads)."""
        return torch.unflatten(values, 2, (self.heads, -1)).transpose(1, 2)


def tokens_of(own: Tensor, other: Tensor) -> Tensor:
    """Two maps (B, C, rows, columns) as the adapter's input (B, 2, N, C), cells row by row."""
    return torch.stack([own.flatten(2).transpose(1, 2), other.flatten(2).transpose(1, 2)], dim=1)


def fitting_heads(width: int, most: int = 8) -> int:
    """The largest number of heads up to `most` that divides the width."""
    return next(heads for heads in range(min(most, width), 0, -1) if width % heads == 0)
