"""Why nothing proves that a repo computes what its original computes, in its card's words."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from hf_zhclip.telling import shown

from ..errors import InputError
from ..repos.report import FILE, Report, changed_files, read_report
from ..words import SEMICOLON, Words, joined

TENSORS_ALONE = Words("only tensors were compared", "只比较了张量")
CHANGED_SINCE = Words(
    "files changed or missing after the report was written: {files}", "报告写成之后有改动或缺失：{files}"
)
"""The reasons that a card finds itself."""

NO_REPORT = Words(f"there is no {FILE}", f"没有 {FILE}")
UNREADABLE = Words(
    f"its {FILE} can't be read, has another version, or contradicts itself", f"其 {FILE} 无法读取、版本不符或自相矛盾"
)
NO_EMBEDDINGS = Words("only tensors were compared, no embeddings", "只比较了张量，没有比较向量")
FAILED = Words("its verification failed", "它没有通过验证")
FOREIGN = Words(
    f"its {FILE} names {{files}}, which no converted repo holds",
    f"其 {FILE} 列出了 {{files}}，这不是转换得到的仓库里的文件",
)
OUT_OF_DATE = Words("its files differ from the verified files ({how})", "文件与验证时的不同（{how}）")
CHANGED = Words("changed: {files}", "有改动：{files}")
MISSING = Words("missing, or a link to another place: {files}", "缺失或链接到别处：{files}")
"""The reasons for not publishing a folder unless it is forced; the last two say how its files can differ."""

NEVER = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npz", ".h5", ".msgpack")
"""Suffixes that no converted repo has: reading pickles runs code; readers would load the others beside our files."""


def why_unverified(report: Report | None, why: Words | None) -> Words | None:
    """The known reason, or the reason in the report itself."""
    if why is None and report is not None and report.level == "tensors":
        return TENSORS_ALONE
    return why


def proof_of(folder: Path, there: Mapping[str, Path]) -> tuple[Report | None, Words | None]:
    """The report, and why it proves nothing."""
    if FILE not in there:
        return None, NO_REPORT
    try:
        report = read_report(folder)
    except InputError:
        return None, UNREADABLE
    if report.level == "tensors":
        return report, NO_EMBEDDINGS
    if not report.passed:
        return report, FAILED
    if wrong := sorted(name for name in report.files if not is_safe(name)):
        return report, FOREIGN.filled(files=", ".join(wrong))
    return report, None


def unproved(folder: Path) -> Words | None:
    """Why nothing proves that a folder computes what its original computes, or None; it hashes the files."""
    there = {FILE: folder / FILE} if (folder / FILE).is_file() else {}
    report, why = proof_of(folder, there)
    if report is None or why is not None:
        return why
    changed = changed_files(folder, report)
    return CHANGED_SINCE.filled(files=", ".join(map(shown, changed))) if changed else None


def is_safe(name: str) -> bool:
    """Whether a report may name this file: a visible file inside the folder, without a suffix in `NEVER`."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return not (path.is_absolute() or hidden or "\\" in name or name.lower().endswith(NEVER))


def out_of_date(report: Report, hashes: Mapping[str, str]) -> Words | None:
    """How files, given by their hashes, differ from the verified files."""
    missing = sorted(set(report.files) - set(hashes))
    changed = sorted(name for name in set(report.files) & set(hashes) if hashes[name] != report.files[name])
    told = [words.filled(files=", ".join(names)) for words, names in ((CHANGED, changed), (MISSING, missing)) if names]
    return OUT_OF_DATE.filled(how=joined(told, SEMICOLON)) if told else None
