"""Decoded images stay up to a limit, read-only, and never travel to another process."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefw.data.decoded import Decoded


def image(size, value=0):
    return np.full(size, value, np.uint8)


@given(
    st.integers(0, 100), st.lists(st.integers(0, 40), min_size=1, max_size=9), st.lists(st.integers(0, 8), max_size=40)
)
def test_what_is_kept_fits_and_is_decoded_once(limit, sizes, asked):
    decoded, made = Decoded(limit), []

    def ask(key):
        def decode():
            made.append(key)
            return image(sizes[key], key)

        return decoded.get(key, decode)

    kept = set()
    for key in (key % len(sizes) for key in asked):
        before = len(made)
        array = ask(key)
        assert array.shape == (sizes[key],) and (array == key).all()
        assert (len(made) == before) == (key in kept)
        if not array.flags.writeable:
            kept.add(key)
        assert decoded.bytes == sum(sizes[key] for key in kept) <= limit


def test_no_limit_keeps_nothing():
    decoded = Decoded(0)
    assert decoded.get(1, lambda: image(3)).flags.writeable
    assert len(decoded) == 0


def test_a_kept_image_cannot_be_changed():
    decoded = Decoded(10)
    with pytest.raises(ValueError, match="read-only"):
        decoded.get(1, lambda: image(3))[0] = 1


def test_a_copy_for_another_process_is_empty_and_as_large():
    decoded = Decoded(10)
    decoded.get(1, lambda: image(3))
    copy = pickle.loads(pickle.dumps(decoded))
    assert (copy.limit, copy.bytes, len(copy)) == (10, 0, 0)
