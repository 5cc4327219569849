"""Choice of the store: the argument, the environment, `setup`, then Drive."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_drive_tuner.errors import CredentialsError, UsageError
from colab_drive_tuner.store import open_store, set_default_store
from colab_drive_tuner.store.folder import FolderStore


@pytest.fixture(autouse=True)
def no_default() -> Iterator[None]:
    """Each test begins and ends without a default store."""
    set_default_store(None)
    yield
    set_default_store(None)


def test_the_order_of_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drive_emulator: object
) -> None:
    """The argument comes first, then the environment, the default store and Drive."""
    assert open_store().location.startswith("drive:")
    set_default_store(FolderStore(tmp_path / "default"))
    assert open_store().location.endswith("/default")
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(tmp_path / "environment"))
    assert open_store().location.endswith("/environment")
    assert open_store(tmp_path / "argument").location.endswith("/argument")
    assert open_store(str(tmp_path / "argument")).location.endswith("/argument")
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", "")
    assert open_store().location.endswith("/default")


def test_a_store_is_used_as_it_is(tmp_path: Path) -> None:
    """A store object is neither opened again nor copied."""
    store = FolderStore(tmp_path)
    assert open_store(store) is store
    set_default_store(store)
    assert open_store() is store


def test_no_store_and_no_sign_in_is_an_error() -> None:
    """Without a store and a sign-in, the error says how to sign in and how to name a folder."""
    with pytest.raises(CredentialsError, match="run `colab-drive-tuner login`") as caught:
        open_store()
    assert "pass store=" in str(caught.value)


@pytest.mark.parametrize("spec", ["", "  ", 3, object()])
def test_what_cannot_be_a_store_is_refused(spec: object) -> None:
    """An empty name, or an object of another type, is refused."""
    with pytest.raises(UsageError, match="store"):
        open_store(spec)


@pytest.mark.parametrize(
    "spec", ["s3://bucket/searches", "gs:searches", "http://x", "Memory:x", "memry:x"]
)
def test_an_unknown_scheme_is_no_folder(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown scheme, as argument or in the environment, is an error with the known ones."""
    with pytest.raises(UsageError, match=r"Known are .*folder:.* memory:"):
        open_store(spec)
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", spec)
    with pytest.raises(UsageError, match=r"not a kind of store"):
        open_store()


def test_schemes_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive letter is no scheme.

    A name with a colon is a path if it exists or contains a separator or space.
    """
    monkeypatch.chdir(tmp_path)
    assert open_store("memory:x").location == open_store("memory:x").location
    assert open_store(f"folder:{tmp_path}").location == open_store(tmp_path).location
    for spec in ("C:\\searches", "C:/searches", "./s3:x", "a b/c:d", "2026-11:x", "/a:b"):
        assert open_store(spec).location.startswith("folder:")
    Path("gs:here").mkdir()
    assert open_store("gs:here").location == f"folder:{(tmp_path / 'gs:here').resolve()}"
    assert open_store(Path("s3:path")).location.endswith("s3:path")
    assert open_store(f"memory:{'x' * 300}").exists  # too long for a path
