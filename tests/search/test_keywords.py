"""Misspelt arguments, and other packages' names for them: the error suggests the right name."""

import inspect
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from hyperopt import hp

import colab_drive_tuner
from colab_drive_tuner import DriveTrials, loky_executor, resume_search, setup
from colab_drive_tuner.errors import ObjectiveError, RefusedError, SearchError, UsageError
from colab_drive_tuner.hyperas_style import best_ensemble, best_models, minimize
from colab_drive_tuner.search.spec.keyword_advice import _RENAMED
from colab_drive_tuner.store.memory import MemoryStore
from colab_drive_tuner.store.protocol import Entry

SPACE = hp.uniform("x", 0, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timeout", "max_time="),
        ("rstate", "seed: 3 for numpy.random.default_rng(3)"),
        ("trials", "name="),
        ("verbose", "progress="),
        ("show_progressbar", "progress="),
        ("eval_space", ".best_params"),
        ("return_argmin", ".best_run"),
        ("n_trials", "max_evals="),
        ("study_name", "name="),
        ("storage", "store="),
        ("direction", "minimized"),
        ("n_jobs", "pass executor="),
        ("workers", "pass executor="),
        ("patience", "no_progress_loss(10)"),
        ("max_trials", "max_evals="),
        ("project_name", "name="),
        ("project", "name="),
        ("method", "algo="),
        ("param_grid", "space= here, and made of hyperopt's expressions"),
        ("count", "max_evals="),
        ("early_terminate", "pruner="),
        ("overwrite", "restart="),
        ("num_samples", "max_evals="),
        ("random_state", "seed="),
        ("max_eval", "did you mean max_evals="),
        ("Max_Time", "did you mean max_time="),
        ("keep_model", "did you mean keep_models="),
        ("zzz", "it has objective, data, data_args, name, max_evals"),
    ],
)
def test_resume_search_suggests_the_right_argument_name(
    name: str, words: str, tmp_path: Path
) -> None:
    """The error names the argument passed and the right one, and nothing is written."""
    arguments: dict[str, Any] = {name: 1}
    with pytest.raises(UsageError) as caught:
        resume_search(
            abs, space=SPACE, name="s", max_evals=1, store=tmp_path / "store", **arguments
        )
    assert f"resume_search() has no argument {name}=: " in str(caught.value)
    assert words in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_several_foreign_arguments_are_all_named() -> None:
    """All foreign arguments are named, even if required ones are missing because of them."""
    with pytest.raises(UsageError, match=r"(?s)n_trials=.*max_evals=.*study_name=.*name="):
        resume_search(abs, space=SPACE, n_trials=3, study_name="s")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("function", "name", "words"),
    [
        (DriveTrials, "max_evals", "hyperopt.fmin"),
        (DriveTrials, "rstate", "default_rng(3)"),
        (DriveTrials, "storage", "store="),
        (DriveTrials, "onbusy", "on_busy="),
        (minimize, "seed", "did you mean rseed="),
        (minimize, "random_state", "rseed="),
        (minimize, "name", "DriveTrials(name)"),
        (minimize, "n_trials", "max_evals="),
        (best_models, "nb_model", "nb_models="),
        (best_ensemble, "zzz", "it has nb_ensemble_models"),
        (setup, "notebook_name", "notebook="),
        (setup, "store", "COLAB_DRIVE_TUNER_STORE"),
        (setup, "credential", "credentials="),
    ],
)
def test_other_functions_suggest_the_right_argument_name(
    function: Any, name: str, words: str
) -> None:
    """`DriveTrials`, hyperas's functions and `setup` suggest the right argument name, too."""
    with pytest.raises(UsageError) as caught:
        function(**{name: 1})
    assert f"{function.__name__}() has no argument {name}=: " in str(caught.value)
    assert words in str(caught.value)


def test_a_wrong_argument_is_traced_to_the_lines_of_the_user(tmp_path: Path) -> None:
    """The traceback of a wrong argument has no frames of this package, and all of the user's.

    So has that of a search that cannot run: its message says why. An error of another package's
    store, derived from one of ours, is treated alike.
    """

    class OtherError(RefusedError):
        pass

    class OtherStore(MemoryStore):
        def list(self, parent: str, *, name: str | None = None) -> list[Entry]:
            raise OtherError("not today")

    home = Path(colab_drive_tuner.__file__).parent

    def templated() -> Any:
        return dict(units={{choice(3)}})  # type: ignore[name-defined]  # noqa: C408, F821

    def objective(x: float) -> float:
        DriveTrials("inner", max_attempts="3", store=tmp_path)  # type: ignore[arg-type]
        return x

    def nested(x: float) -> float:
        resume_search(nested, name="busy", max_evals=3, space=SPACE, store=tmp_path)
        return x

    for call, inner in (
        (lambda: resume_search(abs, name="s", max_evals="3", space=SPACE), []),  # type: ignore[arg-type]
        (lambda: resume_search(templated, name="s", max_evals=3, store=tmp_path), []),
        (lambda: DriveTrials("a/b"), []),
        (lambda: DriveTrials("s", store=OtherStore()), ["list"]),
        (
            lambda: resume_search(objective, name="s", max_evals=3, space=SPACE, store=tmp_path),
            ["objective"],
        ),
        (
            lambda: resume_search(nested, name="busy", max_evals=3, space=SPACE, store=tmp_path),
            ["nested"],
        ),
    ):
        with pytest.raises((UsageError, SearchError, OtherError)) as caught:
            call()
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert [frame.name for frame in frames[2:]] == inner
        if cause := caught.value.__cause__:
            frames = traceback.extract_tb(cause.__traceback__)
            assert not any(home in Path(frame.filename).parents for frame in frames)


@pytest.mark.parametrize("executor", [lambda _: None, ThreadPoolExecutor, loky_executor])
def test_an_exception_of_the_objective_is_traced_to_the_lines_of_the_user(
    executor: Callable[[int], Any], tmp_path: Path
) -> None:
    """The frames of the call and of the objective are left, and a note that names the trial.

    The trial keeps the whole traceback.
    """

    def fails(x: float) -> float:
        raise ValueError(f"bad {x}")

    def objective(x: float) -> float:
        return fails(x)

    trials = DriveTrials("s", store=tmp_path)
    with pytest.raises(ValueError, match="bad") as caught:
        trials.fmin(objective, SPACE, max_evals=1, executor=executor(1))
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count(", in fails\n") >= 1
    home = str(Path(colab_drive_tuner.__file__).parent)
    assert home not in shown
    assert "hyperopt/base.py" not in shown
    (note,) = caught.value.__notes__
    assert note.startswith("Trial 0 of search 's' raised this. The next run tries it again; ")
    assert f"{home}/search/evaluate.py" in trials._dynamic_trials[0]["misc"]["traceback"]


def test_an_exception_that_is_its_own_cause_and_refuses_notes_is_shown(tmp_path: Path) -> None:
    """Both are legal; neither hangs the run nor hides the exception."""

    def objective(x: float) -> float:
        error = ZeroDivisionError()
        error.__notes__ = None  # type: ignore[assignment]
        raise error from error

    with pytest.raises(ZeroDivisionError):
        resume_search(objective, name="s", max_evals=1, space=SPACE, store=tmp_path)


def test_optunas_way_to_prune_is_explained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`raise optuna.TrialPruned` ended a run with an empty message."""

    def objective(x: float) -> float:
        raise optuna.TrialPruned if x < 2 else AssertionError

    with pytest.raises(ObjectiveError, match=r"raised optuna\.TrialPruned, which prunes no trial"):
        resume_search(objective, name="s", max_evals=1, space=SPACE, store=tmp_path)

    def silent(x: float) -> float:
        if x < 2:
            raise AssertionError
        return x

    resume_search(
        silent, name="t", max_evals=1, space=SPACE, store=tmp_path, catch_eval_exceptions=True
    )
    assert caplog.messages == ["Trial 0 of search 't' raised AssertionError"]


def test_help_and_completion_see_the_real_signature() -> None:
    """No public signature has `*args` or `**kwargs`, and every suggested name is a parameter."""
    known: set[str] = set()
    for function in (resume_search, DriveTrials, minimize, setup):
        parameters = inspect.signature(function).parameters
        assert all(
            part.kind not in (part.VAR_KEYWORD, part.VAR_POSITIONAL) for part in parameters.values()
        )
        known |= parameters.keys()
    assert {ours for names in _RENAMED.values() for ours in names} <= known
