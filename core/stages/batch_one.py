"""What a run's files say of some held-out samples one by one, as a camera asks, beside what they say of them in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgefw.errors import BundleError
from edgefw.evaluation.batch_sizes import BESIDE, BothWays, Truth, batch_error, with_batch_1
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
        alone, batch = ask_both_ways(artefact.runner, single_feeds(artefact, inputs[role]), BESIDE)
        found[role] = BothWays(alone=alone, batch=batch)
    return found


def beside(
    distances: Mapping[str, Any], said: Said, truths: Mapping[str, Truth], cosines: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """A record's distances to the student with those at batch 1 beside them, and `batch_relative_error`.

    Args:
        distances: of larger batches.
        said: of the artefact.
        truths: what the student says of the same samples, and their labels, by role.
        cosines: (N,) of all samples, of larger batches, by role.
    """
    return {"batch_relative_error": batch_error(said.values()), **with_batch_1(distances, said, truths, cosines)}
