"""Each way in which a text cannot be read is one message with the file and what to do."""

import csv

import pytest

from edgefw.data.text_files import reading
from edgefw.errors import DataError


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read \(No such file"), reading(tmp_path / "none.txt"):
        (tmp_path / "none.txt").read_text()


def test_other_bytes_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with (
        pytest.raises(DataError, match=r"a\.txt: is no UTF-8 text \(.*\)\. Save it as UTF-8"),
        reading(tmp_path / "a.txt"),
    ):
        (tmp_path / "a.txt").read_text(encoding="utf-8")


def test_an_open_quote_is_no_table(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv: is no CSV \("), reading(tmp_path / "a.csv"):
        list(csv.reader(['a,"b'], strict=True))


def test_what_is_no_fault_of_the_file_passes(tmp_path):
    with pytest.raises(KeyError), reading(tmp_path / "a.csv"):
        raise KeyError("column")
