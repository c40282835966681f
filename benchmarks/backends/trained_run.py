"""The network of a finished run, as its export saw it, and exports of it that went wrong."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from peers import exported, random_input
from torch import nn

from edgefw.registry.loading import Registry
from edgefw.reporting.progress import SilentProgress
from edgefw.run_folder import RunFolder
from edgefw.stages.graphs import graph_of
from edgefw.stages.trained import load_student
from edgefw.verifying.reverify import finished_run, recipe_of, verifying_context


class BatchStatistics(nn.Module):
    """What a batch norm in training mode computes."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.behind = getattr(norm, "act", nn.Identity())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), each channel with mean 0 and deviation 1 over the batch."""
        mean = features.mean((0, 2, 3), keepdim=True)
        spread = ((features - mean) ** 2).mean((0, 2, 3), keepdim=True)
        scaled = (features - mean) / torch.sqrt(spread + self.eps)
        normal: torch.Tensor = self.behind(scaled * self.weight[:, None, None] + self.bias[:, None, None])
        return normal


def _by_the_batch(network: nn.Module) -> nn.Module:
    for name, child in network.named_children():
        setattr(network, name, BatchStatistics(child) if isinstance(child, nn.BatchNorm2d) else _by_the_batch(child))
    return network


class TrainedRun:
    """A run that is read and never written."""

    def __init__(self, run: Path) -> None:
        self._folder: RunFolder = finished_run(run)
        self._context = verifying_context(self._folder, recipe_of(self._folder), Registry(), SilentProgress())
        self._trained = load_student(self._context)

    @cached_property
    def network(self) -> nn.Module:
        """Images to embeddings, in evaluation mode."""
        scheme = self._trained.scheme
        signature = scheme.signatures(tuple(self._context.pieces.modalities))[0]
        return graph_of(self._trained.network, scheme, signature)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image."""
        record = self._folder.result("export")["artefacts"][0]
        return tuple(next(iter(record["inputs"].values())))

    def texts(self, names: list[str], template: str) -> np.ndarray:
        """The teacher's text embeddings of label names."""
        return self._context.pieces.text_embeddings(names, template)

    def in_training_mode(self) -> nn.Module:
        """The network where somebody forgot `eval()`: batch norm takes the statistics of the batch.

        Written out, because torch's exporter turns a batch norm that is left in training mode into the right file.
        """
        return _by_the_batch(copy.deepcopy(self.network))

    def export_in_training_mode(self, file: Path) -> None:
        """Write the file of `in_training_mode`."""
        example = torch.from_numpy(random_input((2, *self.shape)))
        onnx.save(exported(self.in_training_mode(), example).model_proto, file)

    def export_one_image(self, file: Path) -> None:
        """Write a file that takes one image at a time: the example's batch was taken for a constant."""
        example = torch.from_numpy(random_input((1, *self.shape)))
        onnx.save(exported(self.network, example, dynamic=False).model_proto, file)

    def summary(self) -> dict[str, Any]:
        """What was broken, for the record."""
        result = self._folder.read_json("result.json")
        return {
            "recipe": result["recipe"],
            "student": result["provenance"]["student"],
            "environment": self._folder.read_json("environment.json"),
        }
