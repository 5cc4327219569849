"""A store registered in the table of schemes only: every command works on it."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import typer.main

from colab_drive_tuner import store as stores
from colab_drive_tuner.cli.app import app
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import RefusedError, UnavailableError, UsageError
from colab_drive_tuner.manage.copy_search import copy_search
from colab_drive_tuner.rerun.rerunner import _environment
from colab_drive_tuner.rerun.schedulers import github
from colab_drive_tuner.rerun.schedulers.plan import Plan
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store import Scheme, open_store
from colab_drive_tuner.store.memory import MemoryStore
from colab_drive_tuner.store.protocol import Entry
from colab_drive_tuner.troubleshoot.clean import find_leftovers
from colab_drive_tuner.troubleshoot.doctor import Level, examine
from colab_drive_tuner.troubleshoot.doctor.context import Finding
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.store.contract import Reopen, StoreContract
from tests.store.searches import run_search, trial_points

pytestmark = pytest.mark.usefixtures("bare_machine")


class TapeStore(MemoryStore):
    """A store that other processes find by `tape:PATH`; `fault` says how its medium fails."""

    fault: type[Exception] | None = None

    def __init__(self, path: str) -> None:
        super().__init__(f"tape {path}")
        self.location = self._spec = f"tape:{path}"
        self.environment: Mapping[str, str] = MappingProxyType({Variable.STORE: self._spec})

    @property
    def option(self) -> str:
        return self._spec

    def url(self, entry_id: str) -> str:
        return super().url(entry_id).replace("memory:tape ", "tape:")

    def list(self, parent: str, *, name: str | None = None) -> list[Entry]:
        if self.fault is not None:
            raise self.fault("The tape is torn.")
        return super().list(parent, name=name)


class AbsentStore(TapeStore):
    """A store that the first search will create."""

    @property
    def exists(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def spec(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty tape."""
    form = "tape:PATH for a tape"
    monkeypatch.setitem(stores.SCHEMES, "tape", Scheme(TapeStore, form, is_path=True))
    return f"tape:/dev/{uuid.uuid4().hex}"


def examined(spec: str) -> dict[str, Finding]:
    return {finding.about: finding for finding in examine(spec)}


class TestContract(StoreContract):
    @pytest.fixture
    def reopen(self, spec: str) -> Reopen:
        return lambda: open_store(spec)


def test_doctor_describes_it(spec: str) -> None:
    """Doctor names the store, which it calls neither a folder nor memory."""
    run_search(spec, "a", 3)
    found = examined(spec)
    assert {found[about].level for about in ("credentials", "store", "quota")} == {Level.OK}
    assert found["credentials"].text == "not needed: searches are not kept in Google Drive."
    assert found["store"].text == f"searches are kept in {spec}, which can be read."
    assert found["search 'a'"].level == Level.OK
    assert find_leftovers(store=spec) == []


@pytest.mark.parametrize("fault", [UnavailableError, RefusedError])
def test_doctor_reports_a_store_that_cannot_be_read(
    fault: type[Exception], spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's own message is a problem, and no Google sign-in is needed."""
    monkeypatch.setattr(TapeStore, "fault", fault)
    found = examined(spec)
    assert (found["store"].level, found["store"].text) == (Level.PROBLEM, "The tape is torn.")
    assert found["credentials"].level == Level.OK


def test_doctor_reports_a_store_that_cannot_be_opened(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot be opened needs no sign-in either.

    A store that is still to be created is a warning, not a problem.
    """

    def absent(path: str) -> TapeStore:
        raise UnavailableError("Another program uses the tape.")

    monkeypatch.setitem(stores.SCHEMES, "tape", Scheme(absent, "tape:PATH"))
    found = examined(spec)
    assert found["store"].text == "Another program uses the tape."
    assert found["credentials"].level == Level.OK
    monkeypatch.setitem(stores.SCHEMES, "tape", Scheme(AbsentStore, "tape:PATH"))
    found = examined(spec)
    assert found["store"].text == f"{spec} does not exist: the first search creates it."
    assert found["store"].level == Level.WARNING
    assert found["quota"].level == Level.OK


def test_a_search_is_copied_both_ways(spec: str, tmp_path: Path) -> None:
    """A search is copied to a folder and back without loss."""
    run_search(spec, "a", 3)
    copy_search(spec, "a", tmp_path / "folder")
    copy_search(tmp_path / "folder", "a", spec, new_name="b")
    assert (
        trial_points(spec, "b") == trial_points(spec, "a") == trial_points(tmp_path / "folder", "a")
    )
    assert read_status(open_store(spec), "b").done == 3


def test_another_process_finds_it(spec: str, tmp_path: Path) -> None:
    """A rerun finds it by variables, a user by the command in messages, a schedule by full path."""
    store = open_store(spec)
    assert _environment(store) == {"COLAB_DRIVE_TUNER_STORE": spec}
    assert store.command("status") == f"`colab-drive-tuner --store {spec} status`"
    assert stores.absolute_spec("tape:reel") == f"tape:{Path.cwd() / 'reel'}"
    assert stores.absolute_spec("drive:Some/Folder") == "drive:Some/Folder"
    assert stores.absolute_spec("folder:a") == f"folder:{Path.cwd() / 'a'}"
    assert stores.absolute_spec("a") == str(Path.cwd() / "a")


@pytest.mark.parametrize("local", ["tape:/reel", "/folder", "memory:x"])
def test_a_workflow_is_refused_a_store_of_this_machine(local: str) -> None:
    """GitHub's machines cannot reach a store of this one; a folder of Drive they can."""
    with pytest.raises(UsageError, match=f"cannot reach {local}"):
        github.text(Plan("s", "drive://x/a.ipynb", "0 * * * *", store=local))
    text = github.text(Plan("s", "drive://x/a.ipynb", "0 * * * *", store="drive:Some/Folder"))
    assert "--store drive:Some/Folder rerun" in text


def test_help_texts_name_every_store() -> None:
    """The help of `--store` and `--to`, and the docstring of `open_store`, name each scheme."""
    assert stores.list_forms().endswith(", or tape:PATH for a tape")
    command = typer.main.get_command(app)
    copy = command.commands["copy"]  # type: ignore[attr-defined] - a group
    helps = [
        parameter.help
        for parameter in [*command.params, *copy.params]
        if parameter.name in ("store", "to")
    ]
    forms = [scheme.help for scheme in stores.SCHEMES.values() if scheme.help][:-1]
    assert [[form in text for form in forms] for text in helps] == [[True] * len(forms)] * 2
    assert all(f"{name}:" in str(open_store.__doc__) for name in set(stores.SCHEMES) - {"tape"})
