"""The one exception that means "your input", wherever in the program it is found."""


class InputError(ValueError):
    """Bad input from the user; its message is one line: what, where, what would be accepted.

    Commands print the message alone, without a traceback, and exit with code 2.
    """
