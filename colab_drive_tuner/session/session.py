"""The session of a notebook: its store, account and notebook, and the searches in the store."""

import builtins
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from colab_drive_tuner import notebook as notebooks
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    CredentialsError,
    NotebookNotFoundError,
    NotebookWarning,
    NotFoundError,
    SearchError,
    SearchNotFoundError,
    StoreError,
)
from colab_drive_tuner.notebook import Notebook
from colab_drive_tuner.notebook.detect_running import content_in_browser
from colab_drive_tuner.notebook.find import locate
from colab_drive_tuner.runtime import Kind, Runtime
from colab_drive_tuner.session.display import (
    Shown,
    about_time,
    known_searches,
    session_html,
    session_text,
)
from colab_drive_tuner.session.setup_arguments import Request, connect
from colab_drive_tuner.user_warnings import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient
    from colab_drive_tuner.manage.restore_history import SearchHistory
    from colab_drive_tuner.search.drive_trials import DriveTrials
    from colab_drive_tuner.search.trials.search_status import SearchStatus
    from colab_drive_tuner.store.protocol import Store
    from colab_drive_tuner.troubleshoot.clean import Leftover


_SCRIPTS = (Kind.PYTHON, Kind.CI)
"""Runtimes of scripts, which have no notebook."""
_Done = TypeVar("_Done")


class Session:
    """Where searches are kept and what runs, as `setup()` found it.

    Printing it asks nobody: searches that this process runs are counted live, the others are shown
    as they were when `setup()` or `refresh()` last looked, or this session last changed one.
    """

    def __init__(
        self, request: Request, runtime: Runtime, store: "Store", client: "DriveClient | None"
    ) -> None:
        self._request = request
        self.runtime = runtime
        self.store = store
        self.client = client
        """Drive as this session's account; None where searches are kept in a local folder."""
        self.notebook: Notebook | None = None
        self.notebook_path: Path | None = None
        """The notebook on this disk: its copy, or the file that a local Jupyter serves."""
        self._account = store.account
        self.place = store.url(store.root)
        """Where searches are kept: a link, or a path."""
        self._searches: list[SearchStatus] = []
        self._looked = 0.0
        """When the store was asked for them, in seconds since 1970."""
        self._asked: dict[str, float] = {}
        """When it was asked for one of them later, by its name."""

    def refresh(self) -> "Session":
        """Renew the notebook's copy and what is known of the searches.

        Returns:
            This session, so that a cell that ends in `session.refresh()` shows it.
        """
        self._find_notebook()
        looked = time.time()
        self._searches, self._looked, self._asked = self.searches(), looked, {}
        self.place = self.store.url(self.store.root)  # a folder in Drive may be made meanwhile
        return self

    @property
    def notebook_name(self) -> str | None:
        """What `hyperas.optim.minimize` wants as `notebook_name`; None where no notebook is known.

        The file's name without `.ipynb`, after the way to it from the working directory.
        """
        if self.notebook_path is None:
            return None
        return os.path.relpath(str(self.notebook_path).removesuffix(".ipynb"))

    def trials(self, name: str, **options: Any) -> "DriveTrials":
        """The trials of a search, for `hyperopt.fmin` or `hyperas.optim.minimize`.

        Args:
            name: The search's name, and that of its folder in the store.
            **options: Those of `DriveTrials`, such as `seed` and `keep_models`.
        """
        from colab_drive_tuner.search.drive_trials import DriveTrials

        return DriveTrials(name, store=self.store, **options)

    def searches(self) -> "builtins.list[SearchStatus]":
        """The searches in the store and how far each is; asks the store."""
        from colab_drive_tuner.search.results.read_search import SearchList, list_searches

        try:
            return list_searches(self.store)
        except NotFoundError:
            return SearchList()  # no folder yet: it is made with the first search

    def list(self) -> "builtins.list[str]":
        """The names of the searches in the store; asks one question, and opens none of them."""
        from colab_drive_tuner.manage.naming import list_names

        try:
            return list_names(self.store)
        except NotFoundError:
            return []  # no folder yet: it is made with the first search

    def remove(self, name: str) -> str:
        """Put a search into the trash; see `remove_search`.

        Args:
            name: The search's name, which is free then.
        """
        from colab_drive_tuner.manage.naming import remove_search

        return self._changed(remove_search(self.store, name), name)

    def rename(self, name: str, new_name: str) -> str:
        """Give a search another name; see `rename_search`.

        Args:
            name: The search's name.
            new_name: The name that it gets.
        """
        from colab_drive_tuner.manage.naming import rename_search

        return self._changed(rename_search(self.store, name, new_name), name, new_name)

    def copy(self, name: str, to: "Store | Path | str", *, new_name: str | None = None) -> str:
        """Copy a search into another store, or under another name; see `copy_search`.

        Args:
            name: The search's name.
            to: Where the copy is made: a store, or what `open_store` takes.
            new_name: The copy's name; None: the same.
        """
        from colab_drive_tuner.manage.copy_search import copy_search

        copied = copy_search(self.store, name, to, new_name=new_name)
        return self._changed(copied, new_name or name)

    def move(self, name: str, to: "Store | Path | str", *, new_name: str | None = None) -> str:
        """Move a search into another store; see `move_search`.

        Args:
            name: The search's name.
            to: Where it goes: a store, or what `open_store` takes.
            new_name: The name that it gets there; None: the same.
        """
        from colab_drive_tuner.manage.copy_search import move_search

        moved = move_search(self.store, name, to, new_name=new_name)
        return self._changed(moved, name, new_name or name)

    def histories(self, name: str) -> "builtins.list[SearchHistory]":
        """The histories of a search, those that a restart kept and the present one.

        Args:
            name: The search's name.
        """
        from colab_drive_tuner.manage.restore_history import list_histories

        return list_histories(self.store, name)

    def restore(self, name: str, history: str | None = None) -> "SearchHistory":
        """Make a kept history of a search the present one again; see `restore_search`.

        Args:
            name: The search's name.
            history: The history's id; None: the one before the present one.
        """
        from colab_drive_tuner.manage.restore_history import restore_search

        return self._changed(restore_search(self.store, name, history), name)

    def pydrive(self) -> Any:
        """A `pydrive2.drive.GoogleDrive` that acts as this session's account, signed in already.

        Needs the extra `pydrive2`. It sees what this session's sign-in may see: with `drive.file`
        only files that the same client made (docs/permissions.md).
        """
        from colab_drive_tuner.drive.pydrive import google_drive

        if self.client is None:
            self.client = connect(self._request, self.runtime)
        return google_drive(self.client)

    def clean(self, *named: str, yes: bool = False) -> "builtins.list[Leftover]":
        """Print what older runs left behind, and return it.

        Args:
            *named: Paths or Drive ids of listed leftovers to put away as well.
            yes: Whether to put away what is ours: files in Drive go into its trash, local ones into
                a folder that is printed. Otherwise they are only listed.
        """
        from colab_drive_tuner.troubleshoot.clean import describe, find_leftovers, remove

        found = find_leftovers(notebook=self.notebook, client=self.client, store=self.store)
        print(describe(found, remove(found, yes=yes, named=named)))  # noqa: T201 - for a notebook
        return found

    def _changed(self, done: _Done, *names: str) -> _Done:
        """What was done to these searches; printing the session shows then how they stand.

        The others are not asked for: in Drive each takes seconds.
        """
        from colab_drive_tuner.search.results.read_search import read_status

        known = {one.name: one for one in self._searches}
        for name in names:
            try:
                known[name] = read_status(self.store, name)
            except SearchNotFoundError:
                known.pop(name, None)
            except (SearchError, StoreError):
                continue  # it is done: what was known before says as of when
            self._asked[name] = time.time()
        self._searches = [*known.values()]
        return done

    def __repr__(self) -> str:
        return session_text(self._shown())

    def _repr_html_(self) -> str:
        return session_html(self._shown())

    def _shown(self) -> Shown:
        """What printing the session shows; nobody is asked."""
        runtime = self.runtime
        return Shown(
            title=f"Colab Drive Tuner on {runtime.label}, {runtime.gpu or 'no GPU attached'}",
            facts={
                "account": self._account,
                "notebook": self._about_notebook(),
                "folder": self.place,
                "time": about_time(runtime),
            },
            searches=known_searches(self._searches, self.store.location, self._looked, self._asked),
            looked=self._looked,
        )

    def _about_notebook(self) -> str:
        if self.notebook is None or self.notebook_path is None:
            return "not known"
        how = "served from" if self.notebook.path is not None else "copied to"
        return f"{self.notebook.name}, {how} {self.notebook_path}"

    def _find_notebook(self) -> None:
        self.notebook, self.notebook_path = None, None
        wanted = self._request.notebook
        browser = self.runtime.browser_attached
        try:
            found = locate(
                wanted, self._connect_for_notebook, content_in_browser if browser else lambda: None
            )
            path = notebooks.save_copy(found, self.client)
        except ColabDriveTunerError as error:
            if wanted is not None and not isinstance(error, NotebookNotFoundError):
                raise
            if wanted is not None or self.runtime.kind not in _SCRIPTS:
                warn_user(f"setup() goes on without the notebook. {error}", NotebookWarning)
            return
        if browser:
            notebooks.warn_if_stale(found, path)
        self.notebook, self.notebook_path = found, path

    def _connect_for_notebook(self) -> "DriveClient":
        """Drive, also where searches are kept elsewhere, if somebody asked for it by name."""
        if self.client is None:
            request = self._request
            emulated = request.environment[Variable.EMULATOR_HOST]
            if (request.notebook or request.credentials) is None and not emulated:
                raise CredentialsError(
                    f"Searches are kept in {self.place}, so nobody was signed in to Drive; pass "
                    "setup(notebook=...) to look there for the notebook."
                )
            self.client = connect(request, self.runtime)
        return self.client
