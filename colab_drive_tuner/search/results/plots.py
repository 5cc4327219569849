"""`result.plot`: pictures of our own as SVG, and Optuna's interactive figures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import MissingExtraError
from colab_drive_tuner.search.results.exchange.import_export import write_file
from colab_drive_tuner.search.results.pictures import charts as pictures
from colab_drive_tuner.search.results.pictures.timeline import timeline
from colab_drive_tuner.search.results.search_data import SearchData


class Picture:
    """An SVG picture, which a notebook shows.

    Args:
        svg: The picture.
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def save(self, path: str | Path) -> None:
        """Write it as a file.

        Args:
            path: The file, such as "timeline.svg"; one that is there is replaced.
        """
        write_file(path, self.svg.encode())

    def _repr_html_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Picture of {len(self.svg):,} bytes: save('picture.svg') writes it"


class Plots:
    """Pictures of a search.

    `timeline` and `slices` are SVG and need nothing. The others are Optuna's figures on the same
    trials, and need the extra `report`.

    Args:
        data: The search as plain series.
        study: Makes it an Optuna study.
    """

    def __init__(self, data: SearchData, study: Callable[[], Any]) -> None:
        self._data, self._study = data, study

    def timeline(self) -> Picture:
        """A lane for each runtime: trials as bars coloured by loss, kills and takeovers marked."""
        return Picture(timeline(self._data))

    def slices(self) -> Picture:
        """The loss over each parameter."""
        return Picture(pictures.slices(self._data))

    def history(self) -> Any:
        """The loss of each trial, and the best so far."""
        return self._figure("plot_optimization_history")

    def importance(self) -> Any:
        """How much each parameter matters, by Optuna's measure."""
        return self._figure("plot_param_importances")

    def parallel(self, params: Sequence[str] | None = None) -> Any:
        """A line for each trial through all parameters.

        Args:
            params: The parameters' labels; None: all.
        """
        return self._figure("plot_parallel_coordinate", params=params)

    def slice(self, params: Sequence[str] | None = None) -> Any:
        """The loss over each parameter.

        Args:
            params: The parameters' labels; None: all.
        """
        return self._figure("plot_slice", params=params)

    def contour(self, first: str, second: str) -> Any:
        """The loss over two parameters.

        Args:
            first: The label of one.
            second: The label of the other.
        """
        return self._figure("plot_contour", params=[first, second])

    def learning_curves(self) -> Any:
        """What trials reported epoch by epoch."""
        return self._figure("plot_intermediate_values")

    def _figure(self, name: str, **options: Any) -> Any:
        study = self._study()
        try:
            from optuna import visualization
        except ImportError as error:
            raise _missing() from error
        if not visualization.is_available():
            raise _missing()
        return getattr(visualization, name)(study, **options)


def _missing() -> MissingExtraError:
    return MissingExtraError(
        "Optuna's figures need plotly: pip install 'colab-drive-tuner[report]'. result.report() "
        "needs nothing."
    )
