"""Take the pictures of docs/seeing.md: a search that was killed twice, in a notebook and a browser.

python scripts/screenshots.py    runs the search and writes docs/seeing-*.png; needs Chromium
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
TRIALS, KILLED_IN = 40, (13, 29)
"""Number of trials; trials in which the process is killed."""
DARK = "--blink-settings=preferredColorScheme=0"
PAGES = {
    "seeing-card": ("card.html", 780, 660, ()),
    "seeing-report": ("report.html", 1000, 1250, ()),
    "seeing-dark": ("report.html", 1000, 760, (DARK,)),
}
"""For each picture: the page, its width and height, and options of the browser."""


def search(store: str, killed_in: int | None) -> object:
    """Run or resume the search; return its result."""
    from hyperopt import hp

    import colab_drive_tuner as cdt

    space = {
        "rate": hp.loguniform("rate", -9, 0),
        "units": hp.choice("units", [32, 64, 128, 256]),
        "dropout": hp.uniform("dropout", 0, 0.6),
        "optimizer": hp.choice("optimizer", ["adam", "sgd", "rmsprop"]),
    }

    def objective(point: dict) -> dict:
        time.sleep(0.1 + point["units"] / 1000)  # larger models take longer
        if cdt.running_trial().tid == killed_in:
            os.kill(os.getpid(), signal.SIGKILL)
        short = abs(point["rate"] - 0.02) * 2 + abs(point["dropout"] - 0.2)
        loss = short + 8 / point["units"] + 0.1 * (point["optimizer"] == "sgd")
        curve = [loss * (1 + 2 / epoch) for epoch in range(1, 9)]
        return {"status": "ok", "loss": loss, "history": {"val_loss": curve}}

    return cdt.resume_search(
        objective, space=space, name="digits", max_evals=TRIALS, seed=4, store=store, progress=False
    )


def main() -> None:
    """Run and kill the search, then take the pictures with the browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Install Chromium, which takes the pictures.")
    with tempfile.TemporaryDirectory() as folder:
        for killed_in in KILLED_IN:
            command = [sys.executable, __file__, f"{folder}/store", str(killed_in)]
            done = subprocess.run(command, check=False)
            assert done.returncode == -signal.SIGKILL, "the process ended before it was killed"
        result = search(f"{folder}/store", None)
        result.report(f"{folder}/report.html")
        card = f"<meta charset=utf-8><body>{result._repr_html_()}"
        Path(folder, "card.html").write_text(card.replace(folder, "/content"), "utf-8")
        for name, (page, width, height, options) in PAGES.items():
            picture = DOCS / f"{name}.png"
            subprocess.run(
                [
                    chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    f"--user-data-dir={folder}/profile", f"--window-size={width},{height}",
                    f"--screenshot={picture}", *options, Path(folder, page).as_uri(),
                ],
                check=True, capture_output=True,
            )  # fmt: skip
            assert picture.stat().st_size < 100_000, f"{picture} is large"


if __name__ == "__main__":
    if len(sys.argv) == 3:
        search(sys.argv[1], int(sys.argv[2]))
    else:
        main()
