"""MATLAB files: old ones through scipy, those of version 7.3 (HDF5) through h5py; both are imported when used.

It knows texts and numbers in such files; it knows no layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgefw.errors import DataError, MissingDependency
from edgefw.registry.requirements import install_command, is_importable


def open_hdf5(file: Path, names: Sequence[str]) -> Any:
    """An open h5py file that holds all of `names`.

    Raises:
        DataError: if it is no HDF5 file or lacks one of them.
        MissingDependency: without h5py.
    """
    _need("h5py", file)
    import h5py

    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise DataError(f"{file}: is no whole HDF5 file ({error}). Download it again.") from error
    missing = [name for name in names if name not in opened]
    if missing:
        have = ", ".join(opened)
        opened.close()
        raise DataError(f"{file}: has no variable '{missing[0]}'; it has {have}. Is it the labelled data set?")
    return opened


def hdf5_texts(opened: Any, name: str) -> list[str]:
    """The texts of a cell array of texts in an HDF5 file."""
    return ["".join(map(chr, np.asarray(opened[reference]).ravel())) for reference in np.ravel(opened[name])]


def load_old(file: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Variables of a file of MATLAB 5 to 7.2, flat.

    Raises:
        DataError: if it is not there, cannot be read or lacks one of them.
        MissingDependency: without scipy.
    """
    if not file.is_file():
        what = "is no file" if file.exists() else "no such file"
        raise DataError(f"{file}: {what}. Give the path of a MATLAB file that holds {' and '.join(names)}.")
    _need("scipy", file)
    from scipy.io import loadmat

    try:
        found = loadmat(file, squeeze_me=True)
    except Exception as error:  # a damaged file raises ValueError, TypeError, zlib.error and others
        raise DataError(f"{file}: is no MATLAB file that scipy reads ({error}).") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{file}: has no variable '{missing[0]}'.")
    return {name: np.atleast_1d(found[name]) for name in names}


def _need(package: str, file: Path) -> None:
    if not is_importable(package):
        raise MissingDependency(
            f"{file}: reading it needs the package '{package}'. Install it: {install_command('prepare')}"
        )
