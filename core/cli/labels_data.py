"""What `edgefw labels eval|refine|thresholds` share: which pack, which truth, and what of it was left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack

truth_option = click.option(
    "--truth", type=click.Path(path_type=Path), help="CSV of image,labels where an image shows several labels."
)

dtype_option = click.option(
    "--dtype", type=click.Choice(["int8", "float16", "float32"]), default="int8", show_default=True, help="Storage type of the vectors."
)  # fmt: skip
artefact_option = click.option(
    "--artefact", help="Compiled file to run; default: the best on the machine that verified."
)


def chosen_pack(opened: Bundle, pack: Path | None) -> LabelPack:
    """The pack of a file, or the bundle's own.

    Raises:
        BundleError: if it cannot be read, or is for another encoder.
    """
    from edgefw.runtime.label_pack import read_pack

    return opened.label_pack() if pack is None else opened.fitting(read_pack(pack), str(pack))


def say_left_out(names: Sequence[str]) -> None:
    """Labels of the truth that the pack lacks, on stderr."""
    if names:
        click.echo(f"not in the pack: {', '.join(names)}", err=True)


def say_unreadable(count: int) -> None:
    """Images that do not count, on stderr."""
    if count:
        what = "1 image cannot be read, and does" if count == 1 else f"{count} images cannot be read, and do"
        click.echo(f"warning: {what} not count", err=True)
