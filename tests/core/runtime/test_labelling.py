"""Labelling: what a bundle says about files, in batches of any size, with unreadable ones told."""

import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgefw.errors import BundleError, DataError, PluginError
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.label_pack import Label, LabelPack
from edgefw.runtime.labelling import Encoder, Labelled, Unreadable, decide, label_images, read_inputs
from edgefw.runtime.opening import Opener, single_input


@pytest.fixture
def opened(bundle):
    with open_bundle(bundle) as opened:
        yield opened


def encoder_of(opened, role="rgb", artefact=None):
    opener, entry = Opener(opened), opened.artefact(artefact, role)
    return Encoder(
        runner=opener.runner(entry, 1),
        input=single_input(entry),
        modality=opener.modality(role),
        preprocessing=opener.preprocessing(role),
    )


@pytest.mark.parametrize("artefact", ["onnxruntime-fp32", "onnxruntime-int8-static"])
@pytest.mark.parametrize("batch", [1, 5, 100])
def test_pictures_get_the_label_of_their_colour(opened, pictures, artefact, batch):
    paths = sorted(pictures.rglob("*.png"))
    found = list(label_images(encoder_of(opened, artefact=artefact), opened.label_pack(), paths, batch, top=3))
    assert [item.path for item in found] == paths
    assert [item.label for item in found] == [path.parent.name for path in paths]
    for item in found:
        assert [score for _, score in item.ranking] == sorted((score for _, score in item.ranking), reverse=True)
        assert sum(score for _, score in item.ranking) == pytest.approx(1.0)


def test_answers_do_not_depend_on_the_batch(opened, pictures):
    paths = sorted(pictures.rglob("*.png"))
    encoder, pack = encoder_of(opened), opened.label_pack()
    one = [item.ranking[0][1] for item in label_images(encoder, pack, paths, 1)]
    many = [item.ranking[0][1] for item in label_images(encoder, pack, paths, 7)]
    assert one == pytest.approx(many, rel=1e-5)


def test_unreadable_files_are_told_and_the_rest_is_labelled(opened, pictures, tmp_path):
    bad, empty = tmp_path / "bad.png", tmp_path / "empty.png"
    bad.write_bytes(b"not a picture")
    empty.write_bytes(b"")
    good = sorted(pictures.rglob("*.png"))[:2]
    paths = [bad, good[0], tmp_path / "absent.png", good[1], empty]
    found = list(label_images(encoder_of(opened), opened.label_pack(), paths, batch=2))
    unreadable = [item for item in found if isinstance(item, Unreadable)]
    assert [item.path for item in unreadable] == [bad, tmp_path / "absent.png", empty]
    assert unreadable[0].reason == "no image format that Pillow knows."
    assert "cannot be read" in unreadable[1].reason
    assert [item.path for item in found if isinstance(item, Labelled)] == good


def test_files_are_read_ahead_no_further_than_a_batch(opened, pictures):
    taken, path = [], min(pictures.rglob("*.png"))

    def paths():
        for number in range(1000):
            taken.append(number)
            yield path

    before = threading.active_count()
    results = label_images(encoder_of(opened), opened.label_pack(), paths(), batch=8)
    next(results)
    time.sleep(0.2)
    assert 8 < len(taken) <= 16  # one batch, and the next one
    results.close()
    assert threading.active_count() == before


def test_no_more_threads_read_than_are_allowed(opened, pictures):
    class Noting:
        """Which threads decode."""

        def __init__(self, modality) -> None:
            self.modality, self.threads = modality, set()

        def decode(self, data, where):
            self.threads.add(threading.current_thread().name)
            time.sleep(0.002)
            return self.modality.decode(data, where)

    encoder = encoder_of(opened)
    noting = Noting(encoder.modality)
    watched = replace(encoder, modality=noting)
    list(label_images(watched, opened.label_pack(), sorted(pictures.rglob("*.png")), batch=4, threads=1))
    assert len(noting.threads) == 1


def test_unreadable_files_are_told_in_their_place(opened, pictures, tmp_path):
    good = sorted(pictures.rglob("*.png"))
    paths = [path for at, picture in enumerate(good) for path in (picture, tmp_path / f"absent-{at}.png")]
    assert [item if isinstance(item, Path) else item[0] for item in _paths(opened, paths)] == paths


def _paths(opened, paths):
    for item in read_inputs(encoder_of(opened), paths, 4):
        yield item.path if isinstance(item, Unreadable) else item


def test_a_label_below_its_threshold_is_not_said(opened):
    vectors = np.eye(3, dtype=np.float32)
    labels = [Label(name=name, vectors=vectors[[i]], threshold=0.5) for i, name in enumerate("abc")]
    pack = LabelPack(labels=labels, logit_scale=1.0, encoder="e" * 64)
    unbeaten = np.zeros(3, bool)
    assert decide("x", np.array([0.4, 0.3, 0.3]), unbeaten, pack, 1).label is None
    assert decide("x", np.array([0.4, 0.3, 0.3]), unbeaten, pack, 1).to_json()["score"] == 0.4
    assert decide("x", np.array([0.2, 0.5, 0.3]), unbeaten, pack, 2).label == "b"
    assert decide("x", np.array([0.2, 0.5, 0.3]), np.array([False, True, False]), pack, 2).label is None


def test_memory_does_not_grow_with_the_number_of_images(opened, pictures):
    encoder, pack = encoder_of(opened), opened.label_pack()
    path = min(pictures.rglob("*.png"))

    def peak(count):
        tracemalloc.start()
        for _ in label_images(encoder, pack, (path for _ in range(count)), batch=8):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(16)
    assert peak(400) < 1.5 * peak(40) + 100_000


def test_depth_images_go_through_their_own_contract(opened, tmp_path):
    values = np.linspace(500, 3000, 20 * 20).reshape(20, 20).astype(np.uint16)
    from PIL import Image

    Image.fromarray(values).save(tmp_path / "depth.png")
    encoder = encoder_of(opened, "depth")
    assert encoder.prepare((tmp_path / "depth.png").read_bytes(), "d").shape == (3, 16, 16)
    (item,) = label_images(encoder, opened.label_pack(), [tmp_path / "depth.png"])
    assert isinstance(item, Labelled)


def test_a_colour_photograph_is_no_depth_map(opened, pictures):
    path = min(pictures.rglob("*.png"))
    (item,) = label_images(encoder_of(opened, "depth"), opened.label_pack(), [path])
    assert "colour image" in item.reason


def test_numbers_that_are_not_finite_stop_the_work(opened, pictures):
    class Broken:
        inputs = ("image",)

        def run(self, feeds):
            return np.full((len(feeds["image"]), 8), np.nan, np.float32)

    encoder = encoder_of(opened)
    broken = Encoder(runner=Broken(), input="image", modality=encoder.modality, preprocessing=encoder.preprocessing)
    with pytest.raises(DataError, match="not finite"):
        list(label_images(broken, opened.label_pack(), [min(pictures.rglob("*.png"))]))


def test_unknown_sensors_and_techniques_are_told(tmp_path, small_bundle, bundle):
    with open_bundle(bundle) as opened, pytest.raises(BundleError, match="no modality 'sonar'. It has: rgb, depth"):
        Opener(opened).modality("sonar")
    import json

    document = json.loads((bundle / "manifest.json").read_text())["modalities"]
    document["rgb"]["technique"] = "rbg"
    folder = small_bundle.write_small_bundle(tmp_path / "b", modalities=document)
    with open_bundle(folder) as opened, pytest.raises(PluginError, match="modalities.rgb: .*rbg"):
        Opener(opened).modality("rgb")
    document["rgb"] = {**document["rgb"], "technique": "rgb", "options": {"colour": "yes"}}
    folder = small_bundle.write_small_bundle(tmp_path / "c", modalities=document)
    with open_bundle(folder) as opened, pytest.raises(BundleError, match="modality 'rgb': colour: "):
        Opener(opened).modality("rgb")
