"""A second player tells changed views from clean ones; the student fools it.

Idea: a discriminator D of three linear layers learns which embeddings are real; the student is paid for changed views that D takes
for real. With z = sqrt(D) times the unit embedding, so that its numbers are near 1:
    D's own step       L_D = mean -log D(real) + mean -log(1 - D(fake))
    the student's      L = mean -log D(fake),   or mean log(1 - D(fake)) with `saturating`, as printed
`against: teacher`  real is the teacher's embedding (of the clean image), fake is the student's, of every row
`against: clean`    real is the student's embedding of view 0, fake its embeddings of the other views of a sampler's groups
Source: Liu et al. 2022, Cross-Architecture Knowledge Distillation, arXiv:2207.05273, section 3.2, equations 8 and 9; Goodfellow et al. 2014,
arXiv:1406.2661, for the form that does not saturate; used by Clip4Retrofit (Zhong et al. 2025, arXiv:2505.18039).
Differs: embeddings (or, against clean, pooled features) instead of aligned tokens; the paper moves D in every fifth epoch, here
it moves in every `every`-th step, by Adam. The released code detaches the student's side, so that its term teaches the student nothing;
here the gradient reaches the student, and a test holds it.
Does not: change the student in D's step or D in the student's; smooth labels; bound D's gradient.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

import edgefw
from edgefw.contracts.loss import Adversary, LossInput
from edgefw.errors import RecipeError, TrainingError
from edgefw.registry.technique import Register

Against = Literal["teacher", "clean"]
Of = Literal["embedding", "pooled"]


class ViewAdversarialConfig(edgefw.TechniqueConfig):
    """Options of the loss and of its discriminator."""

    against: Against = Field(
        default="teacher", description="what is real: the teacher's embedding, or the student's of the clean view"
    )
    of: Of = Field(default="embedding", description="what is judged; pooled features against clean views alone")
    hidden: int = Field(default=256, ge=1, le=65536, description="numbers in each of the two hidden layers")
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False, description="the discriminator's learning rate (Adam)")
    every: int = Field(default=1, ge=1, description="steps from one move of the discriminator to the next")
    saturating: bool = Field(default=False, description="the student's term as the paper prints it")

    @model_validator(mode="after")
    def _the_teacher_has_no_such_features(self) -> ViewAdversarialConfig:
        if self.of == "pooled" and self.against == "teacher":
            raise ValueError("of: pooled needs against: clean; student and teacher have no pooled features in common")
        return self


class ViewAdversarialLoss(nn.Module):
    """The student's side of the game, and the discriminator with its own."""

    across_batch = False

    def __init__(self, width: int, config: ViewAdversarialConfig) -> None:
        super().__init__()
        self.config = config
        self.over_groups = config.against == "clean"
        layers = [nn.Linear(width, config.hidden), nn.Linear(config.hidden, config.hidden)]
        active = [part for layer in layers for part in (layer, nn.LeakyReLU(0.2))]
        self.discriminator = nn.Sequential(*active, nn.Linear(config.hidden, 1))

    def adversary(self) -> Adversary:
        """The discriminator's numbers, learning rate and cadence."""
        return Adversary(parameters=self.discriminator.parameters(), lr=self.config.lr, every=self.config.every)

    def adversary_loss(self, inputs: LossInput) -> Tensor:
        """Scalar () float32, at least 0: how badly real and fake are told apart."""
        real, fake = self._sides(inputs)
        return _mean(softplus(-self._logits(real))) + _mean(softplus(self._logits(fake)))

    def forward(self, inputs: LossInput) -> Tensor:
        """Scalar () float32: how rarely a fake row passes for real; 0 without such a row."""
        logits = self._logits(self._sides(inputs)[1])
        return _mean(-softplus(logits) if self.config.saturating else softplus(-logits))

    def _logits(self, rows: Tensor) -> Tensor:
        unit = normalize(rows.float(), dim=-1)
        logits: Tensor = self.discriminator(unit * unit.shape[-1] ** 0.5)
        return logits.squeeze(-1)

    def _sides(self, inputs: LossInput) -> tuple[Tensor, Tensor]:
        """Real and fake rows."""
        rows: Tensor = getattr(inputs.student, self.config.of)
        if self.config.against == "teacher":
            return inputs.teacher.embedding, rows
        if inputs.role is None:
            raise TrainingError(
                "loss 'view-adversarial' against clean: the rows have no roles. Use sampler view-groups."
            )
        return rows[inputs.role == 0], rows[inputs.role > 0]


def _mean(values: Tensor) -> Tensor:
    return values.mean() if len(values) else values.sum()


def build(config: ViewAdversarialConfig, context: edgefw.BuildContext) -> ViewAdversarialLoss:
    """The loss, its discriminator with PyTorch's default start values.

    Raises:
        RecipeError: if student or teacher is not built yet.
    """
    if context.student is None or context.teacher is None:
        raise RecipeError("a discriminator is built after student and teacher: both widths must be known.")
    width = context.teacher.width if config.of == "embedding" else context.student.width
    return ViewAdversarialLoss(width, config)


def needs_for(config: ViewAdversarialConfig) -> frozenset[str]:
    """The teacher's embedding, or batches with a clean view of each sample."""
    if config.against == "teacher":
        return frozenset({"teacher.embedding"})
    pooled = {"student.pooled"} if config.of == "pooled" else set()
    return frozenset({"sampler.views", "view.clean", *pooled})


@edgefw.hookimpl
def edgefw_register_losses(register: Register) -> None:
    """Offer the loss."""
    register(
        edgefw.Technique(
            name="view-adversarial",
            config=ViewAdversarialConfig,
            build=build,
            provides=frozenset({"adversary"}),
            needs=frozenset({"teacher.embedding", "sampler.views", "view.clean", "student.pooled"}),
            needs_for=needs_for,
            requires=("torch",),
            install='pip install "edgefw[train]"',
            paper="arXiv:2207.05273",
        )
    )
