"""Tokens, queries, keys and values of a vision transformer's last block, read by hooks during its own forward pass.

Knows the attention modules of PyTorch, open_clip, timm and transformers. Tokens are what the last block gives out,
before the tower's final norm; class and register tokens are left out of all four. Knows no teacher's preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from edgefw.contracts.teacher import TokenSpec

Split = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Input of an attention module (B, N, C) to queries, keys and values, each (B, heads, N, C / heads)."""


@dataclass
class Captured:
    """What one forward pass left behind; None where it was not asked for."""

    tokens: Tensor | None = None
    queries: Tensor | None = None
    keys: Tensor | None = None
    values: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class LastBlock:
    """Where a tower's last block lies.

    Attributes:
        block: module whose output is (B, prefix + N, C), perhaps first in a tuple.
        attention: its attention module; its input is (B, prefix + N, C).
        split: how that input becomes queries, keys and values; None where they cannot be read.
        prefix: class and register tokens in front of the patches.
        spec: grid, width and heads.
    """

    block: nn.Module
    attention: nn.Module
    split: Split | None
    prefix: int
    spec: TokenSpec
    words: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", frozenset({"tokens"} if self.split is None else {"tokens", "qkv"}))

    @contextmanager
    def capture(self, want: frozenset[str]) -> Iterator[Captured]:
        """Record what `want` names while the body runs the tower once."""
        captured = Captured()

        def keep_tokens(_: nn.Module, __: Any, output: Any) -> None:
            tokens = output[0] if isinstance(output, tuple) else output
            captured.tokens = tokens[:, self.prefix :].float()

        def keep_qkv(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            parts = self.split(hidden) if self.split else ()
            captured.queries, captured.keys, captured.values = (part[:, :, self.prefix :].float() for part in parts)

        handles = []
        if "tokens" in want:
            handles.append(self.block.register_forward_hook(keep_tokens))
        if "qkv" in want:
            handles.append(self.attention.register_forward_pre_hook(keep_qkv, with_kwargs=True))
        try:
            yield captured
        finally:
            for handle in handles:
                handle.remove()


def _heads(part: Tensor, heads: int) -> Tensor:
    return torch.unflatten(part, -1, (heads, -1)).transpose(1, 2)  # (B, heads, N, C / heads)


def fused(attention: Any, heads: int) -> Split:
    """Splitter of an attention with one `in_proj_weight`: PyTorch's own, and open_clip's with optional norms."""
    norm_q, norm_k = getattr(attention, "ln_q", nn.Identity()), getattr(attention, "ln_k", nn.Identity())

    def split(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = linear(hidden, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
        return norm_q(_heads(q, heads)), norm_k(_heads(k, heads)), _heads(v, heads)

    return split


def timm_fused(attention: Any) -> Split:
    """Splitter of timm's `Attention`: one `qkv` layer, then `q_norm` and `k_norm`."""

    def split(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = attention.qkv(hidden).chunk(3, dim=-1)
        heads = attention.num_heads
        return attention.q_norm(_heads(q, heads)), attention.k_norm(_heads(k, heads)), _heads(v, heads)

    return split


def separate(attention: Any) -> Split:
    """Splitter of an attention with `q_proj`, `k_proj` and `v_proj`, as in transformers."""

    def split(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = attention.num_heads
        q, k, v = attention.q_proj(hidden), attention.k_proj(hidden), attention.v_proj(hidden)
        return _heads(q, heads), _heads(k, heads), _heads(v, heads)

    return split
