"""The one exception for what a user can mend; the command line prints it as a single line."""


class UserError(Exception):
    """Bad input. The message is one line that names the file or key and says what to do about it."""
