"""Fingerprints: equal for equal inputs, different for anything that would change a result."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field

import edgefw
from edgefw.contracts.dataset import FileReference, Listing, Sample, TarReference
from edgefw.recipe.chosen import Chosen
from edgefw.registry.kinds import Kind
from edgefw.stages.fingerprints import data_state, digest, file_state, piece


class FileConfig(edgefw.TechniqueConfig):
    weights: str = "w.bin"
    nested: dict[str, list[str]] = Field(default_factory=dict)


class Listed:
    classes: tuple[str, ...] = ()
    licence = ""

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples

    def listing(self, split: str) -> Listing:
        return Listing(samples=self.samples if split == "train" else ())


def chosen(**options: object) -> Chosen:
    config = FileConfig(**options)  # type: ignore[arg-type]
    technique = edgefw.Technique(name="x", config=FileConfig, build=lambda config, context: None)
    return Chosen(Kind.TEACHER, technique, config, "teacher")


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_the_contents_of_a_named_file_count_and_its_date_does_not(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"one")
    before = piece(chosen(), tmp_path)
    os.utime(tmp_path / "w.bin", (1, 1))
    assert piece(chosen(), tmp_path) == before
    (tmp_path / "w.bin").write_bytes(b"two")
    assert piece(chosen(), tmp_path) != before


def test_a_label_counts_where_there_is_one(tmp_path: Path) -> None:
    before = piece(chosen(), tmp_path)
    assert set(before) == {"name", "module", "options", "files"}
    assert piece(replace(chosen(), label="a"), tmp_path) == {**before, "label": "a"}


def test_files_named_deep_inside_options_count(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("1")
    before = piece(chosen(nested={"tables": ["table.txt"]}), tmp_path)
    (tmp_path / "table.txt").write_text("2")
    assert piece(chosen(nested={"tables": ["table.txt"]}), tmp_path) != before


def test_a_folder_counts_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("1")
    before = file_state(tmp_path / "model")
    (tmp_path / "model" / "b").write_text("1")
    assert file_state(tmp_path / "model") != before


@pytest.mark.parametrize("text", ["no-such-file", "x" * 5000, "a\0b", ""])
def test_options_that_name_no_file_are_just_text(text: str, tmp_path: Path) -> None:
    assert piece(chosen(weights=text), tmp_path)["files"] == {}


def test_data_counts_by_ids_labels_captions_places_and_stamps(tmp_path: Path) -> None:
    file = tmp_path / "1.png"
    file.write_bytes(b"123")

    def state(**changes: object) -> str:
        values = {"id": "1", "images": {"rgb": FileReference(file)}, "label": "cat", "caption": None, **changes}
        return data_state(Listed(Sample(**values)), "train")  # type: ignore[arg-type]

    first = state()
    assert state() == first
    assert len({first, state(id="2"), state(label="dog"), state(caption="a cat"), state(images={})}) == 5
    file.write_bytes(b"1234")
    assert state() != first


def test_a_shard_counts_by_place_and_stamp(tmp_path: Path) -> None:
    shard = tmp_path / "0.tar"
    shard.write_bytes(b"x" * 10)

    def state(offset: int) -> str:
        reference = TarReference(shard, "1.png", offset, 3)
        return data_state(Listed(Sample(id="1", images={"rgb": reference})), "train")

    first = state(0)
    assert state(0) == first != state(5)
    shard.write_bytes(b"x" * 11)
    assert state(0) != first


def test_a_file_that_vanished_is_a_state_too(tmp_path: Path) -> None:
    gone = Sample(id="1", images={"rgb": FileReference(tmp_path / "gone.png")})
    assert data_state(Listed(gone), "train") == data_state(Listed(gone), "train") != data_state(Listed(), "train")


def test_techniques_inside_options_count_with_their_files(tmp_path: Path) -> None:
    def outer(*inner: Chosen) -> str:
        return digest(piece(replace(chosen(), inner=inner), tmp_path))

    (tmp_path / "w.bin").write_bytes(b"one")
    (tmp_path / "v.bin").write_bytes(b"one")
    before = outer(chosen(weights="v.bin"))
    assert before != outer() and before != outer(chosen(weights="other.bin"))
    (tmp_path / "v.bin").write_bytes(b"two")
    assert outer(chosen(weights="v.bin")) != before
