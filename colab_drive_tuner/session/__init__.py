"""`setup()`, the one line at the top of a notebook, and the `Session` that it returns.

Everything that can fail comes first; only then is anything handed down to the rest of the process
(the default store, the hyperas package made to work again). So a setup that fails half-way has
changed nothing but what is useful the next time: a folder in Drive, a copy of the notebook.
"""

import os
from pathlib import Path
from typing import Any

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.runtime import Runtime, detect
from colab_drive_tuner.search.spec.keywords import SETUP_ADVICE, explain_keywords
from colab_drive_tuner.session.session import Session as Session
from colab_drive_tuner.session.setup_arguments import ENVIRONMENT, Request, connect
from colab_drive_tuner.store import open_store, set_default_store
from colab_drive_tuner.text import visible

_last: "tuple[Request, Session] | None" = None


@explain_keywords(SETUP_ADVICE)
def setup(
    *, notebook: str | None = None, folder: str | None = None, credentials: Any = None
) -> "Session":
    """Sign in, open the store and find the running notebook: the first line of a notebook.

    It also makes the hyperas package work again, where that is installed. Called again, it signs in
    and opens nothing twice, and renews what is known of notebook and searches. Where the
    environment variable `COLAB_DRIVE_TUNER_STORE` names a local folder, searches are kept there and
    nobody needs to sign in.

    Args:
        notebook: The notebook's name, Drive id or link; None: the one that runs here. One that is
            not found is a warning, not an error.
        folder: A folder of Drive (path, id or link) to keep searches in; None: "Colab Drive Tuner".
        credentials: google-auth credentials, or the path of a credentials file; None: what this
            machine has, in Colab its own sign-in.

    Returns:
        The session. Its `trials(name)`, `store` and `notebook_name` are what later cells need.

    Raises:
        UsageError: An argument cannot be used.
        CredentialsError: Nobody is signed in, or Google refused the sign-in.
        StoreError: Drive, or the folder, did not do what was asked.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> session = cdt.setup()  # doctest: +SKIP
    """
    from colab_drive_tuner.hyperas import compat as hyperas_compat

    global _last  # noqa: PLW0603 - the session of this process; a cell that is run again reuses it
    for name, value in (("notebook", notebook), ("folder", folder)):
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise UsageError(
                f"{name}={value!r} is neither a name nor a link; leave it out, or give one."
            )
    environment = {variable: variable.get() for variable in ENVIRONMENT}
    if environment[Variable.STORE]:  # the same relative path is another folder after a change
        environment[Variable.STORE] += f" in {Path.cwd()}"
    request = Request(notebook, folder, credentials, environment, os.getpid())
    known = _last[1] if _last is not None and _last[0] == request else None
    runtime = known.runtime if known is not None else detect()
    session = known
    try:
        session = session or _open(request, runtime)
        session.refresh()
    except ColabDriveTunerError as error:
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
    _last = request, session
    return session


def _open(request: Request, runtime: Runtime) -> "Session":
    if Variable.STORE.get():
        if request.folder is not None:
            raise UsageError(
                f"folder={request.folder!r} is a folder of Drive, but {Variable.STORE} says to "
                f"keep searches in {Variable.STORE.get()!r}; unset one of the two."
            )
        return Session(request, runtime, open_store(), None)
    from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore

    client = connect(request, runtime)
    return Session(request, runtime, DriveStore(client, request.folder or DEFAULT_FOLDER), client)
