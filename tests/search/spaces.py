"""Random search spaces and trial histories for tests of the suggestion algorithms."""

import copy
import math
from typing import Any

import numpy as np
from hyperopt import Trials, hp, rand
from hyperopt.base import (
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    Domain,
)
from hyperopt.pyll import scope
from hypothesis import strategies as st

PLAIN = {
    "u": hp.uniform("u", -5, 5),
    "lu": hp.loguniform("lu", -7, 0),
    "n": hp.normal("n", 0, 2),
    "ln": hp.lognormal("ln", 0, 1),
    "c": hp.choice("c", ["a", "b", "c"]),
    "r": hp.randint("r", 10),
}
MIXED = {
    "u": hp.uniform("u", -5, 5),
    "lu": hp.loguniform("lu", -7, 0),
    "n": hp.normal("n", 0, 2),
    "q": hp.quniform("q", 1, 100, 1),
    "c": hp.choice("c", ["a", "b", "c"]),
    "r": hp.randint("r", 3, 9),
}
CONDITIONAL = {
    "branch": hp.choice(
        "branch",
        [
            {"kind": 0, "u": hp.uniform("u", -1, 1), "n": hp.normal("n", 0, 1)},
            {"kind": 1, "lu": hp.loguniform("lu", -3, 1), "ln": hp.lognormal("ln", 0, 1)},
        ],
    ),
    "nested": hp.pchoice("nested", [(0.2, "a"), (0.8, hp.choice("inner", [1, 2, 3]))]),
    "qu": hp.quniform("qu", 0, 10, 2),
    "qlu": hp.qloguniform("qlu", 0, 3, 1),
    "qn": hp.qnormal("qn", 0, 3, 1),
    "qln": hp.qlognormal("qln", 0, 1, 1),
    "r": hp.randint("r", 7),
    "r2": hp.randint("r2", 3, 9),
    "ui": hp.uniformint("ui", 1, 9),
}

_low = st.sampled_from([-4, -1.5, 0, 0.25, 3])
_width = st.sampled_from([0.01, 0.7, 1, 2.5, 6])
_q = st.sampled_from([0.01, 0.3, 1, 2])
_SCALARS = [
    *("uniform", "quniform", "loguniform", "qloguniform", "normal", "qnormal", "lognormal"),
    *("qlognormal", "randint", "randint2", "uniformint", "constant"),
]
_GROUPS = ["choice", "pchoice", "switch", "list", "tuple", "dict", "arithmetic", "shared"]


class _Maker:
    """Generator of a random space of up to a dozen parameters, with nested choices."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.count = 0
        self.made: list[Any] = []

    def label(self) -> str:
        self.count += 1
        return f"p{self.count}"

    def scalar(self, kind: str) -> Any:
        draw, label = self.draw, self.label()
        low, width, q = draw(_low), draw(_width), draw(_q)
        if kind == "constant":
            return draw(st.sampled_from([0, 1.5, "word", None]))
        if kind == "randint":
            return hp.randint(label, draw(st.integers(1, 7)))
        if kind == "randint2":
            first = draw(st.integers(-2, 4))
            return hp.randint(label, first, first + draw(st.integers(1, 7)))
        if kind == "uniformint":
            return hp.uniformint(label, 1, 1 + draw(st.integers(1, 9)))
        arguments = [low, low + width] if "uniform" in kind else [low, width]
        return getattr(hp, kind)(label, *arguments, *([q] if kind.startswith("q") else []))

    def node(self, depth: int) -> Any:
        draw = self.draw
        kind = draw(st.sampled_from(_SCALARS + (_GROUPS * 2 if depth and self.count < 12 else [])))
        if kind in _SCALARS:
            self.made.append(self.scalar(kind))
            return self.made[-1]
        if kind == "shared":
            return draw(st.sampled_from(self.made)) if self.made else 7
        children = [self.node(depth - 1) for _ in range(draw(st.integers(1, 3)))]
        return getattr(self, kind)(self.label(), children)

    def choice(self, label: str, children: list[Any]) -> Any:
        return hp.choice(label, children)

    def pchoice(self, label: str, children: list[Any]) -> Any:
        shares = np.array([self.draw(st.integers(1, 5)) for _ in children], float)
        return hp.pchoice(label, list(zip(shares / shares.sum(), children, strict=True)))

    def switch(self, label: str, children: list[Any]) -> Any:
        index = scope.int(hp.quniform(label, -0.4, len(children) - 0.6, 1))
        return scope.switch(index, *children)

    def arithmetic(self, label: str, children: list[Any]) -> Any:
        return [scope.float(hp.uniform(label, 0, 1)) * 2 + self.draw(_q), *children]

    def list(self, _label: str, children: list[Any]) -> Any:
        return children

    def tuple(self, _label: str, children: "list[Any]") -> Any:
        return tuple(children)

    def dict(self, _label: str, children: "list[Any]") -> Any:
        return {f"k{n}": child for n, child in enumerate(children)}


@st.composite
def spaces(draw: st.DrawFn, depth: int = 4) -> Any:
    """Draw a random space."""
    maker = _Maker(draw)
    more = draw(st.integers(0, 3))
    return {"top": maker.node(depth), "more": [maker.node(depth - 1) for _ in range(more)]}


_LOSSES = [0.0, 1.0, 1.0, 2.5, -3.0, math.inf, -math.inf]


def history(domain: Domain, count: int, seed: int = 0, *, odd: frozenset[str] = frozenset()) -> Any:
    """Return trials with random points and losses; `odd` names the irregularities among them."""
    rng, trials = np.random.default_rng(seed), Trials()
    documents: list[dict[str, Any]] = []
    tid = 0
    while len(documents) < count:
        (document,) = rand.suggest([tid], domain, trials, int(rng.integers(2**31 - 1)))
        document["state"], document["result"] = JOB_STATE_DONE, {"status": "ok"}
        document["result"]["loss"] = _loss(rng, odd)
        _end(document, rng, odd)
        if documents:
            document = _repeat(document, documents[rng.integers(len(documents))], rng, odd)
        documents.append(document)
        tid += int(rng.integers(1, 4)) if "gaps" in odd else 1
    if "order" in odd:
        rng.shuffle(documents)
    trials._insert_trial_docs(documents)
    trials.refresh()
    return trials


def _loss(rng: np.random.Generator, odd: frozenset[str]) -> Any:
    loss = float(rng.normal())
    if "ties" in odd and rng.random() < 0.6:
        loss = _LOSSES[rng.integers(len(_LOSSES))]
    if "nan" in odd and rng.random() < 0.1:
        return math.nan
    if "integers" in odd and rng.random() < 0.3:
        return int(10 * loss) if math.isfinite(loss) else np.float64(loss)
    return loss


def _end(document: dict[str, Any], rng: np.random.Generator, odd: frozenset[str]) -> None:
    """Change how a trial ends, or remove its end."""
    kind = rng.random()
    if "fail" in odd and kind < 0.2:
        document["result"] = {"status": "fail"} if kind < 0.1 else {"status": "ok", "loss": None}
    elif "running" in odd and kind < 0.4:
        document["state"] = JOB_STATE_RUNNING if kind < 0.3 else JOB_STATE_NEW
        document["result"] = {"status": "new"}
    elif "error" in odd and kind < 0.5:
        document["state"] = JOB_STATE_ERROR


def _repeat(
    document: dict[str, Any], other: dict[str, Any], rng: np.random.Generator, odd: frozenset[str]
) -> dict[str, Any]:
    """Copy a part of an earlier trial into a trial."""
    if "plain" in odd:
        vals = document["misc"]["vals"]
        vals.update({label: [one.item() for one in some] for label, some in vals.items()})
    if "same points" in odd and rng.random() < 0.3:
        _take_point(document, other)
    if "from_tid" in odd and rng.random() < 0.2:
        document["misc"]["from_tid"] = other["tid"]
    if "same tid" in odd and rng.random() < 0.05:
        return {**copy.deepcopy(other), "result": document["result"]}
    return document


ODD = [
    *("ties", "nan", "integers", "fail", "running", "error", "plain", "same points", "gaps"),
    *("from_tid", "same tid", "order"),
]


def _take_point(document: dict[str, Any], other: dict[str, Any]) -> None:
    tid = document["tid"]
    document["misc"]["vals"] = copy.deepcopy(other["misc"]["vals"])
    document["misc"]["idxs"] = {
        label: [tid] if values else [] for label, values in other["misc"]["vals"].items()
    }
