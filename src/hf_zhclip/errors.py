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


class InputError(ZhclipError, ValueError):
    """The input or the arguments are wrong; the message says what was found, what was expected and what to do."""

    exit_code = 2


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out: a card's, or the processor's; torch and imports say so in errors of other classes."""
    words = ("not enough memory", "allocate memory", "out of memory", "failed to map segment")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError) and any(each in str(error) for each in words)
    )


def is_panic(error: BaseException) -> bool:
    """Whether an exception is a panic of Rust code, whose class (PyO3's) cannot be imported."""
    return type(error).__name__ == "PanicException"


def is_fault(error: BaseException) -> bool:
    """Whether an exception tells a fault: an Exception, or a panic of Rust code, which is none."""
    return isinstance(error, Exception) or is_panic(error)
