"""Threads between source and encoder: order, dropping, bounded memory, failures, an early end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from edgefw.camera.frame_queue import FrameQueue
from edgefw.camera.frames import Frame
from edgefw.camera.pipeline import QUEUE, Pipeline
from edgefw.errors import DataError


class Counting:
    """Frames that hold their own number; `fails` after so many, ends after `count`."""

    def __init__(
        self, count: int | None = None, live: bool = False, fails: int | None = None, wait: float = 0.0
    ) -> None:
        self.count, self.live, self.fails, self.wait = count, live, fails, wait
        self.closed = threading.Event()
        self.given = 0

    def frames(self) -> Iterator[Frame]:
        while not self.closed.is_set() and self.given != self.count:
            if self.given == self.fails:
                raise DataError("the camera burns.")
            values = np.full((2, 2, 3), self.given % 251, np.uint8)
            yield Frame(number=self.given, seconds=0.0, time=datetime.now(UTC), values=values, where="test")
            self.given += 1
            self.closed.wait(self.wait)

    def close(self) -> None:
        self.closed.set()

    def notes(self) -> dict[str, int]:
        return {}


def prepare(frame: Frame) -> np.ndarray:
    return np.array([float(frame.number)], np.float32)


def test_a_file_loses_nothing_and_stays_in_order():
    pipeline = Pipeline(Counting(200), prepare, [lambda images: images * 2])
    seen = [(frame.number, float(embedding[0])) for frame, embedding in pipeline.run()]
    assert seen == [(number, 2.0 * number) for number in range(200)]
    assert pipeline.dropped == 0


def test_as_many_frames_are_encoded_at_once_as_there_are_encoders():
    together = threading.Barrier(3)

    def wait_for_the_others(images: np.ndarray) -> np.ndarray:
        together.wait(10)
        return images

    pipeline = Pipeline(Counting(9), prepare, [wait_for_the_others] * 3)
    assert [frame.number for frame, _ in pipeline.run()] == list(range(9))


def test_encoders_of_unlike_speed_keep_the_order_and_run_one_frame_at_a_time():
    class Encoder:
        def __init__(self, seconds: float) -> None:
            self.seconds, self.busy, self.done = seconds, threading.Lock(), 0

        def __call__(self, images: np.ndarray) -> np.ndarray:
            assert self.busy.acquire(blocking=False)
            time.sleep(self.seconds)
            self.done += 1
            self.busy.release()
            return images

    slow, fast = Encoder(0.02), Encoder(0.002)
    pipeline = Pipeline(Counting(40), prepare, [slow, fast])
    assert [(frame.number, float(row[0])) for frame, row in pipeline.run()] == [(at, float(at)) for at in range(40)]
    assert 0 < slow.done < fast.done


def test_a_frame_that_cannot_be_encoded_says_why_after_those_before_it():
    def refuse_five(images: np.ndarray) -> np.ndarray:
        if images[0] == 5:
            raise DataError("no room.")
        return images

    frames = Pipeline(Counting(20), prepare, [refuse_five, refuse_five]).run()
    assert [next(frames)[0].number for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="no room"):
        next(frames)


@pytest.mark.parametrize("drop", ["oldest", "newest"])
def test_a_live_source_drops_what_a_slow_encoder_cannot_take_and_counts_it(drop):
    source = Counting(120, live=True, wait=0.001)

    def slow(images: np.ndarray) -> np.ndarray:
        time.sleep(0.005)
        return images

    pipeline = Pipeline(source, prepare, [slow], drop)
    numbers = [frame.number for frame, _ in pipeline.run()]
    assert numbers == sorted(set(numbers))
    assert pipeline.dropped > 0
    assert len(numbers) + pipeline.dropped == 120
    if drop == "oldest":
        assert numbers[-1] == 119  # what came last is never what goes
    else:
        assert numbers[:QUEUE] == list(range(QUEUE))  # what waits is never what goes


@pytest.mark.parametrize("encoders", [1, 3])
def test_no_more_frames_wait_than_the_queues_hold(encoders):
    source = Counting()
    frames = Pipeline(source, prepare, [lambda images: images] * encoders).run()
    next(frames)
    time.sleep(0.2)
    assert source.given <= QUEUE + 2 * (encoders + 1) + 3
    frames.close()
    assert source.closed.is_set()


@pytest.mark.parametrize("encoders", [1, 3])
@pytest.mark.parametrize("live", [False, True])
def test_frames_that_wait_for_their_turn_are_bounded_and_fewer_of_a_live_source(live, encoders):
    prepared = []

    def noted(frame: Frame) -> np.ndarray:
        prepared.append(frame.number)
        return prepare(frame)

    frames = Pipeline(Counting(live=live, wait=0.001), noted, [lambda images: images] * encoders).run()
    next(frames)
    time.sleep(0.2)
    assert len(prepared) == 1 + (encoders + 1) * (1 if live else 2)  # the one that was given, and those that wait
    frames.close()


def test_a_source_that_fails_says_why_after_its_frames():
    frames = Pipeline(Counting(fails=5), prepare, [lambda images: images]).run()
    assert [next(frames)[0].number for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="the camera burns"):
        next(frames)


def test_a_preparation_that_fails_ends_the_source_too():
    source = Counting()

    def refuse(frame: Frame) -> np.ndarray:
        raise DataError("not this one.")

    with pytest.raises(DataError, match="not this one"):
        next(Pipeline(source, refuse, [lambda images: images]).run())
    assert source.closed.is_set()


def test_an_early_end_leaves_no_thread():
    before = threading.active_count()
    frames = Pipeline(Counting(), prepare, [lambda images: images]).run()
    next(frames)
    frames.close()
    assert threading.active_count() == before


class Hanging(Counting):
    """A camera whose read never comes back after three frames."""

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            yield frame
            if frame.number == 2:
                self.released = threading.Event()
                self.released.wait(20)
                return


def test_a_read_that_hangs_holds_up_neither_the_wish_to_stop_nor_the_end(monkeypatch):
    monkeypatch.setattr("edgefw.camera.pipeline.PATIENCE", 0.1)
    source = Hanging(live=True)
    pipeline = Pipeline(source, prepare, [lambda images: images])
    threading.Timer(0.3, pipeline.stop).start()
    began = time.monotonic()
    assert len(list(pipeline.run())) == 3
    assert time.monotonic() - began < 5
    assert pipeline.hangs
    source.released.set()


def test_a_wish_to_stop_is_met_before_the_next_frame():
    pipeline = Pipeline(Counting(), prepare, [lambda images: images])
    frames = pipeline.run()
    assert next(frames)[0].number == 0
    pipeline.stop()
    assert list(frames) == []
    assert not pipeline.hangs


def test_a_queue_that_ended_takes_nothing():
    queue: FrameQueue[int] = FrameQueue(2)
    queue.put(1)
    queue.end()
    assert not queue.put(2)
    assert (queue.get(), queue.get()) == (1, None)
