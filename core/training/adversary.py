"""Second players: a loss whose own parameters learn to tell apart what the student learns to make alike.

In a step where it is an adversary's turn, its step comes first, on the student's outputs without gradient; then the
student's loss is computed with the adversary as it is now, and does not change it. Adversaries are updated by Adam
with a constant learning rate, in float32, outside the gradient scaler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgefw.errors import TrainingError
from edgefw.training.acceleration import mean_over_processes

if TYPE_CHECKING:
    from torch.nn import Parameter

    from edgefw.contracts.loss import LossInput
    from edgefw.contracts.student import StudentOutput
    from edgefw.training.job import PhaseLoss


@dataclass(frozen=True, kw_only=True)
class _Player:
    index: int
    name: str
    module: nn.Module
    every: int
    parameters: list[Parameter]
    optimiser: torch.optim.Optimizer


class Adversaries:
    """The second players of a phase.

    Args:
        losses: the phase's losses; those with an `adversary` method play.
        processes: how many processes share a step; adversaries' gradients are averaged over them.
    """

    def __init__(self, losses: Sequence[PhaseLoss], processes: int = 1) -> None:
        self._processes = processes
        self._players = [_player(index, loss) for index, loss in enumerate(losses) if hasattr(loss.module, "adversary")]
        self.values: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._players)

    @property
    def names(self) -> list[str]:
        """Names of the losses that have an adversary."""
        return [player.name for player in self._players]

    @property
    def parameters(self) -> list[Parameter]:
        """What the adversaries own; not the student's optimiser's business."""
        return [parameter for player in self._players for parameter in player.parameters]

    def step(self, step: int, views: Sequence[LossInput], share: float) -> None:
        """One step of each adversary whose turn it is.

        Args:
            views: what each loss of the phase sees.
            share: weight of this process's rows in a mean over all rows.

        Raises:
            TrainingError: if an adversary's loss is not a number.
        """
        for player in self._players:
            if step % player.every == 0:
                weight = 1.0 if player.module.across_batch else share
                self._one(player, _detached(views[player.index]), weight, step)

    def _one(self, player: _Player, view: LossInput, weight: float, step: int) -> None:
        with torch.enable_grad():
            _require_gradients(player.parameters, True)
            value: Tensor = player.module.adversary_loss(view)  # type: ignore[operator]
            gradients = torch.autograd.grad(value * weight, player.parameters, allow_unused=True)
            _require_gradients(player.parameters, False)
        mean = mean_over_processes(value.detach() * weight, self._processes)
        if not bool(torch.isfinite(mean)):
            raise TrainingError(
                f"step {step}: the adversary of loss '{player.name}' is not a number ({mean.item()}). "
                "Lower its learning rate."
            )
        self.values[f"{player.name}/adversary"] = mean
        for parameter, gradient in zip(player.parameters, gradients):
            known = torch.zeros_like(parameter) if gradient is None else gradient
            parameter.grad = mean_over_processes(known, self._processes)
        player.optimiser.step()
        player.optimiser.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Optimisers and last values of the adversaries; their parameters are in the state of the losses."""
        optimisers = {player.name: player.optimiser.state_dict() for player in self._players}
        return {"optimisers": optimisers, "values": dict(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.values = dict(state["values"])
        for player in self._players:
            player.optimiser.load_state_dict(state["optimisers"][player.name])


def _player(index: int, loss: PhaseLoss) -> _Player:
    adversary = loss.module.adversary()  # type: ignore[operator]
    parameters = list(adversary.parameters)
    _require_gradients(parameters, False)
    return _Player(
        index=index,
        name=loss.name,
        module=loss.module,
        every=adversary.every,
        parameters=parameters,
        optimiser=torch.optim.Adam(parameters, lr=adversary.lr),
    )


def _require_gradients(parameters: Sequence[Parameter], required: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(required)


def _detached(view: LossInput) -> LossInput:
    peer = None if view.peer is None else _constant(view.peer)
    return replace(view, student=_constant(view.student), peer=peer)


def _constant(output: StudentOutput) -> StudentOutput:
    parts: dict[str, Any] = {name: None if part is None else part.detach() for name, part in output._asdict().items()}
    return output._replace(**parts)
