"""Tensors of a step: replayable, aligned across modalities, independent of processes and workers."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch
import training_toys as toys
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgefw.contracts.dataset import FileReference, Sample
from edgefw.contracts.sampler import Pick
from edgefw.contracts.student import InputSpec
from edgefw.contracts.view import ViewDraw
from edgefw.data.batches import TrainingData, generator, rank_part, with_modality
from edgefw.data.workers import Loader
from edgefw.errors import DataError
from edgefw.plugins.views.crop_flip import CropFlipConfig, build
from edgefw.registry.technique import BuildContext
from edgefw.runtime.preprocessing import Preprocessing, Step

INPUT = InputSpec(size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
NORMALISE = Step("normalise", {"mean": [0.0] * 3, "std": [1.0] * 3})


class Colour:
    """Pictures of 8 bits."""

    name, colour, unit = "colour", True, "sRGB"

    def preprocessing(self, input):
        resize = Step("resize", {"size": input.size, "filter": "bilinear"})
        return Preprocessing("colour", {}, (resize, Step("scale", {"divisor": 255.0}), NORMALISE))

    def decode(self, data, where):
        try:
            return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        except OSError as error:
            raise DataError(f"{where}: no picture.") from error

    def picture(self, values):
        return values


class Grey(Colour):
    """The same picture as one channel."""

    name, colour = "grey", False

    def preprocessing(self, input):
        resize = Step("resize", {"size": input.size, "filter": "bilinear"})
        steps = (resize, Step("scale", {"divisor": 255.0}), Step("repeat-channels", {"channels": 3}), NORMALISE)
        return Preprocessing("grey", {}, steps)

    def decode(self, data, where):
        return super().decode(data, where)[:, :, 0].astype(np.float32)


class HalfView:
    """A random half of the image; colours of photographs get a seeded shift."""

    recipe, size = "half", None

    def draw(self, rng):
        left = float(rng.uniform(0, 0.5))
        return ViewDraw(box=(left, 0.0, left + 0.5, 1.0), flip=bool(rng.random() < 0.5), seed=int(rng.integers(2**31)))

    def _cut(self, image, draw):
        width = image.shape[1]
        cut = image[:, round(draw.box[0] * width) : round(draw.box[0] * width) + width // 2]
        return cut[:, ::-1] if draw.flip else cut

    def geometric(self, image, draw, size):
        cut = self._cut(image, draw)
        rows = np.arange(size) * cut.shape[0] // size
        return np.ascontiguousarray(cut[rows][:, np.arange(size) * cut.shape[1] // size])

    def photometric(self, image, draw, modality):
        return image + np.float32(draw.seed % 97 / 1000) if modality.colour else image

    def for_teacher(self, image, draw):
        return np.ascontiguousarray(self._cut(image, draw))


def sample(folder, number, names=("rgb", "depth")):
    path = folder / f"{number}.png"
    if not path.exists():
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(np.repeat(pixels[:, :, None], 3, axis=2)).save(path)
    return Sample(id=f"s{number}", images={name: FileReference(path) for name in names})


def made(folder, *, view=None, turns=None, seed=1, samples=None, **options):
    return TrainingData(
        samples=samples or [sample(folder, number) for number in range(6)],
        sensors={"rgb": Colour(), "depth": Grey()},
        input=INPUT,
        teacher=toys.ToyTeacher(),
        teacher_modality="rgb",
        view=view,
        turns=turns,
        seed=seed,
        **options,
    )


PICKS = [Pick(index=4), Pick(index=1, role=1, group=2), Pick(index=3)]


def equal(one, other):
    return all(torch.equal(one.images[name], other.images[name]) for name in one.images) and (
        one.pictures is None or torch.equal(one.pictures, other.pictures)
    )


def test_shapes_and_columns(tmp_path):
    step = made(tmp_path, view=HalfView(), labels=np.arange(6) * 10).load(PICKS, 0, True)
    assert {name: tuple(pixels.shape) for name, pixels in step.images.items()} == {
        "rgb": (3, 3, 8, 8),
        "depth": (3, 3, 8, 8),
    }
    assert step.images["rgb"].dtype == torch.float32 and step.pictures.shape == (3, 3, toys.SIZE, toys.SIZE)
    assert step.sample.tolist() == [4, 1, 3] and step.label.tolist() == [40, 10, 30]
    assert step.role.tolist() == [0, 1, 0] and step.group.tolist() == [0, 2, 0]


def test_a_draw_depends_on_seed_sample_and_epoch_and_on_nothing_else(tmp_path):
    data = made(tmp_path, view=HalfView())
    first = data.load(PICKS, 3, True)
    data.load(PICKS, 4, True)
    assert equal(made(tmp_path, view=HalfView()).load(PICKS, 3, True), first)
    alone = data.load(PICKS[1:2], 3, True)
    assert torch.equal(alone.images["rgb"][0], first.images["rgb"][1])
    assert not equal(data.load(PICKS, 4, True), first)
    assert not equal(made(tmp_path, view=HalfView(), seed=2).load(PICKS, 3, True), first)


def test_with_a_cache_the_draws_come_round(tmp_path):
    data = made(tmp_path, view=HalfView(), turns=3)
    assert equal(data.load(PICKS, 1, True), data.load(PICKS, 7, True))
    assert [data.load(PICKS, epoch, False).turn for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert torch.equal(data.pictures([4, 1, 3], 1), data.load(PICKS, 4, True).pictures)


def test_a_clean_teacher_has_one_picture_and_one_identity_whatever_the_student_sees(tmp_path):
    view = build(CropFlipConfig(teacher="clean"), BuildContext())
    few, many = made(tmp_path, view=view, turns=2), made(tmp_path, view=view, turns=9, seed=4)
    assert few.clean_teacher and few.identity() == many.identity() == made(tmp_path).identity()
    assert torch.equal(few.pictures([4, 1], 0), few.pictures([4, 1], 1))
    assert not equal(few.load(PICKS, 0, False), few.load(PICKS, 1, False))
    assert not made(tmp_path, view=HalfView(), turns=2).clean_teacher


def test_all_modalities_and_the_teacher_see_one_crop(tmp_path):
    data = made(tmp_path, view=HalfView())
    for index in range(6):
        step = data.load([Pick(index=index)], 2, True)
        draw = HalfView().draw(generator(1, f"s{index}", 2))
        shift = draw.seed % 97 / 1000
        torch.testing.assert_close(step.images["rgb"] - shift, step.images["depth"], atol=1e-6, rtol=0)
        seen = Image.fromarray((step.images["depth"][0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        cut = HalfView().for_teacher(data.sensors["rgb"].decode(data.samples[index].images["rgb"].read(), ""), draw)
        assert np.array_equal(np.asarray(seen)[:, :, 0], cut[np.arange(8) * 2][:, :, 0])
        assert torch.equal(step.pictures[0], toys.ToyTeacher().preprocess(Image.fromarray(cut)))


class NumberedView(HalfView):
    """Half of the image, but number 0 is all of it."""

    def draw_number(self, rng, number):
        return self.draw(rng) if number else ViewDraw()

    def geometric(self, image, draw, size):
        return image[::2, ::2] if draw == ViewDraw() else super().geometric(image, draw, size)


def numbered(index, *views):
    return [Pick(index=index, role=view, view=view) for view in views]


def test_views_of_one_sample_in_a_batch_have_draws_of_their_own(tmp_path):
    for view in (HalfView(), NumberedView()):
        data = made(tmp_path, view=view)
        step = data.load([*numbered(4, 0, 1, 2), *numbered(2, 0, 1)], 3, True)
        alone = data.load(numbered(4, 2), 3, True)
        assert torch.equal(step.images["rgb"][2], alone.images["rgb"][0])
        assert torch.equal(step.pictures[2], alone.pictures[0])
        pairs = [(0, 1), (0, 2), (1, 2), (3, 4)]
        assert all(not torch.equal(step.images["depth"][a], step.images["depth"][b]) for a, b in pairs)
        later = data.load(numbered(4, 0, 1), 4, False)
        assert not torch.equal(later.images["rgb"][1], step.images["rgb"][1])
        is_clean = torch.equal(later.images["rgb"][0], step.images["rgb"][0])
        assert is_clean == isinstance(view, NumberedView)


def test_picks_without_a_number_are_drawn_as_ever(tmp_path):
    """Roles of a mining sampler are no views: an anchor and a positive of one sample see one draw."""
    step = made(tmp_path, view=NumberedView()).load([Pick(index=4), Pick(index=4, role=1)], 3, True)
    assert torch.equal(step.images["rgb"][0], step.images["rgb"][1])
    assert torch.equal(step.pictures[0], step.pictures[1])
    assert equal(
        made(tmp_path, view=HalfView()).load(PICKS, 3, True), made(tmp_path, view=NumberedView()).load(PICKS, 3, True)
    )


def test_without_a_view_images_are_those_of_evaluation(tmp_path):
    data = made(tmp_path)
    step = data.load(PICKS, 5, True)
    values = data.sensors["depth"].decode(data.samples[4].images["depth"].read(), "")
    assert np.array_equal(step.images["depth"][0].numpy(), data.preprocessing["depth"](values))
    assert step.turn == 0 and data.turns == 1


def test_a_missing_modality_is_zeros_and_a_mask(tmp_path):
    samples = [sample(tmp_path, 0), sample(tmp_path, 1, names=("rgb",))]
    step = made(tmp_path, view=HalfView(), samples=samples).load([Pick(index=1), Pick(index=0)], 0, False)
    assert step.present["depth"].tolist() == [False, True] and step.present["rgb"].tolist() == [True, True]
    assert step.images["depth"][0].abs().max() == 0 and step.images["depth"][1].abs().max() > 0
    only = made(tmp_path, samples=samples).load([Pick(index=1)], 0, False)
    assert only.images["depth"].shape == (1, 3, 8, 8)


def test_a_sample_without_an_image_for_the_teacher_is_refused(tmp_path):
    samples = [sample(tmp_path, 0), sample(tmp_path, 1, names=("depth",))]
    with pytest.raises(DataError, match="1 of 2 samples have no 'rgb' image for the teacher .first: s1"):
        made(tmp_path, samples=samples)
    assert with_modality(samples, "rgb") == ([0], [1])


def test_labels_of_another_length_are_refused(tmp_path):
    with pytest.raises(DataError, match="4 labels for 6 samples"):
        made(tmp_path, labels=np.zeros(4, dtype=np.int64))


def test_the_global_random_state_is_not_touched(tmp_path):
    data = made(tmp_path, view=HalfView())
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    data.load(PICKS, 0, True)
    list(Loader(lambda item: item, workers=1).stream([1, 2]))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


def test_the_identity_changes_with_every_file(tmp_path):
    data = made(tmp_path, view=HalfView(), turns=2)
    before = data.identity()
    assert before == made(tmp_path, view=HalfView(), turns=2).identity()
    Image.new("RGB", (16, 16)).save(tmp_path / "3.png")
    assert data.identity()["content"] != before["content"]
    assert made(tmp_path, view=HalfView(), turns=3).identity() != before
    assert made(tmp_path, view=HalfView(), turns=2, seed=5).identity() != before


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=24),
    st.integers(1, 5),
    st.booleans(),
)
def test_the_parts_of_all_ranks_are_the_batch(sizes, world, grouped):
    picks = [
        Pick(index=number * 10 + role, group=number if grouped else 0, role=role if grouped else 0)
        for number, size in enumerate(sizes)
        for role in range(size)
    ]
    parts = [list(rank_part(picks, rank, world)) for rank in range(world)]
    assert [pick for part in parts for pick in part] == picks
    if grouped and len(sizes) > 1:
        homes = {pick.group: rank for rank, part in enumerate(parts) for pick in part}
        assert all(homes[pick.group] == rank for rank, part in enumerate(parts) for pick in part)
    if not grouped and len(picks) % world == 0:
        assert {len(part) for part in parts} == {len(picks) // world}


class Fails:
    def __call__(self, item):
        if item == 3:
            raise DataError(f"item {item} is broken.")
        return torch.full((2,), item)


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_keeps_the_order_and_one_message_per_error(workers):
    loader = Loader(Fails(), workers)
    assert [int(value[0]) for value in loader.stream([5, 1, 4, 2])] == [5, 1, 4, 2]
    assert [int(value[0]) for value in loader.stream(iter([9, 8]))] == [9, 8]
    stream = loader.stream([7, 3])
    next(stream)
    with pytest.raises(DataError) as caught:
        next(stream)
    assert str(caught.value) == "item 3 is broken."
    loader.close()


@pytest.mark.parametrize("keep", [0, 10**6])
def test_kept_images_are_decoded_once_and_give_the_same_tensors(tmp_path, keep):
    plain, keeping = made(tmp_path, view=HalfView()), made(tmp_path, view=HalfView(), keep=keep)
    first = [plain.load(PICKS, epoch, True) for epoch in range(3)]
    assert all(equal(one, keeping.load(PICKS, epoch, True)) for epoch, one in enumerate(first))
    for sample in keeping.samples:
        for reference in sample.images.values():
            reference.path.unlink(missing_ok=True)
    if keep:
        assert all(equal(one, keeping.load(PICKS, epoch, True)) for epoch, one in enumerate(first))
    else:
        with pytest.raises(DataError, match="cannot be read"):
            keeping.load(PICKS, 0, True)


def test_workers_load_what_this_process_would(tmp_path):
    data = made(tmp_path, view=HalfView())

    class Load:
        def __call__(self, item):
            return data.load(item[1], item[0], True)

    items = [(epoch, PICKS) for epoch in range(4)]
    for one, other in zip(Loader(Load()).stream(items), Loader(Load(), 2).stream(items), strict=True):
        assert equal(one, other) and one.turn == other.turn
