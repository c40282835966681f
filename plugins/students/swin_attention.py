"""timm's window attention with places for what normalises or reads queries and keys.

Swin's attention in timm has no `q_norm` and `k_norm`, which timm's other transformers have. Here it gets both as
identities, called with (windows, heads, N, d) before the product, so that a student of Swin offers its attention
layers to quantizers and losses as a plain vision transformer does. Weights, names and results stay what they were.
Source: Liu et al. 2021 (Swin), arXiv:2103.14030, section 3.2; timm 1.0, `swin_transformer.WindowAttention`.
Does not: use PyTorch's fused attention, which timm leaves off for this layer too.
"""

from __future__ import annotations

from typing import Any, cast

from timm.models.swin_transformer import WindowAttention
from torch import Tensor, nn


class OpenWindowAttention(WindowAttention):
    """Window attention (windows, N, C) to the same; queries and keys pass `q_norm` and `k_norm`."""

    q_norm: nn.Module
    k_norm: nn.Module

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """As timm's, with the two identities."""
        windows, count, _ = x.shape
        parts = self.qkv(x).reshape(windows, count, 3, self.num_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (windows, heads, N, d)
        query, key = self.q_norm(query), self.k_norm(key)
        logits = query * self.scale @ key.transpose(-2, -1) + self._get_rel_pos_bias()
        if mask is not None:
            by_image = logits.view(-1, mask.shape[0], self.num_heads, count, count)
            logits = (by_image + mask[:, None]).view(-1, self.num_heads, count, count)
        mixed = self.attn_drop(self.softmax(logits)) @ value
        result: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(windows, count, -1)))
        return result


def open_window_attention(backbone: nn.Module) -> None:
    """Give every window attention of timm's Swin in `backbone` the two places; nothing else of it changes."""
    for module in backbone.modules():
        if type(module) is WindowAttention:
            opened = cast(Any, module)
            opened.__class__ = OpenWindowAttention
            opened.q_norm, opened.k_norm = nn.Identity(), nn.Identity()
