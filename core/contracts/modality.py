"""A modality: decodes one sensor into physical units, and states its preprocessing as a declarative contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from edgefw.contracts.student import InputSpec
    from edgefw.runtime.preprocessing import Preprocessing


class Modality(Protocol):
    """One sensor. Imports no torch: the device uses the same code.

    `colour` is True for photographs: photometric views apply. `unit` names the physical unit of a decoded value. A
    modality may have a bool `shows_photographs`: whether `picture` is one that an RGB teacher can read; without it,
    `colour` says so. Several threads call `decode` of one piece at the same time: it keeps nothing from call to call.
    """

    name: str
    colour: bool
    unit: str

    def preprocessing(self, input: InputSpec) -> Preprocessing:
        """The named steps from a file's bytes to the student's (C, H, W) float32 input.

        Raises:
            CapabilityError: if the student takes another number of channels than this sensor gives.
        """
        ...

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """Physical values, (H, W) float32 or (H, W, C); RGB is (H, W, 3) uint8.

        Raises:
            DataError: if the bytes are no image of this sensor; the message starts with `where`.
        """
        ...

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Decoded values as an (H, W, 3) uint8 picture: what a person, or an RGB teacher, is shown."""
        ...
