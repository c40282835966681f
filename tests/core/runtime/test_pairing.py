"""Which files are one scene: names of sources, and names of files below them."""

import pytest

from edgefw.errors import DataError
from edgefw.runtime.pairing import named_sources, scenes

SENSORS = ("rgb", "depth")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("rgb/a/1.jpg", "rgb/2.jpg", "depth/2.png", "depth/a/1.png", "depth/b/1.png", "depth/.hidden/2.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sources_are_named_in_any_order_and_come_in_the_bundles(folder):
    assert named_sources(["depth=depth", "rgb=rgb/a", "rgb=rgb/2.jpg"], SENSORS) == {
        "rgb": ["rgb/a", "rgb/2.jpg"], "depth": ["depth"]
    }  # fmt: skip
    assert list(named_sources(["depth=depth", "rgb=rgb"], SENSORS)) == ["rgb", "depth"]


def test_what_exists_as_it_is_written_is_no_name(folder):
    (folder / "rgb=1").mkdir()
    (folder / "x=1.png").write_bytes(b"x")
    assert named_sources(["rgb=1", "x=*.png", "rgb"], SENSORS) == {}


def test_files_are_paired_by_their_path_without_the_ending(folder):
    found = scenes({"rgb": ["rgb"], "depth": ["depth"]})
    assert [(scene.name, {name: str(path) for name, path in scene.files.items()}) for scene in found] == [
        ("2", {"rgb": "rgb/2.jpg", "depth": "depth/2.png"}),
        ("a/1", {"rgb": "rgb/a/1.jpg", "depth": "depth/a/1.png"}),
        ("b/1", {"depth": "depth/b/1.png"}),
    ]


def test_files_and_patterns_are_paired_by_their_name(folder):
    found = scenes({"rgb": ["rgb/*/1.jpg"], "depth": ["depth/b/1.png"]})
    assert [(scene.name, sorted(scene.files)) for scene in found] == [("1", ["depth", "rgb"])]


def test_names_with_a_dot_lose_their_last_ending_only(folder):
    (folder / "rgb" / "x.1.jpg").write_bytes(b"x")
    (folder / "depth" / "x.1.png").write_bytes(b"x")
    (folder / "depth" / "x.2.png").write_bytes(b"x")
    names = {scene.name: len(scene.files) for scene in scenes({"rgb": ["rgb"], "depth": ["depth"]})}
    assert (names["x.1"], names["x.2"]) == (2, 1)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["rgb=rgb", "nir=depth"], "nir=depth: no modality 'nir'. The bundle has: rgb, depth."),
        (["rgb=rgb", "depth"], "depth: other sources are named by their sensor. Name this one too: rgb=depth"),
        (["rgb=rgb", "depth=absent"], "absent: there is no such file or folder."),
    ],
)
def test_sources_that_cannot_be_used_are_told(folder, texts, message):
    with pytest.raises(DataError) as error:
        named_sources(texts, SENSORS)
    assert str(error.value) == message


def test_two_files_of_one_name_are_told(folder):
    (folder / "rgb" / "2.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"rgb/2.jpg and rgb/2.png: two rgb images are called '2'"):
        scenes({"rgb": ["rgb"], "depth": ["depth"]})
