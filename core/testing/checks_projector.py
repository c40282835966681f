"""Promises of a projector, see `edgefw.contracts.projector`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgefw.testing.fakes import GRID, STUDENT_WIDTH, TEACHER_WIDTH, TOKEN_WIDTH
from edgefw.testing.subject import Subject


def is_a_head_or_an_alignment(subject: Subject) -> None:
    """The technique says which of the two it is: it provides "head" or "alignment", and not both."""
    provided = subject.technique.provided(subject.config)
    assert ("head" in provided) != ("alignment" in provided), f"provides {sorted(provided)}"


def widths_are_those_of_student_and_teacher(subject: Subject) -> None:
    """A head goes from (B, student width) to (B, teacher width), for any B; an alignment takes the student's map."""
    module = subject.build().eval()
    for rows in (1, 3):
        result = module(_input(subject, rows))
        if _is_head(subject):
            assert result.shape == (rows, TEACHER_WIDTH), f"shape {tuple(result.shape)}"
        else:
            assert len(_first(result)) == rows, f"{rows} maps in, {len(_first(result))} out"
        assert torch.isfinite(_first(result)).all(), "not finite"


def every_parameter_is_trained(subject: Subject) -> None:
    """Every trainable parameter gets a gradient, and so does the input."""
    module, given = subject.build().train(), _input(subject, 4).requires_grad_()
    _total(module(given)).backward()
    idle = [name for name, parameter in module.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not idle, f"no gradient reaches {', '.join(idle)}"
    assert given.grad is not None and given.grad.abs().sum() > 0, "no gradient reaches the student"


def rows_do_not_see_each_other(subject: Subject) -> None:
    """In evaluation mode the result of a row does not depend on the rest of the batch."""
    module, given = subject.build().eval(), _input(subject, 3)
    together, alone = _first(module(given)), _first(module(given[:1]))
    assert torch.allclose(together[:1], alone, atol=1e-5), "a row alone gives another result than in a batch"


def state_can_be_saved_and_loaded(subject: Subject) -> None:
    """A fresh projector with the saved state gives the same result."""
    first, second = subject.build().eval(), subject.build().eval()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(0.1)
    second.load_state_dict(first.state_dict())
    given = _input(subject, 2)
    assert torch.equal(_first(first(given)), _first(second(given)))


CHECKS = (
    is_a_head_or_an_alignment,
    widths_are_those_of_student_and_teacher,
    every_parameter_is_trained,
    rows_do_not_see_each_other,
    state_can_be_saved_and_loaded,
)


def _is_head(subject: Subject) -> bool:
    return "head" in subject.technique.provided(subject.config)


def _input(subject: Subject, rows: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    shape = (rows, STUDENT_WIDTH) if _is_head(subject) else (rows, TOKEN_WIDTH, *GRID)
    return torch.randn(*shape, generator=draw)


def _first(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else next(part for part in result if part is not None)


def _total(result: Any) -> Any:
    parts = [result] if isinstance(result, Tensor) else [part for part in result if part is not None]
    return torch.stack([(part * torch.linspace(-1, 1, part.numel()).view_as(part)).sum() for part in parts]).sum()
