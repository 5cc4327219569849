"""The commands that show the results of a search."""

import csv
import io
import json
import math
import pickle
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import hyperopt
import numpy as np
import pytest
from hyperopt import hp

import colab_drive_tuner as cdt
from colab_drive_tuner.cli.page_server import page_app, server_of
from colab_drive_tuner.cli.results import _line, sparkline
from colab_drive_tuner.search.results.search_data import TrialData
from colab_drive_tuner.search.trial_documents import TrialState
from tests.processes import running_python

SPACE = {"x": hp.uniform("x", -1, 1), "kind": hp.choice("kind", [{"y": hp.normal("y", 0, 1)}, 0])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A store with the search "bowl", some of whose 14 trials failed, and the search "other"."""
    store = tmp_path_factory.mktemp("stores") / "store"
    cdt.resume_search(bowl, space=SPACE, name="bowl", max_evals=14, seed=1, **options(store))
    cdt.resume_search(
        lambda z: z,
        space=hp.uniform("z", 0, 1),
        name="other",
        max_evals=3,
        seed=2,
        **options(store),
    )
    return store


def options(store: Path) -> dict[str, object]:
    """Return the arguments that all searches of this file share."""
    return {"store": store, "progress": False, "algo": "rand"}


def bowl(point: dict[str, object]) -> dict[str, object]:
    """An objective that fails at large x."""
    x = float(point["x"])
    return {"status": "fail"} if x > 0.8 else {"status": "ok", "loss": x**2, "accuracy": 1 - x**2}


def result(folder: Path) -> cdt.SearchResult:
    """Return the result of the finished search "bowl"."""
    return cdt.resume_search(
        bowl, space=SPACE, name="bowl", max_evals=14, seed=1, **options(folder)
    )


def test_show_prints_progress_best_trial_and_runtimes(run_command, folder):
    """`show` prints the number of trials, the best loss, the runtimes and the search's folder."""
    code, out, _ = run_command("--store", folder, "show", "bowl")
    assert code == 0
    assert "14 of 14 trials" in out
    assert "1 runtime" in out
    assert str(folder / "bowl") in out
    best = result(folder).best_trial
    assert f"{best['result']['loss']:.6g}" in out
    shown = json.loads(run_command("--store", folder, "show", "bowl", "--json")[1])
    assert shown["best"][0]["tid"] == best["tid"]


def test_show_has_the_most_important_of_many_parameters(run_command, tmp_path, monkeypatch):
    """Of 30 parameters `show` prints the most important; `trials` and JSON have all of them.

    The curve of the loss is as wide as the terminal.
    """
    space = {f"p{n}": hp.uniform(f"p{n}", 0, 1) for n in range(30)}
    cdt.resume_search(
        lambda point: point["p17"],
        space=space,
        name="many",
        max_evals=50,
        seed=1,
        **options(tmp_path),
    )
    monkeypatch.setenv("COLUMNS", "40")
    code, out, _ = run_command("--store", tmp_path, "show", "many")
    assert code == 0
    course = next(line for line in out.splitlines() if line.startswith("best loss  "))
    assert len(course) == 39
    assert " p17 " in out
    assert sum(f" p{n} " in out.replace("importance", "") for n in range(30)) <= 12
    command = f"colab-drive-tuner --store {tmp_path} trials many"
    assert out.splitlines()[-1] == f"and 22 more parameters: see `{command}`"
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = run_command("--store", tmp_path, "show", "many")
    head, line, *_ = (line for line in out.splitlines() if line.startswith((" ", "\x1b")))
    assert " p17 " in head
    assert 45 < len(line) <= 60
    best = json.loads(run_command("--store", tmp_path, "show", "many", "--json")[1])["best"]
    assert len(best[0]["parameters"]) == 30


def test_trials_are_sorted_limited_and_whole_as_csv_and_json(run_command, folder):
    """`trials` sorts by loss, trials without one last, with exact values in CSV and JSON.

    Both have what the objective returned. An unknown column is refused.
    """
    code, out, _ = run_command("--store", folder, "trials", "bowl", "--sort", "loss", "--json")
    rows = json.loads(out)
    assert (code, len(rows)) == (0, 14)
    losses = [math.inf if row["loss"] is None else row["loss"] for row in rows]
    assert losses == sorted(losses)
    assert math.inf in losses
    _, out, _ = run_command(
        "--store", folder, "trials", "bowl", "--sort", "loss", "--csv", "--limit", "2"
    )
    table = list(csv.DictReader(io.StringIO(out)))
    assert [float(row["loss"]) for row in table] == losses[:2]
    assert [float(row["x"]) for row in table] == [row["parameters"]["x"] for row in rows[:2]]
    accuracies = [row["returned"]["accuracy"] for row in rows[:2]]
    assert [float(row["accuracy"]) for row in table] == accuracies
    assert accuracies == [1 - loss for loss in losses[:2]]
    assert rows[-1]["returned"] == {}
    code, _, err = run_command("--store", folder, "trials", "bowl", "--sort", "nothing")
    assert code == 2
    assert "'nothing' is not a column: choose among tid, loss, seconds, " in err


def test_a_long_error_is_shortened_in_tables_only(run_command, tmp_path):
    """Tables, a card and a page show how an error of many lines begins and ends; JSON has all."""
    text = "Graph execution error:\n" + "a frame\n" * 500 + "OOM when allocating"

    def fails(x):
        raise MemoryError(text)

    options = {"max_evals": 1, "store": tmp_path, "progress": False}
    found = cdt.resume_search(
        fails, space=hp.uniform("x", 0, 1), name="s", catch_eval_exceptions=True, **options
    )
    for command in ("trials", "show"):
        _, out, _ = run_command("--store", tmp_path, command, "s")
        assert "MemoryError: Graph execution error:" in out
        assert "OOM when allocating" in out
        assert max(map(len, out.splitlines())) < 300
    found.report(tmp_path / "r.html")
    for shown in (found._repr_html_(), (tmp_path / "r.html").read_text()):
        assert "OOM when allocating" in shown
        assert "a frame\\n" * 30 not in shown
    _, out, _ = run_command("--store", tmp_path, "trials", "s", "--json")
    assert json.loads(out)[0]["error"].count("a frame") == 500


def test_best_prints_parameters_for_a_script(run_command, folder, tmp_path):
    """`best` prints the best parameters as JSON and exits 1 if no trial has a loss.

    `show` and `status` count and list the failed trials.
    """
    code, out, _ = run_command("--store", folder, "best", "bowl")
    assert (code, json.loads(out)) == (0, pytest.approx(result(folder).best_run))
    cdt.resume_search(
        lambda x: {"status": "fail"},
        space=hp.uniform("x", 0, 1),
        name="none",
        max_evals=1,
        **options(tmp_path / "store"),
    )
    code, _, err = run_command("--store", tmp_path / "store", "best", "none")
    assert code == 1
    assert "No trial of search 'none' has a loss yet." in err
    code, out, _ = run_command("--store", tmp_path / "store", "show", "none")
    assert code == 0
    assert "1 of 1 trials (1 failed)" in out
    assert [line.split()[-1] for line in out.splitlines()[-2:]] == ["error", "fail"]
    (listed,) = json.loads(run_command("--store", tmp_path / "store", "status", "--json")[1])
    assert listed["failed"] == 1


def test_an_infinite_loss_is_the_same_best_everywhere(run_command, tmp_path):
    """A loss of -inf is the best in every output; in JSON it is the text "-inf"."""
    losses = [1.0, math.inf, -math.inf, math.nan, -math.inf]
    found = cdt.resume_search(
        lambda x: losses[x],
        space=hp.randint("x", 5),
        points_to_evaluate=[{"x": x} for x in range(5)],
        name="infinite",
        max_evals=5,
        **options(tmp_path / "store"),
    )
    counts = "5 of 5 trials (1 failed), best loss -inf"
    assert repr(found) == f"Search 'infinite': {counts}"
    assert [found.best_trial["tid"], *(trial.tid for trial in found.best(2))] == [2, 2, 4]

    def printed(*command):
        code, out, _ = run_command("--store", tmp_path / "store", *command)
        assert code == 0
        return out

    def as_json(*command):
        return json.loads(printed(*command, "infinite", "--json"), parse_constant=pytest.fail)

    assert counts in printed("show", "infinite")
    assert as_json("best") == {"x": 2}
    shown = as_json("show")
    best = shown["best"][0]
    assert (shown["best_tid"], shown["best_loss"]) == (best["tid"], best["loss"]) == (2, "-inf")
    assert [trial["loss"] for trial in as_json("trials")] == [1.0, "inf", "-inf", None, "-inf"]
    printed("copy", "infinite", "--to", str(tmp_path / "store"), "--as", "other")
    assert as_json("compare", "other")["infinite"]["best loss"] == "-inf"


def test_compare_shows_different_spaces_side_by_side(run_command, folder):
    """`compare` leaves out a parameter where a search lacks it, and refuses a search twice."""
    code, out, _ = run_command("--store", folder, "compare", "bowl", "other", "--json")
    compared = json.loads(out)
    assert code == 0
    assert compared["bowl"]["trials"] == "14 of 14"
    assert "best z" in compared["other"]
    assert "best z" not in compared["bowl"]
    assert "best loss" in run_command("--store", folder, "compare", "bowl", "other")[1]
    assert run_command("--store", folder, "compare", "bowl", "bowl")[0] == 2


def test_a_parameter_is_shown_beside_the_fact_of_its_name(run_command, folder, tmp_path):
    """Parameters called `loss` and `trial` do not replace the best loss and its trial.

    In JSON they have their own labels, for a script.
    """
    cdt.resume_search(
        lambda point: point["loss"] + point["trial"],
        space={name: hp.uniform(name, 5, 6) for name in ("loss", "trial")},
        name="namesake",
        max_evals=1,
        store=folder,
        progress=False,
    )
    _, out, _ = run_command("--store", folder, "compare", "bowl", "namesake", "--json")
    column = json.loads(out)["namesake"]
    assert column["best trial"] == 0
    assert column["best loss"] == column["best params.loss"] + column["best params.trial"]
    best = json.loads(run_command("--store", folder, "best", "namesake")[1])
    assert best == {"loss": column["best params.loss"], "trial": column["best params.trial"]}
    _, out, _ = run_command("--store", folder, "trials", "namesake", "--sort", "params.loss")
    assert out.split()[:6] == ["trial", "state", "loss", "seconds", "params.loss", "params.trial"]
    run_command("--store", folder, "report", "namesake", "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert f"<th scope='row'>loss</th><td>{column['best loss']:.6g}</td>" in page


@pytest.mark.parametrize("command", [["show"], ["trials"], ["best"], ["tail"], ["compare", "bowl"]])
def test_a_hostile_parameter_name_is_escaped(run_command, folder, command):
    """Control and direction characters in a parameter's name are escaped in each output."""
    name = "[red]\x1b[2J\u202elr\nforged: done"
    cdt.resume_search(
        lambda point: point[name],
        space={name: hp.uniform(name, 0, 1)},
        name="hostile",
        max_evals=10,  # with fewer trials `show` has no importance
        store=folder,
        progress=False,
    )
    code, out, _ = run_command("--store", folder, *command, "hostile")
    assert code == 0
    assert not {"\x1b", "\u202e"} & set(out)
    assert "lr\\nforged" in out


def test_tail_of_a_finished_search_ends(run_command, folder):
    """`tail` of a finished search prints its trials and how it stands, and ends."""
    code, out, _ = run_command("--store", folder, "tail", "other")
    assert code == 0
    assert out.count("trial 2: ") == 1
    assert out.count("3 of 3 trials") == 2
    code, out, _ = run_command("--store", folder, "tail", "other", "--json")
    assert code == 0
    assert [json.loads(line)["tid"] for line in out.splitlines()] == [0, 1, 2]


def test_tail_of_an_idle_search_keeps_watching(run_command, tmp_path, monkeypatch):
    """`tail` says once that nobody runs the search, and polls until interrupted, over outages."""
    cdt.import_trials(cdt.open_store(tmp_path / "store"), "idle", trials_file(tmp_path))
    looked = []

    def fail(store, name):
        raise cdt.errors.UnavailableError("Drive does not answer.")

    def sleep(seconds):
        looked.append(seconds)
        if len(looked) == 2:
            raise KeyboardInterrupt
        monkeypatch.setattr("colab_drive_tuner.cli.results._read", fail)

    monkeypatch.setattr("colab_drive_tuner.cli.results.time.sleep", sleep)
    code, out, err = run_command("--store", tmp_path / "store", "tail", "idle", "--every", "3")
    assert (code, looked) == (130, [3.0, 3.0])
    assert err == "Drive does not answer.\n"
    assert out.count("It is not running now") == 1
    assert out.count("trial 0: 0.5 in") == 1


def test_tail_follows_a_search_that_is_restarted(run_command, tmp_path, monkeypatch):
    """The trials of a new history are printed, although those of the old one had their numbers."""
    store = cdt.open_store(tmp_path / "store")
    cdt.import_trials(store, "again", trials_file(tmp_path))

    def restart(seconds):
        cdt.resume_search(
            lambda x: 0.25, space=hp.uniform("x", 0, 1), name="again", max_evals=2, algo="rand",
            store=store, restart=True, progress=False,
        )  # fmt: skip

    monkeypatch.setattr("colab_drive_tuner.cli.results.time.sleep", restart)
    code, out, _ = run_command("--store", tmp_path / "store", "tail", "again")
    assert code == 0
    losses = re.findall(r"^trial (\d): ([0-9.]+) in", out, re.MULTILINE)
    assert losses == [("0", "0.5"), ("0", "0.25"), ("1", "0.25")]


def test_a_line_of_tail_omits_what_is_unknown():
    """An imported trial has no run time, and perhaps no parameters."""
    assert _line(TrialData(3, TrialState.DONE, 0.5, "")) == "trial 3: 0.5"


def trials_file(folder: Path) -> Path:
    """Write a pickle with one finished trial."""
    trials = hyperopt.Trials()
    hyperopt.fmin(
        lambda x: 0.5, hp.uniform("x", 0, 1), algo=hyperopt.rand.suggest, max_evals=1,
        trials=trials, show_progressbar=False, rstate=np.random.default_rng(1),
    )  # fmt: skip
    path = folder / "trials.pkl"
    path.write_bytes(pickle.dumps(trials))
    return path


def test_report_is_written_and_replaced(run_command, folder, tmp_path, monkeypatch):
    """`report` writes or replaces NAME.html; a path that cannot be written exits 2."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, out, _ = run_command("--store", folder, "report", "bowl")
        assert (code, out) == (0, "Wrote the report of search 'bowl' to bowl.html.\n")
    assert "14 of 14 trials" in Path("bowl.html").read_text()
    code, _, err = run_command("--store", folder, "report", "bowl", "-o", "missing/x.html")
    assert code == 2
    assert "'missing/x.html' cannot be written" in err
    code, _, err = run_command("--store", folder, "report", "bowl", "-o", ".")
    assert code == 2
    assert "'.' is a folder: name a file in it." in err


@pytest.mark.parametrize("name", ["report.pdf", "report.PNG", "report.md"])
def test_a_report_is_written_to_no_other_kind_of_file(run_command, folder, tmp_path, name):
    """A report is HTML, so a name of another kind of file is refused; a suffix is optional."""
    with pytest.raises(cdt.errors.UsageError, match="a report is HTML"):
        result(folder).report(tmp_path / name)
    code, _, err = run_command("--store", folder, "report", "bowl", "-o", tmp_path / name)
    assert (code, f"would hold no {Path(name).suffix} file" in err) == (2, True)
    assert not (tmp_path / name).exists()
    for allowed in ("report", "report.htm", "report.HTML"):
        result(folder).report(tmp_path / allowed)
        assert (tmp_path / allowed).read_text().startswith("<!doctype html>")


def test_a_watched_report_has_no_file(run_command, folder, tmp_path):
    """A file that would never be written is refused before the page is served."""
    out = tmp_path / "report.html"
    code, _, err = run_command("--store", folder, "report", "bowl", "--watch", "-o", out)
    assert (code, "leave out --output" in err) == (2, True)


def test_a_watched_report_is_rendered_for_each_request():
    """The page is rendered for each request. A foreign Host header gets 403, another path 404."""
    made = iter(["<p>1", "<p>2"])
    with server_of(page_app(lambda: next(made)), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        for content in (b"<p>1", b"<p>2"):
            with urllib.request.urlopen(url) as answer:
                assert answer.read() == content
                assert answer.headers["Refresh"] == "10"
        foreign = urllib.request.Request(url, headers={"Host": "evil.example:80"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(foreign)
        refused.value.close()
        assert refused.value.code == 403
        with pytest.raises(urllib.error.HTTPError) as missing:
            urllib.request.urlopen(f"{url}other")
        missing.value.close()
        assert missing.value.code == 404
        server.shutdown()


def test_a_result_as_html_trials_report_and_csv(folder, tmp_path):
    """A result has an HTML card, its best trials, single trials, a report and a CSV file."""
    found = result(folder)
    card = found._repr_html_()
    assert "14 of 14 trials" in card
    assert "<svg" in card
    best = found.best(3)
    assert [trial.loss for trial in best] == sorted(trial.loss for trial in best)
    assert best[0].tid == found.best_trial["tid"]
    assert best[0].params == found.best_params
    assert best[0].run == found.best_run
    assert best[1].model is None
    assert found.trial(2).tid == 2
    with pytest.raises(cdt.errors.SearchError, match="has no trial 99"):
        found.trial(99)
    found.report(tmp_path / "report.html")
    assert "rand" in (tmp_path / "report.html").read_text()
    found.to_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as table:
        assert [float(row["loss"] or "nan") for row in csv.DictReader(table)] == pytest.approx(
            [row["loss"] if row["loss"] is not None else math.nan for row in found.rows],
            nan_ok=True,
        )


def test_a_parquet_file_reads_back_as_the_frame(folder, tmp_path):
    """A Parquet file has the columns, numbers and missing values of `to_dataframe()`."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    found = result(folder)
    found.to_parquet(tmp_path / "t.parquet")
    read = pandas.read_parquet(tmp_path / "t.parquet", dtype_backend="numpy_nullable")
    frame = found.to_dataframe()
    assert list(read.columns) == list(frame.columns)
    assert read["loss"].isna().sum() == frame["loss"].isna().sum() > 0
    assert read["accuracy"].dropna().tolist() == frame["accuracy"].dropna().tolist()


@pytest.mark.parametrize(
    ("losses", "drawn"),
    [
        ([], ""),
        ([1.0], ""),
        ([1.0, 1.0], "▄▄"),
        ([8.0, 4.5, 1.0, 3.0], "█▄▁▁"),
        ([1e308, 0.0, -1e308], "█▄▁"),
    ],
)
def test_sparkline_of_the_best_loss(losses, drawn):
    """Blocks are high where the best loss so far is high."""
    assert sparkline(losses) == drawn
    assert len(sparkline([1 / (n + 1) for n in range(500)])) == 60


def test_the_dashboard_serves_a_search_and_a_study(folder, tmp_path):
    """`dashboard` serves the trials of a search and of a study, and refuses a foreign Host."""
    pytest.importorskip("optuna_dashboard")
    import optuna

    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage, study_name="mine")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    storage.close()
    for store, name, trials in ((folder, "bowl", 14), (tmp_path, "study", 2)):
        command = ["-m", "colab_drive_tuner", "--store", store, "dashboard", name, "--port", "0"]
        with running_python(*command) as (_, line):
            url = line.split()[0]
            with urllib.request.urlopen(f"{url}api/studies") as answer:
                (summary,) = json.load(answer)["study_summaries"]
            with urllib.request.urlopen(f"{url}api/studies/{summary['study_id']}") as answer:
                assert len(json.load(answer)["trials"]) == trials
            foreign = urllib.request.Request(f"{url}api/studies", headers={"Host": "evil.example"})
            with pytest.raises(urllib.error.HTTPError, match="403") as refused:
                urllib.request.urlopen(foreign)
            refused.value.close()
