"""Frozen: squared distance of raw embeddings, with every field of API 1's record."""

import torch
from pydantic import Field

import edgefw


class Config(edgefw.TechniqueConfig):
    scale: float = Field(default=1.0, gt=0.0, description="factor")


class SquaredDistance(torch.nn.Module):
    across_batch = False

    def __init__(self, scale, context):
        super().__init__()
        self.scale = scale
        self.widths = (context.teacher.width, context.student.width, len(context.modalities))
        self.place = (context.path, context.base, context.cache, context.seed, context.resolve("x"))

    def forward(self, inputs):
        rows = (inputs.modality, inputs.sample, inputs.label, inputs.role, inputs.group)
        assert all(row is None or len(row) == len(inputs.student.embedding) for row in rows)
        student, teacher = inputs.student.embedding.float(), inputs.teacher.embedding
        return self.scale * (student - teacher).pow(2).mean()


def build(config, context):
    return SquaredDistance(config.scale, context)


@edgefw.hookimpl
def edgefw_register_losses(register):
    register(
        edgefw.Technique(
            name="api1-loss",
            config=Config,
            build=build,
            api=1,
            provides=frozenset(),
            needs=frozenset({"teacher.embedding"}),
            provides_for=lambda config: frozenset(),
            needs_for=lambda config: frozenset({"teacher.embedding"}),
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="none",
            licence="none",
        )
    )
