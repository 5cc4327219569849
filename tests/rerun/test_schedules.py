"""Generated schedules: valid for their schedulers, working, and free of secrets."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # a dependency of papermill
from hyperopt import hp

from colab_drive_tuner.credentials import SOURCES, lookup
from colab_drive_tuner.credentials.source_interface import CredentialSource
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.rerun.runs import read_runs
from colab_drive_tuner.rerun.schedulers import cron, github, systemd
from colab_drive_tuner.rerun.schedulers.plan import Plan, parse_interval
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store import open_store
from tests.rerun import programs

ACTIONLINT = programs.tool("actionlint")
NASTY = 'my "search" ü 100% $HOME\\'


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return a plan with awkward names and paths, and plant secrets.

    Every secret variable belongs to a credential source.
    """
    secrets = tuple(variable for variable in Variable if variable.is_secret)
    for variable in secrets:
        monkeypatch.setenv(variable, "planted-7c1d")
    made_up = CredentialSource("made up", lambda _: None, variables=secrets, chosen=True)
    monkeypatch.setattr(lookup, "SOURCES", (made_up, *SOURCES))
    secret = tmp_path / "key of 50% for $5.json"
    secret.write_text('{"type": "authorized_user", "refresh_token": "planted-7c1d"}')
    monkeypatch.setenv("COLAB_DRIVE_TUNER_CREDENTIALS", str(secret))
    monkeypatch.setenv("COLAB_DRIVE_TUNER_ACT_AS", "me@example.com")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a folder's 100%"
    folder.mkdir()
    nb = programs.notebook(folder / "nb.ipynb", programs.source())
    return Plan(NASTY, str(nb.relative_to(tmp_path)), "*/15 * * * *", ("--on", "colab"))


def test_generated_schedules_contain_no_secret(plan: Plan) -> None:
    """Schedules have the path of a file or the name of a secret, but no credential or token."""
    for way in (cron, systemd, github):
        content = way.text(plan)
        assert "planted" not in content
        assert "TOKEN" not in content
        assert "me@example.com" in content  # the account to act as is no secret
    assert "secrets.COLAB_DRIVE_TUNER_CREDENTIALS" in github.text(plan)


@pytest.mark.skipif(not shutil.which("crontab"), reason="needs Debian's cron")
def test_crontab_accepts_the_schedule_and_other_lines_are_left_alone(
    plan: Plan, crontab: None
) -> None:
    """Schedules are added, replaced, listed and removed; crontab itself checks the lines."""
    mine = "# mine\x0cand more\n5 5 * * * true\n"  # a form feed is no line break
    subprocess.run(["crontab", "-"], input=mine, text=True, check=True)
    cron.install(plan)
    cron.install(Plan(plan.search, plan.program, "0 */2 * * *"))
    cron.install(Plan("other", plan.program, "0 0 * * *"))
    assert cron.installed() == [(NASTY, None, "0 */2 * * *"), ("other", None, "0 0 * * *")]
    assert cron.remove(NASTY, None)
    assert not cron.remove(NASTY, None)
    cron.remove("other", None)
    left = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=True).stdout
    assert left == mine


@pytest.fixture
def crontab() -> Iterator[None]:
    """Restore the user's crontab afterwards."""
    before = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    yield
    if before.returncode:
        subprocess.run(["crontab", "-r"], capture_output=True, check=False)
    else:
        subprocess.run(["crontab", "-"], input=before.stdout, text=True, check=True)


def test_the_line_of_cron_is_what_a_shell_runs(tmp_path: Path) -> None:
    """Awkward names survive cron's treatment of % and the shell's quoting."""
    plan = Plan(NASTY, "it's 5%.ipynb", "* * * * *")
    command = cron.text(plan).splitlines()[1].split(" ", 5)[5].replace(r"\%", "%")
    shown = command.replace(
        f"{sys.executable} -m colab_drive_tuner",
        f"{sys.executable} -c 'import sys; print(sys.argv[1:])'",
    ).rpartition(" >> ")[0]
    done = subprocess.run(["/bin/sh", "-c", shown], capture_output=True, text=True, check=True)
    arguments = ["rerun", str(Path("it's 5%.ipynb").resolve()), "--search", NASTY, "--scheduled"]
    date, printed = done.stdout.splitlines()
    assert re.search(r"\d\d:\d\d:\d\d", date)
    assert printed == str(arguments)


@pytest.mark.long
@pytest.mark.skipif(
    not shutil.which("cron") or os.geteuid() != 0, reason="needs Debian's cron, and root to run it"
)
@pytest.mark.timeout(1800)
def test_a_real_cron_daemon_finishes_a_search(tmp_path: Path, crontab: None) -> None:
    """The search finishes after five killed kernels, with a run each minute.

    The last run says how to remove the schedule; all names are awkward.
    """
    died = tmp_path / "died"
    died.mkdir()
    before = f"count = []; died = {str(died)!r}\ndef deaths(): return os.listdir(died)"
    in_trial = (
        "count.append(1)\n"
        "    if len(count) == 2 and len(deaths()) < 5:\n"
        "        open(f'{died}/{os.getpid()}', 'w').close(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = tmp_path / "a folder's 100%"
    folder.mkdir()
    body = programs.source(NASTY, max_evals=7, before=before, in_trial=in_trial)
    nb = programs.notebook(folder / "nb.ipynb", body)
    added = programs.run(
        "--store", tmp_path / "store", "schedule", "add", nb, "--search", NASTY,
        "--every", "* * * * *",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    state = Path(os.environ["XDG_STATE_HOME"])
    content = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=True).stdout
    # cron sets HOME from the password file, but this test has another one.
    content = f"XDG_STATE_HOME={state}\nHOME={os.environ['HOME']}\n{content}"
    subprocess.run(["crontab", "-"], input=content, text=True, check=True)
    plan = Plan(NASTY, "", "", store=str(tmp_path / "store"))
    log = state / "colab-drive-tuner" / "rerun" / f"{plan.slug}.log"
    daemon = subprocess.Popen(["cron", "-f"])
    try:
        deadline = time.monotonic() + 1700
        while not log.exists() or "To remove its schedule" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
            time.sleep(1)
    finally:
        daemon.terminate()
        daemon.wait(20)
    assert "is finished: 7 of 7 trials done" in log.read_text()
    assert len(list(died.iterdir())) == 5
    runs = [run.ended for run in read_runs(open_store(tmp_path / "store"), NASTY)]
    assert runs == ["unfinished"] * 5 + ["finished"]
    assert programs.run("schedule", "remove", NASTY).returncode == 0
    assert cron.installed() == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_accepts_the_units(plan: Plan, tmp_path: Path) -> None:
    """`systemd-analyze verify` accepts the units without a warning.

    $ is doubled in commands only; elsewhere systemd uses it literally.
    """
    for path, content in systemd.files(plan).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (service, timer) = sorted((tmp_path / "config" / "systemd" / "user").iterdir())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(service), str(timer)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert service.name not in done.stderr
    assert timer.name not in done.stderr
    assert systemd.installed() == [(NASTY, None, "*-*-* *:0/15:00")]
    lines = service.read_text()
    assert "CREDENTIALS=" + str(tmp_path / "key of 50%% for $5.json") in lines
    assert '"my \\"search\\" ü 100%% $$HOME\\\\"' in lines
    assert "SuccessExitStatus=69 75 143" in lines
    assert "ExecStopPost=" in lines
    assert "schedule release" in lines


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize(
    "fields",
    ["*/15 * * * *", "0 */2 * * *", "0 0 * * *", "5,35 8-18/2 1 */3 1-5", "7 4 * * 0,6",
     "0 9 * * */2", "0 9 * * 5-7"],
)  # fmt: skip
def test_systemd_accepts_the_calendar_expressions(fields: str) -> None:
    """`systemd-analyze calendar` accepts the translation of any cron expression."""
    assert parse_interval(fields) == fields
    done = subprocess.run(
        ["systemd-analyze", "calendar", systemd.on_calendar(fields)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_timer_fires_on_the_days_of_cron(plan: Plan) -> None:
    """Weekdays may have steps. A day or a weekday is enough, as for cron, if both are given."""
    assert systemd.on_calendar("0 9 * * */2") == "Sun,Tue,Thu,Sat *-*-* 9:0:00"
    assert systemd.on_calendar("5/20 9 * * 1/2") == "Mon,Wed,Fri *-*-* 9:5/20:00"
    assert systemd.on_calendar("0 9 * * 7/2") == "Sun *-*-* 9:0:00"
    timer = list(systemd.files(replace(plan, cron="0 9 1 * 1-5/2")).values())[1]
    lines = [line for line in timer.splitlines() if line.startswith("OnCalendar=")]
    assert lines == ["OnCalendar=*-*-1 9:0:00", "OnCalendar=Mon,Wed,Fri *-*-* 9:0:00"]


def fake(tool: Path, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program on the PATH that fails with a message."""
    tool.write_text(f"#!/bin/sh\necho '{message}' >&2; exit 1\n")
    tool.chmod(0o700)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)


def fake_crontab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `crontab` on the PATH whose table is the returned file."""
    fake(folder / "crontab", "", monkeypatch)
    script = f'#!/bin/sh\ncd "{folder}"; if [ "$1" = -l ]; then cat table; else cat >table; fi\n'
    (folder / "crontab").write_text(script)
    return folder / "table"


def test_a_user_who_may_not_use_cron_has_no_schedules(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schedules of other kinds can be listed; adding one names the alternatives."""
    fake(tmp_path / "crontab", "You (me) are not allowed to use this program", monkeypatch)
    assert cron.installed() == []
    with pytest.raises(ColabDriveTunerError, match=r"not allowed.*The alternatives are"):
        cron.install(plan)


def test_a_notebook_that_cannot_run_here_is_not_scheduled(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Any
) -> None:
    """A schedule of this machine would fail at each tick, as where its kernel is missing."""
    fake(tmp_path / "crontab", "reached", monkeypatch)
    content = json.loads(Path(plan.program).read_text())
    content["metadata"]["kernelspec"]["name"] = "conda-env-lab-py"
    Path("nb.ipynb").write_text(json.dumps(content))
    code, out, err = run_command("schedule", "add", "nb.ipynb", "--search", "s")
    assert (code, out) == (1, "")
    assert "asks for the kernel 'conda-env-lab-py'" in err
    assert run_command("schedule", "add", "nb.ipynb", "--search", "s", "--print")[0] == 0


def test_lines_of_any_encoding_stay_in_the_crontab(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another line's bytes are kept, even if they are not UTF-8, and carriage returns."""
    table = fake_crontab(tmp_path, monkeypatch)
    table.write_bytes(b"# caf\xe9\r* *\r\n")
    cron.install(plan)
    assert cron.installed() == [(NASTY, None, "*/15 * * * *")]
    assert table.read_bytes().startswith(b"# caf\xe9\r* *\r\n# colab-drive-tuner")


def test_lines_of_a_person_among_those_of_a_schedule_stay(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job below a schedule whose line was deleted, or between its lines, is not removed."""
    table = fake_crontab(tmp_path, monkeypatch)
    table.write_text("")
    cron.install(plan)
    comment, command = table.read_text().splitlines()
    table.write_text(f"{comment}\n5 5 * * * backup\n")
    assert cron.installed() == []
    cron.install(plan)
    assert table.read_text() == f"5 5 * * * backup\n{comment}\n{command}\n"
    table.write_text(f"{comment}\n# GPU is free at night\n5 5 * * * backup\n#{command}\n")
    assert cron.installed() == [(NASTY, None, "#*/15 * * * *")]
    assert cron.remove(NASTY, None)
    assert table.read_text() == "# GPU is free at night\n5 5 * * * backup\n"


@pytest.mark.parametrize("way", [cron, systemd, github])
def test_searches_of_one_name_in_two_stores_have_two_schedules(
    way: Any, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule replaces only that of its own store, and can be removed alone."""
    fake_crontab(tmp_path, monkeypatch).write_text("")
    monkeypatch.setattr(systemd, "_systemctl", lambda *arguments: None)
    stores = ["drive:A", 'drive:a "b"', None, "drive:F"]
    for store in (*stores[:3], *stores[:3]):
        way.install(replace(plan, store=store))
        way.install(replace(plan, options=(*plan.options, "--folder", "F")))
    assert {(of.search, of.store) for of in way.installed()} == {(NASTY, one) for one in stores}
    assert len(way.installed()) == 4
    assert way.remove(NASTY, "drive:A")
    assert not way.remove(NASTY, "drive:A")
    assert {of.store for of in way.installed()} == set(stores[1:])
    assert way.remove(NASTY, None)
    assert way.installed() == []


def test_the_command_that_removes_a_finished_schedule_removes_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Any, drive_emulator: Any
) -> None:
    """The schedule of a search of the same name in another folder of Drive stays."""
    fake_crontab(tmp_path, monkeypatch).write_text("")
    monkeypatch.chdir(tmp_path)
    programs.notebook(tmp_path / "nb.ipynb", "1")
    for folder in ("Lab", "Other"):
        cron.install(Plan("s", "nb.ipynb", "0 * * * *", ("--folder", folder)))
    options = {"max_evals": 1, "store": "drive:Lab", "progress": False}
    resume_search(lambda x: x, space=hp.uniform("x", 0, 1), name="s", **options)
    given = ("nb.ipynb", "--search", "s", "--folder", "Lab", "--scheduled")
    code, out, _ = run_command("rerun", *given)
    advised = shlex.split(out.rpartition("To remove its schedule: ")[2])
    assert (code, run_command(*advised[1:])[0]) == (0, 0)
    assert cron.installed() == [("s", "drive:Other", "0 * * * *")]


def test_a_scheduler_that_fails_hides_no_schedule_of_another(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Any
) -> None:
    """Schedules of the others are listed and removed; then its error is shown."""
    github.install(replace(plan, search="s"))
    fake(tmp_path / "crontab", "/var/spool/cron: Permission denied", monkeypatch)
    code, out, err = run_command("schedule", "list")
    assert (code, out) == (1, "s\tgithub\t*/15 * * * *\n")
    assert "crontab -l failed" in err
    code, out, err = run_command("schedule", "remove", "s")
    assert (code, "from github" in out, "crontab -l failed" in err) == (1, True, True)
    assert github.installed() == []


def test_a_project_that_is_refused_hides_no_schedule_of_this_machine(
    plan: Plan, run_command: Any
) -> None:
    """With `--project`, schedules of this machine are listed and removed before the error."""
    github.install(replace(plan, search="s"))
    code, out, err = run_command("schedule", "list", "--project", "not/valid")
    assert (code, "s\tgithub\t" in out, "not a valid project" in err) == (2, True, True)
    code, out, err = run_command("schedule", "remove", "s", "--project", "not/valid")
    assert (code, "from github" in out, "not a valid project" in err) == (2, True, True)


def test_without_a_systemd_session_nothing_is_written(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a user session, `install` writes no units, which would be listed but never fire."""
    fake(tmp_path / "systemctl", "no session", monkeypatch)
    with pytest.raises(ColabDriveTunerError, match=r"no session.*use --with cron"):
        systemd.install(plan)
    assert systemd.installed() == []


def test_paths_in_a_schedule_are_absolute(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths in variables become absolute: cron starts jobs in the home directory."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_CREDENTIALS", "key.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "~/adc.json")
    passed = plan.environment()
    assert passed["COLAB_DRIVE_TUNER_CREDENTIALS"] == str(tmp_path / "key.json")
    assert passed["GOOGLE_APPLICATION_CREDENTIALS"] == str(Path.home() / "adc.json")
    assert passed["XDG_CONFIG_HOME"] == str(tmp_path / "config")


def test_the_workflow_of_github_is_complete(plan: Plan, tmp_path: Path) -> None:
    """Exit codes 75 and 69 are no failures, runs do not overlap, and the secret stays private."""
    workflow = yaml.safe_load(github.text(plan))
    assert workflow[True]["schedule"] == [{"cron": "*/15 * * * *"}]
    assert workflow["concurrency"]["cancel-in-progress"] is False
    steps = workflow["jobs"]["rerun"]["steps"]
    holders = [step for step in steps if "secrets." in json.dumps(step)]
    assert len(holders) == 1
    assert "umask 077" in holders[0]["run"]
    users = [step for step in steps if "colab-drive-tuner " in step.get("run", "")]
    assert len(users) == 2  # the rerun, and the release of a runtime that it left
    for step in users:
        assert step["env"]["GOOGLE_APPLICATION_CREDENTIALS"].endswith("/credentials.json")
        assert step["env"]["COLAB_DRIVE_TUNER_COLAB"] == "colab --auth adc"
        assert step["env"]["COLAB_DRIVE_TUNER_ACT_AS"] == "me@example.com"
    rerun = next(step["run"] for step in steps if "case $code" in step.get("run", ""))
    assert "--max-time 5h30m" in rerun  # a job ends after six hours
    assert "5h30m" not in github.text(replace(plan, options=("--max-time", "2h")))
    release = steps[-1]["run"].replace("colab-drive-tuner", "false")
    holder = {"RUNNER_TEMP": str(tmp_path)}
    (tmp_path / "credentials.json").touch()
    assert subprocess.run(["bash", "-e", "-c", release], env=holder, check=False).returncode == 1
    assert not (tmp_path / "credentials.json").exists()
    for code, expected in ((0, 0), (69, 0), (75, 0), (1, 1), (143, 143)):
        script = rerun.replace("colab-drive-tuner rerun", f"sh -c 'exit {code}'")
        assert subprocess.run(["bash", "-e", "-c", script], check=False).returncode == expected


@pytest.mark.skipif(not ACTIONLINT, reason="needs actionlint")
def test_actionlint_accepts_the_workflow(plan: Plan, tmp_path: Path) -> None:
    """The workflow passes actionlint without a remark, even for an awkward name."""
    github.install(plan)
    (file,) = (tmp_path / ".github" / "workflows").iterdir()
    done = subprocess.run([ACTIONLINT, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert github.installed() == [(NASTY, None, "*/15 * * * *")]
    assert github.remove(NASTY, None)
    assert github.installed() == []


def test_invalid_schedules_are_refused() -> None:
    """Uneven intervals, long lines and line breaks in names are refused."""
    assert parse_interval("15m") == "*/15 * * * *"
    assert parse_interval("60m") == "0 * * * *"
    assert parse_interval("2h") == "0 */2 * * *"
    assert parse_interval("24h") == parse_interval("1d") == "0 0 * * *"
    fields = ("60 * * * *", "* 24 * * *", "0 0 0 * *", "*/0 * * * *", "9-5 * * * *", "* * * * 8")
    for wrong in (
        "7m", "0m", "5h", "often", "* * * *", "* * * * $(x)", "1d\n* * * * * evil", *fields,
        "\u0663m", "\u0663 0 * * *", "*/1\u0660 * * * *", f"{'6' * 5000}m",
    ):  # fmt: skip
        with pytest.raises(UsageError, match="--every"):
            parse_interval(wrong)
    with pytest.raises(UsageError, match="longer than the 998 bytes"):
        cron.text(Plan("search", "n" * 900 + ".ipynb", "* * * * *"))
    with pytest.raises(UsageError, match="line break"):
        systemd.text(Plan("a\n[Service]", "nb.ipynb", "* * * * *"))
    with pytest.raises(UsageError, match="line break"):
        cron.text(Plan("a\nb", "nb.ipynb", "* * * * *"))
    with pytest.raises(UsageError, match="line break"):
        github.text(Plan("a\nb", "nb.ipynb", "* * * * *"))


def test_a_workflow_is_refused_below_the_root_of_its_repository(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub runs no workflow there; a notebook outside of the repository is refused, too."""
    with pytest.raises(UsageError, match="not in this repository"):
        github.text(replace(plan, program="../nb.ipynb"))
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    with pytest.raises(UsageError, match=f"root: cd {tmp_path}"):
        github.install(replace(plan, program="nb.ipynb"))
    assert not (tmp_path / "sub" / ".github").exists()


def test_links_in_a_repository_lead_nowhere(plan: Plan, tmp_path: Path) -> None:
    """Of a clone, no link is written through, no endless file is read, and no other schedule."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (tmp_path / "outside").write_text("theirs")
    github.path(plan).symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "colab-drive-tuner-pipe.yml")
    (folder / "colab-drive-tuner-zero.yml").symlink_to("/dev/zero")
    (folder / "colab-drive-tuner-folder.yml").symlink_to(tmp_path)
    with (folder / "colab-drive-tuner-giant.yml").open("wb") as file:
        file.truncate(1 << 40)
    deep = "# colab-drive-tuner schedule " + "[" * 100_000
    (folder / "colab-drive-tuner-deep.yml").write_text(deep)
    github.install(plan)
    assert (tmp_path / "outside").read_text() == "theirs"
    assert github.installed() == [(NASTY, None, "*/15 * * * *")]


def test_print_shows_and_installs_nothing(tmp_path: Path, plan: Plan) -> None:
    """`--print` prints each kind of schedule and writes nothing."""
    for way in ("cron", "systemd", "github"):
        done = programs.run(
            "schedule", "add", plan.program, "--search", "s", "--with", way, "--print"
        )
        assert done.returncode == 0, done.stderr
        assert "rerun" in done.stdout
    assert not (tmp_path / ".github").exists()
    assert not (tmp_path / "config").exists()
    misnamed = programs.run("schedule", "add", plan.program, "--search", "a/b")
    assert misnamed.returncode == 2
    assert "contains a slash" in misnamed.stderr
    unknown = programs.run("schedule", "remove", "s")
    assert unknown.returncode == 2
    assert "has no schedule" in unknown.stderr
