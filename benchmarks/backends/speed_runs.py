"""What the speed table times: per network a finished run, the same images for all, torch's answers, and the files by hand.

It makes what is not there yet, and what a converter cannot do it leaves out and writes down (`-left-out.json` beside the run). It times nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from by_hand import WAYS, build
from PIL import Image
from speed_process import THREADS, Model, agreement, stop
from trained_run import TrainedRun

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "clip4retrofit"))
from cifar import samples
from running import quiet_environment

from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.manifest import ArtefactEntry
from edgefw.runtime.opening import Opener

OWN_ENVIRONMENT = frozenset({"litert"})
"""Backends whose converter lives in an environment of its own."""
IMAGES, SOME, SEED = 256, 32, 20261127
"""Images in all, those on which a way by hand shows that it is the same network, and the start of the draw."""
LEFT_OUT, MADE = "left-out.json", "made.json"


def prepared(model: str, backends: Sequence[str], arguments: argparse.Namespace) -> Path:
    """The finished run of a network, with the images, torch's answers, the files by hand and everybody's agreement in it.

    A run that has more backends than these is left as it is; one that lacks some gets them beside those that it has.

    Raises:
        SystemExit: if the folder holds a run of another size or of an older `speed.yaml`.
    """
    run: Path = arguments.work.absolute() / model
    had = _had(run, _recipe(arguments.size))
    if had and set(backends) <= set(had):
        return run
    wanted = [*had, *(name for name in backends if name not in had)]
    _compile(model, run, wanted, arguments.size)
    if not (run / "torch.npy").is_file():
        np.save(run / "images.npy", _images(run, arguments.data))
        np.save(run / "torch.npy", _torch_answers(run))
    _by_hand(run, [name for name in wanted if name not in left_out(run)])
    _agree(run, wanted)
    _note(run, _recipe(arguments.size), wanted)
    return run


def _recipe(size: int) -> str:
    """A digest of what the network of a run is made of."""
    text = json.dumps([size, (HERE / "speed.yaml").read_text(encoding="utf-8")])
    return hashlib.sha256(text.encode()).hexdigest()


def _had(run: Path, recipe: str) -> list[str]:
    """The backends that a run was made for before; a new one is noted first, so that what is half made is known as well."""
    if not _beside(run, MADE).is_file():
        _note(run, recipe, [])
    made = json.loads(_beside(run, MADE).read_text(encoding="utf-8"))
    if made["recipe"] != recipe:
        stop(f"{run}: was made with another --size or speed.yaml. Remove it, or name another folder: --work DIR")
    return list(made["backends"])


def _note(run: Path, recipe: str, backends: Sequence[str]) -> None:
    text = json.dumps({"recipe": recipe, "backends": list(backends)}) + "\n"
    _beside(run, MADE).write_text(text, encoding="utf-8")


def _beside(run: Path, name: str) -> Path:
    """A file beside the run's folder, in which `edgefw run` wants nothing before it was there itself."""
    run.parent.mkdir(parents=True, exist_ok=True)
    return run.with_name(f"{run.name}-{name}")


def left_out(run: Path) -> dict[str, str]:
    """Backend, or backend and " by hand" -> why there is no file of it."""
    file = _beside(run, LEFT_OUT)
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def entries(run: Path, backends: Sequence[str]) -> list[ArtefactEntry]:
    """The artefacts of a run for these backends."""
    with open_bundle(run) as bundle:
        return [entry for entry in bundle.manifest.artefacts if entry.backend in backends]


def ways(run: Path, backends: Sequence[str]) -> list[str]:
    """What can be opened by hand, such as "openvino: latency"; nothing of a backend that has no files by hand."""
    missing = left_out(run)
    own = [entry.backend for entry in entries(run, backends) if f"{entry.backend} by hand" not in missing]
    return [f"{backend}: {way}" for backend in own for way in WAYS[backend]]


def _leave_out(run: Path, name: str, reason: str) -> None:
    print(f"{run.name}: without {name}: {reason}", flush=True)
    text = json.dumps(left_out(run) | {name: reason}, indent=1) + "\n"
    _beside(run, LEFT_OUT).write_text(text, encoding="utf-8")


def _compile(model: str, run: Path, backends: Sequence[str], size: int) -> None:
    """The finished run; a backend that refuses the network is left out of it.

    Raises:
        SystemExit: if the run fails for another reason.
    """
    while True:
        pieces = json.dumps([{"name": name} for name in backends if name not in left_out(run)])
        changes = [f"student.model={model}", f"student.size={size}", f"export.backends={pieces}"]
        code, said = _edgefw("run", str(HERE / "speed.yaml"), *changes, "--out", str(run), "--resume")
        if code in (0, 1):
            return
        named = refused_backend(said)
        if named not in backends or named in left_out(run):
            stop(f"{model}: edgefw run ended with exit code {code}")
        _leave_out(run, named, said.strip().splitlines()[-1])


def refused_backend(said: str) -> str:
    """The backend that the last line of an error message names, or nothing."""
    last = said.strip().splitlines()[-1:]
    found = re.search(r"backend '([\w-]+)'", last[0]) if last else None
    return found.group(1) if found else ""


def _edgefw(*arguments: str) -> tuple[int, str]:
    """Exit code, and what was printed on stderr, which is printed here as well."""
    command = [sys.executable, "-m", "edgefw", *arguments]
    with subprocess.Popen(command, env=quiet_environment({}), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            said.append(line)
    return process.returncode, "".join(said)


def _images(run: Path, data: Path) -> np.ndarray:
    """(N, C, H, W) float32, prepared as the bundle says: photographs of the test split of CIFAR-10."""
    every = [jpeg for _, jpeg, _ in samples(data / "cifar10", "test")]
    drawn = sorted(random.Random(SEED).sample(range(len(every)), IMAGES))
    with open_bundle(run) as bundle:
        prepare = Opener(bundle).preprocessing("rgb")
        pictures = [Image.open(io.BytesIO(every[row])).convert("RGB") for row in drawn]
        return np.stack([prepare(np.asarray(picture)) for picture in pictures])


def _torch_answers(run: Path) -> np.ndarray:
    import torch

    network = TrainedRun(run).network
    with torch.inference_mode():
        parts = torch.from_numpy(np.load(run / "images.npy")).split(32)
        return np.concatenate([network(part).numpy() for part in parts])


def _by_hand(run: Path, backends: Sequence[str]) -> None:
    trained = TrainedRun(run)
    for backend in backends:
        if f"{backend} by hand" in left_out(run):
            continue
        try:
            build(backend, run, trained.shape, lambda: trained.network, THREADS)
        except Exception as error:  # noqa: BLE001 - converters raise whatever they meet
            _leave_out(run, f"{backend} by hand", f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")


def _agree(run: Path, backends: Sequence[str]) -> None:
    """Everybody's agreement with torch, once per file: it does not depend on how busy the machine is."""
    file = run / "agreement.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    wanted = {entry.name: (entry.sha256, {"artefact": entry.name}) for entry in entries(run, backends)}
    wanted |= {way: ("by hand", {"by_hand": way}) for way in ways(run, backends)}
    expected = np.load(run / "torch.npy").astype(np.float64)
    for name, (digest, what) in wanted.items():
        if found.get(name, {}).get("of") == digest:
            continue
        with Model(run, name, threads=1, **what) as model:
            count = len(expected) if "artefact" in what else SOME
            found[name] = {"of": digest, "images": count, **agreement(model.embeddings(count), expected[:count])}
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
