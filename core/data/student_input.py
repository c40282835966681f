"""What the trained network takes of each modality, and whether every modality becomes it; asked before any work is done.

That is the student's input, but for the number of channels where the scheme states one of its own
(`Technique.channels_for`). It asks the modalities and the scheme's options; it knows no sensor, no scheme and no student.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from edgefw.errors import CapabilityError, RecipeError

if TYPE_CHECKING:
    from edgefw.contracts.modality import Modality
    from edgefw.contracts.student import InputSpec
    from edgefw.recipe.chosen import Chosen


def student_inputs(modalities: Collection[str], input: InputSpec, scheme: Chosen) -> dict[str, InputSpec]:
    """The input by modality, in the order of `modalities`.

    Args:
        modalities: names of the recipe's modalities.
        input: the student's.
        scheme: as the recipe chose it; it is not built.

    Raises:
        RecipeError: if the scheme states channels of a modality that the recipe does not have.
    """
    stated = scheme.channels
    for name in stated:
        if name not in modalities:
            raise RecipeError(
                f"{scheme.path}: '{scheme.technique.name}' is to take {stated[name]} channels of '{name}', and the recipe "
                f"has no such modality. It has: {', '.join(modalities)}."
            )
    return {name: with_channels(input, stated.get(name, input.channels)) for name in modalities}


def with_channels(input: InputSpec, channels: int) -> InputSpec:
    """The same input with another number of channels; each is normalised by the mean of the old means and stds."""
    if channels == input.channels:
        return input
    mean, std = ((sum(numbers) / len(numbers),) * channels for numbers in (input.mean, input.std))
    return replace(input, channels=channels, mean=mean, std=std)


def check_student_input(modalities: Mapping[str, Modality], input: InputSpec, scheme: Chosen | None = None) -> None:
    """Refuse a modality whose images have another number of channels than the network takes of it.

    Args:
        modalities: by name.
        input: the student's.
        scheme: of the last phase; None where there is none that could state other numbers.

    Raises:
        CapabilityError: with the modality, both numbers, and what can be changed.
        RecipeError: if the scheme states channels of a modality that is not there.
    """
    inputs = dict.fromkeys(modalities, input) if scheme is None else student_inputs(modalities, input, scheme)
    for name, modality in modalities.items():
        try:
            modality.preprocessing(inputs[name])
        except CapabilityError as error:
            raise CapabilityError(f"modalities.{name}: {error} {_what_to_do(name, scheme)}") from error


def _what_to_do(name: str, scheme: Chosen | None) -> str:
    if scheme is not None and name in scheme.channels:
        return f"{scheme.path} states that number for '{name}': state the one that the modality gives."
    return (
        "One student takes one number of channels from every modality, unless its scheme states another: change "
        "student.channels, the number of bands, or take one band with take: replicate."
    )


def refuse_other_channels(
    inputs: Mapping[str, InputSpec], own: Mapping[str, InputSpec], taken: Collection[str], where: str
) -> None:
    """Refuse a phase that takes another number of channels of a modality than the last phase does.

    Args:
        inputs: what the last phase takes, and so how the run prepares images.
        own: what this phase takes.
        taken: the modalities that its scheme labels or reads.
        where: its scheme's place in the recipe.

    Raises:
        RecipeError: naming the modality and both numbers.
    """
    for name in (name for name in inputs if name in taken):
        here, last = own[name].channels, inputs[name].channels
        if here != last:
            raise RecipeError(
                f"{where}: it takes {here} channels of '{name}', and the last phase takes {last}. State {last} here as well, "
                f"or use a scheme that leaves '{name}' to the later phases, such as one of a single modality."
            )
