"""Whether every modality of a recipe becomes what the student takes, asked before any work is done.

It asks the modalities; it knows no sensor and no student.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgefw.errors import CapabilityError

if TYPE_CHECKING:
    from edgefw.contracts.modality import Modality
    from edgefw.contracts.student import InputSpec


def check_student_input(modalities: Mapping[str, Modality], input: InputSpec) -> None:
    """Refuse a modality whose images have another number of channels than the student takes.

    Raises:
        CapabilityError: with the modality, both numbers, and what can be changed.
    """
    for name, modality in modalities.items():
        try:
            modality.preprocessing(input)
        except CapabilityError as error:
            raise CapabilityError(
                f"modalities.{name}: {error} One student takes one number of channels from every modality: change "
                "student.channels, the number of bands, or take one band with take: replicate."
            ) from error
