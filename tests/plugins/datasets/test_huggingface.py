"""The huggingface data set, on tables that the library itself writes: folders on disk, Parquet, image folders."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgefw
from edgefw.contracts.dataset import SPLITS
from edgefw.data.splits import Fractions, drawn_split
from edgefw.errors import DataError, EdgefwError, RecipeError
from edgefw.plugins.datasets.huggingface import HuggingFaceConfig, HuggingFaceDataset, build
from edgefw.stages.fingerprints import data_state

datasets = pytest.importorskip("datasets")
RNG = np.random.default_rng(0)


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


COLOUR = [png(RNG.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(8)]
DEPTH = [png(RNG.integers(500, 4000, (8, 8)).astype(np.uint16)) for _ in range(8)]


def table(rows: range) -> Any:
    image = datasets.Image()
    features = {"image": image, "depth": image, "label": datasets.ClassLabel(names=["mug", "cup"])}
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": COLOUR[row % 8], "path": None} for row in rows],
            "depth": [{"bytes": DEPTH[row % 8], "path": None} if row % 3 else None for row in rows],
            "label": [row % 2 if row != 4 else -1 for row in rows],
            "text": [f"scene {row}" if row else "" for row in rows],
            "name": [f"n{row}" for row in rows],
        },
        features=datasets.Features(features | {"text": datasets.Value("string"), "name": datasets.Value("string")}),
    )


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    splits = {"train": table(range(6)), "validation": table(range(6, 8)), "test": table(range(8, 11))}
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")
    return folder


def opened(
    base: Path, path: str = "saved", modalities: tuple[str, ...] = ("rgb", "depth"), **options: Any
) -> HuggingFaceDataset:
    context = edgefw.BuildContext(path="data", base=base, cache=base / "cache", modalities=modalities)
    return build(HuggingFaceConfig(path=path, **{"images": {"rgb": "image"}} | options), context)


def test_a_row_is_a_sample_and_its_images_are_read_later(disk: Path) -> None:
    data = opened(disk, label="label", caption="text")
    samples = data.listing("train").samples
    assert [sample.id for sample in samples[:2]] == ["train/00000000", "train/00000001"]
    assert [sample.label for sample in samples] == ["mug", "cup", "mug", "cup", None, "cup"]
    assert [sample.caption for sample in samples[:2]] == [None, "scene 1"]
    assert [set(sample.images) for sample in samples[:2]] == [{"rgb"}, {"rgb", "depth"}]
    assert samples[5].images["rgb"].read() == COLOUR[5] and samples[5].images["depth"].read() == DEPTH[5]
    assert samples[5].images["rgb"].where == f"{disk}/saved:train[5].image"
    assert data.classes == ("mug", "cup") and data.licence == "unknown"
    assert [len(data.listing(split).samples) for split in (*SPLITS, "other")] == [6, 2, 3, 0]


def test_ids_come_from_a_column_and_references_can_be_sent_to_another_process(disk: Path) -> None:
    sample = opened(disk, id="name").listing("test").samples[1]
    assert sample.id == "n9"
    assert pickle.loads(pickle.dumps(sample.images["rgb"])).read() == COLOUR[1]


def test_a_folder_of_parquet_files_and_an_image_folder_are_read_offline(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    table(range(4)).to_parquet(tmp_path / "tables" / "train-00000-of-00001.parquet")
    samples = opened(tmp_path, "tables").listing("train").samples
    assert [sample.images["rgb"].read() for sample in samples] == COLOUR[:4]
    for number, name in enumerate(("cup", "mug")):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        (tmp_path / "photos" / "train" / name / "1.png").write_bytes(COLOUR[number])
    data = opened(tmp_path, "photos", ("rgb",), label="label")
    assert [(sample.label, sample.images["rgb"].read()) for sample in data.listing("train").samples] == [
        ("cup", COLOUR[0]),
        ("mug", COLOUR[1]),
    ]


def test_bytes_paths_and_arrays_are_images_too(tmp_path: Path) -> None:
    metres = RNG.random((2, 5, 6)).astype(np.float32)
    (tmp_path / "saved").mkdir()
    columns = {"rgb": COLOUR[:2], "near": ["near.png", None], "depth": metres}
    kinds = {
        "rgb": datasets.Value("binary"),
        "near": datasets.Value("string"),
        "depth": datasets.Array2D((5, 6), "float32"),
    }
    datasets.Dataset.from_dict(columns, features=datasets.Features(kinds)).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "near.png").write_bytes(DEPTH[0])
    first, second = opened(tmp_path, "saved", ("rgb", "near", "depth"), images={}).listing("train").samples
    assert first.images["rgb"].read() == COLOUR[0] and first.images["near"].read() == DEPTH[0]
    assert "near" not in second.images
    np.testing.assert_array_equal(np.load(io.BytesIO(second.images["depth"].read())), metres[1])
    assert np.load(io.BytesIO(second.images["depth"].read())).dtype == np.float32


def test_splits_are_drawn_by_id_where_the_data_set_brings_none(disk: Path) -> None:
    data = opened(disk, id="name", fractions={"train": 0.5, "val": 0.25, "test": 0.25}, seed=3)
    shares = Fractions(train=0.5, val=0.25, test=0.25)
    for split in SPLITS:
        expected = [f"n{row}" for row in range(6) if drawn_split(f"n{row}", shares, 3) == split]
        assert [sample.id for sample in data.listing(split).samples] == expected


def test_val_is_a_share_of_train_only_where_there_is_none(tmp_path: Path, disk: Path) -> None:
    datasets.DatasetDict(train=table(range(40))).save_to_disk(tmp_path / "saved")
    data = opened(tmp_path, val_from_train=0.25)
    train, val = (len(data.listing(split).samples) for split in ("train", "val"))
    assert train + val == 40 and 3 < val < 20
    assert len(opened(disk, val_from_train=0.25).listing("val").samples) == 2


def test_own_names_of_splits_and_classes_can_be_given(disk: Path) -> None:
    data = opened(disk, splits={"val": "test"}, label="label", classes=("cup",))
    listing = data.listing("val")
    assert [sample.label for sample in listing.samples] == ["cup"] and data.classes == ("cup",)
    assert [skip.reason for skip in listing.skipped] == ["label 'mug' is none of the 1 classes"] * 2


def test_a_changed_table_changes_the_state_of_the_data(tmp_path: Path) -> None:
    table(range(4)).save_to_disk(tmp_path / "saved")
    before, again = (data_state(opened(tmp_path), "train") for _ in range(2))
    table(range(1, 5)).save_to_disk(tmp_path / "other")
    assert before == again
    (tmp_path / "saved").rename(tmp_path / "gone")
    (tmp_path / "other").rename(tmp_path / "saved")
    assert data_state(opened(tmp_path), "train") != before


def test_listing_many_rows_takes_little_memory(tmp_path: Path) -> None:
    rows = 20_000
    image = {"bytes": bytes(2000), "path": None}
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": [image] * rows}, features=features).save_to_disk(tmp_path / "saved")
    data = opened(tmp_path, modalities=("rgb",))
    data._tables  # noqa: B018 - opened before the count begins
    tracemalloc.start()
    samples = data.listing("train").samples
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(samples) == rows and used / rows < 50


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        (
            {"images": {"nir": "image"}},
            RecipeError,
            r"data\.images: 'nir' is none of the recipe's modalities: rgb, depth",
        ),
        (
            {"label": "class"},
            DataError,
            r"split 'train' has no column 'class'\. Columns: image, depth, label, text, name",
        ),
        ({"splits": {"train": "all"}}, DataError, r"there is no split 'all'\. Splits: train, validation, test"),
        ({"path": "./no"}, DataError, r"data\.path: .*no is no folder\. Relative paths start from"),
        ({"path": "cache"}, DataError, r"cache: the datasets library cannot load it \("),
    ],
)
def test_what_is_wrong_is_one_message(disk: Path, options: dict[str, Any], kind: type[EdgefwError], text: str) -> None:
    (disk / "cache").mkdir(exist_ok=True)
    with pytest.raises(kind, match=text):
        opened(disk, **options).listing("train")


def test_fractions_and_val_from_train_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"set fractions\.val"):
        HuggingFaceConfig(path="x", fractions={}, val_from_train=0.1)
