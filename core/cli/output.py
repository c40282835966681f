"""Standard output and standard error that cannot be written to any more: a full disk behind `> file`, a reader that is gone."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

import click

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the operating system that say: there is no room."""


def drop_output() -> None:
    """Let go of what is still to be written, so that the end of the process does not fail for it."""
    with contextlib.suppress(OSError):  # a standard output that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """A line on stderr, if that takes one: often it is the same file, on the same disk."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)
