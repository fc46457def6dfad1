"""The errors, by who can fix the cause: the input's owner (exit code 2) or the machine's owner (exit code 1)."""

from .telling import masked, shown_lines


class ZhclipError(Exception):
    """An error that is shown to the user without a traceback; `exit_code` is the command's exit code.

    Control characters in a message are escaped, and secrets are masked.
    """

    exit_code = 1

    def __init__(self, message=""):
        super().__init__(masked(shown_lines(str(message))))


class WorkError(ZhclipError):
    """The work failed although the input may be right: a full disk, a read error, a lost connection."""


class ParityError(WorkError):
    """The converted model does not compute what the original computes; `report` says where they differ."""

    def __init__(self, message, report):
        super().__init__(message)
        self.report = report


class InputError(ZhclipError, ValueError):
    """The input or the arguments are wrong; the message says what was found, what was expected and what to do."""

    exit_code = 2


class UnknownFormat(InputError):
    """No source format matches these keys; `verdict` says why.

    "unknown": no source claims the keys; "mixed": the file holds more than a known model; "undecided": several sources
    could claim the keys; "contradicted": the keys do not have the stated format; "converted": the keys belong to a
    converted repo; "older": the keys belong to a repo of an older version.
    """

    def __init__(self, message, verdict="unknown"):
        super().__init__(message)
        self.verdict = verdict


class OlderRepo(UnknownFormat):
    """A repo that an older version of this package wrote; `checkpoint` holds what was read."""

    def __init__(self, message, checkpoint):
        super().__init__(message, "older")
        self.checkpoint = checkpoint


class ConvertedRepo(UnknownFormat):
    """A repo that this version wrote, or what training saved of it; `checkpoint` holds what was read."""

    def __init__(self, message, checkpoint):
        super().__init__(message, "converted")
        self.checkpoint = checkpoint


class MappingError(InputError):
    """A checkpoint that breaks a law of the mapping."""
