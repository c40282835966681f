"""Stored teacher answers: equal to asked ones, made once, never stale, never damaged."""

from __future__ import annotations

import json

import pytest
import torch
import training_toys as toys
from safetensors import safe_open

from edgefw.contracts.sampler import Pick
from edgefw.data import teacher_cache
from edgefw.data.teacher_cache import CachedTargets, OnlineTargets, TeacherCache, read_shard
from edgefw.training.phase import train_phase

CPU = torch.device("cpu")


@pytest.fixture
def small_shards(monkeypatch):
    """Ten samples per shard."""
    monkeypatch.setattr(teacher_cache, "SHARD_BYTES", 10 * toys.EMBEDDING * 4 * 2)


def cache(folder, *, teacher=None, data=None, **options):
    return TeacherCache(
        folder=folder,
        teacher=teacher or toys.ToyTeacher(),
        source=data or toys.ToyData(turns=2),
        device=CPU,
        **options,
    )


def step(data, epoch, indices=(3, 47, 11, 12)):
    return data.load([Pick(index=index) for index in indices], epoch, True)


def filled(made):
    made.fill()
    opened = made.open()
    assert isinstance(opened, CachedTargets)
    return opened


@pytest.mark.parametrize("epoch", [0, 1, 2, 5])
def test_stored_answers_are_those_of_the_teacher(tmp_path, small_shards, epoch):
    made = cache(tmp_path)
    data = step(made.source, epoch)
    stored, asked = filled(made)(data), OnlineTargets(made.teacher, CPU)(data)
    torch.testing.assert_close(stored.embedding, asked.embedding)
    assert stored.embedding.dtype == torch.float32 and not stored.embedding.requires_grad
    assert stored.tokens is None


@pytest.mark.parametrize("shard_bytes", [64_000_000, 1])
def test_a_clean_teacher_is_asked_once_per_sample_however_many_views_there_are(tmp_path, monkeypatch, shard_bytes):
    monkeypatch.setattr(teacher_cache, "SHARD_BYTES", shard_bytes)
    source = toys.ToyData(turns=7)
    source.clean_teacher = True
    made = cache(tmp_path, data=source)
    targets, seen = filled(made), toys.ToyData(turns=1)
    assert made.turns == 1 and read_shard(made.shard_paths()[0], made.digest, made.span(0))["embedding"].shape[1] == 1
    asked = OnlineTargets(made.teacher, CPU)(step(seen, 0)).embedding
    for epoch in (0, 5):
        torch.testing.assert_close(targets(step(source, epoch)).embedding, asked)


def test_one_shard_reads_as_several_do(tmp_path, monkeypatch):
    one = filled(cache(tmp_path / "one"))(step(toys.ToyData(turns=2), 1))
    monkeypatch.setattr(teacher_cache, "SHARD_BYTES", 1)
    many = cache(tmp_path / "many")
    assert len(many.shard_paths()) == 48
    torch.testing.assert_close(filled(many)(step(toys.ToyData(turns=2), 1)).embedding, one.embedding)


def test_tokens_are_stored_when_asked_for(tmp_path):
    made = cache(tmp_path, want=frozenset({"tokens"}))
    data = step(made.source, 0)
    torch.testing.assert_close(filled(made)(data).tokens, made.teacher.encode_image(data.pictures, made.want).tokens)


def test_half_precision_halves_the_space_and_keeps_unit_length(tmp_path):
    full, half = cache(tmp_path), cache(tmp_path, dtype="float16")
    data = step(half.source, 1)
    stored, asked = filled(half)(data).embedding, filled(full)(data).embedding
    torch.testing.assert_close(stored, asked, atol=1e-3, rtol=0)
    torch.testing.assert_close(stored.norm(dim=1), torch.ones(4))
    assert stored.dtype == torch.float32
    sizes = [made.shard_paths()[0].stat().st_size for made in (half, full)]
    assert 0.45 < sizes[0] / sizes[1] < 0.75


def test_the_teacher_looks_at_each_image_and_view_once(tmp_path):
    teacher = toys.ToyTeacher()
    made = cache(tmp_path, teacher=teacher)
    assert made.fill() == 1 and teacher.looked_at == 2 * 48
    assert made.fill() == 0 and teacher.looked_at == 2 * 48


@pytest.mark.parametrize(
    "other",
    [
        {"teacher": toys.ToyTeacher(seed=8)},
        {"data": toys.ToyData(turns=3)},
        {"data": toys.ToyData(turns=2, seed=1)},
        {"data": toys.ToyData(turns=2, size=40)},
        {"dtype": "float16"},
        {"want": frozenset({"tokens"})},
    ],
    ids=["teacher", "views", "seed", "samples", "storage", "want"],
)
def test_whatever_changes_an_answer_is_another_cache(tmp_path, other):
    made, changed = cache(tmp_path), cache(tmp_path, **other)
    filled(made)
    assert changed.digest != made.digest and changed.home != made.home
    assert changed.open() is None


def test_the_key_stands_beside_the_shards(tmp_path):
    made = cache(tmp_path)
    filled(made)
    assert json.loads((made.home / "key.json").read_text()) == json.loads(json.dumps(made.key))


def test_a_shard_under_a_wrong_name_is_not_read(tmp_path, small_shards):
    made = cache(tmp_path)
    filled(made)
    paths = made.shard_paths()
    paths[1].write_bytes(paths[0].read_bytes())
    assert made.open() is None
    assert made.fill() == 1 and made.open() is not None


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.999])
def test_a_damaged_shard_is_made_again(tmp_path, small_shards, where):
    teacher = toys.ToyTeacher()
    made = cache(tmp_path, teacher=teacher)
    expected = filled(made)(step(made.source, 0)).embedding
    path = made.shard_paths()[2]
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 0x41
    path.write_bytes(bytes(data))
    looked_at = teacher.looked_at
    assert made.open() is None
    assert made.fill() == 1
    assert teacher.looked_at == looked_at + 2 * 10
    assert torch.equal(made.open()(step(made.source, 0)).embedding, expected)


def test_a_cut_shard_and_a_missing_one_are_made_again(tmp_path, small_shards):
    made = cache(tmp_path)
    filled(made)
    paths = made.shard_paths()
    paths[0].write_bytes(paths[0].read_bytes()[:100])
    paths[4].unlink()
    assert made.fill() == 2 and made.open() is not None


def test_filling_goes_on_after_a_kill(tmp_path, small_shards):
    class Killed(toys.ToyTeacher):
        def encode_image(self, pixels, want=frozenset()):
            if self.looked_at >= 50:
                raise KeyboardInterrupt
            return super().encode_image(pixels, want)

    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path, teacher=Killed()).fill(batch=4)
    (cache(tmp_path).home / ".00002.safetensors.99.unfinished").write_bytes(b"half")
    made = cache(tmp_path)
    seen = []
    assert made.fill(progress=lambda done, total: seen.append((done, total))) == 3
    assert {(30, 48), (40, 48), (48, 48)} <= set(seen)
    assert seen == sorted(seen)
    assert not list(made.home.glob(".*"))
    fresh = filled(cache(tmp_path / "fresh"))
    assert torch.equal(made.open()(step(made.source, 1)).embedding, fresh(step(made.source, 1)).embedding)


def test_several_processes_share_the_shards(tmp_path, small_shards):
    made = cache(tmp_path)
    assert [made.fill(rank=rank, world=2) for rank in range(2)] == [3, 2]
    assert made.open() is not None


def test_loader_processes_give_the_same_answers(tmp_path):
    here, there = cache(tmp_path / "here"), cache(tmp_path / "there")
    here.fill(batch=16)
    there.fill(batch=16, workers=2)
    one, other = (read_shard(made.shard_paths()[0], made.digest, (0, 48)) for made in (here, there))
    assert torch.equal(one["embedding"], other["embedding"])


def test_shards_are_memory_mapped(tmp_path):
    made = cache(tmp_path, data=toys.ToyData(size=200, turns=1))
    opened = filled(made)
    with safe_open(made.shard_paths()[0], framework="pt") as file:
        assert file.get_slice("embedding").get_shape() == [200, 1, toys.EMBEDDING]
    made.remove()  # an open map keeps its pages
    assert torch.isfinite(opened(step(made.source, 0, (0, 150, 199))).embedding).all()


def test_a_phase_with_a_cache_trains_to_the_same_weights(tmp_path):
    online = train_phase(toys.job(tmp_path / "online", data=toys.ToyData(turns=2)))
    teacher = toys.ToyTeacher()
    seen = []
    callbacks = toys.Callbacks(caching=lambda *args: seen.append(args))
    keys = {"cache": {"views": 2}, "epochs": 3}
    job = toys.job(tmp_path / "cached", data=toys.ToyData(turns=2), teacher=teacher, callbacks=callbacks, **keys)
    cached = train_phase(job)
    assert teacher.looked_at == 2 * 48 and seen == sorted(seen) and seen[-1] == (48, 48, "train")
    for name, value in online.network.state_dict().items():
        torch.testing.assert_close(cached.network.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_the_validation_split_is_asked_once(tmp_path):
    teacher = toys.ToyTeacher()
    held_out = toys.ToyData(size=8, seed=2, turns=1)
    train_phase(toys.job(tmp_path, teacher=teacher, validation=held_out, select={"by": "loss", "every": 1}))
    assert teacher.looked_at == 18 * 8 + 8
