"""The frame bootstrap against a known variance."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.comparisons.bootstrap import resample_frames


def test_frame_bootstrap_has_the_frames_variance() -> None:
    rng = np.random.default_rng(1)
    frames = rng.gamma(4.0, 0.25, size=(1, 1, 400)).repeat(3, axis=0)  # one seed thrice: only frames vary
    spread = resample_frames(frames, 4000).std()
    expected = frames[0, 0].std() / frames[0, 0].mean() / np.sqrt(400)
    assert spread == pytest.approx(expected, rel=0.06)  # 1.1 % Monte Carlo error, and ln against linear below 1 %
