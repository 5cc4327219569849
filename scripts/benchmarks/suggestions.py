"""Workload of suggestions: hyperopt's TPE and annealing, and ours over the same trials."""

import statistics
import time
from typing import Any

import numpy as np
from hyperopt import Trials, anneal, hp, rand, tpe
from hyperopt.base import JOB_STATE_DONE, Domain

from colab_drive_tuner.search.algorithms.fast_algorithm import fast_algorithm

ALGORITHMS = {"tpe": tpe.suggest, "anneal": anneal.suggest}


def space(name: str) -> Any:
    """Return six parameters without steps, the same with one step, or nested choices with many."""
    plain = {
        "u": hp.uniform("u", -5, 5),
        "lu": hp.loguniform("lu", -7, 0),
        "n": hp.normal("n", 0, 2),
        "ln": hp.lognormal("ln", 0, 1),
        "c": hp.choice("c", ["a", "b", "c"]),
        "r": hp.randint("r", 10),
    }
    if name == "plain":
        return plain
    if name == "mixed":
        return {**plain, "ln": hp.quniform("ln", 1, 100, 1)}
    sgd = {"rate": hp.loguniform("rate", -9, 0), "momentum": hp.quniform("momentum", 0, 0.99, 0.01)}
    adam = {"rate": hp.qlognormal("adam rate", 0, 1, 0.01)}
    net = {
        "layers": hp.quniform("layers", 1, 8, 1),
        "width": hp.quniform("width", 16, 512, 16),
        "dropout": hp.uniform("dropout", 0, 0.7),
        "optimizer": hp.choice("optimizer", [sgd, adam]),
    }
    trees = {
        "depth": hp.quniform("depth", 2, 12, 1),
        "leaf": hp.qloguniform("leaf", 0, 5, 1),
        "trees": hp.qnormal("trees", 100, 20, 5),
    }
    return {"model": hp.choice("model", [net, trees]), "batch": hp.quniform("batch", 16, 256, 16)}


def suggestions(*, algo: str, name: str, count: int, repeats: int) -> dict[str, Any]:
    """Return median CPU seconds of a suggestion after `count` trials, ours and hyperopt's.

    The two alternate, so that each finds the processor's caches as the other left them. Each
    repeat adds one trial, as in a search.
    """
    domain, trials = Domain(lambda _: 0.0, space(name)), Trials()
    rng = np.random.default_rng(7)
    plain = ALGORITHMS[algo]
    fast = fast_algorithm(plain, domain)
    took: dict[str, list[float]] = {"ours": [], "plain": []}
    same = True
    for n in range(count + repeats):
        new_ids, seed = trials.new_trial_ids(1), int(rng.integers(2**31 - 1))
        if n < count:
            documents = rand.suggest(new_ids, domain, trials, seed)
        else:
            if n == count:
                fast(new_ids, domain, trials, seed)  # reads all trials, as after a resume
            suggested = []
            for who, suggest in (("plain", plain), ("ours", fast)):
                begun = time.process_time()
                suggested.append(suggest(new_ids, domain, trials, seed))
                took[who].append(time.process_time() - begun)
            documents = suggested[0]
            same = same and repr(suggested[0]) == repr(suggested[1])
        documents[0]["state"] = JOB_STATE_DONE
        documents[0]["result"] = {"status": "ok", "loss": float(rng.normal())}
        trials._insert_trial_docs(documents)
        if n >= count - 1:
            trials.refresh()
    ours, theirs = statistics.median(took["ours"]), statistics.median(took["plain"])
    return {"ours": ours, "plain": theirs, "faster": theirs / ours, "same": same}
