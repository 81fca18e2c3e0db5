"""The errors that lsmbench raises on purpose."""


class UserError(Exception):
    """Something only the user can mend; the command line prints it without a traceback and exits with code 2.

    The message says what is wrong, where (which file, which option), what was expected and what to do.
    """


class Elsewhere(Exception):  # noqa: N818
    """Another of the processes that share a run failed; that one says why."""


class DivergedError(RuntimeError):
    """A loss or a score stopped being a finite number, so the run has no result."""
