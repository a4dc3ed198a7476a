"""What the documents point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *ROOT.glob("services/**/*.md"),
        *ROOT.glob("examples/*/*.md"),
    ]
)
TOPS = "blindsight|services|protos|examples|deploy|tests|bench|demo|docs|tools|requirements"


def text_of(document):
    text = document.read_text()
    return text.partition("\n## ")[2] if document.name == "CHANGELOG.md" else text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_place_that_a_document_names_is_there(document):
    named = re.findall(rf"`((?:{TOPS})/[\w./*-]*)`", text_of(document))
    made = {path for path in named if path.startswith(("blindsight/rpc", "deploy/secrets", "deploy/.env"))}
    missing = [path for path in named if path not in made and not list(ROOT.glob(path.rstrip("/")))]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(document))
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("walk", ["An image, file by file", "A query, file by file"])
def test_an_image_and_a_query_pass_at_most_twenty_files(walk):
    section = (
        (ROOT / "docs" / "architecture.md").read_text().partition(f"## {walk}\n")[2].partition("\n## ")[0]
    )
    files = set(re.findall(rf"`((?:{TOPS})/[\w./]+\.py)`", section))
    assert 10 <= len(files) <= 20, sorted(files)


def test_the_table_of_deadlines_has_every_rpc_of_every_service_and_no_other():
    section = (ROOT / "docs" / "lifecycle.md").read_text().partition("## How long a call may take\n")[2]
    told, service = [], ""
    for line in section.partition("\n## ")[0].splitlines():
        if not line.startswith("| ") or line.startswith(("| rpc", "| ---")):
            continue
        _, rpcs, deadline, bound, seen, _ = line.split("|")
        if named := re.fullmatch(r" \*\*`(\w+)`\*\* ", rpcs):
            service = named[1]
            continue
        assert deadline.strip()
        assert bound.strip()
        assert seen.strip()
        told += [f"{service}.{rpc}" for rpc in re.findall(r"`(\w+)`", rpcs)]
    made = []
    for proto in (ROOT / "protos").rglob("*.proto"):
        text = proto.read_text()
        for name in re.findall(r"^service (\w+)", text, re.MULTILINE):
            made += [f"{name}.{rpc}" for rpc in re.findall(r"^  rpc (\w+)\(", text, re.MULTILINE)]
    assert sorted(told) == sorted(made)
