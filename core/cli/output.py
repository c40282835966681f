"""Standard output and standard error that cannot be written to any more: a full disk behind `> file`, a reader that is gone."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TextIO

import click

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the operating system that say: there is no room."""


_NO_FILE = (OSError, ValueError, AttributeError)
"""What a standard output raises that is no file of the system, is closed, or is not there at all (`>&-`)."""


def drop_output(output: TextIO | None = None) -> None:
    """Let go of what is still to be written (default: to standard output), so that the end of the process does not fail for it."""
    with contextlib.suppress(*_NO_FILE):
        place = (output or sys.stdout).fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), place)


def drop_stuck(output: TextIO | None) -> None:
    """Drop an output where it does not take what waits in it, and only there."""
    try:
        with contextlib.suppress(AttributeError, ValueError):  # there is none, or it is closed: nothing waits
            output.flush()  # type: ignore[union-attr]
    except OSError:
        drop_output(output)


def tell(text: str) -> None:
    """A line on stderr, if that takes one: often it is the same file, on the same disk."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)
