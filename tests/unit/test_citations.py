"""What docstrings, comments and pages name is there: modules, files, and what a class is said to have."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from ringtime_shared.traces import names

ROOT = Path(__file__).parents[2]
KINDS = {".py", ".md", ".toml", ".sh", ".yml", ".pml"}
FOLDERS = "benchmarks|client|dispatcher|docs|embedded|infra|ingest|loadtests|ringctl|shared|tests"
FILE = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w/.-]+\.(?:py|md|sh|toml|cql|pml|yaml|yml))\b")
MODULE = re.compile(r"`(ringtime(?:_[a-z]+)?(?:\.\w+)+)`")
MEMBER = re.compile(r"`([A-Z]\w+)\.(\w+)(?:\(\))?`")
CLASS = re.compile(r"^class (\w+)", re.MULTILINE)
BARE = re.compile(r"`([a-z]\w*)(\.py)?`")
PROSE = re.compile(r'"""(?:[^"]|"(?!""))*"""|#[^\n]*')
UNREAD = {"CHANGELOG.md", Path(__file__).name}  # one tells what was; this one names what is not there
NO_MODULES = {"db", "json", "toml"}  # `ringtime.db` is a file
NO_MODULES |= {
    each.split(".")[1] for each in vars(names).values() if str(each).startswith("ringtime.")
}  # spans

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="needs the list of files of the repository"
)


@cache
def listed() -> list[str]:
    git = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [name for name in git.stdout.splitlines() if (ROOT / name).exists()]


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text(errors="replace")


@cache
def modules() -> dict[str, str]:
    """From a module's dotted name to its file."""
    names = {}
    for name in listed():
        parts = name.removesuffix(".py").removesuffix("/__init__").split("/")
        top = next((n for n, part in enumerate(parts) if part.startswith("ringtime")), None)
        if name.endswith(".py") and top is not None:
            names[".".join(parts[top:])] = name
    return names


@cache
def classes() -> dict[str, list[str]]:
    """From a class to the files that define one of this name."""
    files: dict[str, list[str]] = {}
    for name in listed():
        if name.endswith(".py"):
            for each in CLASS.findall(text(name)):
                files.setdefault(each, []).append(name)
    return files


@cache
def names_in_code() -> set[str]:
    """Return what modules, folders and whatever stands in our code are called; prose is left out."""
    names = {part.removesuffix(".py") for name in listed() for part in Path(name).parts}
    for name in listed():
        if name.endswith(".py") and Path(name).name not in UNREAD:
            names.update(re.findall(r"\w+", PROSE.sub("", text(name))))
    return names


@cache
def former_modules() -> set[str]:
    """Return what modules were called that are gone, as far as the history of this clone goes back."""
    git = subprocess.run(
        ["git", "log", "--diff-filter=D", "--no-renames", "--name-only", "--format=", "--", "*.py"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    gone = {Path(name) for name in git.stdout.splitlines()}
    return {path.parent.name if path.stem == "__init__" else path.stem for path in gone if path.name}


def is_module(dotted: str) -> bool:
    """Whether this is a module, or something that stands in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        file = modules().get(".".join(parts[:count]))
        if file is not None:
            return all(re.search(rf"\b{part}\b", text(file)) for part in parts[count:])
    return False


def is_file(path: str, named_in: str) -> bool:
    is_example = any(part.isupper() for part in re.split(r"[/._]", path))  # `docs/NAME.md`
    return is_example or (ROOT / path).exists() or (ROOT / Path(named_in).parent / path).exists()


def is_gone(word: str, suffix: str) -> bool:
    """Whether a word in backticks is the bare name of a module that is not there. Most words are none; it is
    told from its suffix, from how tests are called, and from what there was."""
    if suffix:
        return all(Path(name).name != word + suffix for name in listed())
    is_told = word.startswith("test_") or word in former_modules()
    return is_told and word not in names_in_code()


def is_member(class_name: str, member: str) -> bool:
    """Whether a class of ours, if it is one, has such a member, be it by its base."""
    files = classes().get(class_name)
    return files is None or any(re.search(rf"\b{member}\b", text(file)) for file in files)


def wrong_in(content: str, name: str) -> list[str]:
    """Return what a file of this name and content names and is not there."""
    dotted = [each for each in MODULE.findall(content) if each.split(".")[1] not in NO_MODULES]
    return [
        *(path for path in FILE.findall(content) if not is_file(path, name)),
        *(each for each in dotted if not is_module(each)),
        *(word + suffix for word, suffix in BARE.findall(content) if is_gone(word, suffix)),
        *(f"{each}.{member}" for each, member in MEMBER.findall(content) if not is_member(each, member)),
    ]


@pytest.mark.slow
def test_all_that_is_named_exists() -> None:
    read = [name for name in listed() if Path(name).suffix in KINDS and Path(name).name not in UNREAD]
    wrong = {name: missing for name in read if (missing := wrong_in(text(name), name))}
    assert wrong == {}


@pytest.mark.parametrize(
    "line",
    [
        "see `ringtime_shared.no_such_module`",
        "`ringtime_shared.ids.no_such_name`",
        "as in docs/no-such-page.md",
        "before any await: see `Deliverer._no_such_step`",
        "`no_such_module.py` has the rules",
        "as `test_no_such_thing` shows",
    ],
)
def test_what_is_gone_is_found(line: str) -> None:
    assert len(wrong_in(line, "docs/page.md")) == 1


def test_a_module_that_was_deleted_is_found_unless_something_else_is_called_so() -> None:
    if not former_modules():
        pytest.skip("a clone without history")
    assert wrong_in("see `dead_letter_routes`, with an `owner` and its `count`", "docs/page.md") == [
        "dead_letter_routes"
    ]
