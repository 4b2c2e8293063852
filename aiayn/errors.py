"""What is not a defect of the program: a user's mistake, and being asked to stop."""


class UserError(Exception):
    """A mistake in input or settings: shown as one message, without a traceback, exit status 2.

    The message names the file or setting, the value found and the value wanted.
    """


class Preempted(Exception):  # noqa: N818, it is no error
    """SIGTERM came, and what there was to save is saved: exit status 0."""
