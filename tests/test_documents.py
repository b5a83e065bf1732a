"""The documents: every link resolves, and generated pages are up to date."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
PAGES = sorted([*HOME.glob("*.md"), *(HOME / "docs").rglob("*.md"), *(HOME / "examples").rglob("*.md")])
LINK = re.compile(r"!?\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]\(\s*([^()\s]+)(?:\s+\"[^\"]*\")?\s*\)")
CODE = re.compile(r"^(```.*?^```|(?: {4}|\t).*?$)", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("http://", "https://", "mailto:")


def links(text: str) -> Iterator[str]:
    """Yield the targets of a page's links, except links in code."""
    yield from LINK.findall(re.sub(r"`[^`\n]*`", "`code`", CODE.sub("", text)))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub generates them."""
    names: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", CODE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = "".join(sign for sign in plain if sign.isalnum() or sign in " -_").replace(" ", "-")
        count = sum(1 for name in names if name == anchor or re.fullmatch(re.escape(anchor) + r"-\d+", name))
        names.add(f"{anchor}-{count}" if count else anchor)
    return names


def broken(page: Path) -> list[str]:
    """Return the broken links of a page. Web and mail links are not checked."""
    wrong = []
    for link in links(page.read_text(encoding="utf-8")):
        if link.startswith(ELSEWHERE):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        exists = target.exists() and HOME in (target, *target.parents)
        if not exists or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(HOME).as_posix())
def test_every_link_resolves(page: Path) -> None:
    assert broken(page) == []


def test_documents_contain_links() -> None:
    names = {page.relative_to(HOME).as_posix() for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "docs/method.md", "docs/tasks.md", "docs/statistics.md"} <= names
    assert sum(1 for page in PAGES for _ in links(page.read_text(encoding="utf-8"))) > 20


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](missing.md)", ["missing.md"]),
        ("![a picture\nof two lines](missing.svg)", ["missing.svg"]),
        ("[a](README.md#no-such-heading)", ["README.md#no-such-heading"]),
        ("[a](#here-too)\n\n# Here, too!", []),
        ("[a](#heading-1)\n\n# Heading\n\n## Heading", []),
        ("[a](#heading-2)\n\n# Heading\n\n## Heading", ["#heading-2"]),
        ("[`code`](README.md) and `[a](missing.md)`", []),
        ("```\n[a](missing.md)\n```\n\n    [a](missing.md)", []),
        ("[a](../../../etc/hostname)", ["../../../etc/hostname"]),
        ("[a](https://example.org/missing)", []),
    ],
)
def test_broken_links_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, wrong: list[str]) -> None:
    monkeypatch.setitem(globals(), "HOME", tmp_path)
    (tmp_path / "README.md").write_text("# Readme\n", encoding="utf-8")
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    assert broken(tmp_path / "page.md") == wrong


def test_page_of_tasks_is_up_to_date() -> None:
    written = (HOME / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert written == page_of("write_tasks"), "run: python3 docs/write_tasks.py"


def test_page_of_architectures_is_up_to_date() -> None:
    written = (HOME / "docs" / "architectures.md").read_text(encoding="utf-8")
    assert written == page_of("write_architectures"), "run: python3 docs/write_architectures.py"


def test_every_architecture_has_a_section_with_its_options_and_a_row() -> None:
    import arch

    page = page_of("write_architectures")
    for name in arch.built_in():
        section = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        own = set(arch.get(name).parameters) - {*arch.BLOCK_OPTIONS, "dropout"}
        assert section and all(f"| `{option}` |" in section for option in own)
        assert f"| [`{name}`](#{name}) |" in page
        assert "```text\n" in section, f"the docstring of {name} has no equations"
    assert "\n\n\n" not in page


def test_every_task_has_a_section_with_its_parameters() -> None:
    import tasks

    page = page_of("write_tasks")
    for name in tasks.built_in():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        fields = [field.name for field in dataclasses.fields(tasks.build(name))]
        assert section and all(f"`{field}=" in section for field in fields)
    assert "\n\n\n" not in page


def test_the_readme_lists_every_architecture_and_task_once() -> None:
    import arch
    import tasks

    readme = (HOME / "README.md").read_text(encoding="utf-8")
    for heading, names, column in (
        ("| family | architectures |", arch.built_in(), 1),
        ("| tasks | what they require |", tasks.built_in(), 0),
    ):
        table = readme.partition(f"{heading}\n|---|---|\n")[2].partition("\n\n")[0]
        listed = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[column + 1])]
        assert sorted(listed) == sorted(names)


@functools.cache
def page_of(name: str) -> str:
    """Return the page that a program in `docs` writes."""
    spec = importlib.util.spec_from_file_location(name, HOME / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page: str = module.page()
    return page
