"""Draw the picture of docs/keras.md: learning curves of a search with pruned trials.

    python scripts/pruning_picture.py    draws docs/pruning.svg

The curves are those of the digits benchmark. Reports draw theirs with the same function.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pruning.svg"


def draw(curves: list[list[float]]) -> str:
    """Return the picture of a search on these curves as SVG."""
    from hyperopt import hp

    import colab_drive_tuner as cdt
    from colab_drive_tuner.search.results.search_data import search_data
    from colab_drive_tuner.search.results.svg_charts.charts import learning_curves
    from colab_drive_tuner.store.memory import MemoryStore

    def objective(number: int) -> float:
        trial: Any = cdt.running_trial()
        loss = 0.0
        for epoch, loss in enumerate(curves[number], 1):
            trial.report(epoch, loss)
            if trial.should_prune():
                break
        return loss

    result = cdt.resume_search(
        objective,
        space=hp.randint("number", len(curves)),
        name="digits",
        max_evals=40,
        algo="rand",
        seed=1,
        store=MemoryStore(),
        pruner=cdt.Pruner(),
        progress=False,
    )
    picture = learning_curves(search_data("digits", result.trials.trials))
    style = "<style>svg{color:#222;background:#fff}</style>"
    head, start, rest = picture.partition(">")
    return f"{head}{start}{style}{rest}\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "scripts" / "benchmarks"))
    from rows_pruning import recorded

    PICTURE.write_text(draw(recorded("digits")), encoding="utf-8")
