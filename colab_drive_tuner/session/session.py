"""Session of a notebook: its store, account and notebook file, and the searches in the store."""

import builtins
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from colab_drive_tuner import credentials as sources
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    CredentialsError,
    NotebookNotFoundError,
    NotebookWarning,
    NotFoundError,
    SearchError,
    SearchFolderError,
    SearchNotFoundError,
    StoreError,
)
from colab_drive_tuner.notebook.find import Notebook, locate
from colab_drive_tuner.notebook.local_copy import save_copy, warn_if_stale
from colab_drive_tuner.runtime import Kind, Runtime
from colab_drive_tuner.session.display import (
    Renderer,
    annotated_searches,
    remaining_time,
    session_html,
    session_text,
)
from colab_drive_tuner.warn_user import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient
    from colab_drive_tuner.manage.restore_history import SearchHistory
    from colab_drive_tuner.search.drive_trials import DriveTrials
    from colab_drive_tuner.search.trials.search_status import SearchStatus
    from colab_drive_tuner.store.protocol import Store
    from colab_drive_tuner.troubleshoot.clean import Leftover


_Result = TypeVar("_Result")


def read_environment() -> dict[Variable, str]:
    """Return the values of the variables that select the account or the store.

    If one of them changes, `setup` opens a new session.
    """
    store_variables = (Variable.STORE, Variable.EMULATOR_HOST, Variable.EMULATOR_TOKEN)
    return {item: item.get() for item in (*store_variables, *sources.account_variables())}


@dataclass(frozen=True)
class SetupArguments:
    """Arguments and environment of a call of `setup`; equal ones share one session."""

    notebook: str | None
    folder: str | None
    credentials: Any = field(repr=False)
    environment: dict[Variable, str] = field(repr=False)
    pid: int


def connect(arguments: SetupArguments, runtime: Runtime) -> "DriveClient":
    """Connect to Drive with the given credentials, or else with those of this runtime."""
    from colab_drive_tuner.drive import DriveClient

    scopes = None
    chosen = arguments.credentials is not None or any(
        variable.get() for variable in sources.account_variables(chosen=True)
    )
    if runtime.is_colab and not chosen:
        # `drive.file` covers only files that this package created: not the notebook, which Colab
        # created, and not a folder that the user names.
        scopes = (
            [sources.SCOPE_ALL]
            if arguments.folder is not None
            else [sources.SCOPE_FILE, sources.SCOPE_READ]
        )
    return DriveClient.connect(
        arguments.credentials,
        allow_prompt=runtime.can_prompt,
        scopes=scopes,
        browser_attached=(lambda: runtime.browser_attached) if runtime.is_colab else None,
    )


class Session:
    """The store, account and notebook that `setup()` found, and methods to manage searches.

    Printing a session sends no request. Searches that this process runs are shown live; the others
    as of the last `setup()` or `refresh()`, or of this session's last change to them.
    """

    def __init__(
        self,
        arguments: SetupArguments,
        runtime: Runtime,
        store: "Store",
        client: "DriveClient | None",
    ) -> None:
        self._arguments = arguments
        self.runtime = runtime
        self.store = store
        self.client = client
        """Google Drive, signed in as this session's account; None if searches are kept in a local
        folder."""
        self.notebook: Notebook | None = None
        self.notebook_path: Path | None = None
        """The notebook's file on this disk: a copy, or the file that a local Jupyter serves."""
        self._account = store.account
        self.place = store.url(store.root)
        """The folder that holds the searches: a link or a path."""
        self._searches: list[SearchStatus] = []
        self._listed_at = 0.0
        """When all searches were listed, in seconds since 1970."""
        self._read_at: dict[str, float] = {}
        """When single searches were read after that, by name."""

    def refresh(self) -> "Session":
        """Renew the notebook's copy and the list of searches.

        Returns:
            This session, so that a cell that ends in `session.refresh()` displays it.
        """
        self._find_notebook()
        now = time.time()
        self._searches, self._listed_at, self._read_at = self.searches(), now, {}
        self.place = self.store.url(self.store.root)  # Drive's folder may have been created since
        return self

    @property
    def notebook_name(self) -> str | None:
        """Argument `notebook_name` for `hyperas.optim.minimize`; None if no notebook was found.

        It is the file's path relative to the working directory, without `.ipynb`.
        """
        if self.notebook_path is None:
            return None
        return os.path.relpath(str(self.notebook_path).removesuffix(".ipynb"))

    def trials(self, name: str, **options: Any) -> "DriveTrials":
        """Return the trials of a search, for `hyperopt.fmin` or `hyperas.optim.minimize`.

        Args:
            name: The search's name, which is also the name of its folder in the store.
            **options: Options of `DriveTrials`, such as `seed` and `keep_models`.
        """
        from colab_drive_tuner.search.drive_trials import DriveTrials

        return DriveTrials(name, store=self.store, **options)

    def searches(self) -> "builtins.list[SearchStatus]":
        """Read the status of every search from the store."""
        from colab_drive_tuner.search.results.read_search import SearchList, list_searches

        try:
            return list_searches(self.store)
        except NotFoundError:
            return SearchList()  # the folder is created with the first search

    def list(self) -> "builtins.list[str]":
        """List the names of the searches in the store; one request, which opens no search."""
        from colab_drive_tuner.manage.naming import list_names

        try:
            return list_names(self.store)
        except NotFoundError:
            return []  # the folder is created with the first search

    def remove(self, name: str) -> str:
        """Move a search to the trash; see `remove_search`.

        Args:
            name: The search's name, which can be used again afterwards.
        """
        from colab_drive_tuner.manage.naming import remove_search

        return self._changed(remove_search(self.store, name), name)

    def rename(self, name: str, new_name: str) -> str:
        """Rename a search; see `rename_search`.

        Args:
            name: The search's name.
            new_name: Its new name.
        """
        from colab_drive_tuner.manage.naming import rename_search

        return self._changed(rename_search(self.store, name, new_name), name, new_name)

    def copy(self, name: str, to: "Store | Path | str", *, new_name: str | None = None) -> str:
        """Copy a search to another store, or under another name; see `copy_search`.

        Args:
            name: The search's name.
            to: The target: a store, or an argument of `open_store`.
            new_name: The copy's name; None: the same name.
        """
        from colab_drive_tuner.manage.copy_search import copy_search

        copied = copy_search(self.store, name, to, new_name=new_name)
        return self._changed(copied, new_name or name)

    def move(self, name: str, to: "Store | Path | str", *, new_name: str | None = None) -> str:
        """Move a search to another store; see `move_search`.

        Args:
            name: The search's name.
            to: The target: a store, or an argument of `open_store`.
            new_name: Its name in the target; None: the same name.
        """
        from colab_drive_tuner.manage.copy_search import move_search

        moved = move_search(self.store, name, to, new_name=new_name)
        return self._changed(moved, name, new_name or name)

    def histories(self, name: str) -> "builtins.list[SearchHistory]":
        """List the histories of a search: those kept by restarts, and the current one.

        Args:
            name: The search's name.
        """
        from colab_drive_tuner.manage.restore_history import list_histories

        return list_histories(self.store, name)

    def restore(self, name: str, history: str | None = None) -> "SearchHistory":
        """Make a kept history of a search the current one again; see `restore_search`.

        Args:
            name: The search's name.
            history: The history's id; None: the one before the current history.
        """
        from colab_drive_tuner.manage.restore_history import restore_search

        return self._changed(restore_search(self.store, name, history), name)

    def pydrive(self) -> Any:
        """Return a `pydrive2.drive.GoogleDrive` that is signed in as this session's account.

        It needs the extra `pydrive2` and has the permissions of this session's sign-in: with
        `drive.file` it sees only files that the same client created (docs/permissions.md).
        """
        from colab_drive_tuner.drive.pydrive import google_drive

        if self.client is None:
            self.client = connect(self._arguments, self.runtime)
        return google_drive(self.client)

    def clean(self, *named: str, yes: bool = False) -> "builtins.list[Leftover]":
        """Print the leftovers of earlier runs, and return them.

        Args:
            *named: Paths or Drive ids of listed leftovers to remove in addition.
            yes: Whether to remove the leftovers that this package created: files in Drive are moved
                to its trash, local files to a folder that is printed. By default they are only
                listed.
        """
        from colab_drive_tuner.troubleshoot.clean import describe, find_leftovers, remove
        from colab_drive_tuner.troubleshoot.clean.removal import LeftoverList

        found = find_leftovers(notebook=self.notebook, client=self.client, store=self.store)
        kept_at = remove(found, yes=yes, named=named)
        print(describe(found, kept_at, in_python=True))  # noqa: T201 - for a notebook
        return LeftoverList(found)

    def _changed(self, result: _Result, *names: str) -> _Result:
        """Read the status of the changed searches again, and return `result`.

        The other searches are not read: in Drive each takes seconds.
        """
        from colab_drive_tuner.search.results.read_search import read_status

        known = {search.name: search for search in self._searches}
        for name in names:
            try:
                known[name] = read_status(self.store, name)
            except (SearchNotFoundError, SearchFolderError):
                known.pop(name, None)
            except (SearchError, StoreError):
                continue  # the change itself succeeded; the old status is shown with its time
            self._read_at[name] = time.time()
        self._searches = [*known.values()]
        return result

    def __repr__(self) -> str:
        return self._show(session_text)

    def _repr_html_(self) -> str:
        return self._show(session_html)

    def _show(self, render: Renderer) -> str:
        facts = {
            "account": self._account,
            "notebook": self._about_notebook(),
            "folder": self.place,
            "time": remaining_time(self.runtime),
        }
        return render(
            f"Colab Drive Tuner on {self.runtime.label}, {self.runtime.gpu or 'no GPU attached'}",
            {label: fact for label, fact in facts.items() if fact},
            annotated_searches(self._searches, self.store.location, self._listed_at, self._read_at),
            self._listed_at,
        )

    def _about_notebook(self) -> str:
        if self.notebook is None or self.notebook_path is None:
            return "not known"
        how = "served from" if self.notebook.path is not None else "copied to"
        return f"{self.notebook.name}, {how} {self.notebook_path}"

    def _find_notebook(self) -> None:
        self.notebook, self.notebook_path = None, None
        name = self._arguments.notebook
        browser = self.runtime.browser_attached
        try:
            found = locate(name, self._connect_for_notebook, browser=browser)
            path = save_copy(found, self.client)
        except ColabDriveTunerError as error:
            if name is not None and not isinstance(error, NotebookNotFoundError):
                raise
            if name is not None or self.runtime.kind not in (Kind.PYTHON, Kind.CI):
                warn_user(
                    f"setup() continues without the notebook, which only hyperas needs. {error}",
                    NotebookWarning,
                )
            return
        if browser:
            warn_if_stale(found, path)
        self.notebook, self.notebook_path = found, path

    def _connect_for_notebook(self) -> "DriveClient":
        """Connect to Drive to look for the notebook.

        If searches are kept in a local folder, this requires that the caller named a notebook or
        credentials, or that the emulator is in use.
        """
        if self.client is None:
            arguments = self._arguments
            emulated = arguments.environment[Variable.EMULATOR_HOST]
            if (arguments.notebook or arguments.credentials) is None and not emulated:
                raise CredentialsError(
                    f"Searches are kept in {self.place}, so nobody was signed in to Drive; pass "
                    "setup(notebook=...) to look there for the notebook."
                )
            self.client = connect(arguments, self.runtime)
        return self.client
