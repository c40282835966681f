"""Runs in the environment `litert`: a program that torch.export captured, to .tflite files as litert-torch is used by hand.

    python by_hand_litert.py PROGRAM PLAIN CHANNELS_LAST

PLAIN takes images as torch does, (1, C, H, W); CHANNELS_LAST takes (1, H, W, C). Imports nothing of edgefw.
"""

from __future__ import annotations

import sys

import litert_torch
import torch


def main() -> None:
    """Write both files."""
    program, plain, channels_last = sys.argv[1:]
    captured = torch.export.load(program)
    network, (image,) = captured.module(), captured.example_inputs[0]
    litert_torch.convert(network, (image,)).export(plain)
    turned = litert_torch.to_channel_last_io(network, args=[0])
    litert_torch.convert(turned, (image.permute(0, 2, 3, 1).contiguous(),)).export(channels_last)


if __name__ == "__main__":
    main()
