"""One preprocessing for training's evaluation, `verify` and the device: named steps with numbers.

A modality composes steps; this module's table is the only thing that executes them. They run in four stages:

    prepare     (H, W) or (H, W, C) physical values -> what may be resized      min-max, image-max, metric-range, jet
    geometry    -> the student's size                                           resize, centre-crop
    to_unit     -> (H, W, C) float32 in 0..1                                    scale, fill, clip, repeat-channels
    normalise   -> (C, H, W) float32                                            normalise

Training replaces `geometry` by a view, and lets the view change colours between `to_unit` and `normalise`. NaN in
float values means "no reading" from `prepare` until `fill`. It knows arrays and numbers; it decodes no file, knows no
sensor and draws nothing at random: the same input gives the same bits every time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgefw.errors import BundleError, DataError, PluginError
from edgefw.runtime.resampling import POINT_FILTERS, Filter, resample

STAGES = ("prepare", "geometry", "to_unit", "normalise")

_Pixels = Annotated[int, Field(ge=1, le=16384)]
_Channels = Annotated[int, Field(ge=1, le=256)]
_Numbers = Annotated[list[float], Field(min_length=1, max_length=256)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    def apply(self, values: np.ndarray) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} is not a step")


class _MinMax(_Options):
    """Stretch the readings of one image to 0..1; `invalid` marks "no reading" and becomes NaN. Flat images give 0."""

    invalid: float | None = 0.0

    def apply(self, values: np.ndarray) -> np.ndarray:
        values, known = _readings(values, self.invalid)
        low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
        span = high - low if high > low else np.float32(1)
        scaled = (values - low) / span
        return np.asarray(np.where(known, scaled, np.nan), np.float32)


class _ImageMax(_Options):
    """Divide by the largest reading of the image; `invalid` becomes NaN. Images without a positive reading give 0."""

    invalid: float | None = 0.0

    def apply(self, values: np.ndarray) -> np.ndarray:
        values, known = _readings(values, self.invalid)
        high = values[known].max() if known.any() else np.float32(0)
        scaled = np.clip(values / high, 0, 1) if high > 0 else np.zeros_like(values)
        return np.asarray(np.where(known, scaled, np.nan), np.float32)


class _MetricRange(_Options):
    """Clip readings to `near`..`far` (physical units) and map them to 0..1; `invalid` becomes NaN."""

    near: float
    far: float
    invalid: float | None = 0.0

    @model_validator(mode="after")
    def _far_is_beyond_near(self) -> _MetricRange:
        if self.far <= self.near:
            raise ValueError(f"far must be larger than near, got near {self.near} and far {self.far}")
        return self

    def apply(self, values: np.ndarray) -> np.ndarray:
        values, known = _readings(values, self.invalid)
        near, far = np.float32(self.near), np.float32(self.far)
        scaled = (np.clip(values, near, far) - near) / (far - near)
        return np.asarray(np.where(known, scaled, np.nan), np.float32)


class _Jet(_Options):
    """Colours of 0..1 values, (H, W) to (H, W, 3) uint8; NaN is black."""

    def apply(self, values: np.ndarray) -> np.ndarray:
        place = np.clip(values * np.float32(256), 0, 255)  # NaN stays NaN
        index = np.where(np.isnan(place), np.float32(256), place).astype(np.intp)
        return _JET_AND_BLACK.take(index, axis=0)


class _Resize(_Options):
    """To `size` x `size` ("stretch"), or the shorter side to `size` ("shortest")."""

    size: _Pixels
    filter: Filter
    antialias: bool = True
    fit: Literal["stretch", "shortest"] = "stretch"

    @model_validator(mode="after")
    def _filter_works_without_antialias(self) -> _Resize:
        if not self.antialias and self.filter not in POINT_FILTERS:
            raise ValueError(f"antialias: false needs a filter of {', '.join(POINT_FILTERS)}, got {self.filter}")
        return self

    def apply(self, values: np.ndarray) -> np.ndarray:
        height, width = values.shape[:2]
        size = (self.size, self.size) if self.fit == "stretch" else shortest_side(height, width, self.size)
        return resample(values, size, self.filter, self.antialias) if size != (height, width) else values


class _CentreCrop(_Options):
    """The middle `size` x `size` pixels."""

    size: _Pixels

    def apply(self, values: np.ndarray) -> np.ndarray:
        height, width = values.shape[:2]
        if min(height, width) < self.size:
            raise DataError(f"centre-crop: an image of {height} x {width} pixels has no middle of {self.size} pixels.")
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return values[top : top + self.size, left : left + self.size]


class _Scale(_Options):
    """Divide by `divisor`."""

    divisor: Annotated[float, Field(gt=0)]

    def apply(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.divide(values, np.float32(self.divisor), dtype=np.float32))


class _Fill(_Options):
    """Put `value` where there is no reading (NaN)."""

    value: float

    def apply(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(np.isnan(values), self.value, values), np.float32)


class _Clip(_Options):
    """Limit to `low`..`high`: bicubic and Lanczos filters overshoot at edges."""

    low: float
    high: float

    def apply(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(values, self.low, self.high))


class _RepeatChannels(_Options):
    """(H, W) or (H, W, 1) to (H, W, channels), all alike."""

    channels: _Channels

    def apply(self, values: np.ndarray) -> np.ndarray:
        single = values if values.ndim == 3 else values[:, :, None]
        if single.shape[2] != 1:
            raise DataError(f"repeat-channels: needs one channel, got {single.shape[2]}.")
        return np.repeat(single, self.channels, axis=2)


class _Normalise(_Options):
    """Subtract `mean`, divide by `std`, per channel; (H, W, C) to (C, H, W)."""

    mean: _Numbers
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=256)]

    @model_validator(mode="after")
    def _same_length(self) -> _Normalise:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} numbers and std {len(self.std)}")
        return self

    def apply(self, values: np.ndarray) -> np.ndarray:
        channels = values.shape[2] if values.ndim == 3 else 1
        if channels != len(self.mean):
            raise DataError(f"normalise: {len(self.mean)} channels expected, the image has {channels}.")
        planes = values.reshape(*values.shape[:2], channels).transpose(2, 0, 1)
        planes = np.ascontiguousarray(planes)  # (C, H, W); arithmetic is fast where numbers lie side by side
        mean, std = (np.asarray(numbers, np.float32)[:, None, None] for numbers in (self.mean, self.std))
        result = planes - mean
        result /= std
        return np.ascontiguousarray(result, np.float32)


_STEPS: dict[str, tuple[str, type[_Options]]] = {
    "min-max": ("prepare", _MinMax),
    "image-max": ("prepare", _ImageMax),
    "metric-range": ("prepare", _MetricRange),
    "jet": ("prepare", _Jet),
    "resize": ("geometry", _Resize),
    "centre-crop": ("geometry", _CentreCrop),
    "scale": ("to_unit", _Scale),
    "fill": ("to_unit", _Fill),
    "clip": ("to_unit", _Clip),
    "repeat-channels": ("to_unit", _RepeatChannels),
    "normalise": ("normalise", _Normalise),
}


@dataclass(frozen=True)
class Step:
    """One step by `name`, with its numbers. Unknown names and options are a `PluginError`."""

    name: str
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _plain(self.options))
        self._checked()

    @property
    def stage(self) -> str:
        """Which of the four stages it belongs to."""
        return _STEPS[self.name][0]

    def _checked(self) -> _Options:
        if self.name not in _STEPS:
            raise PluginError(f"preprocessing step '{self.name}' is unknown. Steps: {', '.join(_STEPS)}.")
        try:
            return _STEPS[self.name][1](**self.options)
        except (ValidationError, TypeError) as error:
            raise PluginError(f"preprocessing step '{self.name}': {_first(error)}.") from error


@dataclass(frozen=True)
class Preprocessing:
    """The contract between a modality and a student: what happens to decoded values.

    Attributes:
        modality: name of the modality technique that decodes.
        options: that technique's options, plain JSON values.
        steps: in order; their stages never run backwards, `normalise` is the last one.

    Raises:
        PluginError: if the steps do not form such a chain.
    """

    modality: str
    options: Mapping[str, Any]
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _plain(self.options))
        order = [STAGES.index(step.stage) for step in self.steps]
        if order != sorted(order) or order.count(STAGES.index("normalise")) != 1:
            names = ", ".join(step.name for step in self.steps) or "none"
            raise PluginError(
                f"preprocessing of modality '{self.modality}': steps must come in the order {', '.join(STAGES)} and "
                f"end with one normalise; got {names}."
            )

    @cached_property
    def _actions(self) -> dict[str, list[Callable[[np.ndarray], np.ndarray]]]:
        actions: dict[str, list[Callable[[np.ndarray], np.ndarray]]] = {stage: [] for stage in STAGES}
        for step in self.steps:
            actions[step.stage].append(step._checked().apply)
        return actions

    def _run(self, stage: str, values: np.ndarray) -> np.ndarray:
        for apply in self._actions[stage]:
            values = apply(values)
        return values

    def prepare(self, values: np.ndarray) -> np.ndarray:
        """Physical values to what may be resized: (H, W) float32 with NaN holes, or (H, W, C)."""
        return self._run("prepare", values)

    def geometry(self, values: np.ndarray) -> np.ndarray:
        """Resize and crop to the student's size; the dtype stays."""
        return self._run("geometry", values)

    def to_unit(self, values: np.ndarray) -> np.ndarray:
        """(H, W, C) float32 in 0..1, without holes."""
        values = self._run("to_unit", values).astype(np.float32, copy=False)
        return values if values.ndim == 3 else values[:, :, None]

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """(C, H, W) float32, contiguous: the student's input."""
        return self._run("normalise", values)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """All four stages: decoded values to (C, H, W) float32."""
        return self.normalise(self.to_unit(self.geometry(self.prepare(values))))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal contract back."""
        steps = [{"name": step.name, **step.options} for step in self.steps]
        return {"modality": self.modality, "options": dict(self.options), "steps": steps}

    @classmethod
    def from_json(cls, document: Any) -> Preprocessing:
        """The contract that `to_json` wrote.

        Raises:
            BundleError: if the document is something else, or names a step that this edgefw does not know.
        """
        try:
            steps = tuple(_step(entry) for entry in document["steps"])
            return cls(_text(document["modality"]), _mapping(document["options"]), steps)
        except PluginError as error:
            raise BundleError(f"preprocessing contract: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"preprocessing contract: not in the form that edgefw writes ({error}).") from error


def shortest_side(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) with the shorter side at `size` and the longer one rounded down, as torchvision's Resize does."""
    short, long = min(height, width), max(height, width)
    longer = max(size, int(size * long / short))
    return (size, longer) if height <= width else (longer, size)


def _jet_table() -> np.ndarray:
    at = np.linspace(0.0, 1.0, 256)
    red = np.interp(at, [0, 0.35, 0.66, 0.89, 1], [0, 0, 1, 1, 0.5])
    green = np.interp(at, [0, 0.125, 0.375, 0.64, 0.91, 1], [0, 0, 1, 1, 0, 0])
    blue = np.interp(at, [0, 0.11, 0.34, 0.65, 1], [0.5, 1, 1, 0, 0])
    return (np.stack([red, green, blue], axis=1) * 255).astype(np.uint8)


JET = _jet_table()
"""(256, 3) uint8: the classic "jet" colour map, from dark blue to dark red."""
_JET_AND_BLACK = np.concatenate([JET, np.zeros((1, 3), np.uint8)])


def _readings(values: np.ndarray, invalid: float | None) -> tuple[np.ndarray, np.ndarray]:
    values = values.astype(np.float32, copy=False)
    known = np.isfinite(values)
    if invalid is not None:
        known &= values != np.float32(invalid)
    return np.where(known, values, np.float32(0)), known


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"])
    return f"{where}: {detail['msg']}, got {detail['input']!r}" if where else str(detail["msg"])


def _step(entry: Any) -> Step:
    options = _mapping(entry)
    return Step(_text(options.pop("name")), options)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r}")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, got {value!r}")
    return dict(value)
