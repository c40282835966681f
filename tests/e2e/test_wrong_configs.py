"""Wrong recipes through the command line: exit code 2, one message with path, value and a way out, never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw.cli.main import run

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_pieces"
GOOD = """\
# Coloured squares. For tests.
seed: 1
data: {name: folder, root: data}
modalities:
  rgb: {name: rgb}
teacher: {name: tiny-colours}
student: {name: tiny-trunk, width: 12, size: 16, head: {name: linear}}
train:
  - name: distil
    scheme: {name: single-modality}
    losses: [{name: feature, distance: l1}]
    optimiser: {name: adamw, lr: 1e-4}
    epochs: 3
    batch: 4
export: {quantizers: [{name: int8-static}]}
verify: {max_drop: 1.0}
"""
TWICE = '''"""A loss."""
import edgefw

def build(config, context):
    return object()

@edgefw.hookimpl
def edgefw_register_losses(register):
    register(edgefw.Technique(name="twice", config=edgefw.NoOptions, build=build, requires=("nobody_has_this",)))
'''


@dataclass(frozen=True)
class Case:
    """A wrong recipe.

    Attributes:
        says: parts of the message: where, which value, what is allowed or what to do.
        overrides: the command line after the recipe.
        change: (old, new) in the text of the good recipe.
        text: another text altogether.
        recipe: another path or name.
    """

    name: str
    says: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    change: tuple[str, str] | None = None
    text: str | bytes | None = None
    recipe: str | None = None


def over(name: str, override: str | tuple[str, ...], *says: str) -> Case:
    return Case(name, says, overrides=(override,) if isinstance(override, str) else override)


def edit(name: str, old: str, new: str, *says: str) -> Case:
    return Case(name, says, change=(old, new))


def text(name: str, content: str | bytes, *says: str) -> Case:
    return Case(name, says, text=content)


def named(name: str, recipe: str, *says: str) -> Case:
    return Case(name, says, recipe=recipe)


UNKNOWN_KEYS = [
    edit(
        "section", "verify:", "verfy:", "verfy: unknown key. Did you mean 'verify'?", "Allowed: seed, data", "line 16"
    ),
    edit("phase key", "    batch: 4", "    batchsize: 4", "train[0].batchsize: unknown key. Did you mean 'batch'?"),
    edit("american", "optimiser:", "optimizer:", "train[0].optimizer: unknown key. Did you mean 'optimiser'?"),
    over("verify key", "verify.max_latency=3", "verify.max_latency: unknown key.", "Allowed: split, samples, max_drop"),
    over("far from all", "compute.zzz=3", "compute.zzz: unknown key. Allowed: device"),
    edit(
        "option of a student", "width: 12", "widht: 12", "student.widht: unknown key. Did you mean 'width'?", "line 7"
    ),
    edit("option of a loss", "distance:", "distanc:", "train[0].losses[0].distanc: unknown key.", "'distance'?"),
    over("option of a head", "student.head.baias=true", "student.head.baias: unknown key. Did you mean 'bias'?"),
    over("option where none is", "teacher.model=x", "teacher.model: unknown key. Allowed: none."),
    over("nested option", "data.fractions.trian=0.5", "data.fractions.trian: unknown key. Did you mean 'train'?"),
]
WRONG_TYPES = [
    over("word for a number", "train.0.batch=many", "train[0].batch: must be a whole number, got 'many'."),
    over("quoted number", "train.0.optimiser.lr='1e-4'", "lr: must be a number, got '1e-4'. Remove the quotes."),
    over("number for text", "teacher.name=5", "teacher.name: must be text, got 5. Put it in quotes."),
    over("list for a number", "seed=[1]", "seed: must be a whole number, got [1]."),
    over("float for an integer", "train.0.epochs=3.0", "train[0].epochs: must be a whole number, got 3.0. Write 3."),
    over("bool for an integer", "student.width=true", "student.width: must be a whole number, got true."),
    over("null", "train.0.batch=null", "train[0].batch: must be a whole number, got null."),
    over("text for a section", "student=tiny-trunk", "student: must be a mapping", "Write {name: tiny-trunk}."),
    over("mapping for a list", "train={name: x}", 'train: must be a list, got {"name": "x"}.'),
    over("yes for true", "train.0.gradient_checkpointing='on'", "must be true or false, got 'on'."),
    over("norwegian label", "evaluate.labels=[se, no]", "evaluate.labels[1]: must be text, got false.", "in quotes"),
]
OUT_OF_RANGE = [
    over("zero batch", "train.0.batch=0", "train[0].batch: must be at least 1, got 0."),
    over("negative rate", "train.0.optimiser.lr=-1", "train[0].optimiser.lr: must be greater than 0.0, got -1"),
    over("infinite", "train.0.optimiser.lr=.inf", "train[0].optimiser.lr: must be a finite number, got Infinity."),
    over("above one", "curate={labels: [a], keep: 1.5}", "curate.keep: must be at most 1.0, got 1.5."),
    over("decay of one", "train.0.ema=1.0", "train[0].ema: must be less than 1.0, got 1.0."),
    over("choice of the schema", "train.0.select.by=acuracy", "one of 'accuracy', 'agreement', 'loss', 'last', got"),
    over("choice of a technique", "train.0.losses.0.distance=l2", "must be one of 'l1', 'mse', 'cosine', got 'l2'."),
    over("range of a technique", "student.size=4", "student.size: must be at least 8, got 4."),
    over("device", "compute.device=gpu", "compute.device:", "got 'gpu'.", "auto, cpu, cuda, cuda:1"),
    over("name of a modality", "modalities.RGB.name=rgb", "modalities.RGB: must be text of the form", "got 'RGB'"),
    over("no losses", "train.0.losses=[]", "train[0].losses: must be at least 1 item long, got []."),
    over("no label names", "curate={labels: []}", "curate.labels: must be text or at least 1 item long, got [].", "[]"),
    over("template without a place", "evaluate.template=a photo", "'a photo' has no {} for the label"),
    over("one of two templates", "evaluate.template=['a {}', b]", "evaluate.template[1]: 'b' has no {} for the label"),
    over("huge seed", "seed=99999999999", "seed: must be less than 2147483648, got 99999999999."),
]
MISSING = [
    edit("section", "teacher: {name: tiny-colours}\n", "", "teacher: is required: vision-language teacher."),
    edit("option", "root: data", "licence: x", "data.root: is required: folder with the images."),
    edit("name", "{name: rgb}", "{fit: stretch}", "modalities.rgb.name: is required: name of the technique", "line 5"),
    edit("left to the user", "root: data", "root: '???'", "data.root: the recipe leaves this to you (???)", "=VALUE"),
    over("length of a phase", "train.0.epochs=null", "train[0]: the phase has no length. Give either epochs or steps."),
    over("folder of images", "data.root=/nowhere/at/all", "data", "/nowhere/at/all"),
    over(
        "file of labels", "evaluate.labels=none.txt", "evaluate.labels: ", "none.txt: cannot be read", "list of names"
    ),
    over("no path at all", f"data.root={'x' * 5000}", "data: ", "File name too long", "the paths among its options"),
    over("zero byte", 'evaluate.labels="a\\0b"', "override 'evaluate.labels=", "the text holds a zero byte"),
    over("home of nobody", "data.root=~no_such_user/x", "data.root: ", "~no_such_user/x is no folder"),
    over("superset", "curate.labels=none.txt", "curate.labels: ", "none.txt: cannot be read"),
    over("asset", "data.root=${shipped:none/x}", "data.root: no shipped asset 'none/x'. Shipped: "),
    over("environment", "data.root=${oc.env:EDGEFW_NOT_SET}", "data.root: Environment variable 'EDGEFW_NOT_SET' not"),
    over("interpolated key", "data.root=${here.not}", "data.root: Interpolation key 'here.not' not found."),
    named("file", "absent.yaml", "absent.yaml: no such file, and no shipped recipe.", "Shipped: "),
    named("folder", "data", "data: this is a folder, and a recipe is a YAML file."),
]
UNKNOWN_TECHNIQUES = [
    over("teacher", "teacher.name=tiny-colour", "teacher.name: no teacher called 'tiny-colour'", "tiny-colours"),
    over("student", "student.name=tinytrunk", "student.name: no student called 'tinytrunk'", "tiny-trunk"),
    over("head", "student.head.name=linaer", "student.head.name: no projector called 'linaer'", "linear"),
    over("loss", "train.distil.losses.0.name=featur", "train[0].losses[0].name: no loss called 'featur'", "feature"),
    over("scheme", "train.0.scheme.name=dual", "train[0].scheme.name: no scheme called 'dual'", "list-plugins"),
    over(
        "of another kind", "train.0.sampler.name=feature", "train[0].sampler.name: no sampler called 'feature'", "loss"
    ),
    over("backend", "export.backends.0.name=onnx", "export.backends[0].name: no backend called 'onnx'", "onnxruntime"),
    over("data set", "data={name: imagenet}", "data.name: no dataset called 'imagenet'", "--kind dataset"),
    over("of nobody", "train.0.losses.0.name=acme:feature", "train[0].losses[0].name: no loss called 'acme:feature'"),
    over("clash", "train.0.losses.0.name=twice", "train[0].losses[0].name: ", "one:twice", "two:twice"),
    over("broken", "train.0.losses.0.name=broken", "loss 'broken' (edgefw-broken 1.0", "pip uninstall edgefw-broken"),
    over(
        "missing package", "train.0.losses.0.name=one:twice", "losses[0]: loss 'twice' needs the package", "Install it"
    ),
]
MISFITS = [
    over(
        "training quantizer", "train.0.quantizer.name=int8-static", "quantizer 'int8-static' provides onnx", "move it"
    ),
    over("checkpointing", "train.0.gradient_checkpointing=true", "needs student.checkpointing; student 'tiny-trunk'"),
    over(
        "projector of a loss", "train.0.losses.0.projector.name=linear", "uses no alignment projector. Remove the key"
    ),
    over("twice", "export.quantizers=[{name: int8-static}, {name: int8-static}]", "quantizers[1]", "stands twice"),
    over(
        "timing what does not run ONNX",
        "export={backends: [{name: openvino}], quantizers: [{name: int8-latency-aware}]}",
        "export.quantizers[0]: quantizer 'int8-latency-aware' needs backend.runs-onnx; backend 'openvino' provides module, onnx.",
        "Quantizers that fit: fp16, int8-dynamic, int8-nncf",
    ),
    over(
        "a percentile nobody uses",
        "export.quantizers=[{name: int8-static, percentile: 99.9}]",
        "export.quantizers[0]: percentile 99.9 has no effect with ranges minmax. Set ranges: percentile, or remove it.",
    ),
    over(
        "timing files in ORT format",
        "export={backends: [{name: onnxruntime, format: ort}], quantizers: [{name: int8-latency-aware}]}",
        "export.quantizers[0]: quantizer 'int8-latency-aware' needs backend.runs-onnx; backend 'onnxruntime' provides module, onnx.",
    ),
    over(
        "timing what takes no ONNX",
        "export={backends: [{name: executorch}], quantizers: [{name: int8-latency-aware}]}",
        "export.quantizers[0]: quantizer 'int8-latency-aware' needs backend.runs-onnx; backend 'executorch' provides",
    ),
    over(
        "accumulation", ("train.0.losses.0.name=infonce", "train.0.accumulate=2"), "'infonce' compares", "accumulate to"
    ),
    over("both lengths", "train.0.steps=9", "train[0]: epochs is 3 and steps is 9. Give one of them"),
    over("one name for two", "train.1={name: distil, steps: 1, losses: [{name: feature}]}", "share a name: distil"),
    over("no photographs", "modalities={depth: {name: depth}}", "modalities: none of depth shows photographs"),
    over("batch above samples", "train.0.batch=500", "train[0]: ", "12 samples fill no batch of 500", "smaller"),
    over("template", "evaluate.template=a photo", "'a photo' has no {}"),
    over("label twice", "evaluate.labels=[red, red]", "evaluate.labels: listed more than once: red"),
]
NO_YAML = [
    text("empty", "", "the recipe is empty. `edgefw init` writes one"),
    text("comments only", "# nothing\n", "the recipe is empty"),
    text("a list", "- a\n- b\n", "a recipe is a mapping of keys", "this is a list"),
    text("a word", "hello", "this is a single value"),
    text("tabs", "data:\n\tname: folder\n", "line 2, column 1: a tab. YAML indents with spaces."),
    text("twice a key", "seed: 1\nseed: 2\n", "seed: the key stands on line 1 and on line 2."),
    text("unclosed", "data: {name: folder\ntrain: 1", "line 2", "not YAML"),
    text("bare question marks", "data: {root: ???}", "line 1, column 14: ??? in braces", "Write '???'."),
    text("a picture", b"\x89PNG\r\n\x1a\n\0\0\xff", "not a text file"),
    text("a number as a key", "1: 2", "the key 1 is no text. Put it in quotes."),
    text("code", "data: !!python/object/apply:os.system [ls]", "line 1, column 7: not YAML"),
    text("itself", "data: &data {name: *data}", "levels deep"),
    text("two documents", "seed: 1\n---\nseed: 2\n", "line 2, column 1: not YAML"),
]
OVERRIDES = [
    over("no equals sign", "seed", "override 'seed': not of the form key=value"),
    over("no value", "seed=", "override 'seed=': no value. Write seed=null"),
    over("broken value", "seed=[1", "override 'seed=[1': line"),
    over("past the end", "train.7.batch=1", "override 'train.7.batch=1': train has no item 7; its items: 0 to 0."),
    over("unknown phase", "train.distill.batch=1", "train is a list without an item 'distill'. Did you mean 'distil'?"),
    over("into a number", "seed.deep=1", "override 'seed.deep=1': seed is 1, which has no key 'deep'."),
    over(
        "option of the former technique",
        ("train.0.losses.0.name=infonce", "train.0.losses.0.distance=l1"),
        "[0].distance: unknown",
    ),
]
GROUPS = {
    "unknown key": UNKNOWN_KEYS,
    "wrong type": WRONG_TYPES,
    "out of range": OUT_OF_RANGE,
    "missing": MISSING,
    "unknown technique": UNKNOWN_TECHNIQUES,
    "misfit": MISFITS,
    "no YAML": NO_YAML,
    "override": OVERRIDES,
}
CASES = [pytest.param(case, id=f"{group}: {case.name}") for group, cases in GROUPS.items() for case in cases]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with pictures of three classes, and distributions that clash or break, beside the tiny pieces."""
    folder = tmp_path_factory.mktemp("workshop")
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for index in range(count):
            file = folder / "data" / split / ("red", "green", "blue")[index % 3] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 60 * (index % 3) + 40, np.uint8)).save(file)
    site = folder / "site"
    for name, module, source in (
        ("edgefw-one", "one_twice", TWICE),
        ("edgefw-two", "two_twice", TWICE),
        ("edgefw-broken", "broken_loss", "raise RuntimeError('boom')"),
    ):
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        loss = "broken" if "broken" in name else "twice"
        (info / "entry_points.txt").write_text(f"[edgefw.losses]\n{loss} = {module}\n")
        (site / f"{module}.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.syspath_prepend(TINY)
        patch.setenv("EDGEFW_PLUGINS", "edgefw-tiny,edgefw-one,edgefw-two,edgefw-broken")
        patch.chdir(folder)
        yield folder


@pytest.fixture
def refused(workshop: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str, Case], str]:
    """The one message that a command prints about a case."""

    def message(command: str, case: Case) -> str:
        if case.change:
            assert GOOD.count(case.change[0]) == 1
        content = GOOD.replace(*case.change) if case.change else GOOD if case.text is None else case.text
        (workshop / "recipe.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        code = run([command, case.recipe or "recipe.yaml", *case.overrides])
        captured = capsys.readouterr()
        assert code == 2, captured.err
        assert captured.out == ""
        assert [line.startswith("Error: ") for line in captured.err.splitlines()].count(True) == 1
        assert captured.err.startswith("Error: ")
        assert "Traceback" not in captured.err
        return captured.err

    return message


def test_the_good_recipe_is_good(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workshop / "recipe.yaml").write_text(GOOD)
    assert run(["check", "recipe.yaml"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_recipe_gives_one_message_with_a_way_out(refused: Callable[[str, Case], str], case: Case) -> None:
    said = refused("check", case)
    assert all(part in said for part in case.says), said


@pytest.mark.parametrize("case", [cases[0] for cases in GROUPS.values()], ids=list(GROUPS))
def test_run_refuses_with_the_same_message_and_makes_no_folder(
    refused: Callable[[str, Case], str], workshop: Path, case: Case
) -> None:
    before = sorted(workshop.iterdir())
    assert refused("run", case) == refused("check", case)
    assert sorted(workshop.iterdir()) == before


def test_several_faults_come_in_one_message_a_line_each(refused: Callable[[str, Case], str]) -> None:
    case = Case("many", (), ("train.0.batch=0", "verify.max_dorp=1", "compute.device=gpu", "seed=-1"))
    lines = refused("check", case).splitlines()
    assert lines[0] == "Error: recipe.yaml: 4 problems" and len(lines) == 5


def test_there_are_more_than_sixty_cases() -> None:
    assert len(CASES) > 60 and len({param.id for param in CASES}) == len(CASES)
