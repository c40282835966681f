"""The programs in examples/ label pictures as `edgefw label` does, to the last printed digit, without edgefw."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from edgefw.cli.doctor import compiler
from edgefw.cli.main import run as command_line
from edgefw.runtime.hashes import write_sums

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(Path(__file__).parent / "fixtures"))
CROP = [
    {"name": "resize", "size": 20, "filter": "bilinear", "fit": "shortest"},
    {"name": "centre-crop", "size": 16},
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    """Photographs of several shapes, wider and higher, larger and smaller than the network's, with a clear colour each."""
    from small_bundle import COLOURS, picture

    folder, found = tmp_path_factory.mktemp("pictures"), []
    for number, (width, height) in enumerate([(40, 30), (31, 57), (16, 16), (9, 12), (200, 131), (16, 25)]):
        name, colour = list(COLOURS.items())[number % 3]
        path = folder / f"{number}-{name}.ppm"
        Image.fromarray(picture(colour, number, 200)).crop((0, 0, width, height)).save(path)
        found.append(str(path))
    return found


@pytest.fixture(scope="module", params=["stretch", "crop", "compact"])
def bundle(request, tmp_path_factory) -> Path:
    """The small bundle: stretched; cropped, with float16 vectors and a threshold that one label misses; or with a pack of
    int8 vectors, synonyms and negatives."""
    from small_bundle import change_manifest, write_small_bundle

    folder = write_small_bundle(tmp_path_factory.mktemp(request.param) / "bundle")
    if request.param == "crop":
        change_manifest(folder, _crop)
        _as_float16(folder)
    if request.param == "compact":
        _as_int8(folder)
    return folder


def _crop(manifest: dict) -> None:
    steps = manifest["modalities"]["rgb"]["preprocessing"]["steps"]
    manifest["modalities"]["rgb"]["preprocessing"]["steps"] = [*CROP, *steps[1:]]
    manifest["default"] = "onnxruntime-fp32"


def _as_float16(folder: Path) -> None:
    from dataclasses import replace

    from edgefw.runtime.label_pack import read_pack, write_pack

    pack = read_pack(folder / "labels.json")
    labels = [replace(label, threshold=1.0 if label.name == "green" else 0.2, bias=0.1) for label in pack.labels]
    write_pack(replace(pack, labels=labels), folder / "labels.json", "float16")
    write_sums(folder)


def _as_int8(folder: Path) -> None:
    """A second vector for red, a negative of blue only that is nearer to it than its own vector, and one of all."""
    from dataclasses import replace

    from edgefw.runtime.label_pack import Negative, read_pack, write_pack

    pack = read_pack(folder / "labels.json")
    red, green, blue = pack.labels
    labels = [replace(red, vectors=np.concatenate([green.vectors - red.vectors, red.vectors])), green]
    labels.append(replace(blue, vectors=blue.vectors + 0.4 * red.vectors, bias=0.05, temperature=1.5))
    own = Negative(name="blue paper", vectors=blue.vectors, of=("blue",), temperature=1.1)
    far = Negative(name="nothing", vectors=-green.vectors)
    write_pack(replace(pack, labels=labels, negatives=[own, far]), folder / "labels.json", "int8")
    write_sums(folder)


@pytest.fixture
def expected(bundle, pictures, capsys) -> str:
    """What `edgefw label` prints."""
    assert command_line(["label", str(bundle), *pictures]) == 0
    said = capsys.readouterr().out
    assert len({line.split("\t")[1] for line in said.splitlines()}) == 3
    return said


def test_the_python_example_prints_what_edgefw_label_prints(bundle, pictures, expected):
    command = [sys.executable, str(EXAMPLES / "label.py"), str(bundle), *pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == expected, done.stderr


def test_the_python_example_needs_numpy_pillow_and_onnxruntime_only():
    source = (EXAMPLES / "label.py").read_text().splitlines()
    imported = {line.split()[1].split(".")[0] for line in source if line.startswith(("import ", "from "))}
    assert imported == {"base64", "json", "numpy", "onnxruntime", "pathlib", "PIL", "sys"}
    assert len([line for line in source if line.strip()]) <= 60


@pytest.fixture(scope="module")
def answer(tmp_path_factory) -> Any:
    """The example's own function, of a run without a photograph."""
    from small_bundle import write_small_bundle

    folder = write_small_bundle(tmp_path_factory.mktemp("example") / "bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["label.py", str(folder)])
        return runpy.run_path(str(EXAMPLES / "label.py"))["answer"]


@pytest.mark.parametrize("width", [5, 64, 100, 512])
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_the_python_example_says_what_a_pack_says_of_every_embedding(answer, dtype, width):
    """Random packs with synonyms, biases, temperatures, thresholds and negatives of all labels and of some."""
    from edgefw.runtime.label_pack import Label, LabelPack, Negative

    rng = np.random.default_rng(width)
    rows = [rng.normal(size=(1 + number % 3, width)).astype(np.float32) for number in range(7)]
    labels = [
        Label(name=str(n), vectors=rows[n], bias=0.1 * n, temperature=1 + 0.2 * n, threshold=0.15 * n) for n in range(5)
    ]
    negatives = [Negative(name="a", vectors=rows[5], of=("0", "3")), Negative(name="b", vectors=rows[6], temperature=3)]
    document = LabelPack(labels=labels, negatives=negatives, logit_scale=9.0, encoder="e" * 64).to_json(dtype)
    pack, said = LabelPack.from_json(document, "pack"), []
    for embedding in rng.normal(size=(60, 1, width)).astype(np.float32):
        scores = pack.scores(embedding)
        name, probability, is_said = answer(embedding, document)
        assert name == pack.names[scores.probabilities[0].argmax()]
        assert probability == pytest.approx(scores.probabilities[0].max(), rel=1e-4)
        said.append(pack.said(scores.probabilities[0], scores.beaten[0]))
        assert is_said == (said[-1] is not None)
    assert None in said and len(set(said)) > 2


@pytest.mark.parametrize("change", ["a step", "an option"])
def test_the_python_example_names_the_steps_that_it_does_not_know(tmp_path, pictures, change):
    from small_bundle import change_manifest, write_small_bundle

    def other(manifest: dict) -> None:
        steps = manifest["modalities"]["rgb"]["preprocessing"]["steps"]
        if change == "a step":
            steps.insert(2, {"name": "clip", "low": 0.0, "high": 1.0})
        else:
            steps[0]["antialias"] = False

    folder = change_manifest(write_small_bundle(tmp_path / "bundle"), other)
    command = [sys.executable, str(EXAMPLES / "label.py"), str(folder), pictures[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1 and "this example does not know these steps: [{'name': 'resize'" in done.stderr


def _without_labels(manifest: dict) -> None:
    manifest["labels"] = None


def _without_onnx(manifest: dict) -> None:
    for entry in manifest["artefacts"]:
        entry["backend"] = "openvino"


@pytest.mark.parametrize(("change", "said"), [
    (_without_labels, "{folder}: no label pack"),
    (_without_onnx, "{folder}: no ONNX file"),
])  # fmt: skip
def test_the_python_example_says_in_one_line_what_a_bundle_lacks(tmp_path, pictures, change, said):
    from small_bundle import change_manifest, write_small_bundle

    folder = change_manifest(write_small_bundle(tmp_path / "bundle"), change)
    assert failed(folder, pictures[0]) == said.format(folder=folder)


def of_another_encoder(folder: Path) -> Path:
    """A bundle with a label pack of another student in it, whose vectors are wider too."""
    from edgefw.runtime.label_pack import Label, LabelPack, write_pack

    rows = np.random.default_rng(0).normal(size=(3, 1, 4096)).astype(np.float32)
    labels = [Label(name=name, vectors=own) for name, own in zip(("red", "green", "blue"), rows)]
    write_pack(LabelPack(labels=labels, logit_scale=20.0, encoder="f" * 64), folder / "labels.json", "float32")
    write_sums(folder)
    return folder


def test_the_python_example_refuses_a_pack_of_another_encoder(tmp_path, pictures):
    from small_bundle import write_small_bundle

    folder = of_another_encoder(write_small_bundle(tmp_path / "bundle"))
    assert failed(folder, pictures[0]) == f"{folder}: the label pack was made for another encoder"


def test_the_python_example_says_in_one_line_that_a_packed_bundle_is_no_folder(tmp_path, pictures):
    from small_bundle import write_small_bundle

    packed = tmp_path / "camera.edgefw"
    assert command_line(["bundle", "pack", str(write_small_bundle(tmp_path / "bundle")), str(packed)]) == 0
    for place in (packed, tmp_path):
        line = failed(place, pictures[0])
        assert line.startswith(f"{place}: ") and f"{place}/manifest.json" in line
    assert failed() == "usage: python label.py BUNDLE_FOLDER PHOTO [PHOTO ...]"


def test_the_python_example_names_a_photograph_that_it_cannot_read(tmp_path):
    from small_bundle import write_small_bundle

    folder = write_small_bundle(tmp_path / "bundle")
    (tmp_path / "cut.ppm").write_bytes(b"P6 4 4 255\nabc")
    (tmp_path / "text.jpg").write_text("no picture")
    for name, said in {"cut.ppm": "truncated", "text.jpg": "cannot identify", "absent.png": "No such file"}.items():
        line = failed(folder, tmp_path / name)
        assert line.startswith(f"{tmp_path / name}: ") and said in line
    (folder / "artefacts" / "onnxruntime-int8-static" / "model.onnx").write_bytes(b"cut")
    assert failed(folder, tmp_path / "cut.ppm").startswith(f"{folder}: ")


def failed(*words: object) -> str:
    """The one line that the example ends with."""
    command = [sys.executable, str(EXAMPLES / "label.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def two_sensors(tmp_path) -> Path:
    """The small bundle with a second sensor for photographs that comes later, and first in the alphabet, and is served as well."""
    from small_bundle import change_manifest, write_small_bundle

    def add(manifest: dict) -> None:
        other = json.loads(json.dumps(manifest["modalities"]["rgb"]))
        other["preprocessing"]["steps"][1]["divisor"] = 2.0
        manifest["modalities"]["fisheye"] = other
        for entry in manifest["artefacts"]:
            entry["modalities"].append("fisheye")

    return change_manifest(write_small_bundle(tmp_path / "bundle"), add)


def test_of_two_sensors_for_photographs_the_python_example_takes_the_first(two_sensors, pictures, capsys):
    assert command_line(["label", str(two_sensors), *pictures]) == 0
    command = [sys.executable, str(EXAMPLES / "label.py"), str(two_sensors), *pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == capsys.readouterr().out, done.stderr


def test_a_sensor_without_a_file_of_its_own_is_passed_over(two_sensors, pictures):
    from small_bundle import change_manifest

    def leave(manifest: dict) -> None:
        for entry in manifest["artefacts"]:
            entry["modalities"] = ["fisheye"]

    change_manifest(two_sensors, leave)
    command = [sys.executable, str(EXAMPLES / "label.py"), str(two_sensors), *pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert len(done.stdout.splitlines()) == len(pictures), done.stderr


def include_folders() -> list[Path]:
    """Where the headers of ONNX Runtime and of nlohmann/json lie; fewer than needed where one is missing."""
    home = os.environ.get("ONNXRUNTIME_HOME")
    folders = [Path(home) / "include"] if home else []
    folders += [
        Path("/usr/include/onnxruntime"),
        Path("/usr/local/include/onnxruntime"),
        Path("/usr/include"),
        Path("/usr/local/include"),
    ]
    wanted = ("onnxruntime_c_api.h", "nlohmann/json.hpp")
    return [
        next(folder for folder in folders if (folder / name).is_file())
        for name in wanted
        if any((f / name).is_file() for f in folders)
    ]


def library() -> Path | None:
    """ONNX Runtime's library: of ONNXRUNTIME_HOME, of the system, else the one inside the Python wheel."""
    home = os.environ.get("ONNXRUNTIME_HOME")
    places = [Path(home) / "lib"] if home else []
    places += [Path("/usr/lib"), Path("/usr/local/lib"), *Path("/usr/lib").glob("*-linux-gnu")]
    names = [place / "libonnxruntime.so" for place in places]
    names += sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    return next((name for name in names if name.is_file()), None)


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The C++ example, built."""
    folders, shared = include_folders(), library()
    if len(folders) < 2 or shared is None or shutil.which(compiler()["program"]) is None:
        pytest.skip("needs a C++ compiler, nlohmann/json and ONNX Runtime's C API (set ONNXRUNTIME_HOME)")
    target = tmp_path_factory.mktemp("cpp") / "label"
    command = [
        compiler()["program"],
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        str(EXAMPLES / "label.cpp"),
        str(shared),
        "-o",
        str(target),
    ]
    command += [f"-isystem{folder}" for folder in folders if folder != Path("/usr/include")]
    command += [f"-Wl,-rpath,{target.parent}"]
    (target.parent / "libonnxruntime.so.1").symlink_to(shared.resolve())  # its soname, which the wheel has no file of
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.slow
def test_the_cpp_example_prints_what_edgefw_label_prints(program, bundle, pictures, expected):
    done = subprocess.run(
        [str(program), str(bundle), *pictures], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout == expected, done.stderr


@pytest.mark.slow
def test_the_cpp_example_resizes_as_pillow_does(program, bundle, tmp_path):
    """On noise, where one wrong weight would show, the printed scores are those of `edgefw label`."""
    rng = np.random.default_rng(0)
    files = []
    for number, shape in enumerate([(33, 47, 3), (5, 90, 3), (64, 8, 3)]):
        files.append(str(tmp_path / f"{number}.ppm"))
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(files[-1])
    done = subprocess.run([str(program), str(bundle), *files], capture_output=True, text=True, check=False, timeout=300)
    scores = [float(line.split("\t")[2]) for line in done.stdout.splitlines()]
    code = [sys.executable, "-m", "edgefw", "label", str(bundle), *files, "--json"]
    said = json.loads(subprocess.run(code, capture_output=True, text=True, check=True, timeout=300).stdout)
    assert scores == pytest.approx([image["score"] for image in said["images"]], abs=6e-4), done.stderr


@pytest.mark.slow
def test_the_cpp_example_says_what_is_wrong(program, bundle, tmp_path):
    (tmp_path / "cut.ppm").write_bytes(b"P6 4 4 255\nabc")
    done = subprocess.run(
        [str(program), str(bundle), str(tmp_path / "cut.ppm")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.strip() == f"{tmp_path}/cut.ppm: the file is cut"
    from small_bundle import change_manifest, write_small_bundle

    silent = change_manifest(write_small_bundle(tmp_path / "silent"), _without_labels)
    done = subprocess.run([str(program), str(silent), "a.ppm"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.strip() == f"{silent}: the bundle has no label pack"
    foreign = of_another_encoder(write_small_bundle(tmp_path / "foreign"))
    done = subprocess.run([str(program), str(foreign), "a.ppm"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.strip() == f"{foreign}: the label pack was made for another encoder"


@pytest.mark.slow
@pytest.mark.parametrize("width", [4, 4096])
def test_the_cpp_example_says_that_a_pack_of_another_width_does_not_fit(program, tmp_path, pictures, width):
    """Even one that says that it is of this encoder: nothing is read beside the eight numbers of an embedding."""
    from small_bundle import write_small_bundle

    folder = of_another_encoder(write_small_bundle(tmp_path / "bundle"))
    pack = json.loads((folder / "labels.json").read_text())
    pack |= {"encoder": json.loads((folder / "manifest.json").read_text())["encoder"], "width": width}
    (folder / "labels.json").write_text(json.dumps(pack))
    done = subprocess.run([str(program), str(folder), pictures[0]], capture_output=True, text=True, check=False)
    said = f"gives embeddings of 8 numbers, the label pack has {width}"
    assert done.returncode == 2 and done.stderr.strip().endswith(f"/model.onnx: {said}")


@pytest.mark.slow
def test_the_cpp_example_says_that_a_pack_is_cut(program, tmp_path, pictures):
    from small_bundle import write_small_bundle

    folder = write_small_bundle(tmp_path / "bundle")
    pack = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps({**pack, "vectors": pack["vectors"][:40]}))
    done = subprocess.run([str(program), str(folder), pictures[0]], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.strip() == "the label pack has fewer vectors than its labels need"


@pytest.mark.slow
def test_the_cpp_example_reads_comments_in_a_photograph(program, bundle, tmp_path, pictures):
    """GIMP writes one behind the magic number; the format allows them before each number."""
    (head, data) = Path(pictures[0]).read_bytes().split(b"255\n", 1)
    width, height = head.split()[1:]
    heads = [
        b"P6\n# made by hand\n%s %s\n255\n" % (width, height),
        b"P6 #\n  # 7 7\n%s\n#one#two\n\t%s # three\n255\n" % (width, height),
    ]
    files = [tmp_path / f"{number}.ppm" for number in range(len(heads))]
    for file, own in zip(files, heads):
        file.write_bytes(own + data)
    done = subprocess.run(
        [str(program), str(bundle), pictures[0], *map(str, files)], capture_output=True, text=True, check=False
    )
    assert len({line.split("\t", 1)[1] for line in done.stdout.splitlines()}) == 1, done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.slow
def test_of_two_sensors_for_photographs_the_cpp_example_takes_the_first(program, two_sensors, pictures, capsys):
    assert command_line(["label", str(two_sensors), *pictures]) == 0
    command = [str(program), str(two_sensors), *pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == capsys.readouterr().out, done.stderr
