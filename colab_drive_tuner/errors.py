"""Errors and warnings of this package; each error is also the builtin error that it resembles.

ColabDriveTunerError
├── UsageError (ValueError)              an argument, named in the message, is invalid
│   ├── SearchNameError                  the name is not a valid search name
│   ├── SeedChangedError                 `seed=` differs from the stored seed
│   ├── SpaceChangedError                the space differs from the stored one; shows the difference
│   ├── TemplateError                    a {{...}} template cannot be compiled; names the line
│   └── ObjectiveError                   model or data function: wrong parameters or result
├── NotPlainDataError (TypeError)        a result contains an object that is not plain data
├── ModelError (ValueError)              a saved model cannot be loaded; says why
├── MissingExtraError (ImportError)      an optional package is missing; names the extra
├── CredentialsError (PermissionError)   no credentials were found, or Google refused them
├── StoreError (OSError)                 an operation of the store (Drive or a folder) failed
│   ├── NotFoundError (FileNotFoundError)      no such file, or no access to it
│   ├── IdTakenError (FileExistsError)         the id has been used before
│   ├── UnavailableError (ConnectionError)     no answer in time; trying later may help
│   ├── ChecksumError                          the received bytes are not the stored ones
│   └── RefusedError (PermissionError)         a permanent refusal; trying again will not help
│       └── QuotaError                         no space is left, or a daily limit is reached
├── NotebookError (ValueError)           the running notebook cannot be used
│   ├── NotebookNotFoundError (FileNotFoundError)   no notebook of that name
│   └── AmbiguousNotebookError                      several notebooks of that name; lists them
├── SearchError (RuntimeError)           a search cannot continue, or not now
│   ├── SearchNotFoundError (LookupError)      no search of that name in this store
│   ├── SearchBusyError                        another runtime holds it: which one, since when
│   ├── SearchTakenOverError                   another runtime took it over; this one stopped
│   ├── SearchDamagedError                     a record is missing or altered
│   │   ├── ForeignFileError                   an id in it names a file outside of the search
│   │   └── NewerFormatError                   not damaged: written by a later version
│   ├── ExecutorError                          the workers of `executor=` died or cannot run it
│   ├── SearchFolderError                      its folder was renamed, moved, trashed or duplicated
│   └── AccountMismatchError (PermissionError) it belongs to another Drive account
└── NotebookRunError (RuntimeError)      a run of `rerun` was aborted
    ├── RuntimeLostError                 the runtime vanished during the run
    └── NoRuntimeError                   no runtime was available: the program was not run

UserWarning
├── UnfinishedSearchWarning              a result was read before all trials were run
├── SearchRestartedWarning               `restart=True` was probably left in the code
├── SearchChangedWarning                 model, data or algorithm have changed
├── DataWarning                          a data function's result can be read by one trial only
├── NotebookWarning                      the notebook was not found, is stale, or was set aside
├── ConversionWarning                    a study contains something that a search cannot store
├── ExecutorWarning                      the executor has a harmful setting
└── TrainingWarning                      something outside of the training itself failed
"""

from collections.abc import Iterator
from contextlib import contextmanager

from colab_drive_tuner.text import visible


class ColabDriveTunerError(Exception):
    """Base class of every error of this package."""

    def __str__(self) -> str:
        # A message may quote untrusted text, which could contain terminal control characters.
        return visible(super().__str__(), lines=True)

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: show the user's frames only, since the message says what to do."""
        from colab_drive_tuner.tracebacks import shown_in_notebook

        return shown_in_notebook(self)


class UsageError(ColabDriveTunerError, ValueError):
    """An argument, named in the message, is invalid; nothing has been written."""


class SearchNameError(UsageError):
    """Invalid search name: empty, too long, or with a slash or control character."""


class SeedChangedError(UsageError):
    """`seed=` differs from the seed that the search was created with."""


class SpaceChangedError(UsageError):
    """The search space differs from the stored one; the message shows the difference."""


class TemplateError(UsageError):
    """A `{{...}}` template cannot be compiled; the message names its line."""


class ObjectiveError(UsageError):
    """The model or data function has wrong parameters, or returned no valid loss or status."""


class NotPlainDataError(ColabDriveTunerError, TypeError):
    """A trial's result contains an object that is not plain data; the message says where."""


class ModelError(ColabDriveTunerError, ValueError):
    """A saved model cannot be loaded: it is damaged, or needs what the message names."""


class MissingExtraError(ColabDriveTunerError, ImportError):
    """An optional package is missing; the message names the extra that installs it."""


@contextmanager
def optional_import(message: str) -> Iterator[None]:
    """Raise `MissingExtraError` with this message if an import in the block fails."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(message) from error


class CredentialsError(ColabDriveTunerError, PermissionError):
    """No credentials were found, or Google refused them."""


class StoreError(ColabDriveTunerError, OSError):
    """An operation of the store (Drive or a folder) failed."""


class NotFoundError(StoreError, FileNotFoundError):
    """The file does not exist, or this account has no access to it."""


class IdTakenError(StoreError, FileExistsError):
    """Something was created under this id before."""


class UnavailableError(StoreError, ConnectionError):
    """The store gave no usable answer in time; trying again later may help."""


class ChecksumError(StoreError):
    """The received bytes are not the stored ones."""


class RefusedError(StoreError, PermissionError):
    """The store refused permanently; the message says why and what to do."""


class QuotaError(RefusedError):
    """No space is left, or a daily limit is reached; the message says how much is used."""


class NotebookError(ColabDriveTunerError, ValueError):
    """The running notebook cannot be used: it is not a notebook, or not readable."""


class NotebookNotFoundError(NotebookError, FileNotFoundError):
    """There is no notebook of that name."""


class AmbiguousNotebookError(NotebookError):
    """Several notebooks have this name; the message lists them and says how to choose."""


class SearchError(ColabDriveTunerError, RuntimeError):
    """A search cannot continue, or not now."""


class SearchNotFoundError(SearchError, LookupError):
    """The store holds no search of that name."""


class SearchBusyError(SearchError):
    """Another runtime holds the search; the message says which one and since when."""


class SearchTakenOverError(SearchError):
    """Another runtime took the search over; unrecorded results are kept in a local file."""


class SearchDamagedError(SearchError):
    """A record of the search is missing, altered or unreadable; the message says which."""


class ForeignFileError(SearchDamagedError):
    """An id in a property or a record names a file that does not belong to the search."""


class NewerFormatError(SearchDamagedError):
    """Not damaged: written by a later version of this package, which must be upgraded."""


class SearchFolderError(SearchError):
    """The search's folder was renamed, moved, trashed or duplicated by hand; says where."""


class ExecutorError(SearchError):
    """The workers of `executor=` died, are missing, or cannot load the objective.

    Finished trials are recorded; the same call with a new executor continues the search.
    """


class AccountMismatchError(SearchError, PermissionError):
    """The search belongs to another Drive account; only that account can use its reserved ids."""


class NotebookRunError(ColabDriveTunerError, RuntimeError):
    """A run was aborted: its runner could not run it; the message says why."""


class RuntimeLostError(NotebookRunError):
    """The runtime vanished during a run: the next rerun continues it, so it is not a failure."""


class NoRuntimeError(NotebookRunError):
    """No runtime was available, so the program was not run; this is no verdict on the program."""


class UnfinishedSearchWarning(UserWarning):
    """A result was read before all trials of its search were run."""


class SearchRestartedWarning(UserWarning):
    """`restart=True` restarts a search that the previous run restarted, too."""


class SearchChangedWarning(UserWarning):
    """The model's source, the data's shape or the algorithm differs from that of an earlier run."""


class DataWarning(UserWarning):
    """A data function's result can be read only once, so it serves the first trial only."""


class ConversionWarning(UserWarning):
    """An Optuna study contains something that a search cannot store; says what is left out."""


class ExecutorWarning(UserWarning):
    """The executor is configured so that a trial that kills workers harms others."""


class NotebookWarning(UserWarning):
    """A problem with the notebook: it was not found, is stale, or was set aside."""


class TrainingWarning(UserWarning):
    """Something outside of the training itself failed; the training continues."""
