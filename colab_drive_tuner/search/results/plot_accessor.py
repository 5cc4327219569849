"""`result.plot`: this package's SVG charts, and Optuna's interactive figures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import optional_import
from colab_drive_tuner.search.results.exchange.import_export import write_file
from colab_drive_tuner.search.results.search_data import SearchData
from colab_drive_tuner.search.results.svg_charts import charts
from colab_drive_tuner.search.results.svg_charts.svg import in_notebook
from colab_drive_tuner.search.results.svg_charts.timeline import timeline

_MISSING = (
    "Optuna's figures need plotly: pip install 'colab-drive-tuner[report]'. result.report() has no "
    "requirements."
)


class Picture:
    """SVG picture that a notebook displays.

    Args:
        svg: The picture's source.
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def save(self, path: str | Path) -> None:
        """Write the picture to a file.

        Args:
            path: The file, such as "timeline.svg"; an existing one is replaced.
        """
        write_file(path, self.svg.encode())

    def _repr_html_(self) -> str:
        return in_notebook(self.svg)

    def __repr__(self) -> str:
        return f"Picture of {len(self.svg):,} bytes: save('picture.svg') writes it"


class Plots:
    """Plots of a search.

    `timeline` and `slices` are SVG and have no requirements. The others are Optuna's figures of the
    same trials and require the extra `report`.

    Args:
        data: The search's data.
        study: Function that returns the search as an Optuna study.
    """

    def __init__(self, data: SearchData, study: Callable[[], Any]) -> None:
        self._data, self._study = data, study

    def timeline(self) -> Picture:
        """Plot a lane per runtime: trials as bars coloured by loss, with kills and takeovers."""
        return Picture(timeline(self._data))

    def slices(self) -> Picture:
        """Plot the loss over each parameter, as SVG."""
        return Picture(charts.slices(self._data))

    def history(self) -> Any:
        """Plot the loss of each trial and the best so far."""
        return self._figure("plot_optimization_history")

    def importance(self) -> Any:
        """Plot the importance of each parameter, by Optuna's measure."""
        return self._figure("plot_param_importances")

    def parallel(self, params: Sequence[str] | None = None) -> Any:
        """Plot each trial as a line through its parameters (parallel coordinates).

        Args:
            params: The parameters' labels; None: all.
        """
        return self._figure("plot_parallel_coordinate", params=params)

    def slice(self, params: Sequence[str] | None = None) -> Any:
        """Plot the loss over each parameter, as Optuna's figure.

        Args:
            params: The parameters' labels; None: all.
        """
        return self._figure("plot_slice", params=params)

    def contour(self, first: str, second: str) -> Any:
        """Plot the loss over two parameters.

        Args:
            first: The label of the first parameter.
            second: The label of the second parameter.
        """
        return self._figure("plot_contour", params=[first, second])

    def learning_curves(self) -> Any:
        """Plot the values that trials reported per epoch."""
        return self._figure("plot_intermediate_values")

    def _figure(self, name: str, **options: Any) -> Any:
        study = self._study()
        with optional_import(_MISSING):
            from optuna import visualization

            if not visualization.is_available():
                raise ImportError("plotly")
        return getattr(visualization, name)(study, **options)
