"""Exceptions that say whose fault an error is: the user's input, a run, a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class InputError(ValueError):
    """Bad input from the user; the message is one line that says what, where, and what would be accepted.

    Several mistakes of one configuration are told together, each in a line of its own. Commands print the message
    alone, without a traceback, and exit with code 2.
    """


class Mistakes:
    """The mistakes of a configuration, collected so that all of them are told at once."""

    def __init__(self) -> None:
        self.errors: list[InputError] = []

    def of(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
        """Return what a function returns; None if it raises an `InputError`, which is kept."""
        try:
            return function(*arguments, **named)
        except InputError as error:
            self.errors.append(error)
            return None

    def tell(self) -> None:
        """Raise one `InputError` with a line for each mistake, of their common class if they have one."""
        if self.errors:
            kinds = {type(error) for error in self.errors}
            lines = dict.fromkeys(line for error in self.errors for line in str(error).splitlines())
            raise (kinds.pop() if len(kinds) == 1 else InputError)("\n".join(lines))


class RunsFailed(RuntimeError):
    """One or more runs failed and all others are done; commands print the message and exit with code 1."""


class DeviceLost(RuntimeError):
    """The device of a process can no longer be used; the message says why, in one line.

    No run is to blame: all runs on the device are queued as before, with their checkpoints. Only a new process may find
    the device in order again. `absent` says that it was never there.
    """

    def __init__(self, reason: str, absent: bool = False) -> None:
        super().__init__(reason)
        self.absent = absent
