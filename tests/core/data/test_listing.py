"""Scanning: good samples are kept, bad ones are listed, and what makes a split unusable is one message."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from edgefw.contracts.dataset import Listing, Sample, Skip
from edgefw.data.listing import Chosen, scan
from edgefw.errors import DataError
from edgefw.plugins.modalities.depth import Depth, DepthConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig

MODALITIES = {"rgb": Rgb(RgbConfig()), "depth": Depth(DepthConfig())}


@dataclass(frozen=True)
class Bytes:
    where: str
    data: bytes

    def read(self) -> bytes:
        return self.data


@dataclass
class Given:
    samples: Sequence[Sample]
    skipped: Sequence[Skip] = ()
    classes: tuple[str, ...] = ()
    licence: str = "none"
    asked: list[str] = field(default_factory=list)

    def listing(self, split: str) -> Listing:
        self.asked.append(split)
        return Listing(samples=self.samples, skipped=self.skipped)


def png(dtype: type) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((4, 4), dtype)).save(buffer, "PNG")
    return buffer.getvalue()


GOOD = {"rgb": Bytes("a.png", png(np.uint8)), "depth": Bytes("a.depth.png", png(np.uint16))}


def sample(id: str, **images: bytes) -> Sample:
    changed = {name: Bytes(f"{id}.{name}", data) for name, data in images.items()}
    return Sample(id=id, images={**GOOD, **changed})


def test_undecodable_samples_are_listed_with_the_reason_and_the_rest_is_kept_in_order() -> None:
    samples = [sample("a"), sample("b", rgb=b"junk"), sample("c"), sample("d", depth=b""), sample("e")]
    listing = scan(Given(samples), "train", MODALITIES)
    assert [kept.id for kept in listing.samples] == ["a", "c", "e"]
    assert list(listing.skipped) == [
        Skip(id="b", where="b.rgb", reason="no image format that Pillow knows"),
        Skip(id="d", where="d.depth", reason="the file is empty"),
    ]


def test_the_data_sets_own_skips_stay_listed() -> None:
    own = Skip(id="x", where="row 3", reason="no file")
    assert list(scan(Given([sample("a")], (own,)), "val", MODALITIES).skipped) == [own]


def test_without_decoding_only_presence_counts() -> None:
    broken = Given([sample("a", rgb=b"junk"), Sample(id="b", images={"nir": GOOD["rgb"]})])
    listing = scan(broken, "val", MODALITIES, decode=False)
    assert [kept.id for kept in listing.samples] == ["a"]
    assert listing.skipped[0].reason == "has no image of rgb or depth"


def test_a_sample_may_lack_one_modality() -> None:
    only = Sample(id="b", images={"rgb": GOOD["rgb"]})
    assert len(scan(Given([sample("a"), only]), "train", MODALITIES).samples) == 2


def test_images_of_other_modalities_are_not_decoded() -> None:
    odd = Sample(id="a", images={**GOOD, "audio": Bytes("a.wav", b"RIFF")})
    assert len(scan(Given([odd]), "train", MODALITIES).samples) == 1


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "split 'train' is empty"),
        ([sample("a"), sample("a"), sample("b")], "1 sample ids occur more than once, among them 'a'"),
        ([sample("a", rgb=b"x"), sample("b", rgb=b"x")], "none of its 2 samples can be used. The first one, a.rgb: "),
        ([Sample(id="a", images={"rgb": GOOD["rgb"]})], "no sample has an image of modality depth; they have rgb"),
    ],
)
def test_an_unusable_split_is_one_message(samples: list[Sample], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        scan(Given(samples), "train", MODALITIES)


def test_a_thousand_samples_keep_their_order_over_chunks_and_threads() -> None:
    samples = [sample(str(index), **({"rgb": b"x"} if index % 7 == 0 else {})) for index in range(1000)]
    listing = scan(Given(samples), "train", MODALITIES)
    assert [int(kept.id) for kept in listing.samples] == [index for index in range(1000) if index % 7]
    assert [int(skip.id) for skip in listing.skipped] == list(range(0, 1000, 7))


def test_chosen_samples_are_a_sequence() -> None:
    samples = [sample(str(index)) for index in range(6)]
    chosen = Chosen(samples, np.array([4, 2, 5]))
    assert [kept.id for kept in chosen] == ["4", "2", "5"]
    assert chosen[-1].id == "5" and [kept.id for kept in chosen[1:]] == ["2", "5"] and len(chosen) == 3
    with pytest.raises(IndexError):
        chosen[3]
