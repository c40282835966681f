"""Break an export in many ways, one at a time, and ask three checks about each: ours, torch's, and a random input.

    python benchmarks/backends/mutations.py --run runs/quickstart [--starts N] [--only NAME ...]

The run is a finished one with an fp32 and an int8-static file of onnxruntime and a bundle; it is copied, never written.
`edgefw verify` judges each copy with the default budgets: the right files with all of them, six times, a wrong one without `max_slowdown`, so that
none is found because this machine was slow. Results go to `mutations.json`. Exit code 1: the gate passes a fault, or fails a right file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import bundle_faults
import graph_faults
import onnx
from bundle_faults import resealed
from graph_faults import Change
from peers import TorchVerify, dummy_input
from run_copy import changed_run, replace_file, verdict
from trained_run import TrainedRun

HERE = Path(__file__).resolve().parent
FP32, INT8 = "onnxruntime-fp32", "onnxruntime-int8-static"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One fault: of a graph, of an export, or of the bundle around the files; exactly one of the three is set."""

    name: str
    artefact: str = FP32
    graph: Change | None = None
    place: float = 0.5
    export: Callable[[TrainedRun, Path], Any] | None = None
    bundle: Callable[[Path, bundle_faults.Texts], None] | None = None

    def apply(self, trained: TrainedRun, run: Path) -> None:
        """Change a copy of the run."""
        if self.bundle is not None:
            self.bundle(run / "bundle", trained.texts)
            resealed(run / "bundle")
        else:
            replace_file(run, self.artefact, partial(self.write, trained))

    def write(self, trained: TrainedRun, file: Path) -> None:
        """Put the faulty file in the place of the right one."""
        if self.export is not None:
            self.export(trained, file)
        elif self.graph is not None:
            model = onnx.load(file)
            self.graph(model, self.place)
            onnx.save(model, file)


MUTATIONS = (
    Mutation(name="wrong normalisation, in the graph", graph=graph_faults.normalised_twice),
    Mutation(name="wrong normalisation, in the bundle", bundle=bundle_faults.wrong_normalisation),
    Mutation(name="swapped channels", graph=graph_faults.swapped_channels),
    Mutation(name="batch norm in training mode", export=TrainedRun.export_in_training_mode),
    Mutation(name="truncated weights", graph=graph_faults.truncated_weights),
    Mutation(name="weights of another step", graph=graph_faults.other_weights),
    Mutation(name="frozen batch", export=TrainedRun.export_one_image),
    Mutation(name="one layer scaled by 2", graph=graph_faults.scaled_by_2),
    Mutation(name="lost activation", graph=graph_faults.lost_activation),
    Mutation(name="dropped bias", graph=graph_faults.dropped_bias),
    Mutation(name="transposed grid", graph=graph_faults.transposed_grid),
    Mutation(name="NaN on dark images", graph=graph_faults.nan_in_the_dark),
    Mutation(name="int8 weight scale off by 2", artefact=INT8, graph=graph_faults.int8_weight_scale),
    Mutation(name="int8 activation scale off by 2", artefact=INT8, graph=graph_faults.int8_activation_scale),
    Mutation(name="int8 output scaled by 2", artefact=INT8, graph=graph_faults.output_scaled_by_2),
    Mutation(name="wrong resize filter", bundle=bundle_faults.wrong_filter),
    Mutation(name="wrong modality", bundle=bundle_faults.wrong_modality),
    Mutation(name="wrong depth encoding", bundle=bundle_faults.wrong_encoding),
    Mutation(name="wrong label order", bundle=bundle_faults.wrong_label_order),
    Mutation(name="stale label pack, another prompt", bundle=bundle_faults.stale_texts),
    Mutation(name="stale label pack, another student", bundle=bundle_faults.stale_encoder),
    Mutation(name="file cut short", bundle=bundle_faults.cut_short),
)
HARMLESS = (Mutation(name="range of one int8 activation halved", artefact=INT8, graph=graph_faults.int8_range),)
"""Changes that were tried and cost less than the budget allows: no check of answers can call them wrong. Kept apart."""


class Bench:
    """Asks the three checks about mutations of one run."""

    def __init__(self, run: Path, work: Path) -> None:
        self._run, self._work = run, work
        self.trained = TrainedRun(run)
        self._torch = TorchVerify(self.trained.network, self.trained.shape)

    def unmutated(self, starts: int) -> list[dict[str, Any]]:
        """What each check says of the files as they are: a check that fails here says nothing when it fails elsewhere.

        Ours is asked `starts` times, in a process of its own each time, as a user starts it: how fast a file is may differ between them.
        """
        with changed_run(self._run, self._work / "copy", lambda copy: None, speed=True) as copy:
            said = [in_a_process_of_its_own(copy) for _ in range(starts)]
        return [
            {
                "artefact": name,
                "edgefw": all(passes(name, one) for one in said),
                "slowdowns": [one["numbers"][name].get("max_slowdown") for one in said],
                "torch_onnx_verify": None if name == INT8 else not self._torch.of_graph(lambda model: None),
                "dummy_input": not self._dummy(self._run / "export" / name / "model.onnx"),
            }
            for name in (FP32, INT8)
        ]

    def row(self, mutation: Mutation, passing: dict[str, bool]) -> dict[str, Any]:
        """Which checks catch a mutation; `passing` says of each artefact whether a random input passes its right file."""
        said = self.ours(partial(mutation.apply, self.trained))
        fails = self._dummy_of(mutation)
        return {
            "mutation": mutation.name,
            "artefact": None if mutation.bundle else mutation.artefact,
            "edgefw": not said["passed"],
            "torch_onnx_verify": self._torch_of(mutation),
            "dummy_input": fails and passing[mutation.artefact],
            "exit": said["exit"],
            "checks": said["checks"],
            "layer": self._layer(mutation),
            "blamed": said["blamed"].get(mutation.artefact),
            "numbers": said["numbers"].get(mutation.artefact),
        }

    def _layer(self, mutation: Mutation) -> str | None:
        """The layer that a fault of a graph is put into."""
        if mutation.graph is None:
            return None
        return mutation.graph(onnx.load(self._run / "export" / mutation.artefact / "model.onnx"), mutation.place)

    def ours(self, change: Callable[[Path], object]) -> dict[str, Any]:
        """The verdict of `edgefw verify` on a changed copy."""
        with changed_run(self._run, self._work / "copy", change) as copy:
            return verdict(copy)

    def _torch_of(self, mutation: Mutation) -> bool:
        if mutation.export is TrainedRun.export_in_training_mode:
            return self._torch.of_network(self.trained.in_training_mode())
        if mutation.export is TrainedRun.export_one_image:
            return self._torch.of_network(self.trained.network, dynamic=False)
        if mutation.graph is not None and mutation.artefact == FP32:
            return self._torch.of_graph(lambda model: mutation.graph(model, mutation.place))  # type: ignore[misc]
        return self._torch.of_graph(lambda model: None)

    def _dummy_of(self, mutation: Mutation) -> bool:
        """On the faulty file; of a fault around the files, on the right one, which is what such a check is given."""
        file = self._work / "dummy.onnx"
        file.write_bytes((self._run / "export" / mutation.artefact / "model.onnx").read_bytes())
        if mutation.bundle is None:
            mutation.write(self.trained, file)
        elif mutation.bundle is bundle_faults.cut_short:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        network = self.trained.network
        if mutation.export is TrainedRun.export_in_training_mode:
            network = self.trained.in_training_mode()
        return self._dummy(file, network)

    def _dummy(self, file: Path, network: Any = None) -> bool:
        return dummy_input(network or self.trained.network, file, self.trained.shape)


def in_a_process_of_its_own(copy: Path) -> dict[str, Any]:
    """The verdict on a copy, by an interpreter that has opened nothing before."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(verdict, copy).result()


def passes(artefact: str, said: dict[str, Any]) -> bool:
    """Whether a verdict finds something wrong with the other artefact alone, if at all."""
    (other,) = {FP32, INT8} - {artefact}
    return said["passed"] or bool(said["checks"]) and all(check.startswith(f"{other}:") for check in said["checks"])


def main() -> None:
    """Ask the three checks about the right files and every fault, print each answer, and write all of them unless some were chosen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="finished run")
    parser.add_argument("--starts", type=int, default=6, help="how often the right files are judged")
    parser.add_argument("--only", nargs="*", help="names of mutations; the file is not written then")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(arguments.run, Path(work))
        unmutated = bench.unmutated(max(1, arguments.starts))
        print("unmutated:", *unmutated, sep="\n  ", flush=True)
        passing = {row["artefact"]: row["dummy_input"] for row in unmutated}
        rows = []
        for mutation in MUTATIONS:
            if not arguments.only or mutation.name in arguments.only:
                rows.append(bench.row(mutation, passing))
                print(rows[-1], flush=True)
        harmless = [] if arguments.only else [bench.row(mutation, passing) for mutation in HARMLESS]
    checks = ("edgefw", "torch_onnx_verify", "dummy_input")
    caught = {key: sum(row[key] for row in rows) for key in checks}
    print({"mutations": len(rows), **caught})
    if not arguments.only:
        document = {
            "run": bench.trained.summary(),
            "unmutated": unmutated,
            "caught": caught,
            "rows": rows,
            "harmless": harmless,
        }
        (HERE / "mutations.json").write_text(json.dumps(document, indent=1) + "\n")
    wrong = wrongs(rows, unmutated)
    if wrong:
        print("the gate is wrong about:", *wrong, sep="\n  ")
    raise SystemExit(1 if wrong else 0)


def wrongs(rows: list[dict[str, Any]], unmutated: list[dict[str, Any]]) -> list[str]:
    """Faults that pass the gate, and right files that fail it."""
    missed = [f"{row['mutation']}: passes" for row in rows if not row["edgefw"]]
    return missed + [f"{row['artefact']} as it is: fails" for row in unmutated if not row["edgefw"]]


if __name__ == "__main__":
    main()
