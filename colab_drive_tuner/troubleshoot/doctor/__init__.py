"""Doctor: read-only examination of everything that a search depends on, probe by probe.

It prompts for no sign-in, creates no folder and claims no search. Each probe runs in its own thread
with a time limit, so that a probe that hangs does not block the others.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from colab_drive_tuner.errors import ColabDriveTunerError
from colab_drive_tuner.runtime import call_in_thread
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.doctor import machine_probes, search_probes, store_probes
from colab_drive_tuner.troubleshoot.doctor.context import (
    CheckContext,
    Finding,
    Level,
    NotExaminedError,
    Probe,
    SubProbe,
)

__all__ = ["Finding", "Level", "examine"]

PROBE_SECONDS = 20.0
"""Time limit of one probe, in seconds."""
PROBES: dict[str, Probe] = {
    "runtime": machine_probes.runtime,
    "GPU": machine_probes.gpu,
    "versions": machine_probes.versions,
    "state folder": machine_probes.machine_state,
    "credentials": store_probes.credentials,
    "store": store_probes.reachable,
    "quota": store_probes.quota,
    "notebook": store_probes.notebook,
    "searches": search_probes.searches,
    "disk": machine_probes.disk,
    "time left": machine_probes.time_left,
}
"""The probes by name, in the order of the report."""


def examine(
    spec: Store | Path | str | None = None, *, seconds: float = PROBE_SECONDS
) -> Iterator[Finding]:
    """Run all probes in order; yield each probe's findings as soon as it ends."""
    context = CheckContext(spec)
    pending = [SubProbe(about, probe) for about, probe in reversed(PROBES.items())]
    while pending:
        current = pending.pop()
        found = _run_probe(current.probe, context, seconds)
        pending += reversed([item for item in found if isinstance(item, SubProbe)])
        for item in found:
            if isinstance(item, Finding):
                yield replace(item, about=current.about)


def _run_probe(probe: Probe, context: CheckContext, seconds: float) -> list[Finding | SubProbe]:
    """Return a probe's findings; if it fails, a finding about that follows those made before."""
    found: list[Finding | SubProbe] = []
    try:
        call_in_thread(lambda: found.extend(probe(context)))(seconds)
    except TimeoutError:
        text = f"no answer within {seconds:g} seconds, so it was not checked completely."
        return [*found, Finding(Level.WARNING, text, "Run doctor again later.")]
    except NotExaminedError as why:
        advice = "First follow the advice in the credentials line."
        return [*found, Finding(Level.WARNING, f"not checked, because {why}.", advice)]
    except ColabDriveTunerError as error:
        return [*found, Finding(Level.PROBLEM, str(error))]
    except Exception as error:  # noqa: BLE001 - one probe that fails must not hide the others
        text = f"it could not be checked ({type(error).__name__}: {error})."
        return [*found, Finding(Level.WARNING, text, "Please report it.")]
    return found
