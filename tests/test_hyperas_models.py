"""hyperas's development version, and loading its models in another process."""

from pathlib import Path

from tests.test_hyperas_compat import run

__all__ = ["run"]  # a fixture


MASTER = [
    ("optim.py", "keep_temp=False):", "keep_temp=False, data_args=None):"),
    (
        "optim.py",
        "keep_temp=keep_temp)\n\n    best",
        "keep_temp=keep_temp, data_args=data_args)\n\n    best",
    ),
    ("optim.py", "verbose, stack)", "verbose, stack, data_args=data_args)"),
    ("optim.py", "stack, data_args=data_args):", "stack, data_args):"),
    ("optim.py", "string(data, verbose)", "string(data, verbose, data_args)"),
    ("optim.py", "string(data, verbose=True)", "string(data, verbose=True, data_args=None)"),
    (
        "optim.py",
        "    split_data = ",
        "    data_string = f'    count = {data_args[0]!r}' + data_string\n    split_data = ",
    ),
    (
        "distributions.py",
        "import uniform\n",
        "import uniform\nfrom hyperopt.hp import uniformint\n",
    ),
]
"""Changes from the released hyperas to its development version that callers can notice."""


def test_the_development_version(run, tmp_path):
    """`data_args` and `uniformint` of hyperas's development version work."""
    import hyperas.distributions

    source, target = Path(hyperas.distributions.__file__).parent, tmp_path / "lib" / "hyperas"
    target.mkdir(parents=True)
    for file in source.glob("*.py"):
        text = file.read_text("utf-8")
        for name, old, new in MASTER:
            if name == file.name:
                assert old in text, old
                text = text.replace(old, new)
        (target / file.name).write_text(text, "utf-8")
    run(
        """
        from hyperas.distributions import uniformint

        def counted(count):
            x = [1] * count
            return x

        def whole(x):
            n = {{uniformint(2, 5)}}
            return {"loss": n + len(x) / 10, "status": STATUS_OK}

        trials = Trials()
        optim.minimize(whole, counted, rand.suggest, 3, trials, verbose=False, data_args=(4,))
        assert all(loss % 1 > 0.39 and 2 <= int(loss) <= 5 for loss in trials.losses())
        assert "/lib/hyperas/" in optim.__file__
        """
    )


KERAS = """
    import colab_drive_tuner as cdt
    import keras

    def classifier(x, classes):
        units = {{choice([2, 3, 4, 5])}}
        rate = {{uniform(0, 1)}}
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(classes)])
        network.build()
        network.layers[-1].bias.assign([rate] + [0.5] * (classes - 1))
        return {"loss": -rate, "status": STATUS_OK, "model": network}

    def trials(**options):
        return cdt.DriveTrials("ensemble", store=sys.path[0] + "/store", **options)

    common = dict(model=classifier, data=data, algo=rand.suggest)
"""


def test_best_models_and_ensembles_after_a_resume(run):
    """Models trained in one process are the best and vote in the next one.

    Without `keep_models` the error names the call that keeps them.
    """
    environment = {"KERAS_BACKEND": "numpy"}
    run(
        KERAS + "    optim.minimize(max_evals=3, trials=trials(keep_models=2), **common)\n",
        real_keras=True,
        environment=environment,
    )
    run(
        KERAS
        + """
    from colab_drive_tuner import hyperas_style
    try:
        optim.best_models(2, max_evals=5, trials=trials(), **common)
    except ValueError as error:
        assert "session.trials(name, keep_models=2)" in str(error), error
    else:
        raise AssertionError("not refused")
    assert len(trials().trials) == 3
    kept = optim.best_models(2, max_evals=5, trials=trials(keep_models=2), **common)
    losses = sorted(trials().losses())
    assert len(losses) == 5
    assert numpy.allclose([-m.layers[-1].bias[0] for m in kept], losses[:2]), losses
    vote = optim.best_ensemble(2, max_evals=5, trials=trials(keep_models=2), **common)
    assert vote.predict(numpy.zeros((4, 3))).shape == (4,)
    again = hyperas_style.best_models(2, max_evals=5, trials=trials(keep_models=2), **common)
    assert numpy.allclose([-m.layers[-1].bias[0] for m in again], losses[:2])
    common |= {"max_evals": 5, "trials": trials(keep_models=2)}
    soft = hyperas_style.best_ensemble(2, voting="soft", **common)
    assert list(soft.predict(numpy.zeros((2, 3)))) == [0, 0]
    """,
        real_keras=True,
        environment=environment,
    )
