"""The one exception that bad input raises."""


class UsageError(ValueError):
    """Bad input: one line that says what was wrong, what was expected and what to do.

    Every public function of the package raises this (or a plain ``ValueError`` in
    ``hw2_keras.theory``, which stands alone). The command line prints the message and exits
    with code 2.
    """
