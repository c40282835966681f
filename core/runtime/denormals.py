"""Denormal numbers as zero while a runtime computes.

Numbers below 1.2e-38 take many processors of Intel a hundred times as long as others. Networks make them: a mask of -100 before a softmax, as that of
shifted windows (Swin), leaves exp(-100) = 4e-44. ONNX Runtime flushes them in the threads of a session's own pool where the session
option below asks for it; the thread that calls a session computes, too, and keeps its own mode. `flushed` sets that mode for the length of a call, with what
the C library has for it, and puts it back: another mode would change what the caller's own arithmetic gives.

Linux on x86-64 with the GNU C library; elsewhere nothing is done (ARM's processors compute denormal numbers at full speed).

Source: ONNX Runtime, onnxruntime_session_options_config_keys.h, `kOrtSessionOptionsConfigSetDenormalAsZero`; Intel's manual, volume 1,
10.2.3, for the two bits; glibc, sysdeps/x86/bits/fenv.h, for where they lie.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

OPTION = "session.set_denormal_as_zero"
_WORDS, _MXCSR = 8, 7
"""A `fenv_t` is eight words of 32 bits; the last is the mode of SSE and AVX arithmetic."""
_DENORMALS_AS_ZERO, _FLUSH_TO_ZERO = 1 << 6, 1 << 15


@contextmanager
def flushed() -> Iterator[None]:
    """Denormal numbers are zero for this thread until the context ends, where that can be set; some microseconds."""
    library = _library()
    if library is None:
        yield
        return
    before = (ctypes.c_uint32 * _WORDS)()
    library.fegetenv(before)
    during = (ctypes.c_uint32 * _WORDS)(*before)
    during[_MXCSR] |= _DENORMALS_AS_ZERO | _FLUSH_TO_ZERO
    library.fesetenv(during)
    try:
        yield
    finally:
        library.fesetenv(before)


@lru_cache(maxsize=1)
def _library() -> Any:
    """The C library's functions of the floating-point mode; None where this file does not know them."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return None
    try:
        return ctypes.CDLL("libm.so.6")
    except OSError:
        return None
