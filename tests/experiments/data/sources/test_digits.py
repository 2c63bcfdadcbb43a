"""Digits at random places, angles and sizes: seeded, split without overlap, transformed as documented."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data import load
from experiments.data.image_transforms import rotated_copies, transform_image

digits = pytest.importorskip("experiments.data.sources.digits")
pytest.importorskip("sklearn", reason="digits need the extra groups: pip install --editable '.[groups]'")

SHIFTED = "5e4ec9a57dc5"
CHANGES = ("shifted", "rot90", "rotated", "scaled")


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_seed_is_the_same_data(change: str) -> None:
    config = digits.DigitsConfig(change=change)
    one, other = digits.digits(config), digits.digits(config)
    assert one.sha256() == other.sha256()
    assert digits.digits(digits.DigitsConfig(change=change, seed=1)).sha256() != one.sha256()
    assert [len(one.pool), len(one.holdout), len(one.test)] == [1200, 97, 500]
    assert one.shape == (1, 16, 16)
    assert one.pool.inputs.dtype == np.float32
    assert set(one.test.labels) == set(range(10))


def test_shifted_digits_are_what_they_always_were() -> None:
    """Whole pixels are copied, so that the content is the same on every machine; another digest is another dataset."""
    found = digits.digits(digits.DigitsConfig(change="shifted"))
    assert found.sha256()[:12] == SHIFTED
    images, labels = digits.shipped()
    ink = {(label, hashlib.sha256(image.astype(np.float32).tobytes()).hexdigest())
           for image, label in zip(images, labels, strict=True)}  # fmt: skip
    seen = set()
    for part in (found.pool, found.holdout, found.test):
        for image, label in zip(part.inputs[:, 0], part.labels, strict=True):
            rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
            options = [
                (label, hashlib.sha256(np.ascontiguousarray(image[r : r + 8, c : c + 8]).tobytes()).hexdigest())
                for r in range(max(0, rows[-1] - 7), min(rows[0], 8) + 1)
                for c in range(max(0, columns[-1] - 7), min(columns[0], 8) + 1)
            ]
            match = [option for option in options if option in ink]
            assert match  # some window of 8 × 8 is a digit as shipped
            seen.add(match[0])
    assert len(seen) == len(ink)  # and every digit is somewhere, in one part only (there are as many images)


def test_quarter_turns_are_exact_and_any_angle_is_near() -> None:
    image = np.random.default_rng(0).random((8, 8))
    upright = transform_image(image, 16, 0.0, 1.4)
    for k in range(4):
        assert np.allclose(
            transform_image(image, 16, k * np.pi / 2, 1.4), np.rot90(upright, k), atol=1e-5
        )  # single precision
    assert np.allclose(transform_image(image, 8, 0.0, 1.0), image, atol=1e-6)
    there_and_back = transform_image(transform_image(upright, 16, 0.4, 1.0), 16, -0.4, 1.0)
    assert np.abs(there_and_back - upright).mean() < 0.1 * np.abs(upright).mean()


def test_sizes_are_even_in_the_logarithm() -> None:
    """A digit twice as large has four times the ink."""
    found = digits.digits(digits.DigitsConfig(change="scaled"))
    images, _ = digits.shipped()
    ratio = found.pool.inputs.sum((1, 2, 3)).mean() / images.sum((1, 2)).mean()
    expected = (4 - 1) / np.log(4)  # the mean of s² for ln s even between 0 and ln 2
    assert ratio == pytest.approx(expected, rel=0.03)  # 1,200 sizes: 1 %, and the ink of their digits


def test_copies_are_turned_in_order() -> None:
    images = np.random.default_rng(0).random((3, 1, 9, 9)).astype(np.float32)
    copies = rotated_copies(images, 4)
    assert np.array_equal(copies[::4], images)
    for k in range(4):
        assert np.allclose(copies[k::4], np.rot90(images, k, (2, 3)), atol=1e-5)
    assert rotated_copies(images, 1) is images
    with pytest.raises(InputError, match=r"model.copies=2: only square images can be rotated"):
        rotated_copies(np.zeros((2, 4), np.float32), 2)


def test_bad_input_has_one_line() -> None:
    for section, message in (
        ({"change": "sheared"}, "data.change='sheared': accepted: shifted | rot90 | rotated | scaled"),
        ({"test": 1797}, "data: holdout=97, test=1797: nothing is left of the 1,797 digits to train on"),
    ):
        with pytest.raises(InputError) as error:
            load.parse({"source": "digits", **section})
        assert str(error.value) == message
