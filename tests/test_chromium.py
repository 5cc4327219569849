"""The report page in a real browser: no network requests, no errors, and a sortable table."""

import re
import shutil
import socketserver
import subprocess
import threading
from pathlib import Path

import pytest

from colab_drive_tuner.search.results.notebook_cards import result_card
from colab_drive_tuner.search.results.plot_accessor import Plots
from colab_drive_tuner.search.results.report_page import report_page
from tests.search.test_svg_charts import HOSTILE, SEARCHES, search

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")

# Clicks the header of the loss column twice and puts the first row's loss after each click into the
# title.
SORTED = """
<script>addEventListener("load", () => {
  const table = document.querySelector("table.sortable");
  table.querySelectorAll("th button")[2].click();
  const first = table.tBodies[0].rows[0].cells[2].textContent;
  table.querySelectorAll("th button")[2].click();
  document.title = `from ${first} to ${table.tBodies[0].rows[0].cells[2].textContent}`;
});</script>
"""

# Puts the text that one can see into the title.
SEEN = """
<script>addEventListener("load", () => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = [];
  while (texts.nextNode()) {
    const range = document.createRange();
    range.selectNode(texts.currentNode);
    if (range.getBoundingClientRect().height) seen.push(texts.currentNode.data);
  }
  document.title = seen.join("|");
});</script>
"""

# Puts the widths of the body and of a picture into the title.
WIDTH = """
<script>addEventListener("load", () => {
  const width = document.querySelector("svg").getBoundingClientRect().width;
  document.title = `${document.body.scrollWidth} around ${width}`;
});</script>
"""


class Asked(socketserver.BaseRequestHandler):
    """A proxy that records each request and answers nothing."""

    def handle(self) -> None:
        self.server.asked.append(self.request.recv(200))  # type: ignore[attr-defined]


def opened(page: Path, home: Path, *action: str) -> tuple[str, str, list[bytes]]:
    """Return the page's DOM, its console log, and the requests that reached the proxy.

    Args:
        page: The page.
        home: A folder for the browser's profile.
        *action: Options of the browser in place of `--dump-dom`.
    """
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Asked) as proxy:
        proxy.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        done = subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                f"--user-data-dir={home}",
                f"--proxy-server=127.0.0.1:{proxy.server_address[1]}",
                "--proxy-bypass-list=<-loopback>",
                "--enable-logging=stderr",
                *(action or ("--dump-dom",)),
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=400,
            check=True,
        )
        proxy.shutdown()
    log = "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE" in line)
    return done.stdout, log, proxy.asked  # type: ignore[attr-defined]


def test_a_hostile_search_runs_nothing_and_fetches_nothing(tmp_path: Path) -> None:
    """HTML in names, parameters and errors is shown as text: nothing runs, nothing is requested."""
    page = tmp_path / "report.html"
    page.write_text(report_page(SEARCHES["hostile"], HOSTILE[0], {HOSTILE[1]: HOSTILE[2]}))
    shown, log, asked = opened(page, tmp_path / "profile")
    assert log == ""
    assert not [request for request in asked if b"evil" in request or b"file" in request]
    assert shown.count("<script") == 1
    assert "alert(1)" in shown


def test_the_table_sorts_by_numbers(tmp_path: Path) -> None:
    """Clicks on the loss column sort it by number, up and then down.

    A trial without a loss is last.
    """
    content = report_page(search(10.0, 9.0, None, 100.0), "", {})
    policy_off = content.replace('http-equiv="Content-Security-Policy"', 'name="none"')
    page = tmp_path / "report.html"
    page.write_text(policy_off.replace("</body>", f"{SORTED}</body>"))
    shown, _, _ = opened(page, tmp_path / "profile")
    assert "<title>from 9 to 100</title>" in shown


@pytest.mark.parametrize(("trials", "parameters", "pages"), [(5000, 4, 7), (120, 60, 8)])
def test_a_large_report_prints_on_a_few_pages(
    tmp_path: Path, trials: int, parameters: int, pages: int
) -> None:
    """A large report prints the best trials with the first parameters.

    The whole table would take dozens of sheets.
    """
    point = {f"parameter_{n}": n * 0.123456789 for n in range(parameters)}
    losses = [1 + n % 97 / 7 for n in range(trials)]
    page, paper = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_text(report_page(search(*losses, point=point), "", {}))
    opened(page, tmp_path / "profile", "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) <= pages


def test_a_notebook_that_is_not_trusted_shows_no_text_of_pictures(tmp_path: Path) -> None:
    """JupyterLab then drops SVG elements but keeps their text: the labels and each tooltip."""
    data = search(*(0.5 + n for n in range(12)))
    card = result_card(data, "12 of 12 trials", done=12, total=12)
    whole = f"{card}{Plots(data, lambda: None).slices()._repr_html_()}"
    page, seen = tmp_path / "card.html", []
    for content in (
        whole,
        re.sub(r"</?(svg|text|title|rect|path|polyline|line|circle)\b[^>]*>", "", whole),
        re.sub("<svg.*?</svg>", "", whole),
    ):
        page.write_text(f"<!doctype html><meta charset='utf-8'>{SEEN}<body>{content}")
        dom, _, _ = opened(page, tmp_path / "profile")
        seen.append(dom.partition("<title>")[2].partition("</title>")[0])
    assert "best so far" in seen[0]
    assert seen[1] == seen[2]
    assert seen[2].startswith("s| · 12 of 12 trials|")


def test_a_picture_in_a_narrow_cell_stays_readable(tmp_path: Path) -> None:
    """A narrow cell scrolls a picture, although JupyterLab's style would shrink it."""
    page = tmp_path / "card.html"
    page.write_text(
        f"<!doctype html><style>svg {{ max-width: 100%; height: auto }}</style>{WIDTH}"
        f"<body style='width:300px'>{result_card(search(1.0, 2.0), '', done=2, total=2)}"
    )
    dom, _, _ = opened(page, tmp_path / "profile")
    assert "<title>300 around 600</title>" in dom
