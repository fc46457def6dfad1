"""What can go wrong, told apart by who can mend it: the input's owner (exit code 2) or the machine (exit code 1)."""

from .telling import masked, shown_lines


class ZhclipError(Exception):
    """Something that a user is told without a traceback; `exit_code` is what the command ends with.

    Whatever a message quotes, no terminal obeys it, and it gives no secret away.
    """

    exit_code = 1

    def __init__(self, message=""):
        super().__init__(masked(shown_lines(str(message))))


class WorkError(ZhclipError):
    """The work failed though the input may be right: a full disk, a read error, a lost network."""


class ParityError(WorkError):
    """The converted model does not compute what the original computes; `report` says where they part."""

    def __init__(self, message, report):
        super().__init__(message)
        self.report = report


class InputError(ZhclipError, ValueError):
    """The input or the arguments are wrong: what was found, what was wanted, what to do."""

    exit_code = 2


class UnknownFormat(InputError):
    """No source is found for these keys; `verdict` says why.

    "unknown": none claims them; "mixed": a known model is not alone; "undecided": more than one could; "contradicted":
    they are not of the format that was stated; "converted": they are a converted repo's; "older": they are that of an
    older version.
    """

    def __init__(self, message, verdict="unknown"):
        super().__init__(message)
        self.verdict = verdict


class OlderRepo(UnknownFormat):
    """A repo that an older version of this package wrote; `checkpoint` is what was read of it."""

    def __init__(self, message, checkpoint):
        super().__init__(message, "older")
        self.checkpoint = checkpoint


class MappingError(InputError):
    """A checkpoint that breaks a law of the mapping."""
