"""The webdataset data set against the webdataset library, on made-up and on real shards."""

from __future__ import annotations

import csv
import io
import json
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

import edgefw
from edgefw.data.listing import scan
from edgefw.data.tar_index import index_tar
from edgefw.errors import DataError, RecipeError
from edgefw.plugins.datasets.webdataset import WebDataset, WebDatasetConfig, build, grouped
from edgefw.plugins.modalities.depth import Depth, DepthConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def pack(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def opened(
    root: Path, cache: Path | None = None, modalities: tuple[str, ...] = ("rgb", "depth"), **options
) -> WebDataset:
    context = edgefw.BuildContext(path="data", base=root, cache=cache or root, modalities=modalities)
    return build(WebDatasetConfig(**options), context)


def library(*shards: Path) -> list[dict[str, object]]:
    urls = [str(shard) for shard in shards]
    return list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))


PARTS = st.sampled_from(["a", "b", "A", ".", "..", "/", "jpg", "JPG", "x.y", "__m__", "__m__/", "cls", " "])


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(PARTS, min_size=1, max_size=5).map("".join), max_size=10))
def test_members_are_grouped_as_the_library_does(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("shard")
    shard = pack(folder / "s.tar", [(name, str(number).encode()) for number, name in enumerate(names)])
    index, data = index_tar(shard, folder), shard.read_bytes()

    def content(number: int) -> bytes:
        return data[index.offset[number] : index.offset[number] + index.size[number]]

    try:
        expected = [
            (sample["__key__"], {ending: value for ending, value in sample.items() if not ending.startswith("__")})
            for sample in library(shard)
        ]
    except ValueError:  # the library refuses two members of one ending
        with pytest.raises(DataError, match="has two members"):
            list(grouped(index))
        return
    ours = [(key, {ending: content(number) for ending, number in members.items()}) for key, members in grouped(index)]
    assert [(key, {e: v for e, v in members.items() if not e.startswith("__")}) for key, members in ours] == expected


def simple(folder: Path) -> None:
    pack(
        folder / "t-0.tar",
        [("a.jpg", b"A"), ("a.depth.png", b"D"), ("a.json", b'{"class": "cat", "info": {"text": "one cat"}}')],
    )
    pack(folder / "t-1.tar", [("a.JPEG", b"B"), ("a.json", b'{"class": 1}'), ("b.jpg", b"C")])


MEMBERS = {"rgb": "jpg;jpeg", "depth": "depth.png"}


def test_a_sample_has_its_members_label_and_caption(tmp_path: Path) -> None:
    simple(tmp_path)
    data = opened(
        tmp_path, shards={"train": "t-{0..1}.tar"}, members=MEMBERS, label="json:class", classes=("cat", "dog"),
        licence="CC0",
    )  # fmt: skip
    first, second, third = samples = data.listing("train").samples
    assert [sample.id for sample in samples] == ["t-0/a", "t-1/a", "t-1/b"]
    assert [sample.label for sample in samples] == ["cat", "dog", None]
    assert [{name: reference.read() for name, reference in sample.images.items()} for sample in samples] == [
        {"rgb": b"A", "depth": b"D"}, {"rgb": b"B"}, {"rgb": b"C"},
    ]  # fmt: skip
    assert data.classes == ("cat", "dog") and data.licence == "CC0" and len(data.listing("val").samples) == 0
    assert (
        first.images["rgb"].where.endswith("t-0.tar:a.jpg") and samples[1:][0].id == second.id and third.caption is None
    )


def test_captions_are_read_when_a_sample_is(tmp_path: Path) -> None:
    simple(tmp_path)
    data = opened(tmp_path, shards={"train": "t-0.tar"}, members=MEMBERS, caption="json:info.text")
    assert data.listing("train").samples[0].caption == "one cat"
    missing = opened(tmp_path, shards={"train": "t-1.tar"}, members=MEMBERS, caption="json:info.text").listing("train")
    assert [(sample.id, sample.caption) for sample in missing.samples] == [("t-1/b", None)]
    assert [(skip.id, skip.reason) for skip in missing.skipped] == [("t-1/a", "the JSON has no field 'info.text'")]


def test_samples_survive_pickling_for_loader_processes(tmp_path: Path) -> None:
    simple(tmp_path)
    samples = opened(tmp_path, shards={"train": "t-*.tar"}, members=MEMBERS).listing("train").samples
    assert list(pickle.loads(pickle.dumps(samples))) == list(samples)


def test_unusable_labels_are_listed_and_the_rest_is_kept(tmp_path: Path) -> None:
    labels = [b"0", b"7", b"pony", b"\xff", b"1\n", b""]
    pack(tmp_path / "s.tar", [m for n, label in enumerate(labels) for m in ((f"{n}.jpg", b"x"), (f"{n}.cls", label))])
    listing = opened(
        tmp_path, modalities=("rgb",), shards={"test": "s.tar"}, label="cls", classes=("cat", "dog")
    ).listing("test")
    assert [(sample.id, sample.label) for sample in listing.samples] == [("s/0", "cat"), ("s/4", "dog")]
    assert [skip.reason for skip in listing.skipped] == [
        "label 7 is beyond the 2 classes, which count from 0",
        "label 'pony' is none of the 2 classes",
        "the text is not UTF-8",
        "label is empty",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "the JSON cannot be read"),
        (b"[1]", "the JSON has no field 'class'"),
        (b'{"klass": 1}', "the JSON has no field 'class'"),
        (b'{"class": ["cat"]}', "is no text and no number"),
        (b'{"class": null}', "is no text and no number"),
    ],
)
def test_json_without_the_field_is_a_listed_skip(tmp_path: Path, text: bytes, reason: str) -> None:
    pack(tmp_path / "s.tar", [("a.jpg", b"x"), ("a.json", text)])
    listing = opened(tmp_path, shards={"train": "s.tar"}, members={"rgb": "jpg"}, label="json:class").listing("train")
    assert not listing.samples and reason in listing.skipped[0].reason


def test_without_classes_the_labels_that_occur_are_the_classes(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.txt", b"dog\n")])
    pack(tmp_path / "b.tar", [("1.jpg", b"x"), ("1.txt", b"cat")])
    data = opened(tmp_path, shards={"train": "a.tar", "test": "b.tar"}, members={"rgb": "jpg"}, label="txt")
    assert data.classes == ("cat", "dog")


def test_wrong_options_are_refused_at_once(tmp_path: Path) -> None:
    simple(tmp_path)
    with pytest.raises(DataError, match=r"data\.shards\.train: .*x-\*\.tar: no file matches"):
        opened(tmp_path, shards={"train": "x-*.tar"}, members=MEMBERS)
    with pytest.raises(RecipeError, match=r"data\.shards\.val: the braces of 't-\{0.tar' do not match"):
        opened(tmp_path, shards={"val": "t-{0.tar"}, members=MEMBERS)
    with pytest.raises(DataError, match=r"t-0\.tar is in train and in test"):
        opened(tmp_path, shards={"train": "t-*.tar", "test": "t-0.tar"}, members=MEMBERS)
    with pytest.raises(RecipeError, match=r"data\.members: 'nir' is none of the recipe's modalities: rgb, depth"):
        opened(tmp_path, shards={"train": "t-*.tar"}, members={"nir": "tif"})
    with pytest.raises(RecipeError, match=r"data\.classes: .* cannot be read"):
        opened(tmp_path, shards={"train": "t-*.tar"}, members=MEMBERS, classes="classes.txt")


@pytest.mark.skipif(not (SHARED / "furniture-rgbd").is_dir(), reason="needs ../shared/data/furniture-rgbd")
def test_real_rgb_d_shards_read_as_the_library_reads_them(tmp_path: Path) -> None:
    root = SHARED / "furniture-rgbd"
    data = opened(
        root, tmp_path, shards={"val": "val-*.tar", "test": "test-{000000..000001}.tar"}, classes="classes.txt",
        members={"rgb": "jpg", "depth": "depth.png"}, label="json:class_index", caption="json:model_name",
    )  # fmt: skip
    samples = data.listing("val").samples
    reference = library(root / "val-000000.tar")
    assert len(samples) == len(reference) == 621 and len(data.listing("test").samples) == 1121
    written = {row["key"]: row["class"] for row in csv.DictReader((root / "labels.csv").open())}
    for sample, expected in zip(samples, reference):
        about = json.loads(expected["json"])
        assert sample.id == f"val-000000/{expected['__key__']}"
        assert sample.images["rgb"].read() == expected["jpg"]
        assert sample.images["depth"].read() == expected["depth.png"]
        assert sample.label == about["class"] == written[expected["__key__"]] and sample.caption == about["model_name"]
    listing = scan(data, "val", {"rgb": Rgb(RgbConfig()), "depth": Depth(DepthConfig())})
    assert len(listing.samples) == 621 and not listing.skipped


@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="needs ../shared/data/cifar10")
def test_real_labels_and_any_order(tmp_path: Path) -> None:
    root = SHARED / "cifar10"
    data = opened(root, tmp_path, ("rgb",), shards={"test": "test-*.tar"}, label="cls", classes="classes.txt")
    samples = data.listing("test").samples
    assert len(samples) == 10_000
    counts = {name: 0 for name in data.classes}
    for sample in samples:
        assert sample.label is not None and sample.label in sample.id
        counts[sample.label] += 1
    assert set(counts.values()) == {1000}
    expected = {f"test-000001/{sample['__key__']}": sample["jpg"] for sample in library(root / "test-000001.tar")}
    for index in np.random.default_rng(0).permutation(10_000)[:200]:
        sample = samples[int(index)]
        if sample.id in expected:
            assert sample.images["rgb"].read() == expected[sample.id]


@pytest.mark.slow
def test_memory_per_sample_is_small(tmp_path: Path) -> None:
    members = [m for n in range(50_000) for m in ((f"{n:07}.jpg", b"x"), (f"{n:07}.cls", b"%d" % (n % 10)))]
    pack(tmp_path / "s.tar", members)
    del members
    index_tar(tmp_path / "s.tar", tmp_path)
    tracemalloc.start()
    data = opened(tmp_path, modalities=("rgb",), shards={"train": "s.tar"}, label="cls")
    assert len(data.listing("train").samples) == 50_000
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / 50_000 < 200 and peak / 50_000 < 400
