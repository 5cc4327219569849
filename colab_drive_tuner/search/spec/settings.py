"""Settings stored with a search: made for a claim, compared on resume, and read."""

import copy
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode
from colab_drive_tuner.checkpoint.recorded_settings import EARLY_STOP, RESTARTED, STOPPED
from colab_drive_tuner.errors import (
    SearchChangedWarning,
    SearchDamagedError,
    SeedChangedError,
    SpaceChangedError,
)
from colab_drive_tuner.search.spec.arguments import BEGIN_AGAIN
from colab_drive_tuner.search.spec.fingerprints import (
    digest,
    pack_source,
    space_difference,
    text_difference,
    unpack_source,
)
from colab_drive_tuner.search.spec.suggestion_seeds import (
    SeedStream,
    decode_generator,
    encode_generator,
    generator_of,
    raise_unusable,
)
from colab_drive_tuner.text import visible
from colab_drive_tuner.warn_user import warn_user

SUSPECTS = "suspects"
"""Key of the trials that were running when workers died, any of which may be to blame."""
_CLAIMED = ("max_evals", "algo", "space", "model", "data", "pruner")
"""Settings that every claim contains."""
_WARNED = {
    "model": "The source of the model or objective function",
    "data": "The shape or type of the data",
    "algo": "The search algorithm",
    "pruner": "The pruner",
}


@dataclass(frozen=True)
class SearchSettings:
    """Settings given by the caller; None where not given."""

    seed: int | None = None
    rstate: Any = None
    """The argument of `hyperopt.fmin`; used only when a search is created without a seed."""
    max_evals: int | None = None
    algo: str | None = None
    space: str | None = None
    """The space, as `describe_space` returns it."""
    source: str | None = None
    """The source of the model or objective function, as `describe_source` returns it."""
    data: str | None = None
    pruner: str | None = None
    """The pruner of trials that report their own values."""
    skipped: int = 0
    """Number of seeds drawn by the search whose trials this one begins with."""
    seeded: bool = True
    """Whether seeds are needed now; a search may begin with inserted documents."""
    runs: bool = True
    """Whether trials will run; otherwise a stopped search stays stopped."""

    @property
    def model(self) -> str | None:
        """The fingerprint of the source."""
        return None if self.source is None else digest(self.source)

    def claim(self, name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a claim, given the stored ones.

        Raises `SeedChangedError` and `SpaceChangedError`.
        """
        self.check(name, stored)
        given = {key: getattr(self, key) for key in _CLAIMED}
        if self.source is not None and stored.get("model") != self.model:
            given["source"] = pack_source(self.source)
        claimed = {key: value for key, value in given.items() if value is not None}
        if stored.get(STOPPED) is not None and self.runs:
            claimed[STOPPED] = None
        if stored.get(RESTARTED) and self.runs:
            claimed[RESTARTED] = False
        if self.seeded and "rstate" not in stored:
            claimed |= self._initial_state()
        return claimed

    def check(self, name: str, stored: Mapping[str, Any]) -> None:
        """Raise if the stored search was created with another seed or space."""
        if self.seed is not None and "rstate" in stored:
            same = stored.get("seed") == self.seed or (
                stored["rstate"] == encode_generator(generator_of(self.seed))
            )
            if not same:
                created = stored.get("seed")
                raise SeedChangedError(
                    f"Search {name!r} was created with "
                    f"{'another random state' if created is None else f'seed={created!r}'}, not "
                    f"seed={self.seed}: leave seed= out. {BEGIN_AGAIN}"
                )
        space = stored.get("space")
        if self.space is not None and space is not None and self.space != space:
            raise SpaceChangedError(
                f"The space of search {name!r} has changed (- stored, + given):\n"
                f"{space_difference(space, self.space)}\n"
                f"Restore it; or give the search another name, and pass from_search={name!r} to "
                f"continue with these trials there. {BEGIN_AGAIN}"
            )

    def warn_of_changes(self, name: str, stored: Mapping[str, Any]) -> None:
        """Warn if model, data, algorithm or pruner have changed since the search last ran."""
        for key, what in _WARNED.items():
            was, now = stored.get(key), getattr(self, key)
            if was is None or now is None or was == now:
                continue
            if key == "model":
                how = self._changed_lines(stored)
            else:
                how = f" ({visible(was)} before, {visible(now)} now): earlier"
            warn_user(
                f"{what} of search {name!r} has changed{how} trials may not compare with those to "
                f"come. {BEGIN_AGAIN}",
                SearchChangedWarning,
            )

    def _changed_lines(self, stored: Mapping[str, Any]) -> str:
        before = unpack_source(stored.get("source"), stored["model"])
        changes = text_difference(before, self.source or "") if before is not None else ""
        return f" (- before, + now):\n{changes}\nEarlier" if changes else ": earlier"

    def _initial_state(self) -> dict[str, Any]:
        seed = {}
        if self.seed is None and self.rstate is not None:
            generator = generator_of(copy.deepcopy(self.rstate))  # which may be the caller's
        else:
            seed["seed"] = secrets.randbits(32) if self.seed is None else self.seed
            generator = generator_of(seed["seed"])
        SeedStream(generator, self.skipped)  # advances the generator
        return seed | {"rstate": encode_generator(generator)}


def stored_early_stop(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the early-stop function's arguments, its description, and its trial count; or None."""
    state: dict[str, Any] | None = settings.get(EARLY_STOP)
    if state is None:
        return None
    try:
        arguments = decode(state["arguments"])
        iter(arguments)
    except (CodecError, TypeError) as error:
        raise_unusable("state of the early-stop function", error)
    return state | {"arguments": arguments}


def unusable_settings(settings: Mapping[str, Any]) -> dict[str, SearchDamagedError]:
    """Return, by key, the errors of settings that no run could use."""
    found = {}
    try:
        if settings.get("rstate") is not None:
            decode_generator(settings["rstate"])
    except SearchDamagedError as error:
        found["rstate"] = error
    try:
        stored_early_stop(settings)
    except SearchDamagedError as error:
        found[EARLY_STOP] = error
    return found


def stored_suspects(settings: Mapping[str, Any]) -> list[int]:
    """Return the trials that run alone because one of them may kill workers."""
    suspects = settings.get(SUSPECTS)
    return [tid for tid in suspects if type(tid) is int] if isinstance(suspects, list) else []


def stored_rstate(name: str, stored: Mapping[str, Any]) -> bytes:
    """Return the encoded initial state of the seed generator."""
    state = stored.get("rstate")
    if not isinstance(state, bytes):
        raise SearchDamagedError(f"Search {name!r} has no stored random state. {BEGIN_AGAIN}")
    return state
