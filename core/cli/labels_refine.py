"""`edgefw labels refine`: fit a label pack to a few labelled images, without retraining the encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefw.cli.labels_data import artefact_option, chosen_pack, dtype_option

if TYPE_CHECKING:
    from edgefw.labels.examples import Examples
    from edgefw.runtime.label_pack import LabelPack


def _no_truth(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """Means of images that show several labels are means of all of them: refused, and not left to click's "no such option"."""
    if value is not None:
        raise click.UsageError(
            "refine takes no --truth: it is for images of one label each, in folders named after labels. Where images show "
            "several, `labels eval` and `labels thresholds` take it; see docs/label-packs.md."
        )


@click.command("refine")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", metavar="[MODALITY=]DIR")
@click.option("--pack", type=click.Path(path_type=Path), help="A label pack to refine instead of the bundle's own.")
@click.option("--truth", hidden=True, expose_value=False, callback=_no_truth)
@click.option("--by", type=click.Choice(["prototype", "logistic"]), default="prototype", show_default=True,
              help="Vectors moved towards the examples, or a logistic head.")  # fmt: skip
@click.option("--each", type=click.IntRange(min=1), help="Examples of each label at most; default: all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws the examples and folds.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the refined pack is written.")
@dtype_option
@artefact_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def refine(
    bundle: Path,
    data: str,
    pack: Path | None,
    by: str,
    each: int | None,
    seed: int,
    out: Path,
    dtype: str,
    artefact: str | None,
    as_json: bool,
) -> None:
    """Refine a label pack with labelled images, DIR/<label>/image.png; the encoder stays as it is.

    The refined pack works wherever the old one did. `--by logistic` needs edgefw[few-shot] here, not on the device.
    """
    from edgefw.labels.examples import embed_folder
    from edgefw.labels.folders import parse_data
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.label_pack import write_pack

    with open_bundle(bundle) as opened:
        read = chosen_pack(opened, pack)
        (folder,) = parse_data([data], opened.modalities, read.names)
        examples = embed_folder(opened, folder, artefact, each, seed)
    refined, chosen, before, after = _refined(read, examples, by, seed)
    write_pack(refined, out, dtype)  # type: ignore[arg-type]
    count = {name: int((examples.labels == at).sum()) for at, name in enumerate(read.names)}
    document = {
        "out": str(out),
        "by": by,
        **chosen,
        "examples": count,
        "unreadable": examples.unreadable,
        "before": _measures(before),
        "after": _measures(after),
    }
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    _say_refined(document, read)


def _refined(
    pack: LabelPack, examples: Examples, by: str, seed: int
) -> tuple[LabelPack, dict[str, Any], tuple[float, float], tuple[float, float]]:
    """The refined pack, what was chosen for it, and (top-1, log loss) before and after."""
    import math

    from edgefw.labels import logistic_head, prototypes

    if by == "logistic":
        head = logistic_head.refine(pack, examples, seed)
        return (
            head.pack,
            {"strength": head.strength, "share": head.share, "temperature": head.factor},
            head.before,
            head.after,
        )
    moved = prototypes.refine(pack, examples)
    weight = moved.weight if math.isfinite(moved.weight) else None
    return moved.pack, {"weight": weight, "temperature": moved.factor}, moved.before, moved.after


def _measures(pair: tuple[float, float]) -> dict[str, float]:
    return {"top1": pair[0], "log_loss": pair[1]}


def _say_refined(document: dict[str, Any], old: LabelPack) -> None:
    count = document["examples"]
    few = f"{min(count.values())} to {max(count.values())}"
    click.echo(f"{sum(count.values())} examples, {few} of a label; {document['unreadable']} files cannot be read")
    before, after = document["before"], document["after"]
    click.echo(f"as it was    top-1 {100 * before['top1']:.1f} %, log loss {before['log_loss']:.3f}")
    click.echo(
        f"refined      top-1 {100 * after['top1']:.1f} %, log loss {after['log_loss']:.3f}  (examples left out in turn)"
    )
    if None in (document.get("weight", 0), document.get("strength", 0)):
        click.echo("the examples do not help: the vectors stay as they were")
    missing = [name for name, n in count.items() if not n]
    if missing:
        click.echo(f"warning: no example of {', '.join(missing)}: known by the text alone", err=True)
    if any(label.threshold > 0 for label in old.labels) or old.trigger is not None:
        click.echo(
            "warning: thresholds and trigger stay, and were set for other scores: see `edgefw labels thresholds`.",
            err=True,
        )
