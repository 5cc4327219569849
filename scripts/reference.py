"""Generate parts of the documentation: commands, environment variables, extras, versions.

    python scripts/reference.py    writes them into README.md and docs/, between their marks

`tests/test_site.py` fails if a page differs from what this script would write.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = "colab-drive-tuner"
_PART = re.compile(
    r"^<!-- (?P<name>\w+), made by scripts/reference\.py -->\n"
    r"(?P<text>.*?)^<!-- end of (?P=name) -->\n",
    re.MULTILINE | re.DOTALL,
)


def rendered(page: str) -> str:
    """Return the text of a page with its generated parts up to date."""

    def part(match: re.Match[str]) -> str:
        name = match["name"]
        mark = f"<!-- {name}, made by scripts/reference.py -->"
        return f"{mark}\n\n{PARTS[name]().strip()}\n\n<!-- end of {name} -->\n"

    return _PART.sub(part, page)


def commands() -> str:
    """Return the reference of the command line: a section with the help of each command."""
    from colab_drive_tuner.cli.app import app

    return "\n\n".join(_sections(typer.main.get_command(app), ()))


def _sections(command, path) -> Iterator[str]:
    inner = getattr(command, "commands", {})
    text, _, examples = cleandoc(command.help).partition("Example:\n")
    title = " ".join(path) if path else "Options of every command"
    yield f"## {title}" if len(path) < 2 else f"### {title}"
    if path:
        yield text.strip()
    if not inner:
        yield f"```text\n{_usage(command, path)}\n```"
    rows = [_row(parameter) for parameter in command.params if _shown(parameter)]
    if rows:
        yield _table(("argument or option", "meaning", "default"), rows)
    if not inner:
        yield f"```bash\n{cleandoc(examples)}\n```"
    for name, one in sorted(inner.items()):
        yield from _sections(one, (*path, name))


def _shown(parameter) -> bool:
    # The help of typer's own options differs between its versions.
    return not parameter.hidden and not parameter.name.endswith("_completion")


def _usage(command, path) -> str:
    words = [PROGRAM, *path]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = _argument(parameter)
            words.append(name if parameter.required else f"[{name}]")
        elif parameter.required:
            words.append(f"{parameter.opts[-1]} {_value(parameter)}")
    optional = [one for one in command.params if one.param_type_name == "option" and _shown(one)]
    return " ".join([*words, "[OPTIONS]"] if optional else words)


def _argument(parameter) -> str:
    return parameter.metavar + ("..." if parameter.nargs == -1 else "")


def _row(parameter) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        name = f"`{_argument(parameter)}`"
    else:
        value = "" if parameter.is_flag else f" {_value(parameter)}"
        name = ", ".join(f"`{option}{value}`" for option in parameter.opts)
    meaning = parameter.help
    if parameter.envvar:
        meaning += f" Environment variable: `{parameter.envvar}`."
    default = parameter.default
    if parameter.required:
        default = "required"
    else:
        default = "" if default is None or parameter.is_flag else f"`{default}`"
    return name, meaning, default


def _value(parameter) -> str:
    return parameter.metavar or parameter.name.strip("_").upper()


def variables() -> str:
    """Return the tables of environment variables: the user's, then those of other programs."""
    from colab_drive_tuner.environment_variables import Variable

    own = ("COLAB_DRIVE_TUNER_", "DRIVE_EMULATOR_", "XDG_")

    def table(*, ours: bool) -> str:
        listed = [(f"`{one}`", one.meaning) for one in Variable if one.startswith(own) is ours]
        return _table(("variable", "meaning"), listed)

    return (
        f"## Yours to set\n\n{table(ours=True)}\n\n"
        "## Set or read by other programs\n\n"
        "This package looks at them too. They need not be set for it.\n\n"
        f"{table(ours=False)}"
    )


TESTED = (
    "hyperopt", "numpy", "keras", "tensorflow", "google-api-python-client", "google-auth",
    "hyperas",
)  # fmt: skip
"""The packages in the table of versions."""


def versions() -> str:
    """Return the table of versions: requirements of pyproject.toml, versions of Colab's image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pythons = [
        text.rpartition(" ")[2] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)
    ]
    image = (ROOT / "tests/colab/constraints.txt").read_text("utf-8")
    colab = dict(re.findall(r"^([\w.-]+)==(\S+)$", image, re.MULTILINE))
    about = re.search(r"Python (?P<python>[\d.]+), .*read (?P<date>[\d-]+)", image)
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    allowed = dict(re.fullmatch(r"([\w-]+)(?:\[.*\])?(.*)", text).groups() for text in wanted)
    rows = [("Python", f"{pythons[0]} to {pythons[-1]}", about["python"])]
    rows += [(name, allowed[name], colab.get(name, "not in the image")) for name in TESTED]
    return _table(("", "allowed", f"Colab's image of {about['date']}"), rows)


PURPOSES = {
    "tensorflow": "Keras models, where Colab's image does not already have them",
    "hyperas": "the [hyperas package](hyperas.md#1-the-hyperas-package-unmodified)",
    "optuna": "[Optuna studies](optuna.md)",
    "report": "Optuna's [figures](optuna.md#figures); the command `report` needs no extra",
    "dashboard": "`colab-drive-tuner dashboard`",
    "loky": "[several processes](cluster.md#loky) of this machine",
    "distributed": "a [Dask](cluster.md#dask) cluster",
    "ray": "a [Ray](cluster.md#ray) cluster",
    "login": "`colab-drive-tuner login`, the [sign-in](permissions.md) outside of Colab",
    "rerun": "[unattended runs](scheduling.md) of notebooks on this machine",
    "pydrive2": "code for PyDrive2, by `session.pydrive()`",
    "emulator": "the [Drive emulator](emulator.md)",
}
"""What each optional dependency is for, the most wanted first."""


def extras() -> str:
    """Return the table of optional dependencies of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    packages = project["optional-dependencies"]
    if packages.keys() != PURPOSES.keys():
        raise ValueError(f"PURPOSES differs from {sorted(packages)} in pyproject.toml")
    rows = []
    for name, purpose in PURPOSES.items():
        names = ", ".join(re.match(r"[\w-]+", text)[0] for text in packages[name])
        rows.append((f"`{name}`", purpose, names))
    return _table(("extra", "for", "adds"), rows)


PARTS = {"commands": commands, "extras": extras, "variables": variables, "versions": versions}


def _table(head, rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def main() -> None:
    """Write every page whose parts have changed."""
    for page in PAGES:
        before = page.read_text("utf-8")
        after = rendered(before)
        if after != before:
            page.write_text(after, "utf-8")
            print(f"{page.relative_to(ROOT)} is up to date now.", file=sys.stderr)


if __name__ == "__main__":
    main()
