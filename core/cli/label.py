"""`edgefw label BUNDLE SOURCE`: labels of image files, on the device, with the base installation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.labelling import Encoder, Labelled, Unreadable

_TOLD = 5


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--labels", help='Label names, "a cat,a dog": needs edgefw[train] for the text tower.')
@click.option("--pack", type=click.Path(path_type=Path), help="A label pack to use instead of the bundle's own.")
@click.option("--modality", help="Sensor that the images come from; default: the bundle's first.")
@click.option("--artefact", help="Compiled file to run; default: the best on the machine that verified.")
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="Labels per image.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Images in memory at a time.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; default: as the recipe said.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option("--jsonl", "as_lines", is_flag=True, help="Print one JSON object per image.")
def command(
    bundle: Path,
    sources: Sequence[str],
    labels: str | None,
    pack: Path | None,
    modality: str | None,
    artefact: str | None,
    top: int,
    batch: int,
    threads: int | None,
    as_json: bool,
    as_lines: bool,
) -> None:
    """Label the images of SOURCE: files, folders, or glob patterns.

    BUNDLE is a bundle folder, an .edgefw file, or a run folder. A label whose probability stays below its threshold is
    not said: the image is "unknown". Files that cannot be read are counted and told on stderr.
    """
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.labelling import label_images
    from edgefw.runtime.sources import check_sources, find_images

    if sum((labels is not None, pack is not None)) == 2 or (as_json and as_lines):
        raise click.UsageError("--labels excludes --pack, and --json excludes --jsonl.")
    check_sources(sources)
    with open_bundle(bundle) as opened:
        role = modality or opened.modalities[0]
        chosen = opened.artefact(artefact, _known(opened, role))
        encoder = _encoder(opened, role, chosen.name, threads)
        names = _pack(opened, labels, pack)
        results = label_images(encoder, names, find_images(sources), batch, top)
        head = {"bundle": str(bundle), "artefact": chosen.name, "modality": role, "labels": list(names.names)}
        tally = Tally()
        _print(tally.watch(results), head, tally, as_json, as_lines)
    tally.tell()


class Tally:
    """Counts what goes by, and keeps the files that could not be read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.unreadable: list[dict[str, Any]] = []

    def watch(self, results: Iterable[Labelled | Unreadable]) -> Iterator[tuple[dict[str, Any], bool]]:
        """Each result as a JSON object, and whether the image could be read."""
        from edgefw.runtime.labelling import Unreadable

        for result in results:
            document, readable = result.to_json(), not isinstance(result, Unreadable)
            if readable:
                self.counts[document["label"] or "unknown"] += 1
            else:
                self.unreadable.append(document)
            yield document, readable

    def tell(self) -> None:
        """The summary, on stderr.

        Raises:
            DataError: if not a single image could be read.
        """
        from edgefw.errors import DataError

        total = sum(self.counts.values())
        listed = "; ".join(f"{entry['path']}: {entry['error']}" for entry in self.unreadable[:_TOLD])
        more = f"; and {len(self.unreadable) - _TOLD} more" if len(self.unreadable) > _TOLD else ""
        if not total:
            raise DataError(f"none of {len(self.unreadable)} images can be read: {listed}{more}")
        said = ", ".join(f"{name} {count}" for name, count in self.counts.most_common(8))
        click.echo(f"{total} images: {said}", err=True)
        if self.unreadable:
            click.echo(f"{len(self.unreadable)} files cannot be read: {listed}{more}", err=True)


def _known(opened: Bundle, role: str) -> str:
    from edgefw.errors import BundleError

    if role not in opened.modalities:
        raise BundleError(f"--modality {role}: the bundle has {', '.join(opened.modalities)}.")
    return role


def _encoder(opened: Bundle, role: str, artefact: str, threads: int | None) -> Encoder:
    from edgefw.runtime.labelling import Encoder
    from edgefw.runtime.opening import Opener, single_input

    opener, entry = Opener(opened), opened.artefact(artefact)
    return Encoder(
        runner=opener.runner(entry, threads),
        input=single_input(entry),
        modality=opener.modality(role),
        preprocessing=opener.preprocessing(role),
    )


def _pack(opened: Bundle, labels: str | None, pack: Path | None) -> LabelPack:
    from edgefw.runtime.label_pack import read_pack

    if labels is not None:
        from edgefw.labels.texts import pack_from_names

        return pack_from_names(opened, labels.split(","))
    return opened.label_pack() if pack is None else opened.fitting(read_pack(pack), str(pack))


def _print(
    results: Iterable[tuple[dict[str, Any], bool]], head: dict[str, Any], tally: Tally, as_json: bool, as_lines: bool
) -> None:
    if as_json:
        _print_document(results, head, tally)
        return
    for document, readable in results:
        if as_lines:
            click.echo(json.dumps(document, ensure_ascii=False))
        elif readable:
            ranking = [f"{entry['label']}\t{entry['score']:.3f}" for entry in document["labels"]]
            said = "" if document["label"] else "unknown: "
            click.echo(f"{document['path']}\t{said}" + "\t".join(ranking))


def _print_document(results: Iterable[tuple[dict[str, Any], bool]], head: dict[str, Any], tally: Tally) -> None:
    """One JSON document, printed image by image: nothing waits for the last one."""
    opening = json.dumps(head, ensure_ascii=False)
    click.echo(f'{opening[:-1]}, "images": [', nl=False)
    separator = "\n"
    for document, readable in results:
        if readable:
            click.echo(separator + json.dumps(document, ensure_ascii=False), nl=False)
            separator = ",\n"
    rest = json.dumps({"unreadable": tally.unreadable, "counts": dict(tally.counts.most_common())}, ensure_ascii=False)
    click.echo(f"\n], {rest[1:]}")
