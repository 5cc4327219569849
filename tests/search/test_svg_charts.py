"""Plots, cards and report page of a search: escaped, small, and robust to any values."""

import math
import random
import re
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hyperopt import hp

from colab_drive_tuner.checkpoint.history import RecordedFacts
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedSession
from colab_drive_tuner.search.results import notebook_cards, report_page
from colab_drive_tuner.search.results.notebook_cards import trials_table
from colab_drive_tuner.search.results.search_data import SearchData, search_data
from colab_drive_tuner.search.results.svg_charts import charts
from colab_drive_tuner.search.results.svg_charts.svg import fit_text, scale_for, short_numbers
from colab_drive_tuner.search.results.svg_charts.timeline import runtime_lanes, summary, timeline
from colab_drive_tuner.search.trials.search_status import SearchStatus
from colab_drive_tuner.text import BLUE, ORANGE, RED

BEGAN = datetime(2026, 11, 1, 12)
HOSTILE = [
    "</svg><script>alert(1)</script>",
    "' onload='alert(1)",
    '"><img src=x onerror=alert(1)>',
    "\x1b[2J\u202etxt.exe",
    "\ud800",
    "🧪 " + "w" * 200,
]
PICTURES = {
    "history": charts.history,
    "importance": charts.importance,
    "slices": charts.slices,
    "learning_curves": charts.learning_curves,
    "timeline": timeline,
}


def document(tid: int, loss: Any, point: dict[str, Any] | None = None, **result: Any) -> Any:
    """Return the document of an ended trial, which failed if its loss is None."""
    began = BEGAN + timedelta(minutes=tid)
    ok = {"status": "ok", "loss": loss} if loss is not None else {"status": "fail"}
    return {
        "tid": tid,
        "state": 2,
        "owner": result.pop("owner", "Colab, process 1 on a"),
        "book_time": began,
        "refresh_time": began + timedelta(seconds=50),
        "result": ok | result,
        "misc": {"vals": {label: [value] for label, value in (point or {"x": 0.5}).items()}},
    }


def search(*losses: Any, **more: Any) -> SearchData:
    return search_data("s", [document(tid, loss, **more) for tid, loss in enumerate(losses)])


def session(where: str, minute: float, end: str, minutes: float = 5) -> RecordedSession:
    began = BEGAN.replace(tzinfo=UTC).timestamp() + minute * 60
    return RecordedSession(where, began, began + minutes * 60, end)


SEARCHES = {
    "no trial": search(),
    "one trial": search(0.5),
    "all failed": search(None, None, None),
    "nan and inf": search(math.nan, math.inf, -math.inf, 1.0, 10**400, "many"),
    "all alike": search(*[1.0] * 20),
    "60 parameters": search(
        *[float(n) for n in range(12)], point={f"p{n}": n * 0.1 for n in range(60)}
    ),
    "hostile": search_data(
        HOSTILE[0],
        [
            document(n, n / 7, {text: text}, owner=text, history={text: [1.0, n / 3]}, reason=text)
            for n, text in enumerate(HOSTILE * 3)
        ],
        None,
        [session(text, n, text) for n, text in enumerate(HOSTILE)],
    ),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("data", SEARCHES.values(), ids=SEARCHES)
def test_a_picture_is_drawn_of_any_search(data: SearchData, picture: Any) -> None:
    """Each picture is well-formed SVG without scripts, handlers, styles, ids or NaN coordinates."""
    drawn = picture(data)
    for element in ET.fromstring(drawn).iter():
        name = element.tag.rpartition("}")[2]
        assert name in {"svg", "text", "rect", "path", "polyline", "line", "title"}
        assert not any(key.startswith("on") or key in ("style", "id") for key in element.attrib)
        numbers = [element.attrib.get(key, "0") for key in ("x", "y", "x1", "y1", "width")]
        assert all(math.isfinite(float(value)) for value in numbers)
        drawn_along = [element.attrib.get(key, "") for key in ("d", "points")]
        assert not any("nan" in path or "inf" in path for path in drawn_along)
    assert "\x1b" not in drawn
    assert "\u202e" not in drawn


class Elements(HTMLParser):
    """The elements of a page with their attributes, as a browser parses them."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("data", SEARCHES.values(), ids=SEARCHES)
def test_untrusted_text_adds_no_element_to_page_or_card(data: SearchData) -> None:
    """Names, parameters and results are escaped: they add no script, image, link or handler."""
    whole = report_page.report_page(
        data, "5 of 9 trials", {"space": HOSTILE[0], "kept in": HOSTILE[2]}
    )
    tags = [tag for tag, _ in Elements(whole).found]
    assert tags.count("script") == 1
    assert not {"img", "iframe", "a", "form", "object"} & set(tags)
    card = notebook_cards.result_card(data, HOSTILE[0], done=3, total=5, link="javascript:alert(1)")
    listed = notebook_cards.searches_card(
        (SearchStatus(text, url=text, problem=text), text) for text in HOSTILE
    )
    for tag, attributes in Elements(card + listed).found:
        assert tag not in {"script", "img", "iframe", "a"}
        assert not any(name.startswith("on") for name in attributes)


def test_a_trial_without_a_loss_says_why() -> None:
    """The trial's error is its status, its reason, or a loss that no picture can show."""
    documents = [
        document(0, None),
        document(1, None, reason="out of memory"),
        document(2, math.nan),
        document(3, 10**5000),
        document(4, -math.inf),
        document(5, 1.0),
    ]
    documents.append({**document(6, 1.0), "state": 1})
    errors = [trial.error for trial in search_data("s", documents).trials]
    numbers = ["loss nan", "the loss is not a number"]
    assert errors == ["fail", "out of memory", *numbers, "", "", ""]


def test_an_infinite_loss_is_a_loss() -> None:
    """Infinite losses are ordered as in hyperopt, and a picture marks them below the axis."""
    data = search(1.0, math.inf, -math.inf, math.nan)
    assert [trial.tid for trial in data.best(9)] == [2, 0, 1]
    assert [trial.tid for trial in data.failed] == [3]
    assert "failed or infinite" in charts.history(data)
    whole = report_page.report_page(data, "", {})
    assert "<tr><th scope='row'>loss</th><td>-inf</td></tr>" in whole
    infinite = search(math.inf, math.inf)
    assert "Every loss is infinite." in notebook_cards.result_card(infinite, "", done=2, total=2)
    assert re.findall("<h2>(.*?)</h2>", report_page.report_page(infinite, "", {})) == [
        *("Best trial", "Runtimes", "Trials")
    ]


def test_a_search_without_a_loss_shows_its_failures_and_no_empty_picture() -> None:
    """A card in a notebook lists the last failed trials; a page has no empty section."""
    failed = search(None, math.nan)
    card = notebook_cards.result_card(failed, "2 of 9 trials", done=2, total=9)
    assert "No trial has a loss yet." in card
    assert ">fail<" in card
    assert ">loss nan<" in card
    titles = {
        name: re.findall("<h2>(.*?)</h2>", report_page.report_page(data, "", {}))
        for name, data in {"failed": failed, "none": search()}.items()
    }
    assert titles == {"failed": ["Best trial", "Runtimes", "Trials"], "none": ["Best trial"]}


def test_many_failed_trials_do_not_look_like_all() -> None:
    """The 313 failed trials of 5,000 each have a mark, and most of the axis stays free."""
    data = search(*[None if n % 16 == 0 else 1.0 + n for n in range(5000)])
    (marks,) = re.findall(
        f"<path d='([^']*)' stroke='{RED}' stroke-width='6'", charts.history(data)
    )
    widths = [float(width) for width in re.findall(r"h([\d.]+)", marks)]
    assert len(widths) == 313
    assert sum(widths) < charts.WIDTH / 2


def test_a_page_says_how_much_of_its_table_is_printed() -> None:
    """The text names as many rows and parameters as the style sheet prints."""
    style = report_page.files(report_page.__package__).joinpath("page.css").read_text()
    assert f"tr:nth-child(n+{report_page._PRINTED_ROWS + 1})" in style
    assert f"tr > :nth-child(n+{report_page._PRINTED_PARAMETERS + 5})" in style
    on_paper = "On paper: the first 100 rows and 8 parameters."
    assert on_paper in report_page.report_page(search(*map(float, range(101))), "", {})
    assert on_paper not in report_page.report_page(search(*map(float, range(100))), "", {})


def test_a_page_of_5000_trials_is_small() -> None:
    """The page has at most 500 kB, lists the best trials, and says that these are not all."""
    point = {f"parameter_{n}": n * 0.123456789 for n in range(12)}
    losses = [math.sin(n) ** 2 + 5 / (n + 1) for n in range(5000)]
    history = {"val_loss": [1.0 / n for n in range(1, 51)]}
    data = search(*losses, point=point, history=history)
    whole = report_page.report_page(data, "5000 of 5000 trials", {})
    assert len(whole.encode()) <= 500_000
    assert f"<td>{data.best(1)[0].tid}</td>" in whole
    assert "best of 5000 trials" in whole


def test_the_page_allows_nothing_but_its_own_style_and_script() -> None:
    """The Content-Security-Policy allows only the page's own style and script, by their hashes."""
    whole = report_page.report_page(search(1.0), "", {})
    policy = next(
        attributes["content"] or ""
        for tag, attributes in Elements(whole).found
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    style, script = (
        whole.split(f"<{tag}>")[1].split(f"</{tag}>")[0] for tag in ("style", "script")
    )
    assert "default-src 'none'" in policy
    assert f"style-src {report_page._hash(style)}" in policy
    assert f"script-src {report_page._hash(script)}" in policy
    assert "unsafe" not in policy


def test_importance_finds_the_parameter_that_matters() -> None:
    """A parameter that decides the loss has most of the importance, and noise almost none."""
    documents = [
        document(
            n, (n / 200 - 0.5) ** 2, {"decides": n / 200, "noise": (n * 37) % 101, "kind": n % 2}
        )
        for n in range(200)
    ]
    shares = search_data("s", documents).importance()
    assert next(iter(shares)) == "decides"
    assert shares["decides"] > 0.8
    assert shares["noise"] < 0.1
    assert shares["kind"] < 0.1


def test_equal_losses_give_no_parameter_importance() -> None:
    """A parameter that grows with the trials' numbers does not explain losses that are equal."""
    documents = [document(n, 0.5, {"x": n / 40, "kind": n // 20}) for n in range(40)]
    assert search_data("s", documents).importance() == {"x": 0.0, "kind": 0.0}


def test_tables_show_the_parameters_that_matter() -> None:
    """If not all parameters fit, the card and the page show the most important ones."""
    documents = [
        document(n, n / 20, {f"p{i}": (n * 37 + i) % 101 for i in range(30)} | {"decides": n})
        for n in range(20)
    ]
    data = search_data("s", documents)
    for table in (
        notebook_cards.result_card(data, "", done=20, total=20),
        report_page.report_page(data, "", {}).split("<h2>Trials</h2>")[1],
    ):
        first = re.sub("<[^>]*>", " ", table.split("seconds")[1]).split()[0]
        assert first == "decides"


def test_importance_of_a_conditional_parameter_counts_where_it_is_active() -> None:
    """The importance of a conditional parameter is at most the share of trials that have it."""
    documents = [
        document(n, n / 10 if n % 4 == 0 else 5.0, {"k": n % 4, **({"c": n} if n % 4 == 0 else {})})
        for n in range(80)
    ]
    assert 0.05 < search_data("s", documents).importance()["c"] <= 0.25


def test_the_timeline_has_a_lane_for_each_runtime() -> None:
    """Trials are in the lane of the session that ran them, even if two sessions share a name."""
    first, second = "Colab, process 1 on a", "Colab, process 1 on b"
    documents = [document(n, 1.0, owner=first if n < 3 or n > 8 else second) for n in range(12)]
    sessions = [session(first, 0, "dead"), session(second, 3, "takeover"), session(first, 9, "")]
    lanes = runtime_lanes(search_data("s", documents, None, sessions))
    assert [(lane.where, lane.end, len(lane.trials)) for lane in lanes] == [
        (first, "dead", 3),
        (second, "takeover", 6),
        (first, "", 3),
    ]
    text = summary(search_data("s", documents, None, sessions))
    assert text == "3 runtimes, 1 of them killed, 1 taken over"


def test_a_clock_that_was_set_back_makes_no_second_runtime() -> None:
    """Trials that seem older than their session are in its lane."""
    where = "Python, process 1 on a"
    documents = [document(n, 1.0, owner=where) for n in range(4)]
    data = search_data("s", documents, None, [session(where, 300, "released")])
    assert [len(lane.trials) for lane in runtime_lanes(data)] == [4]
    assert summary(data) == "1 runtime"


def test_lanes_stand_in_the_order_of_their_sessions() -> None:
    """Lanes follow the order of sessions, even if a trial's coarse time precedes its session.

    A session that gives a trial up often begins within a second of the one that died of it.
    """
    dead, giver = "Colab, process 1 on a", "Colab, process 2 on a"
    sessions = [session(dead, 2.0001, "dead", 0), session(giver, 2.0002, "")]
    documents = [document(2, None, owner=giver, given_up=True)]
    lanes = runtime_lanes(search_data("s", documents, None, sessions))
    assert [(lane.where, len(lane.trials)) for lane in lanes] == [(dead, 0), (giver, 1)]


def test_trials_of_workers_have_lanes_of_their_own() -> None:
    """Trials that no session ran are in a lane with the name of their worker."""
    documents = [document(n, 1.0, owner=f"worker {n % 2}") for n in range(6)]
    lanes = runtime_lanes(
        search_data("s", documents, None, [session("Colab, process 1 on a", 0, "")])
    )
    assert sorted(lane.where for lane in lanes) == ["Colab, process 1 on a", "worker 0", "worker 1"]


def test_lanes_of_threads_have_distinct_labels() -> None:
    """If the names of lanes differ only in their ends, their labels differ."""
    threads = [f"vm:6055/ThreadPoolExecutor-0_{n}" for n in range(3)]
    data = search_data("s", [document(n, 1.0, owner=owner) for n, owner in enumerate(threads)])
    labels = re.findall("<text [^>]*text-anchor='end'>([^<]*)</text>", timeline(data))
    assert [label[-1] for label in labels[:3]] == ["0", "1", "2"]


def test_hours_without_a_runtime_are_cut_out() -> None:
    """A night between two runtimes is shortened to a mark that gives its length."""
    sessions = [session("a", 0, "dead"), session("b", 14 * 60, "released")]
    drawn = timeline(search_data("s", [], None, sessions))
    assert ">14 h<" in drawn


def test_parameters_of_a_space_are_shown_as_chosen() -> None:
    """With a space a choice is shown as the option chosen, otherwise as its index."""
    space = {"opt": hp.choice("opt", ["adam", {"kind": "sgd"}])}
    documents = [document(tid, 1.0, {"opt": tid}) for tid in (0, 1)]
    shown = [dict(trial.parameters) for trial in search_data("s", documents, space).trials]
    assert shown == [{"opt": "adam"}, {"opt.kind": "sgd"}]
    shown = [dict(trial.parameters) for trial in search_data("s", documents).trials]
    assert shown == [{"opt": 0}, {"opt": 1}]


def texts(drawn: str) -> list[str]:
    """Return the texts in a picture."""
    return [element.text or "" for element in ET.fromstring(drawn).iter() if element.text]


def test_few_distinct_numbers_are_sorted_as_numbers() -> None:
    """Numbers that are drawn as categories are sorted as numbers, not as text."""
    documents = [document(n, n / 9, {"units": 2 ** (5 + n % 4)}) for n in range(12)]
    written = texts(charts.slices(search_data("s", documents)))
    assert [text for text in written if text in ("32", "64", "128", "256")] == [
        "32",
        "64",
        "128",
        "256",
    ]


def test_a_grid_is_thinned_out_evenly() -> None:
    """Of 9,000 trials that take three options in turn, every option is drawn."""
    documents = [document(n, 1 + n / 9000, {"kind": n % 3}) for n in range(9000)]
    drawn = charts.slices(search_data("s", documents))
    assert {"0", "1", "2"} <= set(texts(drawn))
    assert len(drawn) < 100_000


def test_a_parameter_of_few_trials_among_many_is_drawn() -> None:
    """Of 3,000 trials with 12 parameters, one parameter exists in a single trial."""
    usual = {f"p{n}": 0.5 for n in range(11)}
    documents = [
        document(n, n % 97, usual | ({"rare": 1.5} if n == 1500 else {})) for n in range(3000)
    ]
    assert "1.5" in texts(charts.slices(search_data("s", documents)))


@pytest.mark.parametrize("text", [*HOSTILE, "m" * 99, "W" * 99, "漢" * 99, "short"])
def test_a_text_fits_its_place(text: str) -> None:
    """A text is cut only if it is too long for its place."""
    shown = fit_text(text, 100)
    assert len(shown) <= 20
    assert text != "short" or shown == "short"
    if len(set(text)) == 1 and len(text) > 9:
        assert "…" in shown
        assert len(shown) <= 9
    assert fit_text(text, 1) in ("…", "")


def test_an_axis_has_two_numbers() -> None:
    """A single number on an axis says nothing about its range."""
    random_ends = random.Random(0)
    for _ in range(2000):
        ends = [random_ends.uniform(-1, 1) * 10 ** random_ends.randint(-5, 5) for _ in range(2)]
        assert len(scale_for(ends, 10, 90).ticks(3)) > 1, ends


LONG_NAMES = {
    "ends": [f"a_rather_long_name_of_a_parameter_{number}" for number in range(12)],
    "beginnings": [f"{kind}_of_the_hidden_layers_of_the_network" for kind in ("size", "rate")],
    "both": ["preprocess.scaler.kind", *(f"classifier.forest.of_trees.{n}" for n in range(5))],
}


@pytest.mark.parametrize("names", LONG_NAMES.values(), ids=LONG_NAMES)
def test_parameters_with_long_names_are_told_apart(names: list[str]) -> None:
    """Names that are cut differ from each other, in charts, the card and the page."""
    values = random.Random(0).random
    documents = [document(n, values(), {name: values() for name in names}) for n in range(30)]
    data = search_data("s", documents)
    for drawn in (charts.slices(data), charts.importance(data)):
        written = re.findall("<text[^>]*>([^<]*)</text>", drawn)
        shown = [text for text in written if re.search("[a-z]{3}|…", text)]
        assert len(set(shown)) == len(names)
    heads = re.findall("<th .*?</th>", trials_table(data.best(3), names))
    assert len(set(heads)) == 3 + len(names)


@pytest.mark.parametrize(
    "values", [[0.0], [5.0, 5.0], [1e-9, 1.0], [-1.0, 1e300], [0.0, 5e-324], [1e308, -1e308]]
)
def test_a_scale_holds_all_of_its_values(values: list[float]) -> None:
    """Every value and every tick has a coordinate between the ends of the scale."""
    scale = scale_for(values, 10, 90)
    assert all(10 <= scale(value) <= 90 for value in values)
    assert all(10 <= scale(tick) <= 90 for tick in scale.ticks())
    assert 1 <= len(scale.ticks()) < 20


def test_an_axis_tells_its_values_apart_and_leaves_room_for_them() -> None:
    """Labels of losses that differ in their sixth digit are distinct and fit into the picture."""
    data = search(*[-123456.0 - n for n in range(12)])
    for drawn, most in ((charts.history(data), 720), (charts.slices(data), 240)):
        axis = re.findall(r"<text x='([0-9.]+)' [^>]*text-anchor='end'[^>]*>(-\d+)<", drawn)
        texts = [text for at, text in axis if float(at) < most]
        assert len(texts) == len(set(texts)) > 1
        assert all(float(at) > 6.5 * len(text) for at, text in axis if float(at) < most)
    assert short_numbers([0.5, 1.0]) == ["0.5", "1"]
    assert short_numbers([0.69310, 0.69312]) == ["0.6931", "0.69312"]


def test_values_spread_evenly_are_not_drawn_on_a_logarithmic_axis() -> None:
    """Evenly spread values are drawn on a linear axis, learning rates on a logarithmic one."""
    evenly = [(n + 0.5) / 500 for n in range(500)]
    assert not scale_for(evenly, 0, 1).log
    assert scale_for([10 ** (-6 * value) for value in evenly], 0, 1).log
    assert scale_for([0.001, 1.0], 0, 1).log
    assert "logarithmic" not in charts.history(search(*evenly))
    assert "logarithmic" in charts.history(search(*(10 ** (-6 * value) for value in evenly)))


def test_the_space_on_a_page_has_a_line_for_each_parameter() -> None:
    """Each line of the space is a line on the page, with its text escaped."""
    whole = report_page.report_page(
        search(1.0), "", {"space": "x: uniform(0, 1)\n<b>: normal(0, 1)"}
    )
    assert "<td>x: uniform(0, 1)<br>&lt;b&gt;: normal(0, 1)</td>" in whole


def test_the_time_of_a_late_runtime_stays_in_the_picture() -> None:
    """The time of a short runtime at the right edge does not leave the picture."""
    first, last = session("a", 0, "dead", 600), session("b", 60 * 24 * 40, "released", 1)
    drawn = timeline(search_data("s", [document(0, 1.0)], None, [first, last]))
    places = re.findall(r"<text x='([0-9.]+)'([^>]*)>[A-Z][a-z]{2} \d\d, \d\d:\d\d", drawn)
    assert len(places) == 2
    assert all("text-anchor='end'" in how or float(x) < 620 for x, how in places)


def test_a_curve_is_drawn_without_its_values_that_are_not_finite() -> None:
    """Epochs after an infinite loss keep their places; a curve of NaN alone is not drawn."""
    curves = {0: [1.0, math.inf, 0.25], 1: [math.nan, math.nan]}
    documents = [document(n, n + 1.0, history={"val_loss": curves[n]}) for n in curves]
    drawn = charts.learning_curves(search_data("s", documents))
    (points,) = re.findall("<polyline points='([^']*)'", drawn)
    assert [point.partition(",")[0] for point in points.split()] == ["60", "705"]
    assert "trial 0" in drawn
    assert "trial 1" not in drawn
    nothing = charts.learning_curves(search_data("s", documents[1:]))
    assert "No trial reported a history of its epochs." in nothing


def test_the_legend_of_curves_fits_next_to_the_name_of_the_metric() -> None:
    """Names of trials that hold a study's long name are shortened; their numbers stay visible."""
    documents = [document(n, n + 1.0, history={"val_loss": [1.0]}) for n in range(10, 15)]
    documents.append(document(15, 99.0, history={"val_loss": [1.0]}, pruned=True))
    for found in documents:
        found["tid"] = f"a study with a long name {found['tid']}"
    drawn = charts.learning_curves(search_data("s", documents))
    places = re.findall(r"<text x='([0-9.-]+)' y='14'[^>]*>([^<]*)", drawn)
    named = {text: float(x) for x, text in places}
    assert named.pop("val_loss") == 8
    assert {text[-3:] for text in named} == {" 10", " 11", " 12", " 13", " 14", "ned"}
    assert min(named.values()) > 180


def test_a_best_loss_of_minus_infinity_is_the_best_at_the_edge_of_the_pictures() -> None:
    """The line of the best loss is at the bottom from that trial on, which the slice marks."""
    losses = [-math.inf, 5.0, 3.0, 4.0, 0.5, 0.001]
    documents = [document(n, loss, {"x": n / 10}) for n, loss in enumerate(losses)]
    data = search_data("s", documents)
    (line,) = re.findall("<polyline points='([^']*)'", charts.history(data))
    assert {point.partition(",")[2] for point in line.split()} == {"210"}
    slices = charts.slices(data)
    (best,) = re.findall(f"<path d='M([0-9.]+),145h0' stroke='{ORANGE}'", slices)
    (others,) = re.findall(f"<path d='([^']*)' stroke='{BLUE}'", slices)
    assert float(best) < min(map(float, re.findall("M([0-9.]+),", others)))


def test_a_seed_of_zero_is_part_of_how_a_search_was_made() -> None:
    """A setting is left out if it was not given, not if it is 0."""
    recorded = RecordedFacts(1, 0, {"seed": 0, "space": "", "max_evals": sys.maxsize}, ())
    page = report_page.report_page(search(1.0), "", report_page.provenance(recorded, "here"))
    assert "<th scope='row'>seed</th><td>0</td>" in page
    assert not re.search("<th scope='row'>(space|trials wanted|algorithm)</th>", page)


def test_a_history_that_is_no_dict_is_left_out() -> None:
    """A record of another program may hold anything there; the trial is shown without curves."""
    odd = document(0, 1.0)
    odd["misc"]["history"] = [0.5, 0.25]
    (trial,) = search_data("s", [odd]).trials
    assert (trial.loss, dict(trial.curves)) == (1.0, {})
