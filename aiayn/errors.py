"""The one exception for what a user can mend."""


class UserError(Exception):
    """A mistake in input or settings: shown as one message, without a traceback, exit status 2.

    The message names the file or setting, the value found and the value wanted.
    """
