"""What goes wrong while a text file is read, as one message each."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgefw.errors import DataError


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Around everything that reads `file`, a UTF-8 text or a table.

    Raises:
        DataError: if it cannot be opened, is no UTF-8, or is no CSV.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is no UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{file}: is no CSV ({error}).") from error
