"""`edgefw labels build|show|eval|refine|thresholds`: label packs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefw.cli.finite import FiniteRange
from edgefw.cli.labels_data import (
    artefact_option,
    chosen_pack,
    dtype_option,
    say_left_out,
    say_unreadable,
    truth_option,
)
from edgefw.cli.labels_refine import refine
from edgefw.cli.labels_thresholds import thresholds

if TYPE_CHECKING:
    from edgefw.labels.prompt_list import PromptList


@click.group()
def command() -> None:
    """Build, show, evaluate and refine label packs: new labels for a bundle, without retraining."""


@command.command("build")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--labels", help='Label names, "a cat,a dog".')
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Prompt list (.yaml) with synonyms, thresholds and negatives, or a text file with one label name a line.",
)
@click.option("--template", "templates", multiple=True, help="Prompt with {}; repeat it to average several.")
@click.option("--threshold", type=FiniteRange(0, 1), help="Probability below which no label is said; 0.")
@click.option("--trigger", type=click.Path(path_type=Path), help="YAML file that says which frames a camera keeps.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the pack is written.")
@dtype_option
def build(
    bundle: Path,
    labels: str | None,
    file: Path | None,
    templates: Sequence[str],
    threshold: float | None,
    trigger: Path | None,
    out: Path,
    dtype: str,
) -> None:
    """Make a label pack for the encoder of BUNDLE; needs edgefw[train] for the teacher's text tower."""
    from dataclasses import replace

    from edgefw.labels.texts import pack_from_names, pack_from_prompts
    from edgefw.labels.triggers import read_trigger
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.label_pack import write_pack
    from edgefw.runtime.trigger_rule import check_names

    if (labels is None) == (file is None):
        raise click.UsageError('give either --labels "a cat,a dog" or --file labels.txt.')
    words = None if file is None else _words(file, templates, threshold)
    rule = None if trigger is None else read_trigger(trigger)
    if rule is not None:  # before the teacher is built, which takes long
        check_names(rule, _names(labels, words), str(trigger))
    with open_bundle(bundle) as opened:
        if words is None:
            pack = pack_from_names(opened, str(labels).split(","), templates, threshold or 0.0)
        else:
            pack = pack_from_prompts(opened, words)
    if rule is not None:
        pack = replace(pack, trigger=rule)
    write_pack(pack, out, dtype)  # type: ignore[arg-type]
    negatives = f", {len(pack.negatives)} negatives" if pack.negatives else ""
    click.echo(f"{out}: {len(pack.labels)} labels{negatives}, {out.stat().st_size} bytes", err=True)


def _names(labels: str | None, words: PromptList | None) -> list[str]:
    """The labels that the pack will have."""
    if words is not None:
        return [label.name for label in words.labels]
    return [" ".join(name.split()) for name in str(labels).split(",")]


def _words(file: Path, templates: Sequence[str], threshold: float | None) -> PromptList:
    """The prompt list of a file, with what the command line adds.

    Raises:
        click.UsageError: if an option says what the file says.
    """
    from dataclasses import replace

    from edgefw.errors import BundleError
    from edgefw.labels.names import unique_names
    from edgefw.labels.prompt_file import read_prompts

    words = read_prompts(file)
    if repeated := unique_names([label.name for label in words.labels])[1]:
        raise BundleError(f"labels given twice: {', '.join(repeated)}.")
    for option, given, own in (("template", templates, words.templates), ("threshold", threshold, words.threshold)):
        if given not in (None, ()) and own not in (None, ()):
            raise click.UsageError(f"--{option}: {file} says it too. Leave one out.")
    return replace(
        words,
        templates=words.templates or tuple(templates),
        threshold=threshold if words.threshold is None else words.threshold,
    )


@command.command("show")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
def show(pack: Path, as_json: bool) -> None:
    """Print what the label pack PACK holds (a pack, or a bundle with one)."""
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.label_pack import read_pack

    if pack.suffix == ".json" and not pack.is_dir():
        read = read_pack(pack)
    else:
        with open_bundle(pack) as opened:
            read = opened.label_pack()
    rows = [
        {
            "label": label.name,
            "vectors": len(label.vectors),
            "bias": label.bias,
            "threshold": label.threshold,
            "temperature": label.temperature,
        }
        for label in read.labels
    ]
    negatives = [
        {
            "negative": negative.name,
            "vectors": len(negative.vectors),
            "of": list(negative.of),
            "temperature": negative.temperature,
        }
        for negative in read.negatives
    ]
    head = {"encoder": read.encoder, "sha256": read.sha256, "templates": list(read.templates), "width": read.width}
    trigger = None if read.trigger is None else read.trigger.model_dump(mode="json", exclude_defaults=True)
    if as_json:
        more = {"logit_scale": read.logit_scale, "labels": rows, "negatives": negatives, "trigger": trigger}
        click.echo(json.dumps(head | more, indent=2, ensure_ascii=False))
        return
    click.echo(f"encoder    {read.encoder}\nsha256     {read.sha256}")
    click.echo(f"templates  {' | '.join(read.templates)}\nwidth      {read.width}")
    click.echo(f"{'label':<32}{'vectors':>8}{'bias':>8}{'threshold':>11}{'temperature':>13}")
    for row in rows:
        click.echo(
            f"{row['label']:<32}{row['vectors']:>8}{row['bias']:>8.2f}{row['threshold']:>11.2f}{row['temperature']:>13.2f}"
        )
    for negative in read.negatives:
        click.echo(f"{negative.name:<32}{len(negative.vectors):>8}  negative of {', '.join(negative.of) or 'all'}")
    for key, value in (trigger or {}).items():
        click.echo(f"trigger    {key}: {', '.join(value) if isinstance(value, list) else value}")


@command.command("eval")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True, metavar="[MODALITY=]DIR...")
@click.option("--pack", type=click.Path(path_type=Path), help="A label pack to use instead of the bundle's own.")
@artefact_option
@truth_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def evaluate(
    bundle: Path, data: Sequence[str], pack: Path | None, artefact: str | None, truth: Path | None, as_json: bool
) -> None:
    """Measure a label pack on folders of images, DIR/<label>/image.png.

    Prints top-1, balanced top-1, how often a label was said at all (threshold), and the recall of each label. With --truth,
    where images show several labels each: the ROC AUC of each label against the rest, and their mean.
    """
    from edgefw.labels.folders import parse_data
    from edgefw.labels.label_set_evaluation import evaluate_label_sets
    from edgefw.labels.pack_evaluation import evaluate_pack
    from edgefw.runtime.bundle import open_bundle

    with open_bundle(bundle) as opened:
        read = chosen_pack(opened, pack)
        folders = parse_data(data, opened.modalities, read.names)
        if truth is not None:
            rows = [evaluate_label_sets(opened, folder, truth, read, artefact) for folder in folders]
        else:
            rows = [evaluate_pack(opened, folder, read, artefact) for folder in folders]
    if as_json:
        click.echo(json.dumps({"results": rows}, indent=2, ensure_ascii=False))
        return
    for row in rows:
        (_print_accuracy if truth is None else _print_aucs)(row)
        say_unreadable(row["unreadable"])


def _print_accuracy(row: Mapping[str, Any]) -> None:
    click.echo(
        f"{row['modality']}: top-1 {100 * row['top1']:.1f} %, balanced {100 * row['balanced_top1']:.1f} %, "
        f"said {100 * row['said']:.1f} %, right when said {100 * row['precision']:.1f} %  (n = {row['n']})"
    )
    for name, value in row["recall"].items():
        click.echo(f"  {name:<32}{100 * value:>7.1f} %")


def _print_aucs(row: Mapping[str, Any]) -> None:
    mean = "-" if row["macro_auc"] is None else f"{row['macro_auc']:.4f}"
    click.echo(f"{row['modality']}: mean AUC {mean}  (n = {row['n']})")
    for name, value in row["auc"].items():
        click.echo(f"  {name:<32}{'-' if value is None else f'{value:.4f}':>8}  {row['images'][name]:>7} images")
    say_left_out(row["not_in_pack"])


command.add_command(refine)
command.add_command(thresholds)
