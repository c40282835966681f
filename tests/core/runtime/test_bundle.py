"""Bundles: what is written is what is read, and whatever is damaged is found before it is used."""

import hashlib
import json
import pickle
import random
import shutil
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.errors import BundleError
from edgefw.plugins.backends.onnxruntime import open_session
from edgefw.runtime.bundle import open_bundle, pack
from edgefw.runtime.bundle_write import write_bundle
from edgefw.runtime.hashes import SUMS, sha256_of, write_sums
from edgefw.runtime.manifest import Manifest, parse_manifest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, small_bundle):
    return small_bundle.write_small_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


def refused(path) -> str:
    with pytest.raises(BundleError) as caught, open_bundle(path) as opened:
        opened.label_pack()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_was_written_is_read(bundle):
    with open_bundle(bundle) as opened:
        assert opened.modalities == ("rgb", "depth")
        assert opened.artefact().name == "onnxruntime-int8-static"
        assert opened.artefact("onnxruntime-fp32").precision == "fp32"
        assert opened.label_pack().names == ("red", "green", "blue")
        assert opened.file(opened.artefact()).is_file()


def test_hashes_are_those_of_sha256sum(bundle):
    names = {line.split("  ")[1] for line in (bundle / SUMS).read_text().splitlines()}
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert names == files - {SUMS}


def test_a_flipped_bit_anywhere_is_found(copy):
    rng = random.Random(0)
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        good = path.read_bytes()
        places = range(len(good)) if len(good) < 600 else rng.sample(range(len(good)), 40)
        for place in places:
            damaged = bytearray(good)
            damaged[place] ^= 1 << rng.randrange(8)
            path.write_bytes(bytes(damaged))
            assert refused(copy)
        path.write_bytes(good)
    with open_bundle(copy):
        pass


def test_missing_and_truncated_files_are_named(copy):
    artefact = copy / "artefacts/onnxruntime-fp32/model.onnx"
    data = artefact.read_bytes()
    artefact.write_bytes(data[:100])
    assert "model.onnx: damaged or changed" in refused(copy)
    artefact.unlink()
    assert "model.onnx: missing" in refused(copy)
    artefact.write_bytes(data)
    (copy / SUMS).unlink()
    assert "nothing in it can be trusted" in refused(copy)


def test_messages_name_the_archive_and_not_the_folder_that_it_is_unpacked_to(copy, tmp_path):
    with zipfile.ZipFile(tmp_path / "short.edgefw", "w") as archive:
        for path in sorted(
            path for path in copy.rglob("*") if path.is_file() and path.parent.name != "onnxruntime-fp32"
        ):
            archive.write(path, path.relative_to(copy).as_posix())
    file = tmp_path / "short.edgefw"
    assert refused(file).startswith(f"{file}/artefacts/onnxruntime-fp32/model.onnx: missing;")


def test_an_archive_opens_like_its_folder_and_is_reproducible(bundle, tmp_path):
    first, second = tmp_path / "a.edgefw", tmp_path / "b.edgefw"
    pack(bundle, first)
    pack(bundle, second)
    assert first.read_bytes() == second.read_bytes()
    with open_bundle(first) as opened, open_bundle(bundle) as folder:
        assert opened.manifest == folder.manifest
        kept = opened.folder
        assert kept.is_dir()
    assert not kept.exists()


def test_a_flipped_bit_of_an_archive_is_found_or_changes_nothing(bundle, tmp_path):
    archive = tmp_path / "bundle.edgefw"
    pack(bundle, archive)
    good, rng = archive.read_bytes(), random.Random(1)
    with open_bundle(bundle) as folder:
        expected = folder.manifest
    found = 0
    for place in rng.sample(range(len(good)), 150):
        damaged = bytearray(good)
        damaged[place] ^= 1 << rng.randrange(8)
        archive.write_bytes(bytes(damaged))
        try:
            with open_bundle(archive) as opened:
                assert opened.manifest == expected
                assert opened.label_pack().names == ("red", "green", "blue")
        except BundleError:
            found += 1
    assert found > 100


@pytest.mark.parametrize("name", ["../payload", "/etc/hostname", "C:/payload", "a\\..\\payload", "./labels.json"])
def test_a_list_of_hashes_that_names_what_lies_outside_is_refused(copy, tmp_path, name):
    (tmp_path / "payload").write_text("x")
    with (copy / SUMS).open("a") as file:
        file.write(f"{hashlib.sha256(b'x').hexdigest()}  {name}\n")
    assert "a name must be a relative path inside the bundle" in refused(copy)
    with pytest.raises(BundleError, match="must be a relative path inside the bundle"):
        pack(copy, tmp_path / "b.edgefw")
    assert not (tmp_path / "b.edgefw").exists()


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("evil.pkl", True),
        ("out.json", True),
        ("artefacts/onnxruntime-fp32/model.onnx.data", True),
        ("artefacts/onnxruntime-fp32/model.onnx.data", False),
        ("artefacts/onnxruntime-fp32/sub/w.bin", False),
        ("artefacts/onnxruntime-fp32/sub/.w.bin", False),
        ("artefacts/onnxruntime-fp32/.sub/w.bin", False),
        ("artefacts/onnxruntime-fp32/.DS_Store", False),
        ("weights.pkl", False),
        ("notes/Teacher.PT", False),
        (".hidden.pickle", False),
        ("notes/numbers.bin", False),
    ],
)
def test_a_file_that_the_manifest_does_not_name_is_refused(copy, name, listed):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(pickle.dumps("boom"))
    if listed:
        write_sums(copy)
    assert f"copy: holds '{name}', which its manifest does not name. If it is yours, put it elsewhere" in refused(copy)


@pytest.mark.parametrize("text", [b"", b"\x80", b"read me", b"\x80\x06", b"PK\x03\x04"])
def test_a_note_beside_the_files_is_no_pickle(copy, text):
    (copy / "notes.bin").write_bytes(text)
    (copy / "gone.bin").symlink_to(copy / "nowhere")
    with open_bundle(copy) as bundle:
        assert bundle.folder == copy


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_known_by_its_first_bytes(copy, protocol):
    (copy / "notes.txt").write_bytes(pickle.dumps([1, 2], protocol))
    assert "holds 'notes.txt', which its manifest does not name" in refused(copy)


@pytest.mark.parametrize("place", ["w.bin", "sub/w.bin", ".w.bin", ".sub/w.bin"])
def test_weights_in_a_file_of_their_own_are_found_before_a_runtime_reads_them(copy, small_bundle, tmp_path, place):
    import onnx

    file = copy / "artefacts/onnxruntime-fp32/model.onnx"
    (file.parent / place).parent.mkdir(exist_ok=True)
    onnx.save(onnx.load(file), file, save_as_external_data=True, location=place, size_threshold=0)
    stated = {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
    small_bundle.change_manifest(copy, lambda manifest: manifest["artefacts"][0].update(stated))
    sums = (copy / SUMS).read_text().splitlines(keepends=True)
    (copy / SUMS).write_text("".join(line for line in sums if place not in line))
    open_session(file, 1)  # the file itself is one that would be run
    said = f"holds 'artefacts/onnxruntime-fp32/{place}', which its manifest does not name"
    assert said in refused(copy)
    with pytest.raises(BundleError, match=said):
        pack(copy, tmp_path / "b.edgefw")
    assert not (tmp_path / "b.edgefw").exists()


def test_a_link_to_a_folder_beside_a_compiled_file_is_refused(copy, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (copy / "artefacts/onnxruntime-fp32/sub").symlink_to(tmp_path / "elsewhere")
    assert "holds 'artefacts/onnxruntime-fp32/sub', which its manifest does not name" in refused(copy)


def test_around_a_compiled_file_at_the_top_nothing_else_may_lie(copy, small_bundle):
    (copy / "artefacts/onnxruntime-fp32/model.onnx").rename(copy / "model.onnx")
    small_bundle.change_manifest(copy, lambda manifest: manifest["artefacts"][0].update(file="model.onnx"))
    with open_bundle(copy):
        pass
    (copy / "w.bin").write_bytes(b"x")
    assert "holds 'w.bin', which its manifest does not name" in refused(copy)


def test_a_compiled_file_that_nothing_covers_is_told(copy, small_bundle):
    small_bundle.change_manifest(copy, lambda manifest: manifest["artefacts"][0].update(file="absent/model.onnx"))
    shutil.rmtree(copy / "artefacts/onnxruntime-fp32")
    write_sums(copy)
    assert "disagree about absent/model.onnx" in refused(copy)


def test_a_file_that_is_no_bundle_is_not_overwritten(copy, tmp_path):
    script, older = tmp_path / "train.py", tmp_path / "older.edgefw"
    script.write_text("print(1)\n")
    with pytest.raises(BundleError, match=r"train\.py: is there already, and is no bundle\. Name another file"):
        pack(copy, script)
    assert script.read_text() == "print(1)\n"
    pack(copy, older)
    pack(copy, older)
    (tmp_path / "empty.edgefw").touch()
    pack(copy, tmp_path / "empty.edgefw")


@pytest.mark.parametrize("change", [{"max_drop": -5.0}, {"min_cosine": -0.1}])
def test_a_limit_below_nothing_is_refused(copy, small_bundle, change):
    small_bundle.change_manifest(copy, lambda manifest: manifest["budget"].update(change))
    assert "greater than or equal to 0" in refused(copy)


def test_half_a_surrogate_pair_is_refused(copy, small_bundle):
    licence = {"student": "\ud800 x"}
    small_bundle.change_manifest(copy, lambda manifest: manifest["provenance"].update(licences=licence))
    assert "manifest.json: cannot be read" in refused(copy) and "surrogates not allowed" in refused(copy)


def test_what_could_not_be_opened_again_is_not_packed(copy, small_bundle, tmp_path):
    (copy / "artefacts/onnxruntime-fp32").rename(copy / "artefacts/.fp32")
    small_bundle.change_manifest(copy, lambda own: own["artefacts"][0].update(file="artefacts/.fp32/model.onnx"))
    with pytest.raises(BundleError) as caught:
        pack(copy, tmp_path / "b.edgefw")
    assert str(caught.value) == (
        f"{copy}: cannot be packed: 'artefacts/.fp32/model.onnx' has a hidden name, which is not unpacked again. Rename it."
    )
    assert not (tmp_path / "b.edgefw").exists()


def test_notes_of_its_own_lie_in_a_folder_unread(copy):
    (copy / "out.json").write_text("mine")
    with open_bundle(copy):
        pass


def test_hidden_files_that_a_system_left_are_not_looked_at(copy):
    (copy / ".DS_Store").write_bytes(b"x")
    (copy / ".git").mkdir()
    (copy / ".git" / "config").write_bytes(b"x")
    with open_bundle(copy):
        pass
    write_sums(copy)
    assert "holds '.DS_Store', which its manifest does not name" in refused(copy)


def test_a_size_that_the_manifest_states_wrongly_is_told(copy, small_bundle):
    small_bundle.change_manifest(copy, lambda manifest: manifest["artefacts"][0].update(bytes=7))
    assert "artefacts/onnxruntime-fp32/model.onnx has " in refused(copy)
    assert " bytes; the manifest says 7." in refused(copy)


def test_things_that_are_no_bundles_give_one_message(tmp_path, bundle):
    (tmp_path / "text.edgefw").write_text("hello")
    (tmp_path / "empty").mkdir()
    assert "no bundle" in refused(tmp_path / "text.edgefw")
    assert "there is no manifest.json" in refused(tmp_path / "empty")
    assert "there is no such bundle" in refused(tmp_path / "absent")


def test_the_bundle_of_a_run_folder_is_found(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "run" / "bundle")
    with open_bundle(tmp_path / "run") as opened:
        assert opened.modalities == ("rgb", "depth")


def test_unknown_artefacts_and_modalities_are_told_with_what_there_is(bundle):
    with open_bundle(bundle) as opened:
        with pytest.raises(BundleError, match="no artefact 'x'. It has: onnxruntime-fp32, onnxruntime-int8-static"):
            opened.artefact("x")
        with pytest.raises(BundleError, match="does not take thermal"):
            opened.artefact(None, "thermal")


def test_a_file_of_several_images_takes_what_it_names(tmp_path, pair_bundle):
    folder = pair_bundle.write_pair_bundle(tmp_path / "b")
    with open_bundle(folder) as opened:
        assert opened.artefact(None, "rgb+depth").roles == ("rgb+depth",)
        assert opened.artefact(None, "depth").name == "onnxruntime-fp32"
        assert (opened.serves("depth"), opened.serves("nir")) == (True, False)
        with pytest.raises(BundleError, match="takes rgb and depth together, and this is rgb alone"):
            opened.artefact("onnxruntime-fp32-rgb+depth", "rgb")
    document = json.loads((folder / "manifest.json").read_text())
    document["artefacts"][1]["modalities"] = ["depth", "rgb"]
    (folder / "manifest.json").write_text(json.dumps(document))
    write_sums(folder)
    assert "takes rgb, depth together, and its modalities are depth, rgb; they must be the same" in refused(folder)


def test_default_gives_way_to_one_that_serves_the_modality(tmp_path, small_bundle):
    folder = small_bundle.write_small_bundle(tmp_path / "b")
    document = json.loads((folder / "manifest.json").read_text())
    document["artefacts"][1]["modalities"] = ["rgb"]
    (folder / "manifest.json").write_text(json.dumps(document))
    write_sums(folder)
    with open_bundle(folder) as opened:
        assert opened.artefact(modality="rgb").name == "onnxruntime-int8-static"
        assert opened.artefact(modality="depth").name == "onnxruntime-fp32"
        with pytest.raises(BundleError, match="'onnxruntime-int8-static' does not take depth. Fits: onnxruntime-fp32"):
            opened.artefact("onnxruntime-int8-static", "depth")


def test_a_pack_of_another_encoder_is_refused(tmp_path, small_bundle):
    folder = small_bundle.write_small_bundle(tmp_path / "b", encoder="f" * 64)
    assert "made for encoder eeeeeeeeeeee, the bundle holds ffffffffffff" in refused(folder)


def test_a_manifest_with_a_number_that_is_no_json_is_refused(copy):
    text = (copy / "manifest.json").read_text().replace('"max_drop": 50.0', '"max_drop": Infinity')
    (copy / "manifest.json").write_text(text)
    write_sums(copy)
    assert "Infinity is no JSON number" in refused(copy)


def test_writing_replaces_an_earlier_bundle_as_a_whole(tmp_path, small_bundle):
    folder = small_bundle.write_small_bundle(tmp_path / "b")
    (folder / "stale.txt").write_text("old")
    small_bundle.write_small_bundle(folder)
    assert not (folder / "stale.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b-parts"]


def test_a_file_that_is_not_the_described_one_is_never_shipped(tmp_path, small_bundle):
    folder = small_bundle.write_small_bundle(tmp_path / "b")
    manifest = Manifest.model_validate(json.loads((folder / "manifest.json").read_text()))
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other")
    files = {entry.name: other for entry in manifest.artefacts}
    with pytest.raises(BundleError, match="changed while the bundle was written"):
        write_bundle(tmp_path / "new", manifest, files)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (("format",), 9, "made by a newer edgefw (bundle format 9); this one reads 1 and 2. Upgrade: pip install"),
        (("encoder",), "xyz", "encoder: "),
        (("default",), "nothing", "default 'nothing' is none of the artefacts"),
        (("artefacts", 0, "file"), "../model.onnx", "must be a relative path inside the bundle"),
        (("artefacts", 0, "file"), "/etc/passwd", "must be a relative path inside the bundle"),
        (("artefacts", 0, "file"), "C:/model.onnx", "must be a relative path inside the bundle"),
        (("artefacts", 0, "file"), "a\\b", "must be a relative path inside the bundle"),
        (("artefacts", 0, "bytes"), "12", "artefacts.0.bytes: "),
        (("artefacts", 0, "modalities"), ["sonar"], "names unknown modalities sonar"),
        (("artefacts", 0, "colour"), 1, "artefacts.0.colour: "),
        (("artefacts", 1, "name"), "onnxruntime-fp32", "two artefacts share a name"),
        (("modalities",), {}, "modalities: "),
    ],
)
def test_wrong_manifests_are_refused_with_the_key(bundle, key, value, message):
    document = json.loads((bundle / "manifest.json").read_text())
    place = document
    for part in key[:-1]:
        place = place[part]
    place[key[-1]] = value
    with pytest.raises(BundleError) as caught:
        parse_manifest(document, "manifest.json")
    assert str(caught.value).startswith("manifest.json: ")
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_manifest_with_any_value_replaced_is_refused_or_well_formed(bundle, data):
    document = json.loads((bundle / "manifest.json").read_text())
    place, key = document, data.draw(st.sampled_from(sorted(document)))
    while data.draw(st.booleans()) and isinstance(place[key], dict | list) and place[key]:
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
    place[key] = data.draw(JSON)
    try:
        manifest = parse_manifest(document, "m.json")
    except BundleError as error:
        assert str(error).startswith("m.json: ")
    else:
        assert parse_manifest(manifest.to_json(), "m.json") == manifest
