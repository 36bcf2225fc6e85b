"""What can go wrong that is nobody's bug: each kind has an exit code, so that a scheduler knows what to retry."""


class MarqueeError(Exception):
    """Something a person can mend; its text is one clear sentence and is all that person sees."""

    exit_code = 1


class UsageError(MarqueeError):
    """The command or its settings make no sense. Trying again changes nothing."""

    exit_code = 64


class DataError(MarqueeError):
    """The data is not as declared. Trying again changes nothing."""

    exit_code = 65


class UnavailableError(MarqueeError):
    """Something we depend on does not answer now. Trying again may help."""

    exit_code = 69


class RefusedError(MarqueeError):
    """What was asked would break a promise: an older day, a superseded attempt. Trying again changes nothing."""

    exit_code = 77
