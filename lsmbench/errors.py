"""The errors that lsmbench raises on purpose."""


class UserError(Exception):
    """A mistake that the user can correct; the command line prints it without a traceback and exits with code 2.

    The message says what is wrong, where (which file, which option), what was expected and what to do.
    """


class Elsewhere(Exception):  # noqa: N818
    """Another process of this run failed, and reports why."""


class DivergedError(RuntimeError):
    """A loss or a score became infinite or NaN, so that the run has no result."""
