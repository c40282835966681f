"""`edgefw labels thresholds`: each label's threshold for a wanted precision or recall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from edgefw.labels.folders import LabelledFolder
    from edgefw.labels.thresholds import Aim, Threshold
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack


@click.command("thresholds")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", metavar="[MODALITY=]DIR")
@click.option("--pack", type=click.Path(path_type=Path), help="A label pack to use instead of the bundle's own.")
@truth_option
@click.option("--precision", type=FiniteRange(0, 1), help="Share of what is said that must be right.")
@click.option("--recall", type=FiniteRange(0, 1), help="Share of a label's images of which it must be said.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the pack is written.")
@dtype_option
@artefact_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def thresholds(
    bundle: Path,
    data: str,
    pack: Path | None,
    truth: Path | None,
    precision: float | None,
    recall: float | None,
    out: Path,
    dtype: str,
    artefact: str | None,
    as_json: bool,
) -> None:
    """Set each label's threshold for a wanted precision or recall on validation images, DIR/<label>/image.png.

    Images in folders that are named after no label count as wrong whatever is said of them. With --truth, where images
    show several labels each: each label is asked alone, as `edgefw label --keep` and a trigger ask.
    """
    from edgefw.labels.folders import parse_data
    from edgefw.labels.thresholds import with_thresholds
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.label_pack import LabelPack, write_pack

    if (precision is None) == (recall is None):
        raise click.UsageError("give either --precision 0.95 or --recall 0.9.")
    wanted: tuple[Aim, float] = ("recall", recall or 0.0) if precision is None else ("precision", precision)
    with open_bundle(bundle) as opened:
        read = chosen_pack(opened, pack)
        (folder,) = parse_data([data], opened.modalities, read.names)
        stored = LabelPack.from_json(read.to_json(dtype), str(out))  # type: ignore[arg-type]
        if truth is None:
            found = _of_folders(opened, folder, stored, artefact, wanted)
        else:
            found = _of_table(opened, folder, truth, stored, artefact, wanted)
    write_pack(with_thresholds(read, found), out, dtype)  # type: ignore[arg-type]
    _say_thresholds(found, out, as_json)


def _of_folders(
    opened: Bundle, folder: LabelledFolder, pack: LabelPack, artefact: str | None, wanted: tuple[Aim, float]
) -> list[Threshold]:
    """Of images that show one label, or none."""
    from edgefw.labels.examples import embed_folder
    from edgefw.labels.thresholds import choose

    examples = embed_folder(opened, folder, artefact, strangers=True)
    say_unreadable(examples.unreadable)
    return choose(pack, pack.scores(examples.embeddings.astype("float32")), examples.labels, *wanted)


def _of_table(
    opened: Bundle,
    folder: LabelledFolder,
    truth: Path,
    pack: LabelPack,
    artefact: str | None,
    wanted: tuple[Aim, float],
) -> list[Threshold]:
    """Of images that show several labels."""
    from edgefw.labels.shown_labels import embed_shown, shown_labels
    from edgefw.labels.thresholds import choose_alone

    shown = shown_labels(folder, truth)
    say_left_out(shown.not_in_pack)
    embeddings, present, unreadable = embed_shown(opened, shown, artefact)
    say_unreadable(unreadable)
    return choose_alone(pack, pack.scores(embeddings.astype("float32")), present, *wanted)


def _say_thresholds(found: list[Threshold], out: Path, as_json: bool) -> None:
    if as_json:
        rows = [{key: value for key, value in vars(one).items()} for one in found]
        click.echo(json.dumps({"out": str(out), "labels": rows}, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{'label':<32}{'threshold':>12}{'precision':>11}{'recall':>8}{'images':>8}")
        for one in found:
            told = ["-" if value is None else f"{100 * value:.1f} %" for value in (one.precision, one.recall)]
            click.echo(f"{one.label:<32}{_shown(one.value):>12}{told[0]:>11}{told[1]:>8}{one.n:>8}")
    for one in found:
        if not one.met:
            why = (
                "no image of it, its threshold stays"
                if not one.n
                else f"not to be reached, threshold {_shown(one.value)}"
            )
            click.echo(f"warning: {one.label}: {why}", err=True)


def _shown(value: float) -> str:
    """Six digits that count: with many labels a probability is small."""
    from edgefw.labels.thresholds import EVERY

    return f"{value:.6g}" if value > EVERY else "0"
