"""Whether data may be downloaded or generated now: a plan that starts nothing only looks at what is here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from experiments.core.errors import InputError

_ALLOWED = ContextVar("allowed", default=True)


class DataNotCached(InputError):
    """Data are not on this machine yet, and `offline` forbids to acquire them."""


@contextmanager
def offline() -> Iterator[None]:
    """Inside, nothing is downloaded or generated that takes longer than reading a file would."""
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def require_download(what: str, how: str) -> None:
    """To be called before data are acquired; `what` names them, `how` is `downloaded` or `generated`.

    Raises:
        DataNotCached: inside `offline`.
    """
    if not _ALLOWED.get():
        raise DataNotCached(f"{what} is not {how} yet; it will be when the sweep starts")
