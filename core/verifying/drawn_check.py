"""What do a bundle's files answer in the dark? Images that any sensor gives one day, drawn as the run that made them drew.

A folder seldom holds a black frame. What a sensor's readings are like, the bundle's reference answers say. It needs no
folder; it counts, and others judge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from edgefw.errors import EdgefwError
from edgefw.runtime.asking import ask
from edgefw.runtime.drawn import Drawn, answers, draw
from edgefw.verifying.sheets import feeds

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.opening import Opener
    from edgefw.runtime.reference import Reference


def not_finite_when_drawn(
    opener: Opener, entries: Collection[ArtefactEntry], runners: Mapping[str, Runner], reference: Reference
) -> tuple[dict[str, int], dict[str, str]]:
    """By name, how many answers to drawn images are not finite; and why, by name, of files that fail on one.

    Args:
        opener: of the bundle.
        entries: files to ask.
        runners: opened, by name; an entry without one is not asked.
        reference: says what a sensor's readings are like.
    """
    drawn: dict[str, Drawn] = {}
    found: dict[str, int] = {}
    failed: dict[str, str] = {}
    for entry in (entry for entry in entries if entry.name in runners):
        roles = _roles(entry, reference)
        try:
            for name in {name for names in roles.values() for name in names} - drawn.keys():
                drawn[name] = draw(reference.probes[name], opener.preprocessing(name))
            found[entry.name] = _bad(entry, runners[entry.name], drawn, roles)
        except EdgefwError as error:
            failed[entry.name] = str(error)
    return found, failed


def _bad(entry: ArtefactEntry, runner: Runner, drawn: Mapping[str, Drawn], roles: Mapping[str, Sequence[str]]) -> int:
    _, bad = answers(drawn, roles, lambda images: ask(runner, feeds(entry, images)))
    return bad


def undrawn(entries: Collection[ArtefactEntry], reference: Reference) -> list[str]:
    """Sensors that files take and no image was drawn for, in words."""
    taken = dict.fromkeys(name for entry in entries for name in entry.modalities)
    return [
        f"no image of {name} was drawn: no held-out sample had it when the bundle was written"
        for name in taken
        if name not in reference.probes
    ]


def _roles(entry: ArtefactEntry, reference: Reference) -> dict[str, tuple[str, ...]]:
    """The sensors that each role of a file takes, where images of all of them can be drawn."""
    taken = {role: tuple(entry.modalities) if len(entry.inputs) > 1 else (role,) for role in entry.roles}
    return {role: names for role, names in taken.items() if all(name in reference.probes for name in names)}
