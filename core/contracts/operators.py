"""Operators that a student may have and some runtimes do badly: their names, who says which, and who knows a way round.

An advice and never an error: a backend states what its runtime is slow at, a student names backbones without it, and
`edgefw check` and the export stage put the two together. A technique that states neither has nothing to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SILU = "SiLU"
HARDSWISH = "Hardswish"
GELU = "GELU"
SQUEEZE_EXCITE = "squeeze-excite"
OPERATORS = (SILU, HARDSWISH, GELU, SQUEEZE_EXCITE)
"""What is looked for on maps and tokens, in this order (`edgefw.training.operators`)."""


@runtime_checkable
class Hampered(Protocol):
    """A backend whose runtime is slow at operators, in files that a quantizer rounded.

    Attributes:
        slow_when_rounded: operator, one of `OPERATORS` -> why, as a clause that follows the operator's name, best with
            what was measured.
    """

    slow_when_rounded: Mapping[str, str]


@runtime_checkable
class Replaceable(Protocol):
    """A student that knows backbones of its size without any of `OPERATORS`."""

    def replacements(self) -> Sequence[str]:
        """What to write into the recipe instead, the closest first: "student.model=NAME"; empty where none is known."""
        ...


def rounds_activations(quantizer: object) -> bool:
    """Whether activations become integers in a quantizer's files; one whose `activations` are "float" shrinks weights alone."""
    return getattr(quantizer, "activations", None) != "float"
