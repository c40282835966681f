"""Frozen: the whole image, nearest pixels, without options."""

import numpy as np

import edgefw
from edgefw.contracts.view import ViewDraw


class Nearest:
    size = None
    recipe = "api1-view"

    def draw(self, rng):
        return ViewDraw(seed=int(rng.integers(2**31)))

    def geometric(self, image, draw, size):
        rows = np.arange(size) * image.shape[0] // size
        columns = np.arange(size) * image.shape[1] // size
        return image[rows][:, columns]

    def photometric(self, image, draw, modality):
        return image

    def for_teacher(self, image, draw):
        return image


def build(config, context):
    return Nearest()


@edgefw.hookimpl
def edgefw_register_views(register):
    register(edgefw.Technique(name="api1-view", config=edgefw.NoOptions, build=build))
