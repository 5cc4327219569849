"""The session opened by `setup`: account, notebook, store, searches, and its display."""

import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

import colab_drive_tuner as cdt
from colab_drive_tuner import runtime, session, store
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.errors import (
    AmbiguousNotebookError,
    CredentialsError,
    NotebookWarning,
    StoreError,
    UsageError,
)
from colab_drive_tuner.hyperas import compat as hyperas_compat
from colab_drive_tuner.journal import open_searches
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.trials.search_status import SearchStatus
from colab_drive_tuner.session import setup
from colab_drive_tuner.session.display import annotated_searches
from colab_drive_tuner.store import open_store
from tests.fakes import google_colab
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.fakes.colab_sessions import SessionsServer, entry
from tests.processes import run_python

COLAB = "application/vnd.google.colaboratory"
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def fresh_process(bare_machine, monkeypatch):  # noqa: F811
    """A process without a session, default store or open searches."""
    monkeypatch.setattr(session, "_last", None)
    monkeypatch.setattr(store, "_default", None)
    monkeypatch.setattr(open_searches, "_searches", {})
    yield
    hyperas_compat.disable()


def notebook(source="1"):
    """Bytes of a notebook with one code cell."""
    return json.dumps({"cells": [{"cell_type": "code", "source": [source]}]}).encode()


def put(client, name, content=None, folder="Colab Notebooks"):
    """Put a notebook into Drive as Colab does."""
    parent = client.folder(folder).id
    return client.create_file(name, content or notebook(), parent=parent, mime_type=COLAB)


@pytest.fixture
def colab(drive_emulator, monkeypatch):
    """Colab with "quickstart.ipynb" open; yields the page, its sessions server and Drive."""
    client = DriveClient.connect()
    file = put(client, "quickstart.ipynb")
    page = google_colab.Page(json.loads(notebook()))
    google_colab.install(monkeypatch, page)
    with SessionsServer([entry("quickstart.ipynb", f"fileId={file.id}")]) as server:
        monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
        monkeypatch.setenv("KMP_TARGET_PORT", str(server.port))
        yield page, server, client


def test_one_line_finds_account_notebook_folder_and_searches(colab, drive_emulator):
    """`setup()` finds account, notebook, folder and searches; its repr sends no request."""
    here = setup()
    assert Path("quickstart.ipynb").read_bytes() == notebook()
    assert here.notebook_name == "quickstart"
    drive_emulator.clear_log()
    lines = repr(here).splitlines()
    assert drive_emulator.log == []
    assert lines[0] == "Colab Drive Tuner on Google Colab, no GPU attached"
    assert lines[1] == "  account   owner@example.com"
    assert lines[2] == f"  notebook  quickstart, copied to {Path('quickstart.ipynb').absolute()}"
    assert re.fullmatch(r"  folder    https?://\S+", lines[3])
    assert re.fullmatch(r"  time      up for \d+\.\d h; Colab is likely to end it .*", lines[4])
    assert lines[5] == "  searches  none yet"
    assert re.fullmatch(r" +as of \d\d:\d\d \S+; session\.refresh\(\) looks again", lines[6])


def test_the_store_becomes_the_default(colab):
    """After `setup()`, `resume_search` and `DriveTrials` need no `store=`."""
    here = setup()
    assert open_store() is here.store
    assert here.trials("mine").name == "mine"
    assert "hyperas" in str(sys.meta_path[0]).lower()


def test_the_repr_says_how_far_each_search_is(colab):
    """The repr shows the number of trials, the best loss and the state of a search."""
    from hyperopt import fmin, hp, rand

    trials = setup().trials("by hand", seed=1, notify=lambda line: None)
    fmin(
        lambda x: x**2,
        hp.uniform("x", 1, 2),
        rand.suggest,
        max_evals=3,
        trials=trials,
        verbose=False,
    )
    assert re.search(
        r"searches  by hand: 3 of 3 trials, best loss \d\.\d+ \(finished\)", repr(setup())
    )


def run_search(here, name, max_evals, objective=lambda x: x**2):
    """Run a search of a session."""
    from hyperopt import fmin, hp, rand

    trials = here.trials(name, seed=1, notify=lambda line: None)
    space = hp.uniform("x", 1, 2)
    fmin(objective, space, rand.suggest, max_evals, trials=trials, verbose=False)


def test_searches_of_this_process_are_counted_live(colab):
    """The repr counts trials while a search of this process runs, and after its end."""
    here = setup()
    shown = []

    def objective(x):
        shown.append(repr(here))
        return x**2

    run_search(here, "mine", 3, objective)
    for ended, text in enumerate(shown):
        assert re.search(rf"searches  mine: {ended} of 3 trials.*, running here\n", text), text
    over = r"mine: 3 of 3 trials, best loss \S+ \(finished\), as of \d\d:\d\d \S+\n +as of "
    assert re.search(over, repr(here)), repr(here)


def test_a_cell_shows_the_session_as_a_table(colab):
    """The HTML has account, linked folder and searches with bars and states, all escaped."""
    here = setup()
    run_search(here, "<b>mine", 3)
    html = here._repr_html_()
    assert "&lt;b&gt;mine" in html
    assert "<b>mine" not in html
    assert "owner@example.com" in html
    assert f"href='{here.place}'" in html
    assert "3 of 3" in html
    assert "width:100.0%" in html
    assert "finished" in here.searches()._repr_html_()
    assert "mine: 3 of 3 trials" in repr(here.searches())


def test_a_held_search_is_shown_as_held(colab, drive_emulator):
    """A search that is held while no trial runs is shown as held, without a request."""
    here = setup()
    trials = here.trials("held", notify=lambda line: None)
    trials.attachments["note"] = b"claims it"
    trials.log.journal.flush()
    drive_emulator.clear_log()
    assert "searches  held: 0 trials, held here\n" in repr(here)
    assert drive_emulator.log == []
    trials.close()
    assert "searches  held: 0 trials, as of" in repr(here)


def test_what_remains_to_be_done_is_shown_before_finished_searches():
    """A session shows eight searches; by name alone, a ninth that goes on was hidden."""
    searches = [SearchStatus(f"a{number}", done=2, max_evals=2) for number in range(9)]
    begun = SearchStatus("z", done=1, max_evals=2)
    shown = [search for search, _ in annotated_searches([*searches, begun], "", 0.0, {})]
    assert shown == [begun, *searches]


def test_searches_of_others_are_seen_after_a_refresh(colab, monkeypatch):
    """Changes by other processes appear after `refresh()`; the last line tells the time."""
    here = setup()
    run_search(here, "theirs", 2)
    monkeypatch.setattr(open_searches, "_searches", {})  # as if another process had run it
    stale = repr(here)
    assert "theirs" not in stale
    assert re.search(r"none yet\n +as of \d\d:\d\d \S+; session\.refresh\(\) looks again$", stale)
    fresh = repr(here.refresh())
    assert re.search(r"theirs: 2 of 2 trials, best loss \S+ \(finished\)\n +as of", fresh), fresh


def test_what_the_session_does_to_a_search_is_shown(tmp_path, monkeypatch):
    """Rename, copy, restore, move and remove are shown at once.

    Other searches are not read for it: with many of them that would take minutes.
    """
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(tmp_path / "s"))
    here = setup()
    run_search(here, "a", 3)
    monkeypatch.setattr(here, "searches", pytest.fail)

    def shown():
        return re.findall(r"(\w+): (\d+)", repr(here).partition("searches")[2])

    here.rename("a", "b")
    assert shown() == [("b", "3")]
    here.copy("b", tmp_path / "s", new_name="c")
    assert shown() == [("b", "3"), ("c", "3")]
    trials = here.trials("c", notify=lambda line: None)
    trials.delete_all()
    here.restore("c")
    assert shown() == [("b", "3"), ("c", "3")]
    here.move("b", tmp_path / "other")
    assert shown() == [("c", "3")]
    here.remove("c")
    assert "none yet" in repr(here)


def test_a_folder_that_the_first_search_makes_is_shown_by_its_link(drive_emulator, monkeypatch):
    """The folder is shown by its path until the first search creates it, then by its link."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", "drive:Lab")
    here = setup()
    assert here.place == "drive:Lab"
    assert not DriveClient.connect().find("Lab")
    run_search(here, "a", 1)
    here.refresh()
    assert here.place == DriveClient.connect().find("Lab")[0].web_view_link


def test_what_is_known_of_a_search_that_ended_is_small(tmp_path):
    """After a close only counts are kept; the trials can be collected as garbage."""
    trials = DriveTrials("s", store=tmp_path, notify=lambda line: None)
    trials.attachments["note"] = b"claims it"
    trials.close()
    (known,) = open_searches.searches_of_store(trials.log.journal.store.location)
    gone = weakref.ref(trials)
    del trials
    gc.collect()
    assert gone() is None
    assert known.report().name == "s"


def test_a_second_setup_repeats_nothing(colab, drive_emulator):
    """A second `setup()` creates nothing and downloads only a notebook that changed."""
    page, _, client = colab
    first = setup()
    before = {file.id for file in client.list_folder("root")}
    drive_emulator.clear_log()
    assert setup() is first
    assert {call["method"] for call in drive_emulator.log} == {"GET"}
    assert "media" not in str([call["query"] for call in drive_emulator.log])
    assert {file.id for file in client.list_folder("root")} == before
    page.notebook = json.loads(notebook("2"))
    client.update_content(first.notebook.file.id, notebook("2"))
    setup()
    assert Path("quickstart.ipynb").read_bytes() == notebook("2")


def test_other_arguments_make_another_session(colab):
    """Another folder gives another session; the last `setup()` sets the default store."""
    first, second = setup(), setup(folder="Elsewhere/tuning")
    assert second.store.location != first.store.location
    assert open_store() is second.store


@pytest.mark.parametrize("variable", ["COLAB_DRIVE_TUNER_CREDENTIALS", "COLAB_DRIVE_TUNER_ACT_AS"])
def test_another_account_in_the_environment_makes_another_session(colab, monkeypatch, variable):
    """Another account in the environment gives another session, not the remembered one."""
    first = setup()
    monkeypatch.setenv(variable, "somebody else")
    second = setup()
    assert second is not first
    assert setup() is second


@pytest.mark.parametrize("arguments", [{"folder": " "}, {"notebook": ""}, {"folder": 3}])
def test_arguments_that_name_nothing_are_refused(arguments, drive_emulator):
    """Blank arguments, and arguments that are no text, are refused before any request to Drive."""
    drive_emulator.clear_log()
    with pytest.raises(UsageError, match="is neither a name nor a link"):
        setup(**arguments)
    assert drive_emulator.log == []


def test_a_missing_notebook_is_a_warning(drive_emulator, monkeypatch):
    """A notebook that is not found is a warning; searches work without it."""
    monkeypatch.setattr(runtime, "_detect_kind", lambda: runtime.Kind("jupyter"))
    with pytest.warns(NotebookWarning, match="continues without the notebook"):
        here = setup()
    assert here.notebook_name is None
    assert "notebook  not known" in repr(here)


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_script_needs_no_notebook(ci, drive_emulator, monkeypatch):
    """In a script, also under CI, only a notebook that was named can be missing.

    `notebook_name` is None then, so that hyperas reads the script.
    """
    monkeypatch.setenv("CI", ci)
    assert setup().notebook_name is None
    with pytest.warns(NotebookWarning, match="continues without the notebook"):
        setup(notebook="named")


def test_a_named_notebook_that_is_ambiguous_is_an_error_that_lists_them(drive_emulator):
    """A notebook name that fits two files is an error that lists both ids."""
    client = DriveClient.connect()
    first, second = put(client, "x.ipynb"), put(client, "x.ipynb", folder="Other")
    with pytest.raises(AmbiguousNotebookError, match=first.id) as caught:
        setup(notebook="x")
    assert second.id in str(caught.value)
    assert setup(notebook=second.id).notebook.file.id == second.id


def test_a_local_folder_needs_no_drive_at_all(monkeypatch, tmp_path):
    """A folder in COLAB_DRIVE_TUNER_STORE needs no sign-in; `folder=` with it is refused."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(tmp_path / "searches"))
    here = setup()
    assert here.client is None
    assert str(tmp_path / "searches") in repr(here)
    assert "No searches yet.<div>as of " in here._repr_html_()
    with pytest.raises(UsageError, match=r"unset one of the two.*\n.*What worked: this is Python"):
        setup(folder="Elsewhere")


def test_another_working_directory_makes_another_folder(monkeypatch, tmp_path):
    """A relative path in COLAB_DRIVE_TUNER_STORE follows the working directory."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", "searches")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert setup().place == str(tmp_path / name / "searches")
        assert setup() is setup()


def test_a_store_by_its_full_path_needs_no_working_directory(monkeypatch, tmp_path):
    """A removed working directory does not matter to COLAB_DRIVE_TUNER_STORE with a full path."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(tmp_path / "searches"))
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert setup().place == str(tmp_path / "searches")


def test_a_relative_store_needs_a_working_directory(monkeypatch, tmp_path):
    """In a removed working directory, the error says that the path must be written in full."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", "searches")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for call in (setup, lambda: cdt.list_searches("searches")):
        with pytest.raises(UsageError, match=r"'searches' is relative.*write the whole path"):
            call()


def test_the_open_page_has_the_notebook_without_drive(colab, monkeypatch, tmp_path):
    """With a local folder on Colab, the notebook comes from the open page, without a sign-in."""
    monkeypatch.delenv("DRIVE_EMULATOR_HOST")
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(tmp_path / "searches"))
    here = setup()
    assert here.notebook_name == "quickstart"
    assert json.loads(Path("quickstart.ipynb").read_bytes()) == json.loads(notebook())
    assert "authenticate_user" not in colab[0].calls


def test_setup_without_credentials_fails_cleanly(monkeypatch):
    """Without browser and credentials, `setup()` fails, says what worked and changes nothing.

    It must not open a sign-in, which would never return.
    """
    page = google_colab.install(monkeypatch, google_colab.Page(attached=False))
    started = time.monotonic()
    with pytest.raises(
        CredentialsError, match="What worked: this is Google Colab without a browser"
    ):
        setup()
    assert time.monotonic() - started < 60  # an opened sign-in would wait for ever
    assert "authenticate_user" not in page.calls
    assert "request_auth" not in page.calls
    assert store._default is None
    assert session._last is None
    assert not any("hyperas" in str(finder).lower() for finder in sys.meta_path)


def test_ci_never_opens_a_sign_in(monkeypatch):
    """CI=true means that nobody is there, so no sign-in opens even if the page would answer."""
    page = google_colab.install(monkeypatch, google_colab.Page(json.loads(notebook())))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(CredentialsError, match="asking was not allowed"):
        setup()
    assert "authenticate_user" not in page.calls


def test_after_a_refused_sign_in_setup_looks_for_another(drive_emulator):
    """A session whose sign-in was revoked is not reused: the user may have signed in again."""
    first = setup()
    drive_emulator.call("DELETE", "tokens", {"token": os.environ["DRIVE_EMULATOR_TOKEN"]})
    with pytest.raises(CredentialsError, match="can be run again"):
        setup()
    drive_emulator.allow(os.environ["DRIVE_EMULATOR_TOKEN"], "owner@example.com")
    assert setup() is not first


@pytest.mark.filterwarnings("ignore::colab_drive_tuner.errors.NotebookWarning")
def test_a_setup_that_fails_half_way_can_be_called_again(colab, drive_emulator):
    """Whichever request Drive refuses, `setup()` leaves no session and can be called again.

    Nothing is created twice.
    """
    failures = []
    for call in range(1, 20):
        session._last = None
        store.set_default_store(None)
        hyperas_compat.disable()
        rule = drive_emulator.faults.add(
            "error", nth=[call], status=403, reason="dailyLimitExceeded"
        )
        try:
            setup()
        except StoreError as error:
            failures.append(str(error))
            assert store._default is None
            assert session._last is None
            assert not any("hyperas" in str(finder).lower() for finder in sys.meta_path)
        drive_emulator.faults.remove(rule)
        assert setup().notebook_name == "quickstart"
    assert len(failures) >= 3
    assert all("What worked: this is Google Colab" in failure for failure in failures)
    assert "owner@example.com is signed in, http" in failures[-1]
    names = sorted(file.name for file in colab[2].list_folder("root"))
    assert names == ["Colab Drive Tuner", "Colab Notebooks"]


def test_a_working_directory_that_is_gone_is_a_warning(colab, tmp_path, monkeypatch):
    """A removed working directory is a warning: the session works without a notebook."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.warns(NotebookWarning, match="working directory has been removed"):
        here = setup()
    monkeypatch.chdir(tmp_path)
    assert here.notebook_name is None
    assert setup().notebook_name == "quickstart"


def test_a_notebook_elsewhere_on_this_disk_is_named_by_its_relative_path(monkeypatch, tmp_path):
    """`notebook_name` is relative to the working directory, to which hyperas appends it."""
    path = tmp_path / "notebooks" / "lab.ipynb"
    path.parent.mkdir()
    path.write_bytes(notebook())
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(tmp_path / "searches"))
    here = setup()
    assert here.notebook_name == "../notebooks/lab"
    assert Path(f"{Path.cwd()}/{here.notebook_name}.ipynb").samefile(path)
    monkeypatch.chdir(path.parent)
    assert here.notebook_name == "lab"
    assert f"served from {path}" in repr(here)


def test_clean_shows_duplicates_and_removes_only_what_is_named(colab, capsys):
    """`clean` lists possible duplicates and trashes those that are named by id.

    People call notebooks "Copy of ..." themselves.
    """
    client = colab[2]
    copies = [put(client, name) for name in ("Copy of quickstart.ipynb", "quickstart (1).ipynb")]
    put(client, "quickstart 2.ipynb")
    here = setup()
    found = here.clean(yes=True)
    assert {leftover.id for leftover in found} == {copy.id for copy in copies}
    assert repr(found) == "2 leftovers: possible duplicate (2)"  # below the table, in a cell
    assert not any(client.get(copy.id).trashed for copy in copies)
    printed = capsys.readouterr().out
    assert "possible duplicate: 'Copy of quickstart.ipynb' in Drive" in printed
    here.clean(copies[0].id)
    assert not client.get(copies[0].id).trashed
    here.clean(copies[0].id, yes=True)
    assert [client.get(copy.id).trashed for copy in copies] == [True, False]
    assert not client.get(here.notebook.file.id).trashed
    with pytest.raises(UsageError, match="is not a listed leftover"):
        here.clean(here.notebook.file.id, yes=True)


def test_bystanders_survive_setup_download_and_clean(colab):
    """Setup, download and clean lose no byte of other files with similar names."""
    client = colab[2]
    theirs = {
        "quickstart.ipynb": b'{"cells": [], "metadata": {"mine": true}}',
        "Copy of quickstart.ipynb": notebook("copy"),
        "temp_model.py": b"#coding=utf-8\n\nWEIGHTS = 3\n",
        "notes.txt": b"",
    }
    for name, content in theirs.items():
        Path(name).write_bytes(content)
    copy = put(client, "Copy of quickstart.ipynb", notebook("copy"))
    with pytest.warns(NotebookWarning, match=r"renamed to quickstart \(kept\).ipynb") as caught:
        here = setup()
    assert caught[0].filename == __file__  # the user's line, not one of the package
    cdt.download_notebook(client=client)
    here.clean(yes=True)
    theirs["quickstart (kept).ipynb"] = theirs.pop("quickstart.ipynb")
    present = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert present == {**theirs, "quickstart.ipynb": notebook()}
    assert client.download(copy.id) == notebook("copy")
    assert not client.get(copy.id).trashed


def test_a_script_under_ci_neither_prompts_nor_hangs(tmp_path):
    """Without terminal and credentials a script under CI exits with an error, not a prompt."""
    environment = {"CI": "true", "CLOUDSDK_CONFIG": str(tmp_path)}
    program = "import colab_drive_tuner as cdt; cdt.setup()"
    done = run_python("-c", program, environment=environment, status=1)
    assert "CredentialsError" in done.stderr
    assert "What worked: this is continuous integration" in done.stderr


def test_an_interrupt_ends_a_setup_whose_drive_does_not_answer(tmp_path):
    """Ctrl-C ends `setup()` at once, while its requests to Drive are still unanswered."""
    with socket.create_server(("127.0.0.1", 0)) as drive:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DRIVE_EMULATOR_HOST": f"http://127.0.0.1:{drive.getsockname()[1]}",
        }
        command = [sys.executable, "-c", "import colab_drive_tuner as cdt; cdt.setup()"]
        # One request asks who is signed in, the other for the folder.
        with (
            subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
            ) as process,
            drive.accept()[0],
            drive.accept()[0],
        ):
            process.send_signal(signal.SIGINT)
            try:
                errors = process.communicate(timeout=50)[1]  # a request may take a minute
            finally:
                process.kill()
        assert b"KeyboardInterrupt" in errors
