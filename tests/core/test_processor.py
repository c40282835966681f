"""Instructions of a processor, as Linux lists them."""

from __future__ import annotations

import pytest

from edgefw.processor import instructions, lacks_bf16

AVX2 = "processor\t: 0\nmodel name\t: one\nflags\t\t: fpu sse2 avx avx2\n\nprocessor\t: 1\nflags\t\t: fpu other\n"
XEON = "flags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp bf16 i8mm\n"
OLD_ARM = "Features\t: half thumb neon vfpv4\n"


@pytest.mark.parametrize(("text", "lacks"), [(AVX2, True), (XEON, False), (ARM, False), (OLD_ARM, True), ("", False)])
def test_what_lacks_bf16(tmp_path, text, lacks):
    (tmp_path / "cpuinfo").write_text(text)
    assert lacks_bf16(tmp_path / "cpuinfo") is lacks


def test_the_first_core_speaks(tmp_path):
    (tmp_path / "cpuinfo").write_text(AVX2)
    assert instructions(tmp_path / "cpuinfo") == {"fpu", "sse2", "avx", "avx2"}


def test_nothing_is_known_without_the_list(tmp_path):
    assert instructions(tmp_path / "none") == frozenset() and not lacks_bf16(tmp_path / "none")
