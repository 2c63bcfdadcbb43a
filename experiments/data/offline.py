"""Forbid downloads and generation of data, so that planning a sweep only reads files that are already cached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from experiments.core.errors import InputError

_ALLOWED = ContextVar("allowed", default=True)


class DataNotCached(InputError):
    """Raised inside `offline` when data would have to be downloaded or generated."""


@contextmanager
def offline() -> Iterator[None]:
    """Forbid downloading and generating data within the context; reading cached files stays allowed."""
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def require_download(what: str, how: str) -> None:
    """Check that data may be acquired now; call it before any download or generation.

    Args:
        what: the name of the data, for the message.
        how: `downloaded` or `generated`.

    Raises:
        DataNotCached: called inside `offline`.
    """
    if not _ALLOWED.get():
        raise DataNotCached(f"{what} is not {how} yet; it will be when the sweep starts")
