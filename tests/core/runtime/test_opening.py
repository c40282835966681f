"""How many runners a backend opens, and what is done when it opens others than it was asked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgefw.errors import BundleError, PluginError
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.runtime.bundle import open_bundle, pack
from edgefw.runtime.hashes import sha256_of
from edgefw.runtime.opening import Opener


@pytest.fixture
def opened(tmp_path, small_bundle):
    with open_bundle(small_bundle.write_small_bundle(tmp_path / "bundle")) as opened:
        yield opened


class One:
    """A backend that runs one image at a time."""

    def open(self, file, threads=None):
        return OnnxRuntimeBackend(OnnxRuntimeConfig()).open(file, threads)


class Many(One):
    """A backend whose runners take these inputs."""

    def __init__(self, *inputs: str) -> None:
        self.inputs = inputs

    def open_many(self, file, most, threads=None):
        return [SimpleNamespace(inputs=(name,)) for name in self.inputs]


class With(Opener):
    """An opener that knows one backend."""

    def __init__(self, bundle, piece) -> None:
        super().__init__(bundle)
        self.piece = piece

    def backend(self, artefact):
        return self.piece


def test_as_many_runners_as_threads_and_no_more_than_wanted(opened):
    opener, entry = Opener(opened), opened.artefact("onnxruntime-fp32")
    assert len(opener.runners_at_once(entry, 4, 3)) == 3
    assert len(opener.runners_at_once(entry, 2, 3)) == 2
    assert len(opener.runners_at_once(entry, 1, 3)) == 1
    assert opener.why_no_more(entry, 3) == "there are 3 CPU threads, see --threads"
    assert opener.why_no_more(entry, 1) == "there is 1 CPU thread, see --threads"


def test_a_backend_without_open_many_gives_one(opened):
    opener, entry = With(opened, One()), opened.artefact("onnxruntime-fp32")
    assert len(opener.runners_at_once(entry, 4, 3)) == 1
    assert opener.why_no_more(entry, 1) == "backend 'onnxruntime' encodes one frame at a time"


@pytest.mark.parametrize("count", [0, 3])
def test_a_backend_that_opens_none_or_too_many_is_named(opened, count):
    opener, entry = With(opened, Many(*["image"] * count)), opened.artefact("onnxruntime-fp32")
    with pytest.raises(PluginError, match=f"backend 'onnxruntime' opened {count} runners; 1 to 2 were asked for"):
        opener.runners_at_once(entry, 2, 2)


def test_the_inputs_of_every_runner_are_those_of_the_manifest(opened):
    entry = opened.artefact("onnxruntime-fp32")
    (name,) = entry.inputs
    with pytest.raises(BundleError, match=f"takes sound; the manifest says {name}"):
        With(opened, Many(name, "sound")).runners_at_once(entry, 2, 2)


def test_a_file_that_its_runtime_refuses_is_named_within_the_archive(opened, tmp_path, small_bundle):
    file = opened.file(opened.artefact("onnxruntime-fp32"))
    file.write_bytes(b"no graph")
    stated = {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
    small_bundle.change_manifest(opened.folder, lambda manifest: manifest["artefacts"][0].update(stated))
    pack(opened.folder, tmp_path / "b.edgefw")
    for source, place in ((opened.folder, opened.folder), (tmp_path / "b.edgefw", tmp_path / "b.edgefw")):
        with open_bundle(source) as bundle, pytest.raises(BundleError) as caught:
            Opener(bundle).runner(bundle.artefact("onnxruntime-fp32"))
        assert str(caught.value).startswith(
            f"{place}/artefacts/onnxruntime-fp32/model.onnx: onnxruntime cannot load it"
        )
