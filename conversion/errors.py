"""The errors of a conversion. Their bases say who can fix the cause: see `hf_zhclip.errors`."""

from hf_zhclip.errors import InputError, WorkError, ZhclipError

__all__ = [
    "ConvertedRepo",
    "InputError",
    "MappingError",
    "OlderRepo",
    "ParityError",
    "UnknownFormat",
    "WorkError",
    "ZhclipError",
]


class ParityError(WorkError):
    """The converted model does not compute what the original computes; `report` says where they differ."""

    def __init__(self, message, report):
        super().__init__(message)
        self.report = report


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
