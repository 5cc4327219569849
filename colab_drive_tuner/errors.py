"""Every error and warning of this package; each error is also the builtin one that it resembles.

ColabDriveTunerError
├── UsageError (ValueError)              an argument, named in the message, cannot be used
│   ├── SearchNameError                  the name cannot be a search's
│   ├── SeedChangedError                 `seed=` is not the one that the search has
│   ├── SpaceChangedError                the space is not the stored one; shows how
│   ├── TemplateError                    a {{...}} template cannot be compiled; names the line
│   └── ObjectiveError                   model or data function: parameters, or result
├── NotPlainDataError (TypeError)        a result holds something that is not plain data; names it
├── ModelError (ValueError)              a kept model cannot be loaded; says why
├── MissingExtraError (ImportError)      an optional package is needed; names the extra
├── CredentialsError (PermissionError)   nobody to act as, or the one found was refused
├── StoreError (OSError)                 what lasts (Drive, or a folder) did not do what was asked
│   ├── NotFoundError (FileNotFoundError)      no such file, or no access to it
│   ├── IdTakenError (FileExistsError)         something was created under this id before
│   ├── UnavailableError (ConnectionError)     no answer in time; trying later may help
│   ├── ChecksumError                          the bytes that arrived are not those that were stored
│   └── RefusedError (PermissionError)         a definite no; trying again will not help
│       └── QuotaError                         no room left, or a daily limit reached
├── NotebookError (ValueError)           the running notebook cannot be used
│   ├── NotebookNotFoundError (FileNotFoundError)   no notebook of that name
│   └── AmbiguousNotebookError                      several of that name; lists them
├── SearchError (RuntimeError)           a search cannot go on, or not now
│   ├── SearchNotFoundError (LookupError)      no search of that name in this store
│   ├── SearchBusyError                        another runtime holds it: who, since when
│   ├── SearchTakenOverError                   another runtime has it: this one stopped
│   ├── SearchDamagedError                     a record is missing or altered
│   │   ├── ForeignFileError                   an id in it names a file that is not the search's
│   │   └── NewerFormatError                   not damaged: written by a later version
│   ├── ExecutorError                          the workers of `executor=` died, or cannot run it
│   ├── SearchFolderError                      its folder was renamed, moved, trashed or doubled
│   └── AccountMismatchError (PermissionError) it belongs to another Drive account
└── NotebookRunError (RuntimeError)      a run of `rerun` broke off
    ├── RuntimeLostError                 the runtime vanished in the middle of it
    └── NoRuntimeError                   no runtime could be had: the program was not run

UserWarning
├── UnfinishedSearchWarning              a result was read while trials are left to run
├── SearchRestartedWarning               a restart follows a restart: restart=True was left in
├── SearchChangedWarning                 model, data or algorithm differ from those before
├── DataWarning                          what a data function returned serves one trial only
├── NotebookWarning                      the notebook: none found, stale, or kept aside
├── ConversionWarning                    a study holds what a search cannot
├── ExecutorWarning                      the workers' engine does something that it should not
└── TrainingWarning                      beside a training something did not work
"""

from colab_drive_tuner.text import visible


class ColabDriveTunerError(Exception):
    """The root: catching it catches every error of this package."""

    def __str__(self) -> str:
        # A message may quote a server, or a store that others write to; a terminal obeys it.
        return visible(super().__str__(), lines=True)


class UsageError(ColabDriveTunerError, ValueError):
    """An argument, named in the message, cannot be used; nothing has been written."""


class SearchNameError(UsageError):
    """The name cannot be a search's: empty, too long, or with a slash or control character."""


class SeedChangedError(UsageError):
    """`seed=` differs from the one that the search was created with."""


class SpaceChangedError(UsageError):
    """The search space differs from the stored one; the message shows the difference."""


class TemplateError(UsageError):
    """A `{{...}}` template cannot be compiled; the message names its line."""


class ObjectiveError(UsageError):
    """The model or data function has wrong parameters, or returned no valid loss or status."""


class NotPlainDataError(ColabDriveTunerError, TypeError):
    """A trial's result holds an object that is not plain data; the message says where."""


class ModelError(ColabDriveTunerError, ValueError):
    """A kept model cannot be loaded as asked: it is damaged, or needs what the message names."""


class MissingExtraError(ColabDriveTunerError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class CredentialsError(ColabDriveTunerError, PermissionError):
    """Nobody could be found to act as, or Google refused the one that was found."""


class StoreError(ColabDriveTunerError, OSError):
    """What lasts (Drive, or a folder) did not do what was asked."""


class NotFoundError(StoreError, FileNotFoundError):
    """There is no such file, or this account may not see it."""


class IdTakenError(StoreError, FileExistsError):
    """Something was created under this id before."""


class UnavailableError(StoreError, ConnectionError):
    """The store gave no usable answer in time; trying again later may help."""


class ChecksumError(StoreError):
    """The bytes that arrived are not the bytes that were stored."""


class RefusedError(StoreError, PermissionError):
    """The store said no, and would say it again: the message says why and what to do."""


class QuotaError(RefusedError):
    """No room is left, or a daily limit is reached; the message says how much is used."""


class NotebookError(ColabDriveTunerError, ValueError):
    """The running notebook cannot be used: it is not a notebook, or not readable."""


class NotebookNotFoundError(NotebookError, FileNotFoundError):
    """There is no notebook of that name."""


class AmbiguousNotebookError(NotebookError):
    """Several notebooks bear the name; the message lists them and how to choose."""


class SearchError(ColabDriveTunerError, RuntimeError):
    """A search cannot go on, or not now."""


class SearchNotFoundError(SearchError, LookupError):
    """The store holds no search of that name."""


class SearchBusyError(SearchError):
    """Another runtime holds the search; the message says who and since when."""


class SearchTakenOverError(SearchError):
    """Another runtime took the search over; what was not recorded is kept in a local file."""


class SearchDamagedError(SearchError):
    """A record of the search is missing, altered or unreadable; the message says which."""


class ForeignFileError(SearchDamagedError):
    """An id in a property or a record names a file that does not belong to the search."""


class NewerFormatError(SearchDamagedError):
    """Not damaged: written by a later version of this package, which must be upgraded."""


class SearchFolderError(SearchError):
    """The search's folder was renamed, moved, put into the trash or doubled by hand; says where."""


class ExecutorError(SearchError):
    """The workers of `executor=` died, are not there, or cannot load the objective; says which.

    Everything that had ended is recorded, and the same call goes on with a new executor.
    """


class AccountMismatchError(SearchError, PermissionError):
    """The search was written by another Drive account, whose reserved ids only it can use."""


class NotebookRunError(ColabDriveTunerError, RuntimeError):
    """A run broke off: its runner could not run it; the message says why."""


class RuntimeLostError(NotebookRunError):
    """The runtime vanished in the middle of a run: what reruns are for, and no failure."""


class NoRuntimeError(NotebookRunError):
    """No runtime could be had, so the program was not run: that says nothing about it."""


class UnfinishedSearchWarning(UserWarning):
    """A result was read while trials are left to run."""


class SearchRestartedWarning(UserWarning):
    """`restart=True` begins a search again that the run before began again, too."""


class SearchChangedWarning(UserWarning):
    """The model's source or the shape of the data differs from when the search was created."""


class DataWarning(UserWarning):
    """What a data function returned serves the first trial that reads it, and no other."""


class ConversionWarning(UserWarning):
    """An Optuna study holds what a search cannot: it says what is left out."""


class ExecutorWarning(UserWarning):
    """The engine behind `executor=` is set up so that a deadly trial harms more than it must."""


class NotebookWarning(UserWarning):
    """Something about the notebook that the user should know: none found, stale, kept aside."""


class TrainingWarning(UserWarning):
    """Something around a training did not work as meant; the training itself goes on."""
