"""Examination of everything that a search rests on, in order; it only looks.

Nobody is asked to sign in, no folder is made, nothing is claimed. Each probe runs in a thread of
its own with a time limit, so that one that hangs costs a line and not the rest.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import ColabDriveTunerError
from colab_drive_tuner.runtime import call_in_thread
from colab_drive_tuner.troubleshoot.doctor import (
    machine_probes,
    search_probes,
    state_folder,
    store_probes,
)
from colab_drive_tuner.troubleshoot.doctor.context import (
    CheckContext,
    Finding,
    Level,
    NotExaminedError,
    Part,
    Probe,
)

if TYPE_CHECKING:
    from colab_drive_tuner.store.protocol import Store

SECONDS = 20.0
"""How long one probe may take."""
PROBES: dict[str, Probe] = {
    "runtime": machine_probes.runtime,
    "GPU": machine_probes.gpu,
    "versions": machine_probes.versions,
    "state folder": state_folder.state,
    "credentials": store_probes.credentials,
    "store": store_probes.reachable,
    "quota": store_probes.quota,
    "notebook": store_probes.notebook,
    "searches": search_probes.searches,
    "disk": machine_probes.disk,
    "time left": machine_probes.time_left,
}
"""In the order in which they are asked."""


def examine(
    spec: "Store | Path | str | None" = None, *, seconds: float = SECONDS
) -> Iterator[Finding]:
    """Each finding as soon as it is known, in the order of the house: the runtime comes first."""
    context = CheckContext(spec)
    parts = [Part(about, probe) for about, probe in reversed(PROBES.items())]
    while parts:
        part = parts.pop()
        found = _asked(part.probe, context, seconds)
        parts += reversed([one for one in found if isinstance(one, Part)])
        for one in found:
            if isinstance(one, Finding):
                yield replace(one, about=part.about)


def _asked(probe: Probe, context: CheckContext, seconds: float) -> list[Finding | Part]:
    """What a probe finds; that it broke off comes after what it had found until then."""
    found: list[Finding | Part] = []
    try:
        call_in_thread(lambda: found.extend(probe(context)))(seconds)
    except TimeoutError:
        text = f"no answer within {seconds:g} seconds: it was not checked to the end."
        return [*found, Finding(Level.WARNING, text, "Run doctor again later.")]
    except NotExaminedError as why:
        advice = "First do what the line of the credentials says."
        return [*found, Finding(Level.WARNING, f"not looked at, for {why}.", advice)]
    except ColabDriveTunerError as error:
        return [*found, Finding(Level.PROBLEM, str(error))]
    except Exception as error:  # noqa: BLE001 - one probe that fails must not hide the others
        text = f"it could not be looked at ({type(error).__name__}: {error})."
        return [*found, Finding(Level.WARNING, text, "Please report it.")]
    return found
