"""Exceptions that say whose fault an error is: the user's input, a run, a device."""

import re


class InputError(ValueError):
    """Bad input from the user; the message is one line that says what, where, and what would be accepted.

    Commands print the message alone, without a traceback, and exit with code 2.
    """


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


def one_line(error: Exception) -> str:
    """Return the message of a library's exception as one line that names key, value and the accepted values."""
    text = str(error)
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'\n+Available options in '[^']+':\n((?:\t.*\n?)+)", text):
        group, option, options = match.groups()
        return f"{group}={option}: no such choice; accepted: {' | '.join(options.split())}"
    if match := re.search(r"Could not override '([^']+)'", text):
        return f"{match[1]}: unknown key; accepted: the keys that python -m experiments --cfg job lists"
    if isinstance(override := getattr(error, "override", None), str):  # Hydra's parser did not understand it
        return f"{override}: {text.splitlines()[0]}; accepted: KEY=VALUE"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=", "See "))]
    return "; ".join(useful) or type(error).__name__
