"""TPE that does nothing twice suggests what it suggests otherwise."""

import gc
import threading
import weakref
from functools import partial

import hyperopt
import numpy as np
import pytest
from hyperopt import Trials, hp, tpe
from hyperopt.base import Domain, miscs_to_idxs_vals

from colab_drive_tuner.search import faster_tpe as module
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.faster_tpe import faster_tpe

_BUILD = tpe.build_posterior_wrapper

EVERYTHING = {
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


def height(point) -> float:
    """A loss that depends on the branch taken."""
    branch = point["branch"]
    return abs(point["r"] - 3) + (branch["u"] ** 2 if branch["kind"] == 0 else branch["lu"])


def run(algo=tpe.suggest, trials=None) -> list[dict]:
    """The parameters of a search of 60 trials, a plain one unless told otherwise."""
    trials = Trials() if trials is None else trials
    hyperopt.fmin(
        height,
        EVERYTHING,
        algo=algo,
        max_evals=60,
        trials=trials,
        rstate=np.random.default_rng(3),
        show_progressbar=False,
        verbose=False,
    )
    return [doc["misc"]["vals"] for doc in trials.trials]


@pytest.fixture
def builds(monkeypatch) -> list[tuple]:
    """The settings of each posterior that is really built."""
    seen: list[tuple] = []

    def build(domain, prior_weight, gamma):
        seen.append((prior_weight, gamma))
        return _BUILD(domain, prior_weight, gamma)

    monkeypatch.setattr(module, "_build", build)
    monkeypatch.setattr(tpe, "build_posterior_wrapper", build)
    return seen


def test_the_points_are_the_same(builds):
    """For every kind of parameter, and choices within choices; built once instead of 60 times."""
    plain = run()
    assert len(builds) == 60
    with faster_tpe():
        assert run() == plain
    assert len(builds) == 61
    assert run() == plain
    assert len(builds) == 121


def test_a_search_in_a_store_does_so(builds, tmp_path):
    """And leaves hyperopt as it was."""
    points = run(trials=DriveTrials("s", store=tmp_path / "store"))
    assert len(builds) == 1
    assert points == run()
    assert len(builds) == 61


def test_other_settings_get_another_one(builds):
    """Some algorithms, such as atpe, vary them from trial to trial."""

    def wavering(new_ids, domain, trials, seed):
        gamma = 0.25 if len(trials.trials) < 40 else 0.5
        return tpe.suggest(new_ids, domain, trials, seed, gamma=gamma, prior_weight=0.9)

    plain = run(wavering)
    del builds[:]
    with faster_tpe():
        assert run(wavering) == plain
        assert run(partial(tpe.suggest, gamma=0.1)) != plain
    assert builds == [(0.9, 0.25), (0.9, 0.5), (1.0, 0.1)]


def test_searches_side_by_side(builds):
    """Each domain has its own; hyperopt is as it was only after the outermost one."""
    inner: list[list[dict]] = []
    plain = run()
    with faster_tpe():
        with faster_tpe():
            assert run() == plain
        thread = threading.Thread(target=lambda: inner.append(run()))
        thread.start()
        assert run() == plain
        thread.join()
        assert tpe.build_posterior_wrapper is module._build_once
    assert inner == [plain]
    assert tpe.build_posterior_wrapper is module._build


def test_what_was_observed_is_gathered_once(monkeypatch):
    """Of each suggestion only what is new: 59 trials in all, and not 59 + 58 + ..."""
    gathered: list[dict] = []
    plain, gather = run(), tpe.miscs_to_idxs_vals

    def noting(miscs, keys):
        gathered.extend(miscs)
        return gather(miscs, keys)

    monkeypatch.setattr(module, "_gather", noting)
    with faster_tpe():
        assert run() == plain
    assert [misc["tid"] for misc in gathered] == list(range(59))
    assert module._gathered is module._NOTHING


def test_it_is_gathered_anew_where_something_else_was_observed():
    """Another order, trials taken out or replaced, other parameters."""
    trials = Trials()
    run(trials=trials)
    misc, keys = trials.miscs, list(trials.miscs[0]["vals"])
    with faster_tpe():
        for some, names in (
            (misc[:30], keys),
            (misc, keys),
            (misc[::-1], keys),
            (misc[1:], keys),
            (misc[:30], keys),
            (misc[:29] + misc[30:], keys),
            (misc, keys[1:]),
            ([], keys[1:]),
        ):
            assert tpe.miscs_to_idxs_vals(some, names) == miscs_to_idxs_vals(some, names)


def test_nothing_is_kept_of_a_domain_that_is_gone():
    """Many searches in one process do not add up."""
    domain = Domain(height, EVERYTHING)
    with faster_tpe():
        tpe.build_posterior_wrapper(domain, 1.0, 0.25)
    gone = weakref.ref(domain)
    del domain
    gc.collect()
    assert gone() is None
