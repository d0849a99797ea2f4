"""The one exception that bad input raises."""


class UsageError(ValueError):
    """Bad input: one line that says what was wrong, what was expected and what to do.

    Every public function of the package raises this (or a plain ``ValueError`` in
    ``hw2_keras.theory``, which stands alone). The command line prints the message and exits
    with code 2.
    """


def printable(text: str) -> str:
    """The text on one line, with escapes for whatever a terminal would not print.

    >>> printable("a\\nb")
    'a\\\\nb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
