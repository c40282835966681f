"""What somebody who knows a runtime would write for one network without edgefw: files of a fixed batch of one, and each runtime's own switches.

`build` writes the files of a backend from the torch network; `opened` runs one of the `WAYS` that its runtime can be used. The table takes
the fastest of them, so that edgefw is compared with the best use of a runtime and not with a plain one. It knows runtimes, and of edgefw only the network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Embed = Callable[[np.ndarray], np.ndarray]
"""(1, C, H, W) float32 to (1, D)."""

WAYS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "onnxruntime": {
        "fixed shape": {},
        "fixed shape, no spinning": {"session.intra_op.allow_spinning": "0"},
        "fixed shape, flushed denormals": {"session.set_denormal_as_zero": "1"},
        "transformer optimizer": {"session.set_denormal_as_zero": "1"},
    },
    "openvino": {
        "latency": {"PERFORMANCE_HINT": "LATENCY"},
        "latency, unpinned": {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False},
        "throughput": {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 1},
    },
    "aoti": {
        "frozen": {"freezing": True},
        "frozen, channels last": {"freezing": True},
    },
    "executorch": {"xnnpack": {}},
    "ncnn": {
        "plain": {},
        "no winograd": {"use_winograd_convolution": False},
        "no packing": {"use_packing_layout": False},
    },
    "litert": {
        "interpreter": {},
        "channels last": {"channels_last": True},
        "compiled model": {"compiled_model": True},
    },
}
"""Backend -> name of a way -> what is set."""

ONNX, AOTI = "model.onnx", "{}.pt2"
FUSED = "transformer.onnx"
"""What `onnxruntime.transformers.optimizer` makes of the ONNX file."""
PROGRAM = "model.pte"
LITERT = {False: "model.tflite", True: "channels-last.tflite"}
LITERT_SCRIPT = Path(__file__).with_name("by_hand_litert.py")


def build(backend: str, run: Path, shape: tuple[int, ...], network: Callable[[], Any], threads: int) -> None:
    """Write the files of a backend's ways; those that are there stay.

    Args:
        run: a finished run; files go to its folder `by-hand`.
        shape: (C, H, W).
        network: gives the torch network in evaluation mode.
        threads: that will run it; torch's compiler writes them into the file.
    """
    folder = run / "by-hand"
    folder.mkdir(exist_ok=True)
    writers = {
        "onnxruntime": _onnx,
        "openvino": _onnx,
        "aoti": _aoti,
        "executorch": _program,
        "ncnn": _ncnn,
        "litert": _litert,
    }
    import torch

    torch.set_num_threads(threads)
    writers[backend](folder, network, torch.zeros(1, *shape))


def opened(way: str, run: Path, threads: int) -> Embed:
    """A model as `way` ("openvino: latency") opens it."""
    backend, _, name = way.partition(": ")
    openers = {
        "onnxruntime": _open_onnxruntime,
        "openvino": _open_openvino,
        "aoti": _open_aoti,
        "executorch": _open_executorch,
        "ncnn": _open_ncnn,
        "litert": _open_litert,
    }
    return openers[backend](run / "by-hand", name, threads)


def _onnx(folder: Path, network: Callable[[], Any], image: Any) -> None:
    import torch

    file = folder / ONNX
    if not file.is_file():
        torch.onnx.export(network(), (image,), dynamo=True, optimize=True, verbose=False).save(file)  # type: ignore[union-attr]
    if not (folder / FUSED).is_file():
        from onnxruntime.transformers import optimizer

        fused = optimizer.optimize_model(str(file), model_type="vit", num_heads=0, hidden_size=0, opt_level=0)
        fused.save_model_to_file(str(folder / FUSED))


def _aoti(folder: Path, network: Callable[[], Any], image: Any) -> None:
    import torch
    import torch._inductor

    for name, settings in WAYS["aoti"].items():
        file = folder / AOTI.format(name.replace(", ", "-").replace(" ", "-"))
        if file.is_file():
            continue
        layout = torch.channels_last if "channels last" in name else torch.contiguous_format
        model = copy.deepcopy(network()).to(memory_format=layout)
        with torch.no_grad():
            program = torch.export.export(model, (image.to(memory_format=layout),))
            torch._inductor.aoti_compile_and_package(program, package_path=str(file), inductor_configs=dict(settings))


def _program(folder: Path, network: Callable[[], Any], image: Any) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    file = folder / PROGRAM
    if not file.is_file():
        edge = to_edge_transform_and_lower(torch.export.export(network(), (image,)), partitioner=[XnnpackPartitioner()])
        file.write_bytes(edge.to_executorch().buffer)


def _ncnn(folder: Path, network: Callable[[], Any], image: Any) -> None:
    import pnnx

    if not (folder / "model.ncnn.bin").is_file():
        pnnx.export(network(), str(folder / "model.pt"), (image,), fp16=False)


def _litert(folder: Path, network: Callable[[], Any], image: Any) -> None:
    """In the converter's own environment, which wants another torch."""
    import torch

    from edgefw.own_environment import own_environment

    files = [folder / name for name in LITERT.values()]
    if all(file.is_file() for file in files):
        return
    program = folder / "litert.pt2"
    torch.export.save(torch.export.export(network(), (image,)), program)
    own_environment("litert").run(LITERT_SCRIPT, [str(program), *map(str, files)], "litert by hand")
    program.unlink()


def _open_onnxruntime(folder: Path, name: str, threads: int) -> Embed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    for key, value in WAYS["onnxruntime"][name].items():
        options.add_session_config_entry(key, value)
    file = folder / (FUSED if name == "transformer optimizer" else ONNX)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    return lambda image: np.asarray(session.run(None, {entry: image})[0])


def _open_openvino(folder: Path, name: str, threads: int) -> Embed:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, **WAYS["openvino"][name]}
    request = core.compile_model(core.read_model(folder / ONNX), "CPU", settings).create_infer_request()
    return lambda image: np.array(request.infer([image], share_inputs=True, share_outputs=True)[0])


def _open_aoti(folder: Path, name: str, threads: int) -> Embed:
    import torch
    import torch._inductor

    torch.set_num_threads(threads)
    _keep_memory()
    layout = torch.channels_last if "channels last" in name else torch.contiguous_format
    file = folder / AOTI.format(name.replace(", ", "-").replace(" ", "-"))
    package = torch._inductor.aoti_load_package(str(file))

    def embed(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(package(torch.from_numpy(image).to(memory_format=layout)).numpy())

    return embed


def _keep_memory() -> None:
    """Have the C library keep blocks of some megabytes for the next call, as it does once a larger one was freed; else each call gets fresh pages."""
    np.ones(30 << 20, np.uint8)


def _open_executorch(folder: Path, name: str, threads: int) -> Embed:
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(threads)
    program = Runtime.get().load_program(folder / PROGRAM)
    method = program.load_method("forward")
    return lambda image: np.asarray(method.execute([torch.from_numpy(image)])[0].numpy())


def _open_ncnn(folder: Path, name: str, threads: int) -> Embed:
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute, net.opt.num_threads = False, threads
    for key in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{key}", False)
    for key, value in WAYS["ncnn"][name].items():
        setattr(net.opt, key, value)
    net.load_param(str(folder / "model.ncnn.param"))
    net.load_model(str(folder / "model.ncnn.bin"))

    def embed(image: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image[0]))
        return np.array(extractor.extract("out0")[1], np.float32).reshape(1, -1)

    return embed


def _open_litert(folder: Path, name: str, threads: int) -> Embed:
    settings = WAYS["litert"][name]
    file = str(folder / LITERT["channels_last" in settings])
    if "compiled_model" in settings:
        return _litert_compiled(file, threads)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=file, num_threads=threads)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def embed(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(entry, image.transpose(0, 2, 3, 1) if "channels_last" in settings else image)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(end))

    return embed


def _litert_compiled(file: str, threads: int) -> Embed:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.cpu_options import CpuOptions
    from ai_edge_litert.options import Options

    model = CompiledModel.from_file(file, options=Options(cpu_options=CpuOptions(num_threads=threads)))
    entries, ends = model.create_input_buffers(0), model.create_output_buffers(0)
    shape = next(iter(model.get_output_tensor_details(model.get_signature_by_index(0)["key"]).values()))["shape"]

    def embed(image: np.ndarray) -> np.ndarray:
        entries[0].write(image)
        model.run_by_index(0, entries, ends)
        return np.asarray(ends[0].read(int(np.prod(shape)), np.float32)).reshape(1, -1)

    return embed
