"""`edgefw label BUNDLE SOURCE`: labels of image files, on the device, with the base installation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from edgefw.cli.camera_options import CameraOptions
from edgefw.cli.finite import FiniteRange

if TYPE_CHECKING:
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.labelling import Encoder, Labelled, Unreadable
    from edgefw.runtime.scene_labelling import Unpaired

_TOLD = 5
MOST_IN_FLIGHT = 4
"""Frames that are encoded at the same time, unless said otherwise: each takes memory of its own."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, metavar="[MODALITY=]SOURCE...")
@click.option("--labels", help='Label names, "a cat,a dog": needs edgefw[train] for the text tower.')
@click.option("--pack", type=click.Path(path_type=Path), help="A label pack to use instead of the bundle's own.")
@click.option("--modality", help="Sensor that unnamed sources come from; default: the bundle's first.")
@click.option("--artefact", help="Compiled file to run; default: the best on the machine that verified.")
@click.option("--top", type=click.IntRange(min=1), help="Labels per image; 1, in the records of frames 5.")
@click.option("--batch", type=click.IntRange(min=1), help="Images that run together; 16. Frames go one by one.")
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; default: as the recipe said.")
@click.option("--watch", is_flag=True, help="SOURCE is a folder that images are written into: label each as it comes.")
@click.option("--keep", multiple=True, metavar="LABEL", help="Keep frames in which this label of the pack holds.")
@click.option("--threshold", type=FiniteRange(-1, 1), help="Score from which a kept label holds; its own, else 0.5.")
@click.option("--score", type=click.Choice(["probability", "cosine"]), help="What --threshold is of; probability.")
@click.option("--cool-down", type=FiniteRange(0), help="Seconds after a kept frame in which none is kept; 0.")
@click.option("--store", type=click.Path(path_type=Path, file_okay=False), help="Folder for kept frames.")
@click.option("--budget-mb", type=FiniteRange(0, 1e12, min_open=True), help="Megabytes that kept frames may take.")
@click.option("--realtime", is_flag=True, help="Take a video file at its own pace, as a camera gives it.")
@click.option("--drop", type=click.Choice(["oldest", "newest"]),
              help="Frame that a camera loses when labelling is slower; oldest.")  # fmt: skip
@click.option("--show", multiple=True, type=click.Choice(["labels", "heat", "window"]),
              help="Draw labels or heat maps on frames, into --out or a window.")  # fmt: skip
@click.option("--heat-of", multiple=True, metavar="LABEL", help="Label whose heat map is drawn; each frame's best.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of drawn pictures, or a video file.")
@click.option("--frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--in-flight", type=click.IntRange(min=1),
              help="Frames encoded at once, at most one a thread; a warning says where fewer are; 4.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option("--jsonl", "as_lines", is_flag=True, help="Print one JSON object per image.")
def command(
    bundle: Path,
    sources: Sequence[str],
    labels: str | None,
    pack: Path | None,
    modality: str | None,
    artefact: str | None,
    top: int | None,
    batch: int | None,
    threads: int | None,
    as_json: bool,
    as_lines: bool,
    **camera: Any,
) -> None:
    """Label the images of SOURCE: files, folders, or glob patterns; or a video, a camera, a watched folder.

    BUNDLE is a bundle folder, an .edgefw file, or a run folder. A label whose probability stays below its threshold is
    not said: the image is "unknown". Files that cannot be read are counted and told on stderr.

    Sources of several sensors are named: rgb=DIR depth=DIR. Files of one name, endings aside, are one scene, and are
    labelled together where the bundle has an artefact that takes them together; all others alone.

    A video file, a camera (0, 1, ... or an address such as rtsp://...) and with --watch a folder are labelled frame by
    frame, until they end or Ctrl-C; with --show image files too. --keep LABEL, or the trigger of the label pack, says
    which frames go to --store.
    """
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.pairing import named_sources

    if sum((labels is not None, pack is not None)) == 2 or (as_json and as_lines):
        raise click.UsageError("--labels excludes --pack, and --json excludes --jsonl.")
    if "" in sources:
        raise click.UsageError("a SOURCE is empty ''. Is a variable not set? Name a file, a folder or a pattern.")
    with open_bundle(bundle) as opened:
        options = CameraOptions(**camera, top=top)
        if options.wanted(sources):
            if batch is not None:
                raise click.UsageError("--batch is for image files; frames are looked at one by one.")
            if named_sources(sources, opened.modalities):
                raise click.UsageError("frames come from one sensor: give SOURCE alone, and its sensor as --modality.")
            options.check(sources)
            _frames(opened, sources, options, labels, pack, modality, artefact, threads, as_json, as_lines)
            return
        options.refuse_unused()
        named = named_sources(sources, opened.modalities)
        if named and modality is not None:
            raise click.UsageError("--modality is the sensor of unnamed sources; these are named.")
        chosen = (
            _scenes(opened, named, artefact, threads)
            if named
            else _images(opened, sources, modality, artefact, threads)
        )
        names = _pack(opened, labels, pack)
        results = chosen.label(names, batch or 16, top or 1)
        head = {"bundle": str(bundle), **chosen.about, "labels": list(names.names)}
        tally = Tally(paired=bool(named))
        _print(tally.watch(results), head, tally, as_json, as_lines)
    tally.tell()


def _frames(
    opened: Bundle,
    sources: Sequence[str],
    options: CameraOptions,
    labels: str | None,
    pack: Path | None,
    modality: str | None,
    artefact: str | None,
    threads: int | None,
    as_json: bool,
    as_lines: bool,
) -> None:
    """Frame by frame, from one sensor."""
    from edgefw.cli.label_frames import label_frames
    from edgefw.runtime.heat import heat_maps

    if as_json:
        raise click.UsageError("frames come one after the other: use --jsonl instead of --json.")
    role = modality or opened.modalities[0]
    chosen = opened.artefact(artefact, _known(opened, role))
    encoders = _encoders(opened, role, chosen.name, threads, options.in_flight or MOST_IN_FLIGHT)
    if len(encoders) < (options.in_flight or 1):
        _tell_fewer(opened, chosen.name, options.in_flight, len(encoders))
    hashes = {"bundle": opened.sha256, "encoder": opened.manifest.encoder}
    about = {**hashes, "artefact": chosen.name, "modality": role}
    names = None if pack is not None else _pack(opened, labels, None)
    maps = heat_maps(opened, role, threads) if "heat" in options.show else None
    label_frames(opened, encoders, names, pack, sources, options, about, as_lines, maps)


def _tell_fewer(opened: Bundle, artefact: str, wanted: int | None, count: int) -> None:
    from edgefw.runtime.opening import Opener

    why = Opener(opened).why_no_more(opened.artefact(artefact), count)
    click.echo(f"warning: --in-flight {wanted}: {count} at a time, because {why}.", err=True)


class Chosen(NamedTuple):
    """What is labelled by what: `label(pack, batch, top)` does it, `about` says it in a document."""

    label: Callable[[LabelPack, int, int], Iterable[Labelled | Unreadable | Unpaired]]
    about: Mapping[str, Any]


def _images(
    opened: Bundle, sources: Sequence[str], modality: str | None, artefact: str | None, threads: int | None
) -> Chosen:
    """Images of one sensor, one by one."""
    from edgefw.runtime.labelling import label_images
    from edgefw.runtime.sources import check_sources, find_images

    check_sources(sources)
    role = modality or opened.modalities[0]
    chosen = opened.artefact(artefact, _known(opened, role))
    (encoder,) = _encoders(opened, role, chosen.name, threads)
    return Chosen(
        label=lambda pack, batch, top: label_images(encoder, pack, find_images(sources), batch, top, threads),
        about={"artefact": chosen.name, "modality": role},
    )


def _scenes(opened: Bundle, named: Mapping[str, Sequence[str]], artefact: str | None, threads: int | None) -> Chosen:
    """Images of several sensors, scene by scene."""
    from edgefw.runtime.pairing import scenes
    from edgefw.runtime.scene_labelling import check_pairs, label_scenes, scene_encoders

    encoders = scene_encoders(opened, list(named), artefact, threads)
    found = scenes(named)
    check_pairs(found, encoders)
    first = next(iter(encoders.values()))
    return Chosen(
        label=lambda pack, batch, top: label_scenes(encoders, pack, found, batch, top, threads),
        about={
            "artefact": first.artefact.name,
            "modality": first.role,
            "artefacts": {role: encoder.artefact.name for role, encoder in encoders.items()},
        },
    )


class Tally:
    """Counts what goes by, and keeps the files that could not be read, or lack a partner.

    Args:
        paired: whether sources were named by their sensor.
    """

    def __init__(self, paired: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.roles: Counter[str] = Counter()
        self.unreadable: list[dict[str, Any]] = []
        self.unpaired: list[dict[str, Any]] = []
        self.paired = paired

    def watch(self, results: Iterable[Labelled | Unreadable | Unpaired]) -> Iterator[tuple[dict[str, Any], bool]]:
        """Each result as a JSON object, and whether it has a label or none."""
        from edgefw.runtime.labelling import Labelled, Unreadable

        for result in results:
            document = result.to_json()
            if isinstance(result, Labelled):
                self.counts[document["label"] or "unknown"] += 1
                self.roles[result.modality or ""] += 1
            elif isinstance(result, Unreadable):
                self.unreadable.append(document)
            else:
                self.unpaired.append(document)
            yield document, isinstance(result, Labelled)

    @property
    def rest(self) -> dict[str, Any]:
        """What stands at the end of a JSON document."""
        unpaired = {"unpaired": self.unpaired} if self.paired else {}
        return {"unreadable": self.unreadable, **unpaired, "counts": dict(self.counts.most_common())}

    def tell(self) -> None:
        """The summary, on stderr.

        Raises:
            DataError: if not a single image could be read.
        """
        from edgefw.errors import DataError

        total = sum(self.counts.values())
        if not total:
            left = [*self.unreadable, *self.unpaired]
            raise DataError(f"none of {len(left)} images can be {_outcome(self.unpaired)}: {_listed(left)}")
        said = ", ".join(f"{name} {count}" for name, count in self.counts.most_common(8))
        click.echo(f"{total} {'scenes' if self.paired else 'images'}: {said}", err=True)
        if self.paired:
            click.echo(", ".join(f"{role} {count}" for role, count in self.roles.items()), err=True)
        if self.unreadable:
            click.echo(f"{len(self.unreadable)} files cannot be read: {_listed(self.unreadable)}", err=True)
        if self.unpaired:
            click.echo(f"{len(self.unpaired)} files are not labelled: {_listed(self.unpaired)}", err=True)


def _outcome(unpaired: Sequence[Any]) -> str:
    return "labelled" if unpaired else "read"


def _listed(entries: Sequence[Mapping[str, Any]]) -> str:
    """The first few, with reasons."""
    more = f"; and {len(entries) - _TOLD} more" if len(entries) > _TOLD else ""
    return "; ".join(f"{entry['path']}: {entry['error']}" for entry in entries[:_TOLD]) + more


def _known(opened: Bundle, role: str) -> str:
    from edgefw.errors import BundleError

    if role not in opened.modalities:
        raise BundleError(f"--modality {role}: the bundle has {', '.join(opened.modalities)}.")
    return role


def _encoders(opened: Bundle, role: str, artefact: str, threads: int | None, most: int = 1) -> list[Encoder]:
    """As many as may run at the same time, `most` at most."""
    from edgefw.runtime.labelling import Encoder
    from edgefw.runtime.opening import Opener, single_input

    opener, entry = Opener(opened), opened.artefact(artefact)
    input, modality, contract = single_input(entry), opener.modality(role), opener.preprocessing(role)
    return [
        Encoder(runner=runner, input=input, modality=modality, preprocessing=contract)
        for runner in opener.runners_at_once(entry, most, threads)
    ]


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
            path = " + ".join(document.get("files", {}).values()) or document["path"]
            click.echo(f"{path}\t{said}" + "\t".join(ranking))


def _print_document(results: Iterable[tuple[dict[str, Any], bool]], head: dict[str, Any], tally: Tally) -> None:
    """One JSON document, printed image by image: nothing waits for the last one."""
    opening = json.dumps(head, ensure_ascii=False)
    click.echo(f'{opening[:-1]}, "images": [', nl=False)
    separator = "\n"
    for document, readable in results:
        if readable:
            click.echo(separator + json.dumps(document, ensure_ascii=False), nl=False)
            separator = ",\n"
    rest = json.dumps(tally.rest, ensure_ascii=False)
    click.echo(f"\n], {rest[1:]}")
