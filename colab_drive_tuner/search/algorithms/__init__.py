"""hyperopt's algorithms, several times as fast, with bit-identical suggestions.

`fast_tpe`, `fast_anneal` and `fast_random` hold the suggest functions. `tpe_space` compiles a
search space for TPE, `tpe_parameters` chooses the value of one parameter and `candidate_scores`
compares its candidates. Anything not supported here is left to hyperopt's own function.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import hyperopt
from hyperopt import anneal, mix, rand, tpe

from colab_drive_tuner.search.algorithms.fast_anneal import FastAnneal
from colab_drive_tuner.search.algorithms.fast_random import FastRand
from colab_drive_tuner.search.algorithms.fast_tpe import TPE_SETTINGS, FastTpe

Algorithm = Callable[..., Any]

_SUPPORTED_VERSION = "0.3.0"
"""The version of hyperopt that is reproduced; any other version runs its own algorithms."""


def fast_algorithm(algo: Algorithm) -> Algorithm:
    """Return a faster function with the same suggestions as `algo`, or `algo` itself.

    Args:
        algo: A suggest function of hyperopt. Supported are `rand.suggest`, `tpe.suggest` and
            `anneal.suggest`, also in a `functools.partial` with their settings or in a
            `partial(mix.suggest, p_suggest=[...])`.

    Returns:
        A function with the arguments of `algo` (`new_ids, domain, trials, seed`). It caches what
        it has seen of a search, so each search needs its own.
    """
    if hyperopt.__version__ != _SUPPORTED_VERSION:
        return algo
    if algo is rand.suggest:
        return FastRand()
    if algo is tpe.suggest:
        return FastTpe()
    if algo is anneal.suggest:
        return FastAnneal()
    if isinstance(algo, partial) and not algo.args:
        if algo.func is tpe.suggest and algo.keywords.keys() <= TPE_SETTINGS:
            return FastTpe(**algo.keywords)
        if algo.func is anneal.suggest and algo.keywords.keys() <= {"avg_best_idx", "shrink_coef"}:
            return FastAnneal(**algo.keywords)
        if algo.func is mix.suggest and isinstance(algo.keywords.get("p_suggest"), list | tuple):
            mixed = [(share, fast_algorithm(one)) for share, one in algo.keywords["p_suggest"]]
            return partial(mix.suggest, **{**algo.keywords, "p_suggest": mixed})
    return algo
