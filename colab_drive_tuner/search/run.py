"""One run of a search: claim it, run its trials, and release it in any case."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.recorded_settings import RESTARTED, STOPPED
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import SearchRestartedWarning
from colab_drive_tuner.journal.chain.chain import HISTORY_DIGITS
from colab_drive_tuner.search.begin_from import begin_from
from colab_drive_tuner.search.evaluate import FastDomain, TrainingSettings
from colab_drive_tuner.search.loop.interrupts import releasing, sigterm_exits
from colab_drive_tuner.search.loop.missing_trials import missing_points
from colab_drive_tuner.search.loop.run_request import RunRequest
from colab_drive_tuner.search.loop.sequential import Loop
from colab_drive_tuner.search.loop.stopping_rules import StoppingRules
from colab_drive_tuner.search.progress import display
from colab_drive_tuner.search.spec.arguments import check_ranges
from colab_drive_tuner.search.spec.fingerprints import describe_algorithm, describe_space
from colab_drive_tuner.search.spec.objectives import describe_objective
from colab_drive_tuner.search.spec.points import check_documents, point_document
from colab_drive_tuner.search.spec.settings import SearchSettings, stored_rstate
from colab_drive_tuner.search.spec.suggestion_seeds import (
    SeedStream,
    decode_generator,
    encode_generator,
    generator_of,
    training_seed_of,
)
from colab_drive_tuner.search.spec.user_objects import load_frameworks
from colab_drive_tuner.search.trial_documents import name_all_parameters
from colab_drive_tuner.search.trials.counts import TrialCounts
from colab_drive_tuner.search.trials.stored_trials import StoredTrials
from colab_drive_tuner.training.trial import TrialInterrupted
from colab_drive_tuner.warn_user import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.search.executors.dispatcher import Dispatcher


def run_search(trials: StoredTrials, request: RunRequest) -> str:
    """Run trials until the search has `max_evals`, or a rule stops it; return which, or "".

    Pending entries are flushed and the search is released, however the run ends. A search that the
    same rules have already stopped is left unchanged.
    """
    if not request.restart and (why := _stop_reason(trials, request)):
        return why
    domain = FastDomain(request.fn, request.space, pass_expr_memo_ctrl=request.pass_expr_memo_ctrl)
    check_ranges(request.space, request.algo, request.max_evals)
    settings = _settings(trials, request)
    _check_recorded(trials, request, settings)
    frameworks = load_frameworks(request.written or request.fn)
    dispatcher = _dispatcher(request, domain)
    stopped_before = None if request.restart else trials.log.settings.get(STOPPED)
    with (
        trials.log.running(),
        sigterm_exits() as arrived,
        releasing(trials, request.max_evals, arrived),
    ):
        trials.own(settings, restart=request.restart, retry_failed=request.retry_failed)
        if trials.log.settings.get(STOPPED):  # replayed from the spool of a dead session
            if why := _stop_reason(trials, request):
                return why
            stopped_before = trials.log.settings[STOPPED]
            trials.log.set({STOPPED: None})
        if request.origin:
            begin_from(trials, request.origin)
        _queue_points(trials, request.points)
        name_all_parameters(trials._dynamic_trials, domain.params)
        counts = TrialCounts(trials._dynamic_trials)
        rules = StoppingRules(
            request, trials.log.settings | {STOPPED: stopped_before}, trials.notify
        )
        stored = stored_rstate(trials.name, trials.log.settings)
        seeds = _seeds(stored, settings.rstate, trials.log.next_k)
        training = TrainingSettings(
            seed=training_seed_of(stored),
            seeded=trials.seed_training,
            frameworks=frameworks,
            pruner=request.pruner,
        )
        parts = trials, request, domain, seeds, training, rules, counts
        if dispatcher is None:
            loop = Loop(*parts)
        else:
            from colab_drive_tuner.search.loop.parallel import ParallelLoop

            loop = ParallelLoop(*parts, dispatcher=dispatcher, on_stop=arrived.set)
        # A trial that stopped before the deadline is unfinished; the next run resumes it.
        with suppress(TrialInterrupted):
            return loop.run(
                display(trials, counts, request.max_evals, request.show_progress, request.deadline)
            )
    return ""


def _stop_reason(trials: StoredTrials, request: RunRequest) -> str:
    """Return why the same rules stopped the search; "" if they did not, or new points must run."""
    why = request.stop_reason(trials.log.settings)
    return "" if why and untried_points(trials._dynamic_trials, request.points) else why


def _settings(trials: StoredTrials, request: RunRequest) -> SearchSettings:
    source, data = describe_objective(request.fn, request.written or request.fn)
    pruner = request.pruner
    if pruner is None and "pruner" not in trials.log.settings:
        described = None  # the search never had one
    else:
        described = "none" if pruner is None else repr(pruner)
    return SearchSettings(
        seed=trials.asked_seed,
        rstate=_initial_generator(request.rstate) if trials.asked_seed is None else None,
        max_evals=request.max_evals,
        algo=describe_algorithm(request.algo),
        space=describe_space(request.space),
        source=source,
        data=data,
        pruner=described,
        skipped=request.origin.calls if request.origin else 0,
    )


def _check_recorded(trials: StoredTrials, request: RunRequest, settings: SearchSettings) -> None:
    """Warn of changes since the last run; raise `UsageError` if a recorded trial cannot be used."""
    if request.restart:
        _warn_of_second_restart(trials)
        return
    settings.warn_of_changes(trials.name, trials.log.settings)
    check_documents(
        trials._dynamic_trials,
        request.space,
        suggested=lambda tid: trials.log.k_of.get(tid) is not None,
        search=trials.name,
        learns=settings.algo != "rand",
    )


def _warn_of_second_restart(trials: StoredTrials) -> None:
    """Warn if `restart=True` may have been left in a cell, so that each run begins again."""
    history, journal = trials.log.history, trials.log.journal
    if not (trials.log.settings.get(RESTARTED) and history.trials):
        return
    kept, count = journal.epoch[:HISTORY_DIGITS], len(history.trials)
    best = "" if history.best_loss is None else f" (best loss {history.best_loss:.6g})"
    warn_user(
        f"restart=True begins search {trials.name!r} again, as the run before did: remove it to "
        f"resume a search. It had {count} trial{'s' * (count != 1)}{best}, kept as history "
        f"{kept} in {journal.store.url(journal.folder or '')}; "
        f"{journal.store.command('restore', trials.name, kept)} brings it back.",
        SearchRestartedWarning,
    )


def _dispatcher(request: RunRequest, domain: FastDomain) -> "Dispatcher | None":
    """Return the dispatcher to the workers; None: trials run in this process."""
    if request.workers is None:
        return None
    from colab_drive_tuner.search.executors.dispatcher import Dispatcher
    from colab_drive_tuner.search.executors.payload import check_sendable, pack

    executor, payload = request.workers.executor, None
    if executor.in_process:
        check_sendable(request.fn)
    else:
        payload = pack(request.fn, request.space, request.pass_expr_memo_ctrl)
    executor.prepare()
    return Dispatcher(request.workers, payload, domain)


def _queue_points(trials: StoredTrials, points: Sequence[dict[str, list[Any]]]) -> None:
    """Queue missing and new points to evaluate, behind the trials that are unfinished."""
    if lost := missing_points(trials._dynamic_trials, points):
        trials.insert_missing(lost, None)
    if new := untried_points(trials._dynamic_trials, points):
        if trials._dynamic_trials:
            trials.notify(
                f"{len(new)} of points_to_evaluate had not been tried in search {trials.name!r} "
                "yet: they run now, before the algorithm suggests more."
            )
        tids = trials.new_trial_ids(len(new))
        trials.insert_trial_docs(list(map(point_document, tids, new)))
    trials.refresh()


def untried_points(
    documents: Sequence[TrialDocument], points: Sequence[dict[str, list[Any]]]
) -> list[dict[str, list[Any]]]:
    """Return the points that no trial has."""
    if not points:
        return []
    tried = {_comparable(document["misc"]["vals"]) for document in documents}
    return [point for point in points if _comparable(point) not in tried]


def _comparable(values: Mapping[str, Sequence[Any]]) -> frozenset[tuple[str, float]]:
    """Return the active parameters and their values; numbers of any type become floats."""
    return frozenset((label, float(given[0])) for label, given in values.items() if len(given))


def _seeds(stored: bytes, given: np.random.Generator | None, k: int) -> SeedStream:
    """Return the seed stream at its k-th draw; a new search draws from the caller's generator."""
    if k == 0 and given is not None and encode_generator(given) == stored:
        return SeedStream(given)
    return SeedStream(decode_generator(stored), k)


def _initial_generator(rstate: Any) -> np.random.Generator | None:
    """Return hyperopt's generator for `rstate`; None where hyperopt would draw a random one."""
    if rstate is not None:
        return generator_of(rstate)
    seed = Variable.HYPEROPT_SEED.number(int)
    return None if seed is None else generator_of(seed)
