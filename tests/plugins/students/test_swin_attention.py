"""Swin with open attention says what timm's Swin says, to the bit."""

from __future__ import annotations

import torch
from timm.models.swin_transformer import SwinTransformer, WindowAttention

from edgefw.plugins.students.swin_attention import OpenWindowAttention, open_window_attention
from edgefw.training.attention import attention_layers


def swin() -> SwinTransformer:
    torch.manual_seed(0)
    return SwinTransformer(
        img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4), num_classes=0
    )


def test_nothing_but_the_two_places_changes() -> None:
    plain, opened = swin(), swin()
    open_window_attention(opened)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for one, other in zip(plain.parameters(), opened.parameters()):
        assert torch.equal(one, other)
    assert list(plain.state_dict()) == list(opened.state_dict())
    for training in (False, True):
        torch.manual_seed(2)
        expected = plain.train(training)(pixels)
        torch.manual_seed(2)
        assert torch.equal(opened.train(training)(pixels), expected)
    assert any(block.attn_mask is not None for layer in opened.layers for block in layer.blocks)


def test_every_layer_can_be_found_and_is_still_timms() -> None:
    opened = swin()
    assert not attention_layers(opened)
    open_window_attention(opened)
    layers = attention_layers(opened)
    assert len(layers) == 4
    assert all(type(layer) is OpenWindowAttention and isinstance(layer, WindowAttention) for layer in layers.values())
