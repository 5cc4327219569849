"""Starting a search with the ended trials of another one, to widen a space or change the algorithm.

The trials are copied in one entry of the new search's chain, so that a kill leaves all of them or
none, and the same call continues. The other search is only read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.recorded_settings import FROM_SEARCH
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.journal.folder.moved_folders import missing_search_error
from colab_drive_tuner.journal.folder.properties import check_name
from colab_drive_tuner.search.spec.fingerprints import describe_algorithm
from colab_drive_tuner.search.spec.points import ParameterSpace, check_documents
from colab_drive_tuner.search.trial_documents import has_ended, name_all_parameters
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.search.trials.stored_trials import StoredTrials


@dataclass(frozen=True)
class Origin:
    """Trials of another search that a search begins with."""

    name: str
    """The other search."""
    documents: tuple[TrialDocument, ...]
    calls: int
    """Number of seeds that it, and those with which it began, have drawn: they are not repeated."""


def load_origin(
    trials: StoredTrials, name: str, space: Any, algo: Callable[..., Any], *, restart: bool
) -> Origin | None:
    """Return the trials of search `name` to begin with; None if `trials` already began with them.

    Raises `UsageError` if `trials` began otherwise, or the trials of `name` do not fit this space.
    """
    check_name(name)
    if name == trials.name:
        raise UsageError(
            f"from_search={name!r} is the search itself: leave from_search= out to resume it, "
            "or give the new search another name."
        )
    if not restart and _began_with(trials, name):
        return None
    log = Logbook(trials.store.for_search(name), name)
    if not log.journal.exists:
        raise missing_search_error(trials.store, name)
    history = log.history
    if history.study.lines:
        raise UsageError(
            f"{name!r} is an Optuna study: make a search of it by cdt.from_optuna(), and begin "
            "with that."
        )
    documents = tuple(
        document
        for entry in history.trials.values()
        if not entry.unfinished and has_ended(document := entry.decoded())
    )
    if not documents:
        raise UsageError(
            f"No trial of search {name!r} has ended yet: leave from_search= out, or run it first."
        )
    try:
        check_documents(
            documents,
            space,
            suggested=lambda _: True,
            search=name,
            learns=describe_algorithm(algo) != "rand",
        )
    except UsageError as error:
        raise UsageError(
            f"{error} A search that begins with from_search={name!r} keeps the labels of its "
            "parameters, and the options of a choice in their order; new ones come at the end."
        ) from error
    # That search did not draw the seeds of those with which it began, either.
    inherited = sum("from_search" in document["misc"] for document in documents)
    name_all_parameters(documents, ParameterSpace(space).labels)
    for document in documents:
        document["misc"].setdefault("from_search", name)
    calls = (
        inherited + 1 + max((e.k for e in history.trials.values() if e.k is not None), default=-1)
    )
    return Origin(name, documents, calls)


def begin_from(trials: StoredTrials, origin: Origin) -> None:
    """Copy the trials into a search that this process owns, unless another runtime has done so."""
    if not _began_with(trials, origin.name):
        trials.begin_with(list(origin.documents), {FROM_SEARCH: origin.name})


def _began_with(trials: StoredTrials, name: str) -> bool:
    """Return whether a search began with trials of `name`; raise `UsageError` if with others."""
    settings: Mapping[str, Any] = trials.log.settings
    began, documents = settings.get(FROM_SEARCH), trials._dynamic_trials
    if began is None and not documents:
        return False
    # A repaired search may have lost the setting, but its trials name the other search.
    named = {document["misc"].get("from_search") for document in documents} - {None}
    if name == began or (began is None and name in named):
        return True
    how = "with its own trials" if began is None else f"with those of search {began!r}"
    raise UsageError(
        f"Search {trials.name!r} has begun {how}, so it cannot begin with those of search "
        f"{name!r}: leave from_search= as it was to resume it, or choose another name=."
    )
