"""Promises of a scheme, see `edgefw.contracts.scheme`."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch

from edgefw.contracts.loss import LossInput
from edgefw.contracts.scheme import Batch, Choosing, Extending, Joining
from edgefw.testing.fakes import TEACHER_WIDTH, scheme_batch, student_network
from edgefw.testing.subject import Subject


def rows_are_aligned(subject: Subject) -> None:
    """Student outputs, targets, samples, modalities and labels have one row for each image that is compared."""
    _, inputs = _forward(subject, _batch(subject))
    count = len(inputs.student.embedding)
    assert count, "no rows"
    for name in ("modality", "sample", "label", "role", "group"):
        values = getattr(inputs, name)
        assert values is not None and values.shape == (count,), (
            f"{name}: {None if values is None else tuple(values.shape)}"
        )
    assert inputs.teacher.embedding.shape == (count, TEACHER_WIDTH), f"targets {tuple(inputs.teacher.embedding.shape)}"


def rows_show_samples_of_the_batch(subject: Subject) -> None:
    """Each row belongs to a sample of the batch and to a modality of the recipe, and carries the sample's label."""
    batch = _batch(subject)
    _, inputs = _forward(subject, batch)
    labels = dict(zip(batch.sample.tolist(), batch.label.tolist(), strict=True))
    assert all(labels.get(sample) == label for sample, label in zip(inputs.sample.tolist(), inputs.label.tolist()))
    assert set(inputs.modality.tolist()) <= set(range(len(subject.modalities)))


def missing_images_are_no_rows(subject: Subject) -> None:
    """A sample that lacks a modality has no row of that modality."""
    if len(subject.modalities) < 2 or "run.pairs" in subject.technique.needed(subject.config):
        return
    absent = subject.modalities[1]
    batch = scheme_batch(subject.modalities, missing={absent: [0]})
    _, inputs = _forward(subject, batch)
    pairs = set(zip(inputs.sample.tolist(), inputs.modality.tolist(), strict=True))
    assert (int(batch.sample[0]), 1) not in pairs, f"a row for the missing {absent} image of a sample"


def samples_it_uses_have_rows(subject: Subject) -> None:
    """A sample has a row exactly if `uses` accepts its modalities; without `uses`, if it has any image at all."""
    scheme, names = subject.build(), subject.modalities
    sets = [held for size in range(1, len(names) + 1) for held in combinations(names, size)]
    missing = {name: [at for at, held in enumerate(sets) if name not in held] for name in names}
    batch = scheme_batch(names, size=len(sets), missing=missing)
    used = {at for at, held in enumerate(sets) if not isinstance(scheme, Choosing) or scheme.uses(held)}
    assert used, "`uses` accepts no sample, not even one that has every image"
    inputs = scheme.forward(scheme.network(student_network()).train(), batch)
    found = {batch.sample.tolist().index(sample) for sample in inputs.sample.tolist()}
    wrong = [" and ".join(sets[at]) for at in sorted(found ^ used)]
    assert not wrong, f"`uses` and the rows disagree about samples with {', or '.join(wrong)} alone"


def gradient_reaches_the_network(subject: Subject) -> None:
    """What the rows say depends on every trainable parameter of the student."""
    network, inputs = _forward(subject, _batch(subject))
    total: Any = inputs.student.embedding.pow(2).sum() + inputs.student.pooled.sum()
    total.backward()
    idle = [
        name for name, parameter in network.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert not idle, f"no gradient reaches {', '.join(idle)}"


def targets_carry_no_gradient(subject: Subject) -> None:
    """The teacher's rows, and those of an earlier phase, are constants."""
    _, inputs = _forward(subject, _batch(subject))
    assert not inputs.teacher.embedding.requires_grad
    assert inputs.reference is None or not inputs.reference.embedding.requires_grad


def peer_is_declared(subject: Subject) -> None:
    """A scheme that gives `peer` provides that word and has one output per row; one that does not gives none."""
    _, inputs = _forward(subject, _batch(subject))
    says = "peer" in subject.technique.provided(subject.config)
    assert (inputs.peer is not None) == says, "provides says one thing about a peer, the rows another"
    for values in (inputs.peer and inputs.peer.embedding, inputs.has_peer):
        assert values is None or len(values) == len(inputs.sample), f"{len(values)} rows of the peer"


def embeds_every_modality_it_serves(subject: Subject) -> None:
    """`embed` gives (B, D) for each modality that a signature serves, an image alone as in a batch."""
    scheme = subject.build()
    network = scheme.network(student_network()).eval()
    for modality in {name for signature in scheme.signatures(subject.modalities) for name in signature.serves}:
        pixels = _batch(subject).images[modality]
        with torch.no_grad():
            together, alone = (scheme.embed(network, modality, part) for part in (pixels, pixels[:1]))
        assert together.shape == (len(pixels), TEACHER_WIDTH), f"{modality}: {tuple(together.shape)}"
        assert torch.allclose(together[:1], alone, atol=1e-5), f"{modality}: an image alone gives another embedding"


def embeds_images_together(subject: Subject) -> None:
    """A graph of several inputs has an `embed_together` that gives (B, D), a sample alone as in a batch."""
    scheme = subject.build()
    joint = [signature for signature in scheme.signatures(subject.modalities) if len(signature.inputs) > 1]
    if not joint:
        return
    can = isinstance(scheme, Joining)
    assert can, f"a signature of several inputs ({joint[0]}), and no `embed_together`"
    network = scheme.network(student_network()).eval()
    images = _batch(subject).images
    for signature in joint:
        assert set(signature.serves) == set(signature.inputs), f"{signature} serves other modalities than it takes"
        with torch.no_grad():
            both, alone = (
                scheme.embed_together(network, {name: images[name][:count] for name in signature.inputs})
                for count in (len(images[signature.inputs[0]]), 1)
            )
        assert both.shape[1:] == (TEACHER_WIDTH,) and len(both) == len(images[signature.inputs[0]]), f"{both.shape}"
        assert torch.allclose(both[:1], alone, atol=1e-5), f"{signature.name}: a sample alone gives another embedding"


def extras_are_parts_of_the_network(subject: Subject) -> None:
    """What a scheme names as exported beside the student is in the network, and takes its example."""
    scheme = subject.build()
    has_parts = isinstance(scheme, Extending)
    if not has_parts:
        return
    network = scheme.network(student_network()).eval()
    for name, example in scheme.extras(network).items():
        with torch.no_grad():
            assert len(network.get_submodule(name)(example)) == len(example), f"{name}: rows are lost"


def signatures_serve_each_modality_once(subject: Subject) -> None:
    """Graphs have different names, take modalities of the recipe, and no two of one input serve the same modality."""
    signatures = subject.build().signatures(subject.modalities)
    assert signatures, "no graph to export"
    names = [signature.name for signature in signatures]
    assert len(set(names)) == len(names), f"names {names}"
    for signature in signatures:
        strangers = set(signature.inputs) | set(signature.serves)
        assert signature.inputs and signature.serves and strangers <= set(subject.modalities), f"{signature}"
    served = [name for signature in signatures if len(signature.inputs) == 1 for name in signature.serves]
    assert len(set(served)) == len(served), f"served twice: {served}"


CHECKS = (
    rows_are_aligned,
    rows_show_samples_of_the_batch,
    missing_images_are_no_rows,
    samples_it_uses_have_rows,
    gradient_reaches_the_network,
    targets_carry_no_gradient,
    peer_is_declared,
    embeds_every_modality_it_serves,
    embeds_images_together,
    extras_are_parts_of_the_network,
    signatures_serve_each_modality_once,
)


def _batch(subject: Subject) -> Batch:
    return scheme_batch(subject.modalities)


def _forward(subject: Subject, batch: Batch) -> tuple[torch.nn.Module, LossInput]:
    scheme = subject.build()
    network = scheme.network(student_network()).train()
    return network, scheme.forward(network, batch)
