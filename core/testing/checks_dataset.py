"""Promises of a data set, see `edgefw.contracts.dataset`."""

from __future__ import annotations

from edgefw.contracts.dataset import SPLITS, Listing
from edgefw.testing.clean_import import imports_of
from edgefw.testing.subject import Subject


def training_split_has_samples(subject: Subject) -> None:
    """With the options it is tested with, the split "train" is not empty."""
    assert subject.piece.listing("train").samples, "no samples in train"


def identifiers_are_unique(subject: Subject) -> None:
    """No two samples of a split share an id: ids are keys of the teacher cache."""
    for split, listing in _listings(subject).items():
        names = [sample.id for sample in listing.samples]
        assert len(set(names)) == len(names), f"{split}: ids that stand twice"
        assert all(isinstance(name, str) and name for name in names), f"{split}: an empty id"


def order_is_fixed(subject: Subject) -> None:
    """Listing twice, and by a data set built anew, gives the same samples in the same order."""
    first, again, anew = (
        _outline(dataset.listing("train")) for dataset in (subject.piece, subject.piece, subject.build())
    )
    assert first == again == anew


def labels_are_classes(subject: Subject) -> None:
    """Every label is one of `classes`; unlabelled data has neither."""
    classes = set(subject.piece.classes)
    assert len(classes) == len(subject.piece.classes), "a class stands twice"
    for split, listing in _listings(subject).items():
        strangers = {sample.label for sample in listing.samples} - classes - {None}
        assert not strangers, f"{split}: labels that are no class: {sorted(map(str, strangers))}"


def images_belong_to_modalities_of_the_recipe(subject: Subject) -> None:
    """Each sample has an image of at least one modality of the recipe, and of no other."""
    for split, listing in _listings(subject).items():
        for sample in listing.samples:
            assert sample.images and set(sample.images) <= set(subject.modalities), (
                f"{split} {sample.id}: {set(sample.images)}"
            )


def references_can_be_read_again(subject: Subject) -> None:
    """Each reference names its place and gives the same bytes whenever it is read."""
    for sample in list(subject.piece.listing("train").samples)[:4]:
        for reference in sample.images.values():
            assert isinstance(reference.where, str) and reference.where
            data = reference.read()
            assert isinstance(data, bytes) and data and data == reference.read(), reference.where


def splits_do_not_overlap(subject: Subject) -> None:
    """No image of one split is an image of another one: training never sees what it is judged on."""
    seen: dict[tuple[str, ...], str] = {}
    for split, listing in _listings(subject).items():
        for sample in listing.samples:
            places = tuple(sorted(reference.where for reference in sample.images.values()))
            assert seen.setdefault(places, split) == split, f"{places} stands in {seen[places]} and in {split}"


def unknown_split_is_empty(subject: Subject) -> None:
    """A split that is not there is an empty listing."""
    assert not subject.piece.listing("no-such-split").samples


def licence_is_stated(subject: Subject) -> None:
    """`licence` says under what terms the data comes, "unknown" where nobody says."""
    assert isinstance(subject.piece.licence, str) and subject.piece.licence


def imports_no_torch(subject: Subject) -> None:
    """Importing the module does not import torch: `verify` reads data without it."""
    assert "torch" not in imports_of(subject.ref.module)


CHECKS = (
    training_split_has_samples,
    identifiers_are_unique,
    order_is_fixed,
    labels_are_classes,
    images_belong_to_modalities_of_the_recipe,
    references_can_be_read_again,
    splits_do_not_overlap,
    unknown_split_is_empty,
    licence_is_stated,
    imports_no_torch,
)


def _listings(subject: Subject) -> dict[str, Listing]:
    return {split: subject.piece.listing(split) for split in SPLITS}


def _outline(listing: Listing) -> list[tuple[object, ...]]:
    return [(sample.id, sample.label, sample.caption, tuple(sample.images)) for sample in listing.samples]
