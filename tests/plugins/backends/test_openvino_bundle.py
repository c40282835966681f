"""A bundle with OpenVINO files on a device without torch and onnx: label, verify and bench."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.contracts.backend import CompileRequest
from edgefw.plugins.backends.one_file import join_files
from edgefw.plugins.backends.openvino import PARTS, OpenVinoBackend, OpenVinoConfig
from edgefw.runtime.bundle import read_bundle
from edgefw.runtime.bundle_write import write_bundle
from edgefw.runtime.hashes import sha256_of
from edgefw.runtime.manifest import Manifest

pytest.importorskip("openvino")

DEVICE = (
    "import sys\n"
    "for name in ('torch', 'onnx', 'timm', 'transformers', 'open_clip', 'onnxscript'): sys.modules[name] = None\n"
    "from edgefw.cli.main import run\n"
    "sys.exit(run(sys.argv[1:]))\n"
)


@pytest.fixture(scope="module")
def bundle(small_bundle, tmp_path_factory) -> Path:
    """The small bundle with both of its files as IR, too; the int8 one is the default."""
    folder = tmp_path_factory.mktemp("openvino")
    plain = read_bundle(small_bundle.write_small_bundle(folder / "plain"), folder)
    document, files = plain.manifest.to_json(), {}
    rgb = small_bundle.Rgb(small_bundle.RgbConfig()).preprocessing(small_bundle.INPUT)
    rows = small_bundle.np.stack([rgb(small_bundle.picture(colour, 1)) for colour in small_bundle.COLOURS.values()])
    for entry in plain.manifest.artefacts:
        files[entry.name] = plain.file(entry)
        place = folder / entry.precision
        place.mkdir()
        request = CompileRequest(network=None, inputs={"image": (3, 16, 16)}, folder=place, examples={"image": rows})
        artefact = OpenVinoBackend(OpenVinoConfig()).compile_onnx(plain.file(entry), request)
        name = f"openvino-{entry.precision}"
        facts = {"name": name, "backend": "openvino", "file": f"artefacts/{name}/{artefact.file.name}"}
        facts |= {"bytes": artefact.file.stat().st_size, "sha256": sha256_of(artefact.file)}
        document["artefacts"].append(entry.model_dump(mode="json") | facts)
        files[name] = artefact.file
    document["default"] = "openvino-int8-static"
    return write_bundle(folder / "bundle", Manifest.model_validate(document), files, plain.label_pack(), "float32")


def device(*arguments: str, code: int = 0) -> dict:
    done = subprocess.run([sys.executable, "-c", DEVICE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_the_device_labels_with_openvino(bundle, small_bundle, tmp_path):
    pictures = small_bundle.write_pictures(tmp_path / "pictures")
    found = device("label", str(bundle), str(pictures), "--json")
    assert found["counts"] == {"blue": 4, "green": 4, "red": 4}


def test_verify_holds_openvino_against_its_own_float_file(bundle, small_bundle, tmp_path):
    pictures = small_bundle.write_pictures(tmp_path / "pictures")
    rows = {row["name"]: row for row in device("verify", str(bundle), "--data", str(pictures), "--json")["artefacts"]}
    assert rows["openvino-int8-static"]["reference"] == "openvino-fp32"
    assert rows["openvino-int8-static"]["cosine_min"] > 0.99
    assert rows["openvino-int8-static"]["top1_agreement"] == 1.0


def test_a_wrong_layer_of_an_openvino_file_is_named_without_torch_and_onnx(bundle, small_bundle, tmp_path):
    import openvino

    folder, name = tmp_path / "wrong", "openvino-int8-static"
    shutil.copytree(bundle, folder)
    graph = onnx.load(folder / "artefacts/onnxruntime-fp32/model.onnx")
    stored = next(own for own in graph.graph.initializer if own.name == "mix")
    stored.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(stored), 3, axis=0), "mix"))
    onnx.save(graph, tmp_path / "wrong.onnx")
    model = openvino.Core().read_model(str(tmp_path / "wrong.onnx"))
    openvino.save_model(model, str(tmp_path / PARTS[0]), compress_to_fp16=False)
    file = join_files(folder / f"artefacts/{name}/model.ir.zip", {part: tmp_path / part for part in PARTS})
    facts = {"sha256": sha256_of(file), "bytes": file.stat().st_size}

    def change(manifest):
        next(own for own in manifest["artefacts"] if own["name"] == name).update(facts)

    small_bundle.change_manifest(folder, change)
    pictures = small_bundle.write_pictures(tmp_path / "pictures")
    found = device("verify", str(folder), "--data", str(pictures), "--json", code=1)
    (blamed,) = (row for row in found["blame"] if row["artefact"] == name)
    changed = next(node for node in graph.graph.node if "mix" in node.input)
    assert blamed["first"]["tensor"] == changed.output[0] and blamed["first"]["own"] > 0.5


def test_bench_times_every_runtime_turn_by_turn(bundle):
    rows = device("bench", str(bundle), "--seconds", "0.1", "--json")["artefacts"]
    assert {row["name"] for row in rows} == {
        f"{runtime}-{precision}" for runtime in ("onnxruntime", "openvino") for precision in ("fp32", "int8-static")
    }
    assert all(row["memory_mib"] > 0 and row["latency_ms_p50"] > 0 for row in rows)
