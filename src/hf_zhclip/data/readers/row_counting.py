"""Runs as a file, in a process of its own: reads tables to their end within a limit of memory.

A page of a few kilobytes may inflate to gigabytes, whatever the file says of itself, and no option of pyarrow bounds
that. It imports nothing from this package, whose imports take seconds. It takes a JSON object from its standard input:
`files`, by file the most bytes of its rows, and `columns`, the most columns of a file. For each file it prints a line
of JSON: the bytes of the rows that were read before they were too many, that there are too many columns, that the
memory did not suffice, or an error.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

MEMORY = 3 * 2**28
"""The bytes that this process may take."""

ROWS_AT_ONCE = 16


def limit_memory() -> None:
    """Lets the system refuse more memory, where it can: mapped files do not count."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no limits; a user may have set a lower one
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_with_parent() -> None:
    """Ends this process when its standard input ends, as it does when the parent ends by whatever signal."""
    os.read(0, 1)
    os._exit(1)


@contextmanager
def table(path: str) -> Iterator[tuple[Any, Iterable[Any]]]:
    """The schema and the rows of a parquet file, or of an Arrow file as `save_to_disk` writes it."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # others take a gigabyte of addresses at once
    if path.endswith(".parquet"):
        with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
            yield file.schema_arrow, file.iter_batches(ROWS_AT_ONCE, use_threads=False)
        return
    with pyarrow.memory_map(path) as source, pyarrow.ipc.open_stream(source) as stream:
        yield stream.schema, stream


def columns(fields: Iterable[Any]) -> int:
    """The columns of a schema, and the fields within each."""
    return sum(1 + columns(each.type.field(n) for n in range(each.type.num_fields)) for each in fields)


def counted(path: str, most_bytes: int, most_columns: int) -> dict[str, int]:
    """The bytes of the rows, until they are more than wanted; or the columns, if they are more than wanted."""
    with table(path) as (schema, rows):
        if (found := columns(schema)) > most_columns:
            return {"columns": found}
        taken = 0
        for batch in rows:
            taken += batch.nbytes
            if taken > most_bytes:
                break
        return {"bytes": taken}


def main(request: str) -> None:
    """Counts the rows of each file of a request."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    limit_memory()
    asked = json.loads(request)
    for path, most in asked["files"].items():
        try:
            print(json.dumps(counted(path, most, asked["columns"])), flush=True)
        except MemoryError:  # of pyarrow, too
            print(json.dumps({"memory": MEMORY}), flush=True)
        except Exception as error:  # pyarrow raises errors of many kinds
            print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main(sys.stdin.readline())
