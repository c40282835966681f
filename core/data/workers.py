"""Loads items one after the other, in this process or ahead of time in worker processes; the order never changes.

It knows nothing of what is loaded. The global random state is left alone: PyTorch's loader draws a seed for its
workers, and gets a generator of its own for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from edgefw.errors import EdgefwError

ItemT = TypeVar("ItemT")
LoadedT = TypeVar("LoadedT")


class Loader(Generic[ItemT, LoadedT]):
    """Applies `load` to streams of items.

    Args:
        load: from an item to what is loaded; picklable where workers are spawned.
        workers: loader processes; 0 loads in this process when the next item is asked for.
        pin: copy to page-locked memory, for a GPU.
    """

    def __init__(self, load: Callable[[ItemT], LoadedT], workers: int = 0, pin: bool = False) -> None:
        self._load = load
        self._pin = pin
        self._items = _Current[ItemT]()
        self._loader: DataLoader[Any] | None = None
        if workers > 0:
            self._loader = DataLoader(
                _Calls(load),
                batch_size=None,
                sampler=self._items,
                num_workers=workers,
                persistent_workers=True,
                pin_memory=pin,
                generator=torch.Generator(),
            )

    def stream(self, items: Iterable[ItemT]) -> Iterator[LoadedT]:
        """What `load` makes of each item, in order.

        Raises:
            EdgefwError: the one that `load` raised, also when a worker process raised it.
        """
        if self._loader is None:
            return map(self._load, items)
        self._items.items = items
        return self._from_workers(self._loader)

    def _from_workers(self, loader: DataLoader[Any]) -> Iterator[LoadedT]:
        for loaded in loader:
            if isinstance(loaded, EdgefwError):
                raise loaded
            yield loaded

    def close(self) -> None:
        """End the worker processes; a stream that is not at its end stops."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown_workers()  # left to the garbage collector, it takes seconds and prints in forks
        self._loader = None


class _Current(Generic[ItemT]):
    """The items that are being streamed, as the loader's sampler: it is asked for them anew at each stream."""

    def __init__(self) -> None:
        self.items: Iterable[ItemT] = ()

    def __iter__(self) -> Iterator[ItemT]:
        return iter(self.items)


class _Calls(Dataset[Any]):
    """`load` as a map-style data set; an error of ours travels as a value, so that its message stays whole."""

    def __init__(self, load: Callable[[Any], Any]) -> None:
        self._load = load

    def __getitem__(self, item: Any) -> Any:
        try:
            return self._load(item)
        except EdgefwError as error:
            return error
