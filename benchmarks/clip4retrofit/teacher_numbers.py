"""What the teacher makes of the pictures that the students are measured on: an open_clip folder, with its own preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from robustness import HeldOut, measured

import edgefw
from edgefw.plugins.teachers import openclip


def of_teacher(folder: Path, names: list[str], template: str, pictures: HeldOut) -> dict[str, Any]:
    """The numbers of robustness.py for the model in a folder."""
    config = openclip.OpenClipConfig(model=f"local-dir:{folder.resolve()}")
    teacher = openclip.build(config, edgefw.BuildContext())

    def embed(images: np.ndarray) -> np.ndarray:
        pixels = torch.stack([teacher.preprocess(Image.fromarray(image)) for image in images])
        embedded: np.ndarray = teacher.encode_image(pixels).embedding.numpy()
        return embedded

    texts = teacher.encode_text([template.format(name) for name in names]).numpy()
    return measured(embed, texts, pictures)
