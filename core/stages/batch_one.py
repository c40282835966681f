"""What a run's files say of a few held-out samples one by one, as a camera asks, beside what they say of them in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgefw.errors import BundleError
from edgefw.evaluation.batch_sizes import BothWays, at_batch_1, batch_error, with_batch_1
from edgefw.runtime.asking import ask_both_ways
from edgefw.stages.verify_models import single_feeds

if TYPE_CHECKING:
    import numpy as np

    from edgefw.stages.opened import OpenArtefact, Opened

Said = Mapping[str, BothWays]
"""By role."""


def both_ways(opened: Opened, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Said]:
    """By artefact and role, what it says of the inputs; one that fails is left out of `opened`.

    Args:
        opened: the files of the run.
        inputs: images (N, C, H, W) by modality, by role.
    """
    said: dict[str, Said] = {}
    for artefact in list(opened.artefacts):
        try:
            said[artefact.name] = _asked(artefact, inputs)
        except BundleError as error:
            opened.drop(artefact, str(error))
    return said


def _asked(artefact: OpenArtefact, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, BothWays]:
    found = {}
    for role in (role for role in artefact.roles if role in inputs):
        alone, batch = ask_both_ways(artefact.runner, single_feeds(artefact, inputs[role]))
        found[role] = BothWays(alone=alone, batch=batch)
    return found


def beside(distances: Mapping[str, Any], said: Said, sources: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A record's distances to the student with those at batch 1 beside them, and `batch_relative_error`.

    Args:
        distances: of larger batches.
        said: of the artefact.
        sources: the student's embeddings (N, D) of the same samples, by role.
    """
    alone = {role: at_batch_1(own.alone, sources[role]) for role, own in said.items()}
    return {"batch_relative_error": batch_error(said.values()), **with_batch_1(distances, alone)}
