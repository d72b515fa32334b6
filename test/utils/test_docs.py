"""The pages say what is there: links lead somewhere, and named scripts, folders and presets exist."""

import glob
import json
import os
import re

import pytest

TREE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PAGES = sorted(
    os.path.relpath(page, TREE)
    for pattern in ("*.md", "docs/**/*.md", "test/**/*.md", "bench/**/*.md", "python/**/*.md")
    for page in glob.glob(os.path.join(TREE, pattern), recursive=True)
)


def read(page):
    with open(os.path.join(TREE, page), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = os.path.dirname(os.path.join(TREE, page))
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", read(page))
    assert [target for target in targets if not os.path.exists(os.path.join(folder, target))] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/adding-a-pass.md", "docs/adding-an-op.md"])
def test_named_scripts_and_folders_exist(page):
    named = re.findall(r"(?:^|[\s`(/])(?:\./)?((?:utils|lib|passes|runtime|test|docs|include)/[\w./-]*\w(?![{\w])|demo\.sh|test\.sh)", read(page), re.MULTILINE)
    # Names that stand for the reader's own are recognised by their example name.
    missing = {name for name in named if "foo" not in name.lower() and not os.path.exists(os.path.join(TREE, name))}
    assert missing == set()


def test_presets_named_in_the_pages_exist():
    presets = {preset["name"] for preset in json.loads(read("CMakePresets.json"))["configurePresets"]}
    named = {name for page in PAGES for name in re.findall(r"--preset (\w[\w-]*)", read(page))}
    assert named and named <= presets


def test_contributing_is_short():
    assert len(read("CONTRIBUTING.md").splitlines()) < 60
