"""`setup()`, the one line at the top of a notebook, and the `Session` that it returns.

`setup()` changes the state of the process (the default store, the hyperas patches) only after every
step that can fail. A failed setup therefore leaves behind only what the next one can use: a folder
in Drive, a copy of the notebook.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials.colab import secret
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import ColabDriveTunerError, CredentialsError, UsageError
from colab_drive_tuner.runtime import Runtime, detect
from colab_drive_tuner.search.spec.keyword_advice import explain_keywords
from colab_drive_tuner.session.session import Session as Session
from colab_drive_tuner.session.session import SetupArguments, connect, read_environment
from colab_drive_tuner.store import open_store, set_default_store
from colab_drive_tuner.text import visible

_last: tuple[SetupArguments, Session] | None = None


@explain_keywords(
    "Searches get theirs where they run: resume_search(..., name=..., store=...). To keep all of "
    "them in a local folder, set the variable COLAB_DRIVE_TUNER_STORE."
)
def setup(
    *, notebook: str | None = None, folder: str | None = None, credentials: Any = None
) -> Session:
    """Sign in, open the store and find the running notebook: the first line of a notebook.

    If the hyperas package is installed, `setup` also makes it work on current Python versions.
    Calling `setup` again reuses the sign-in and the store, and refreshes the notebook's copy and
    the list of searches. If the environment variable `COLAB_DRIVE_TUNER_STORE` names a local
    folder, searches are kept in that folder and no sign-in is needed.

    Args:
        notebook: The notebook's name, Drive id or link; None: the running notebook. If it is not
            found, `setup` warns and continues.
        folder: The Drive folder (path, id or link) that holds the searches; None: "Colab Drive
            Tuner".
        credentials: google-auth credentials, or the path of a credentials file; None: the
            credentials of this machine, in Colab its own sign-in.

    Returns:
        The session. Later cells use its `trials(name)`, `store` and `notebook_name`.

    Raises:
        UsageError: An argument is invalid.
        CredentialsError: Nobody is signed in, or Google refused the sign-in.
        StoreError: Drive or the local folder failed or refused a request.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> session = cdt.setup()  # doctest: +SKIP
    """
    from colab_drive_tuner.hyperas import compat as hyperas_compat

    global _last  # noqa: PLW0603 - the session of this process; a cell that runs again reuses it
    for name, value in (("notebook", notebook), ("folder", folder)):
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise UsageError(
                f"{name}={value!r} is neither a name nor a link; leave it out, or give one."
            )
    environment = read_environment()
    if environment[Variable.STORE]:  # a relative path depends on the working directory
        with suppress(OSError):  # an absolute path needs none: it may have been deleted
            environment[Variable.STORE] += f" in {Path.cwd()}"
    arguments = SetupArguments(notebook, folder, credentials, environment, os.getpid())
    session = _last[1] if _last is not None and _last[0] == arguments else None
    runtime = session.runtime if session is not None else detect()
    try:
        session = session or _open(arguments, runtime)
        session.refresh()
    except ColabDriveTunerError as error:
        if isinstance(error, CredentialsError):
            _last = None  # the next call looks for a sign-in again, perhaps a renewed one
            secret.cache_clear()
        worked = f"this is {runtime.label}"
        if session is not None:
            account, place = map(visible, (session.store.account, session.place))
            worked += f", {account} is signed in, {place} is open"
        error.args = (
            f"{error}\nsetup() stopped there, and can be run again. What worked: {worked}.",
        )
        raise
    set_default_store(session.store)
    hyperas_compat.enable()
    _last = arguments, session
    return session


def _open(arguments: SetupArguments, runtime: Runtime) -> Session:
    if Variable.STORE.get():
        if arguments.folder is not None:
            raise UsageError(
                f"folder={arguments.folder!r} is a folder of Drive, but {Variable.STORE} says to "
                f"keep searches in {Variable.STORE.get()!r}; unset one of the two."
            )
        return Session(arguments, runtime, open_store(), None)
    from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore

    client = connect(arguments, runtime)
    return Session(
        arguments, runtime, DriveStore(client, arguments.folder or DEFAULT_FOLDER), client
    )
