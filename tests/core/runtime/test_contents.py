"""Names in a bundle stay inside it, whatever system reads them."""

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefw.runtime.contents import LARGEST, inside

NAMES = st.lists(st.sampled_from(["..", ".", "a", "b.onnx", "", "/", "\\", "C:", "\0", "//x"]), max_size=5)


@pytest.mark.parametrize("name", [*LARGEST, "artefacts/onnxruntime-fp32/model.onnx", "a..b/..c", "a b/c"])
def test_names_that_bundles_have_are_taken(name: str) -> None:
    assert inside(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../payload", "a/../../b", "/etc/passwd", "//host/x", "C:/x", "c:x", "a\\..\\b", "a\0b", "./a", "a//b", "a/"],
)  # fmt: skip
def test_names_that_lead_out_or_have_two_spellings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be a relative path inside the bundle"):
        inside(name)


@given(parts=NAMES, between=st.sampled_from(["", "/", "\\"]))
def test_what_is_taken_lies_inside_on_every_system(parts: list[str], between: str) -> None:
    name = between.join(parts)
    try:
        inside(name)
    except ValueError:
        return
    root = Path("/bundle")
    assert (root / name).resolve().is_relative_to(root) and (root / name).resolve() != root
    windows = PureWindowsPath("D:/bundle") / name
    assert windows.is_relative_to("D:/bundle") and ".." not in windows.parts
