"""Changes of files that keep to the file's structure, so that a reader gets past its checks: `mutate` chooses one.

Each kind of file has its own mutator, which takes the content and a source of random numbers and gives the changed
content. Checksums and lengths are right afterwards: a zip is written again, a safetensors header gets its length, a
picture's chunk gets its CRC. What remains wrong is what a stranger would make wrong.
"""

import base64
import gzip
import io
import json
import os
import pickletools
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from . import graphs

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 255, 256, 1024, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**63, 2**64, 10**30),
    0.5,
    1e308,
)
TEXTS = ("", "x", "猫", "\x1b[2J\rverified", "\u202egnp", "../x", "/etc/passwd", "a" * 5000, "model.", "module.")
OTHERS = (None, True, False, [], {}, [[]], {"a": [1, None]}, float("nan"), float("inf"))
VALUES: tuple[Any, ...] = (*NUMBERS, *TEXTS, *OTHERS)

CANARY = "CANARY"
"""The file in a case's folder that executed code would write."""

NAMES = (
    *("os system", "builtins exec", "builtins bytearray", "torch load", "collections OrderedDict", "numpy dtype"),
    *(
        "torch FloatStorage",
        "torch HalfStorage",
        "torch LongStorage",
        "torch Tensor",
        "torch._utils _rebuild_tensor_v2",
    ),
    *(
        "argparse Namespace",
        "numpy.core.multiarray scalar",
        "_codecs encode",
        "builtins set",
        "torch.serialization load",
    ),
)


def mutate(path: Path, draw: Random, gentle: bool) -> str:
    """Changes a file in place, by what it is; says what was changed.

    Args:
        gentle: changes values and leaves the structure alone, so that most such files are read to the end.
    """
    content = path.read_bytes()
    kind = kind_of(path, content)
    if kind == "lmdb" and path.stat().st_nlink == 1:
        kind = "bytes"  # an earlier change may have damaged what LMDB's library trusts
    if not gentle and (not content or draw.random() < 0.15):
        kind = "bytes"
    path.unlink()  # it may be a link to the seed
    path.write_bytes(KINDS[kind](content, draw, gentle))
    return f"{path.name} as {kind}"


def kind_of(path: Path, content: bytes) -> str:
    """The mutator of a file, by its content, else by its name."""
    if content.startswith(b"PK\x03\x04"):
        return "zip"
    if content.startswith(b"\x89PNG"):
        return "png"
    if content[16:20] == b"\xde\xc0\xef\xbe":
        return "lmdb"
    if content.startswith(b"\x1f\x8b"):
        return "gzip"
    if content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    return SUFFIXES.get(path.suffix, "bytes")


# Bytes and lines


def of_bytes(content: bytes, draw: Random, gentle: bool) -> bytes:
    changed, place = bytearray(content), draw.randrange(len(content) + 1)
    way = draw.randrange(6)
    if way == 0:
        return bytes(changed[:place])
    if way == 1:
        return bytes(changed) + draw.randbytes(draw.choice((1, 8, 4096)))
    if way == 2:
        return draw.choice((b"", b"\0", b"{}", b"PK\x03\x04", b"\x80\x02.", b"\n" * 10_000))
    if way == 3:
        changed[place : place + draw.choice((1, 4, 64))] = b""
    elif way == 4:
        width, number = draw.choice((("<H", 2**16 - 1), ("<I", 2**32 - 1), ("<Q", 2**64 - 1)))
        changed[place : place + struct.calcsize(width)] = struct.pack(width, draw.choice((0, 1, number, number >> 1)))
    else:
        for _ in range(draw.choice((1, 4, 16))):
            if changed:
                changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def of_numbers(content: bytes, draw: Random, gentle: bool) -> bytes:
    """Tensors' bytes: other small floats, or a NaN."""
    if len(content) < 4 or not gentle and draw.random() < 0.4:
        return of_bytes(content, draw, gentle)
    changed, place = bytearray(content), 4 * draw.randrange(len(content) // 4)
    value = draw.uniform(-1, 1) if gentle else draw.choice((float("nan"), float("inf"), -1e38, 1e-45))
    changed[place : place + 4] = struct.pack("<f", value)
    return bytes(changed)


def of_lines(
    content: bytes, draw: Random, gentle: bool, line: Callable[[bytes, Random], bytes] | None = None
) -> bytes:
    lines = content.split(b"\n")
    place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    way = draw.randrange(6)
    if way == 0:
        del lines[place]
    elif way == 1:
        lines.insert(place, lines[other])
    elif way == 2:
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines[place] = (line or field)(lines[place], draw)
    return b"\n".join(lines)


def field(line: bytes, draw: Random) -> bytes:
    """Another field of a line of tsv, csv, YAML or words."""
    mark = next((mark for mark in (b"\t", b",", b": ", b" ") if mark in line), b"\t")
    fields = line.split(mark)
    number = draw.randrange(len(fields))
    if fields[number].startswith(PNG) and draw.random() < 0.7:
        fields[number] = of_base64(fields[number], draw)
        return mark.join(fields)
    value = draw.choice(VALUES)
    text = value if isinstance(value, str) else json.dumps(value)
    fields[number] = text.encode()
    return mark.join(fields)


PNG = b"iVBORw0KGgo"
"""How a PNG begins in base64."""


def of_base64(content: bytes, draw: Random) -> bytes:
    """Another picture in base64."""
    try:
        return base64.b64encode(of_png(base64.b64decode(content), draw, False))
    except ValueError:
        return of_bytes(content, draw, False)


def of_json_lines(content: bytes, draw: Random, gentle: bool) -> bytes:
    def line(found: bytes, draw: Random) -> bytes:
        return of_json(found, draw, gentle).replace(b"\n", b" ") if found.strip() else found

    return of_lines(content, draw, gentle, line)


# JSON


def of_json(content: bytes, draw: Random, gentle: bool) -> bytes:
    try:
        value = json.loads(content)
    except ValueError:
        return of_bytes(content, draw, gentle)
    holders = list(_holders(value))
    if not holders:
        return json.dumps(draw.choice(VALUES)).encode()
    for _ in range(1 if gentle else draw.choice((1, 1, 2, 3))):
        change_json(draw.choice(holders), draw, gentle)
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5)
    if not gentle and draw.random() < 0.05:
        text = text.replace(draw.choice(("0", "1", '""', "[]")), draw.choice(("9" * 5000, "[" * 500, '"\\ud800"')), 1)
    return text.encode("utf-8", "surrogatepass")


def _holders(value: Any, most: int = 40) -> Any:
    """Every object and list that holds something; of long lists the first items."""
    if isinstance(value, (dict, list)) and value:
        yield value
        for each in list(value.values() if isinstance(value, dict) else value)[:most]:
            yield from _holders(each)


def change_json(holder: Any, draw: Random, gentle: bool) -> None:
    """Changes one field of an object or of a list."""
    if not holder:  # an earlier change emptied it
        return
    key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
    way = draw.randrange(6)
    if gentle and way < 4 and isinstance(holder, dict):
        holder[f"{key}_{draw.randrange(10)}"] = draw.choice(VALUES)  # a field that nobody asks for
    elif gentle:
        holder[key] = near(holder[key], draw)
    elif way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[draw.choice(TEXTS) + str(key)] = holder.pop(key)
    elif way == 2:
        holder[key] = near(holder[key], draw)
    elif way == 3:
        holder[key] = [holder[key]] if draw.random() < 0.5 else {str(key): holder[key]}
    else:
        holder[key] = draw.choice(VALUES)


def near(value: Any, draw: Random) -> Any:
    """A value of the same type."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return draw.choice((value + 1, value - 1, value * 2, -value, value // 2))
    if isinstance(value, str):
        return draw.choice((value.upper(), value + "x", value[1:], value * 2, value.replace("a", "猫")))
    return value


# Pickles and zips


def of_pickle(content: bytes, draw: Random, gentle: bool) -> bytes:
    """Other opcodes and arguments; what follows the pickles in the file stays."""
    steps, end = _steps(content)
    if not steps:
        return of_bytes(content, draw, gentle)
    for _ in range(1 if gentle else draw.choice((1, 1, 2, 4))):
        change_steps(steps, draw, gentle)
    return (
        b"".join(step for step in steps if not step.startswith(b"\x95")) + content[end:]
    )  # a FRAME's length is wrong


def _steps(content: bytes) -> tuple[list[bytes], int]:
    """The opcodes of the pickles at the beginning, each with its argument, and where they end."""
    file, places = io.BytesIO(content), []
    try:
        while len(places) < 200_000 and content[file.tell() : file.tell() + 1] == b"\x80":
            places += [place for _, _, place in pickletools.genops(file)]
            end = file.tell()
    except Exception:  # no pickle, or a damaged one
        end = places[-1] if places else 0
    places = [place for place in places if place < end]
    if not places:
        return [], 0
    return [content[place:after] for place, after in zip(places, [*places[1:], end], strict=True)], end


def change_steps(steps: list[bytes], draw: Random, gentle: bool) -> None:
    place = draw.randrange(len(steps))
    way = 9 if gentle else draw.randrange(10)
    if way == 0:
        del steps[place]
        steps or steps.append(b".")
    elif way == 1:
        steps.insert(place, steps[draw.randrange(len(steps))])
    elif way == 2:
        steps[place] = steps[draw.randrange(len(steps))]
    elif way == 3:
        steps.insert(place, evil())
    elif way == 4:
        named = [number for number, step in enumerate(steps) if step[:1] == b"c"]
        if named:
            module, name = draw.choice(NAMES).split()
            steps[draw.choice(named)] = f"c{module}\n{name}\n".encode()
    else:
        _other_argument(steps, draw, gentle)


def evil() -> bytes:
    """Opcodes that would write the canary, and leave nothing on the stack."""
    words = f"touch {CANARY}".encode()
    return b"cos\nsystem\nX" + struct.pack("<I", len(words)) + words + b"\x85R0"


def _other_argument(steps: list[bytes], draw: Random, gentle: bool) -> None:
    """Another number, name or place of the memo; in a gentle change another name of a key, or a small number."""
    wanted = b"KM" if gentle else b"KMJXqrhj"
    known = [number for number, step in enumerate(steps) if step[:1] in wanted and step[:1]]
    if not known:
        return
    place = draw.choice(known)
    code = steps[place][:1]
    if code == b"X":
        text = draw.choice(TEXTS).encode() + steps[place][5:] if draw.random() < 0.7 else draw.choice(TEXTS).encode()
        steps[place] = b"X" + struct.pack("<I", len(text)) + text
    elif code in b"KMJ":
        number = draw.choice((0, 1, 2, 64, 255, 2**16 - 1, 2**31 - 1))
        steps[place] = b"J" + struct.pack("<i", number) if number > 255 else b"K" + bytes([number])
    elif code in b"qr":
        steps[place] = b"r" + struct.pack("<I", draw.choice((0, 1, 2, 1000, 2**31 - 1)))
    else:
        steps[place] = b"j" + struct.pack("<I", draw.choice((0, 1, 2, 5, 1000, 2**32 - 1)))


def of_zip(content: bytes, draw: Random, gentle: bool) -> bytes:
    """A zip with another record, written again with right checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:
        return of_bytes(content, draw, gentle)
    if not records:
        return of_bytes(content, draw, gentle)
    change_records(records, draw, gentle)
    made = io.BytesIO()
    method = zipfile.ZIP_STORED if gentle or draw.random() < 0.9 else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, record in records:
            archive.writestr(zipfile.ZipInfo(name), record, method)
    return made.getvalue()


def change_records(records: list[tuple[str, bytes]], draw: Random, gentle: bool) -> None:
    pickles = [number for number, (name, _) in enumerate(records) if name.endswith(".pkl")]
    place = draw.randrange(len(records))
    if pickles and draw.random() < (0.2 if gentle else 0.6):
        place = draw.choice(pickles)
    name, record = records[place]
    way = 9 if gentle else draw.randrange(10)
    if way == 0:
        del records[place]
    elif way == 1:
        records.insert(place, records[draw.randrange(len(records))])
    elif way == 2:
        records[place] = (
            draw.choice((f"../{name}", name + "x", "/" + name, name.replace("/", "\\"), "\x1b[2J")),
            record,
        )
    elif place in pickles:
        records[place] = name, of_pickle(record, draw, gentle)
    elif "/data/" in name or "constants" in name:
        records[place] = name, of_numbers(record, draw, gentle)
    elif not gentle:
        records[place] = name, of_bytes(record, draw, gentle)


# safetensors

DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F8_E4M3", "F4", "X")


def of_safetensors(content: bytes, draw: Random, gentle: bool) -> bytes:
    """Another header, whose length is right, or other numbers."""
    try:
        length = struct.unpack("<Q", content[:8])[0]
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        names = [name for name in header if name != "__metadata__"]
        name = draw.choice(names)
        entry = header[name]
        entry["data_offsets"][1], entry["shape"][:0]
    except (ValueError, struct.error, LookupError, TypeError):  # an earlier change damaged it
        return of_bytes(content, draw, gentle)
    way = draw.randrange(8)
    if gentle and way < 6 or way == 7:
        data = of_numbers(data, draw, gentle)
    elif gentle:
        header["__metadata__"] = {"format": "pt", "x": draw.choice(TEXTS)}
    elif way == 0:
        del header[name]
    elif way == 1:
        header[draw.choice(TEXTS) + name] = header.pop(name)
    elif way == 2:
        entry["dtype"] = draw.choice(DTYPES)
    elif way == 3:
        entry["shape"] = draw.choice(
            (entry["shape"][::-1], [1, *entry["shape"]], entry["shape"][1:], [], [0], [2**40])
        )
    elif way == 4:
        entry["data_offsets"][draw.randrange(2)] += draw.choice((-4, 4, 2**32, -(2**32)))
    elif way == 5:
        header[name] = {**header[draw.choice(names)]}
    else:
        change_json(draw.choice(list(_holders(header))), draw, gentle)
    told = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(told)) + told + data


# Pictures and compressed texts


def of_png(content: bytes, draw: Random, gentle: bool) -> bytes:
    """Another chunk, whose CRC is right."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        length = struct.unpack(">I", content[place : place + 4])[0]
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return of_bytes(content, draw, gentle)
    number = draw.randrange(len(chunks))
    kind, data = chunks[number]
    way = draw.randrange(4)
    if way == 0:
        chunks.insert(number, chunks[draw.randrange(len(chunks))])
    elif way == 1:
        del chunks[number]
    elif way == 2 and kind == b"IHDR":
        sides = draw.choice(((0, 1), (1, 2**31 - 1), (30_000, 30_000), (8, 8)))
        chunks[number] = kind, struct.pack(">II", *sides) + data[8:]
    else:
        chunks[number] = kind, of_bytes(data, draw, gentle)
    joined = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return content[:8] + joined


def of_gzip(content: bytes, draw: Random, gentle: bool) -> bytes:
    try:
        return gzip.compress(of_lines(gzip.decompress(content), draw, gentle), 1, mtime=0)
    except (OSError, EOFError, zlib.error):
        return of_bytes(content, draw, gentle)


def of_lmdb(content: bytes, draw: Random, gentle: bool) -> bytes:
    """Another entry, in a file that LMDB's own library writes; the content is a file that it wrote."""
    import lmdb

    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "data.mdb").write_bytes(content)
        with lmdb.open(place, lock=False, readonly=True) as environment, environment.begin() as transaction:
            entries = list(transaction.cursor())
        (Path(place) / "data.mdb").unlink()
        change_entries(entries, draw, gentle)
        with lmdb.open(place, lock=False, map_size=2**24) as environment, environment.begin(write=True) as transaction:
            for key, value in entries:
                transaction.put(key[:500] or b"x", value)
        return (Path(place) / "data.mdb").read_bytes()


def of_graph(content: bytes, draw: Random, gentle: bool) -> bytes:
    """Another ONNX graph."""
    changed = graphs.of_graph(content, draw, gentle)
    return of_bytes(content, draw, gentle) if changed is None else changed


def of_parquet(content: bytes, draw: Random, gentle: bool) -> bytes:
    """Another column, type, cell or note, in a file that Arrow's own library writes."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
        changed = change_table(table, draw, gentle)
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError):
        return of_bytes(content, draw, gentle)  # an earlier change damaged it, or Arrow has no such column
    made = io.BytesIO()
    parquet.write_table(changed, made, compression=draw.choice(("none", "snappy", "zstd")))
    return made.getvalue()


def change_table(table: Any, draw: Random, gentle: bool) -> Any:
    """Changes a table of Arrow: a column, or what is noted of all."""
    import pyarrow

    if table.num_columns == 0:
        return table
    number, way = draw.randrange(table.num_columns), 0 if gentle else draw.randrange(7)
    name, column = table.schema.names[number], table.column(number)
    if way == 1:
        return table.remove_column(number)
    if way == 2:
        return table.rename_columns([draw.choice((*TEXTS[:5], *table.schema.names)) for _ in table.schema.names])
    if way == 3:
        notes = dict(table.schema.metadata or {})
        known = draw.choice(sorted(notes) or [b"huggingface"])
        return table.replace_schema_metadata({**notes, known: of_json(notes.get(known, b"{}"), draw, gentle)})
    if way == 4:
        rows = column.to_pylist()
        other = draw.choice((rows, [rows] * len(rows), [None] * len(rows), [draw.choice(VALUES)] * len(rows)))
        return table.set_column(number, name, pyarrow.array(other))
    if way == 5:
        return pyarrow.concat_tables([table] * draw.choice((0, 2, 100)) or [table.slice(0, 0)])
    cells = column.to_pylist()
    place = draw.randrange(len(cells) or 1)
    cells[place] = _other_cell(cells[place], draw, gentle)
    return table.set_column(number, name, pyarrow.array(cells, column.type))


def _other_cell(value: Any, draw: Random, gentle: bool) -> Any:
    if isinstance(value, dict):
        key = draw.choice(sorted(value))
        return {**value, key: _other_cell(value[key], draw, gentle)}
    if isinstance(value, bytes):
        return of_png(value, draw, gentle)
    return near(value, draw) if gentle else draw.choice((None, *TEXTS))


def change_entries(entries: list[tuple[bytes, bytes]], draw: Random, gentle: bool) -> None:
    if not entries:
        return
    number, way = draw.randrange(len(entries)), draw.randrange(8)
    key, value = entries[number]
    if way == 0 and not gentle:
        del entries[number]
    elif way == 1 and not gentle:
        entries[number] = of_bytes(key, draw, gentle), value
    elif way == 2 and not gentle:
        entries[number] = key, draw.choice(entries)[1]
    elif value.startswith(PNG):
        entries[number] = key, of_base64(value, draw)
    elif value.startswith(b"\x80"):
        entries[number] = key, of_pickle(value, draw, gentle)
    else:
        entries[number] = key, of_bytes(value, draw, gentle)


KINDS: dict[str, Callable[[bytes, Random, bool], bytes]] = {
    "bytes": of_bytes,
    "lines": of_lines,
    "json": of_json,
    "json lines": of_json_lines,
    "pickle": of_pickle,
    "zip": of_zip,
    "safetensors": of_safetensors,
    "png": of_png,
    "gzip": of_gzip,
    "lmdb": of_lmdb,
    "graph": of_graph,
    "parquet": of_parquet,
    "numbers": of_numbers,
}

SUFFIXES = {
    **{".json": "json", ".jsonl": "json lines", ".safetensors": "safetensors"},
    **{".tsv": "lines", ".csv": "lines", ".txt": "lines", ".yaml": "lines", ".py": "lines"},
    **{".onnx": "graph", ".onnx_data": "numbers", ".parquet": "parquet"},
}


# Folders


def change_folder(folder: Path, draw: Random) -> str:
    """Changes what lies in a folder: a file is gone, doubled, a folder, a pipe, a link, or another file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path, way = draw.choice(files), draw.choice(sorted(WAYS))
    WAYS[way](path, draw.choice(files))
    return f"{path.name} {way}"


def _is_a_link(path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def _is_a_pipe(path: Path, other: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _is_a_folder(path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()


def _has_code(path: Path, other: Path) -> None:
    code = f"open({CANARY!r}, 'w').close()\n"
    (path.parent / "evil.py").write_text(code, encoding="utf-8")
    for file in filter(Path.is_file, path.parent.glob("*.json")):  # no pipe
        try:
            content = json.loads(file.read_bytes())
        except ValueError:
            continue  # an earlier change damaged it
        if isinstance(content, dict):
            auto = {name: "evil.Evil" for name in ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor")}
            file.unlink()
            file.write_text(json.dumps({**content, "auto_map": auto}), encoding="utf-8")


def _is_another(path: Path, other: Path) -> None:
    content = other.read_bytes()
    path.unlink()
    path.write_bytes(content)


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "is gone": lambda path, other: path.unlink(),
    "is a link out of the folder": _is_a_link,
    "is a pipe": _is_a_pipe,
    "is a folder": _is_a_folder,
    "has the content of another file": _is_another,
    "has code beside it": _has_code,
}
