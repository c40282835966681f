"""Several files in one artefact: the same bytes back, the same bytes each time, nothing that unpacks without bound."""

import zipfile

import pytest

from edgefw.errors import BundleError
from edgefw.plugins.backends.one_file import join_files, read_parts


@pytest.fixture
def parts(tmp_path):
    graph, weights = tmp_path / "a.xml", tmp_path / "a.bin"
    graph.write_bytes(b"<layer/>" * 1000)
    weights.write_bytes(bytes(range(256)) * 40)
    return {"graph.xml": graph, "weights.bin": weights}


def test_parts_come_back_in_the_order_asked_for(parts, tmp_path):
    file = join_files(tmp_path / "one.zip", parts)
    assert read_parts(file, ("weights.bin", "graph.xml")) == [bytes(range(256)) * 40, b"<layer/>" * 1000]


def test_equal_parts_give_equal_bytes_and_only_text_is_packed(parts, tmp_path):
    first, second = (join_files(tmp_path / f"{name}.zip", parts) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert 256 * 40 < first.stat().st_size < 256 * 40 + 1000


def test_other_members_are_named(parts, tmp_path):
    file = join_files(tmp_path / "one.zip", parts)
    with pytest.raises(BundleError, match="one.zip: holds graph.xml, weights.bin, not graph.xml.$"):
        read_parts(file, ("graph.xml",))


def test_a_member_that_unpacks_to_more_than_it_should_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.bin", bytes(10_000_000))
    with pytest.raises(BundleError, match="weights.bin would unpack to 10000000 bytes; .* are allowed. Do not use it"):
        read_parts(tmp_path / "bomb.zip", ("weights.bin",))


def test_a_flipped_bit_is_damage(parts, tmp_path):
    file = join_files(tmp_path / "one.zip", parts)
    data = bytearray(file.read_bytes())
    data[data.index(bytes(range(256))) + 5] ^= 4
    file.write_bytes(bytes(data))
    with pytest.raises(BundleError, match="one.zip: damaged .* Copy it again"):
        read_parts(file, ("graph.xml", "weights.bin"))
