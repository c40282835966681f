"""What this machine's processor can compute by itself. Linux only: elsewhere nothing is known, and nothing is said."""

from __future__ import annotations

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_LISTS = ("flags", "Features")
"""x86, ARM."""
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def instructions(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Names of instruction sets as Linux writes them, of the first core; empty where there is no such list."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    listed = (line.partition(":") for line in lines)
    return next((frozenset(names.split()) for key, _, names in listed if key.strip() in _LISTS), frozenset())


def lacks_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether bfloat16 has no instructions here and is worked out in others; False where that is not known."""
    known = instructions(cpuinfo)
    return bool(known) and not known & _BF16
