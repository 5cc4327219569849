"""A call of `setup()`: its arguments, the environment they meet, and the account they ask for."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from colab_drive_tuner import credentials as sources
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.runtime import Runtime

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient

ENVIRONMENT = (
    *(Variable.STORE, Variable.EMULATOR_HOST, Variable.EMULATOR_TOKEN),
    *sources.ENVIRONMENT,
)
"""Variables that decide whose Drive it is, or which folder: another value asks for another session.
"""


@dataclass(frozen=True)
class Request:
    """What a call of `setup` asked for, environment included: the same is not done twice."""

    notebook: str | None
    folder: str | None
    credentials: Any = field(repr=False)
    environment: dict[Variable, str] = field(repr=False)
    pid: int


def connect(request: Request, runtime: Runtime) -> "DriveClient":
    """Drive as the account that was asked for, or that this runtime has."""
    from colab_drive_tuner.drive import DriveClient

    scopes = None
    if runtime.is_colab and request.credentials is None and not Variable.CREDENTIALS.get():
        # The notebook is a file that Colab made: to read it takes more than `drive.file`, and so
        # does writing into a folder that was not made by us.
        scopes = (
            [sources.SCOPE_ALL]
            if request.folder is not None
            else [sources.SCOPE_FILE, sources.SCOPE_READ]
        )
    return DriveClient.connect(
        request.credentials,
        allow_prompt=runtime.can_prompt,
        scopes=scopes,
        browser_attached=(lambda: runtime.browser_attached) if runtime.is_colab else None,
    )
