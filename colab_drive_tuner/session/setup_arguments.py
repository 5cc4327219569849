"""Arguments of a call of `setup()`, with the environment, and the Drive connection they select."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from colab_drive_tuner import credentials as sources
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.runtime import Runtime

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient


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
