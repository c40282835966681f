"""Looking around costs nothing: what `edgefw --help` and `edgefw list-plugins` import, and how long they take."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = {
    "torch", "torchvision", "timm", "transformers", "open_clip", "onnx", "onnxruntime", "numpy", "PIL", "pyarrow",
    "webdataset", "accelerate", "matplotlib",
}  # fmt: skip
LIST = ["-m", "edgefw", "list-plugins"]
AT_MOST = 8
"""`list-plugins` takes at most so many times what `python -c pass` takes."""


def imported(*arguments: str, code: int = 0, **variables: str) -> set[str]:
    """Every module that a python process imports, by `-X importtime`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr[-2000:]
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def seconds(*arguments: str, path: Path | None = None) -> float:
    """How long a python process takes."""
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    environment.pop("EDGEFW_PLUGINS", None)
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def fake_distribution(folder: Path, name: str, entry_points: str = "") -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("")
    if entry_points:
        (info / "entry_points.txt").write_text(entry_points)


@pytest.mark.parametrize("arguments", [LIST, [*LIST, "--json"], [*LIST, "--kind", "loss"]], ids=" ".join)
def test_list_plugins_imports_nothing_heavy_and_no_plugin(arguments: list[str]) -> None:
    modules = imported(*arguments)
    assert not {name.split(".")[0] for name in modules} & HEAVY
    assert not [name for name in modules if name.startswith("edgefw.plugins")]
    assert not {name.split(".")[0] for name in modules} & {"pydantic", "omegaconf", "rich", "pluggy"}


def test_help_imports_the_command_table_and_how_to_print_only() -> None:
    modules = {name for name in imported("-m", "edgefw", "--help") if name.startswith("edgefw.")}
    assert modules <= {"edgefw.cli", "edgefw.cli.main", "edgefw.cli.output", "edgefw.errors"}


def test_help_of_no_command_imports_anything_heavy() -> None:
    script = """
import contextlib, io, json, sys
from edgefw.cli.main import COMMANDS, run
found = {}
for name in COMMANDS:
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()):
        assert run([name, "--help"]) == 0, name
    found[name] = sorted({module.split(".")[0] for module in set(sys.modules) - before})
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name, modules in json.loads(done.stdout).items():
        assert not set(modules) & (HEAVY - {"numpy", "PIL"}), name


def test_import_edgefw_imports_nothing_but_itself() -> None:
    modules = imported("-c", "import edgefw; edgefw.__version__")
    assert not {name.split(".")[0] for name in modules} & (HEAVY | {"pydantic", "omegaconf", "rich", "pluggy", "click"})


def test_list_plugins_takes_at_most_8_times_python_itself() -> None:
    pairs = [(seconds("-c", "pass"), seconds(*LIST)) for _ in range(10)]
    python, listing = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert listing <= AT_MOST * python, (
        f"{listing * 1000:.0f} ms against {python * 1000:.0f} ms: {listing / python:.1f} x"
    )


def test_300_more_distributions_cost_at_most_a_fifth_of_a_second(tmp_path: Path) -> None:
    for number in range(300):
        fake_distribution(tmp_path, f"other-{number}", "[console_scripts]\nother = other:main\n" * (number % 2))
    pairs = [(seconds(*LIST), seconds(*LIST, path=tmp_path)) for _ in range(5)]
    without, beside = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert beside - without <= 0.2, f"{(beside - without) * 1000:.0f} ms more"


def test_a_broken_plugin_changes_only_its_own_row(tmp_path: Path) -> None:
    def rows() -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        environment.pop("EDGEFW_PLUGINS", None)
        done = subprocess.run([sys.executable, *LIST], env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return [" ".join(line.split()) for line in done.stdout.splitlines()[:-1]]

    before = rows()
    fake_distribution(tmp_path, "edgefw-bomb", "[edgefw.losses]\nbomb = edgefw_bomb\ngone = edgefw_bomb.gone\n")
    (tmp_path / "edgefw_bomb.py").write_text('"""Ends the interpreter."""\nraise SystemExit(3)\n')
    after = rows()
    assert [row for row in after if "bomb" not in row] == before
    assert "loss bomb edgefw-bomb 1.0 Ends the interpreter." in after
    assert "loss gone edgefw-bomb 1.0 ! module edgefw_bomb.gone not found" in after


def test_a_damaged_distribution_costs_one_warning_and_no_row(tmp_path: Path) -> None:
    fake_distribution(tmp_path, "edgefw-bad", "[edgefw.losses]\nthis line has no equals sign\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("EDGEFW_PLUGINS", None)
    done = subprocess.run([sys.executable, *LIST], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("warning: edgefw-bad 1.0: its entry points cannot be read")
    assert "loss" in done.stdout and "edgefw-bad" not in done.stdout
