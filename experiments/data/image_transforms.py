"""Rotation and scaling of images by interpolation with cubic splines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from experiments.core.errors import InputError

Image = NDArray[Any]
MARGIN = 4
"""Empty pixels around an image: splines fall off within them, and rounding cannot push a border pixel outside."""


def transform_image(image: Image, canvas: int, angle: float, scale: float) -> NDArray[np.float32]:
    """Place a square image `[h, h]` at the centre of a canvas `[canvas, canvas]`, zero outside of the image.

    It is magnified by `scale` ≥ 1 and rotated by `angle` (radians, in the sense of `np.rot90`).
    """
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.array([[cosine, sine], [-sine, cosine]])  # from the canvas to the image, as scipy wants it
    framed = np.pad(image.astype(np.float64), MARGIN)
    middle = (np.array(framed.shape) - 1) / 2
    offset = middle - matrix @ np.full(2, (canvas - 1) / 2)
    transformed = ndimage.affine_transform(framed, matrix, offset=offset, output_shape=(canvas, canvas), order=3)
    return transformed.astype(np.float32)


def rotated_copies(inputs: NDArray[np.float32], copies: int) -> NDArray[np.float32]:
    """Follow every image `[C, h, h]` by copies rotated by 360°/copies, twice that, …: `[n, …]` → `[n·copies, …]`.

    Raises:
        InputError: more than one copy of inputs that are no square images.
    """
    if copies == 1:
        return inputs
    if inputs.ndim != 4 or inputs.shape[2] != inputs.shape[3]:
        raise InputError(f"model.copies={copies}: only square images can be rotated; accepted: 1")
    size = inputs.shape[2]
    images = np.repeat(inputs[:, None], copies, 1)
    for image in images:
        for k in range(1, copies):
            for channel in range(len(image[0])):
                image[k, channel] = transform_image(image[0, channel], size, 2 * np.pi * k / copies, 1.0)
    return images.reshape(len(inputs) * copies, *inputs.shape[1:])
