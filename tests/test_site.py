"""The documentation site: every link resolves, and it builds without warnings."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import colab_drive_tuner
from scripts import pruning_picture, regret, timeline
from scripts.reference import PARTS, rendered

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
ENTRY = re.compile(r"^::: colab_drive_tuner\.([\w.]+)", re.MULTILINE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    """Every relative link of a page leads to a file of the repository."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_reference_lists_every_public_name():
    """docs/api.md documents each name of `__all__`, and no other."""
    listed = [name.rpartition(".")[2] for name in ENTRY.findall((ROOT / "docs/api.md").read_text())]
    assert sorted(listed) == sorted(colab_drive_tuner.__all__)


def test_every_page_is_in_the_navigation():
    """The navigation of mkdocs.yml has every page of docs/."""
    listed = re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_generated_parts_are_up_to_date(page):
    """Commands, variables and versions in the pages are current: else run scripts/reference.py."""
    text = page.read_text("utf-8")
    assert rendered(text) == text


def test_every_generated_part_has_its_place():
    """Each generated part has one place in the pages. A misspelt mark would stay empty."""
    text = "".join(page.read_text("utf-8") for page in PAGES)
    found = re.findall(r"^<!-- (\w+), made by scripts/reference\.py -->$", text, re.MULTILINE)
    assert sorted(found) == sorted(PARTS)
    assert sorted(re.findall(r"^<!-- end of (\w+) -->$", text, re.MULTILINE)) == sorted(PARTS)


def test_the_picture_shows_a_search_that_was_killed():
    """timeline.svg is valid XML, refers to no host, and shows the kills that its title names."""
    text = (ROOT / "docs" / "timeline.svg").read_text("utf-8")
    ElementTree.fromstring(text)
    assert [text.count(f"fill='{colour}'") for colour in (timeline.DONE, timeline.CUT)] == [20, 3]
    assert text.count("http") == 1, "more than the name of SVG"
    assert "20 trials resumes after each of 3 killed" in text


def test_the_picture_of_pruning_shows_what_it_says():
    """pruning.svg, and a picture of other curves, are valid XML and show pruned trials."""
    drawn = pruning_picture.draw([[1 / epoch + n for epoch in range(1, 10)] for n in range(12)])
    for text in (drawn, (ROOT / "docs" / "pruning.svg").read_text("utf-8")):
        ElementTree.fromstring(text)
        assert text.count("http") == 1, "more than the name of SVG"
        assert ">pruned</text>" in text


@pytest.mark.long
def test_the_picture_can_be_drawn_again(tmp_path, monkeypatch):
    """The timeline is drawn from a search that is killed three times meanwhile."""
    monkeypatch.setattr(timeline, "PICTURE", tmp_path / "timeline.svg")
    timeline.main()
    text = timeline.PICTURE.read_text("utf-8")
    assert [text.count(f"fill='{colour}'") for colour in (timeline.DONE, timeline.CUT)] == [20, 3]


def test_the_regret_of_parallel_suggestions_is_measured_and_drawn():
    """Regret is measured on real digits, with pending trials counted or hidden, and drawn."""
    pytest.importorskip("sklearn", reason="the digits come from scikit-learn")
    found = {
        setting: np.array([regret.lowest_losses("digits", setting, 26, seed=1)])
        for setting in regret.SETTINGS
    }
    assert all((np.diff(one) <= 0).all() for one in found.values())
    assert max(one[0, -1] for one in found.values()) < np.log(10), "it has learned nothing"
    counted, hidden = found[regret.Setting(4, hidden=False)], found[regret.Setting(4, hidden=True)]
    assert counted[0, 0] == hidden[0, 0]
    drawn = (ROOT / "docs" / "regret.svg").read_text("utf-8")
    for text in (regret.picture(dict.fromkeys(regret.PROBLEMS, found)), drawn):
        kinds = [element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()]
        assert kinds.count("polyline") == 4 * len(regret.SETTINGS), "three panels and the legend"
        assert text.count("http") == 1, "more than the name of SVG"


def test_the_site_builds_without_a_warning(tmp_path):
    """`mkdocs build --strict` succeeds, so every link, anchor and docstring resolves.

    The reference shows every name and argument, and loads nothing from other hosts.
    """
    pytest.importorskip("mkdocs", reason="the dependency group docs is not installed")
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},  # about a version that is not used
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    page = (site / "api" / "index.html").read_text()
    for name in ENTRY.findall((ROOT / "docs/api.md").read_text()):
        assert f'id="colab_drive_tuner.{name}"' in page, f"{name} is missing"
    for name in colab_drive_tuner.__all__:
        found = getattr(colab_drive_tuner, name)
        for argument in inspect.signature(found).parameters if inspect.isfunction(found) else ():
            assert f"<code>{argument}</code>" in page, f"no row for {argument} of {name}"
    elsewhere = r'<(?:link|script|img)[^>]+(?:href|src)="https?://'
    assert not re.search(elsewhere, page), "the page asks another host for something"
