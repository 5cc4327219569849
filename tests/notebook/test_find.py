"""Finding the running notebook's file in Drive."""

import json
from pathlib import Path

import pytest
import requests

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.errors import (
    AmbiguousNotebookError,
    CredentialsError,
    NotebookError,
    NotebookNotFoundError,
    NotebookWarning,
    UsageError,
)
from colab_drive_tuner.notebook.find import find_notebook
from colab_drive_tuner.notebook.local_copy import download_notebook
from tests.fakes import google_colab
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.fakes.colab_sessions import SessionsServer, entry

pytestmark = pytest.mark.usefixtures("bare_machine")
COLAB = "application/vnd.google.colaboratory"
NAMES = [
    "quickstart.ipynb",
    'Bob\'s "best" run.ipynb',
    "🧪 Versuch.ipynb",
    "back\\slash.ipynb",
    "100% sure {x}.ipynb",
]


def notebook(*sources):
    """Return the bytes of a notebook with these code cells."""
    cells = [{"cell_type": "code", "metadata": {}, "source": [source]} for source in sources]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}).encode()


@pytest.fixture
def client(bare_machine, drive_emulator):  # noqa: F811
    """Connect to an empty Drive; variables are cleared before the emulator sets its own."""
    return DriveClient.connect()


def put(client, name, content=None, *, mime_type=COLAB, folder="Colab Notebooks"):
    """Put a notebook into a folder of Drive, as Colab or an upload does."""
    content = notebook("1") if content is None else content
    parent = client.folder(folder).id
    return client.create_file(name, content, parent=parent, mime_type=mime_type)


@pytest.fixture
def colab(monkeypatch):
    """Set up a Colab runtime whose page shows the notebook of its session list."""

    def start(server, page=None):
        google_colab.install(monkeypatch, page or google_colab.Page(attached=False))
        monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
        monkeypatch.setenv("KMP_TARGET_PORT", str(server.port))

    return start


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_found_and_downloaded_by_its_name(client, name):
    """The ending `.ipynb` is optional, names may have any sign, and similar files are ignored."""
    file = put(client, name)
    put(client, name, b"{}", mime_type="text/plain")
    put(client, "Copy of " + name)
    client.trash(put(client, name).id)
    assert find_notebook(name, client=client).file.id == file.id
    assert find_notebook(name.removesuffix(".ipynb"), client=client).file.id == file.id
    path = download_notebook(name, client=client)
    assert path == Path(name).absolute()
    assert path.read_bytes() == notebook("1")


@pytest.mark.parametrize(
    "mime_type",
    [
        "application/vnd.google.colaboratory",
        "application/vnd.google.colab",
        "application/json",
        "application/x-ipynb+json",
        "application/octet-stream",
    ],
)
def test_colabs_own_and_uploaded_notebooks_are_found(client, mime_type):
    """A notebook is found by name, or as the only candidate if the running one is unknown."""
    file = put(client, "x.ipynb", mime_type=mime_type)
    put(client, "data.json", b"{}", mime_type="application/json")
    put(client, "weights.bin", b"{}", mime_type="application/octet-stream")
    assert find_notebook("x", client=client).file.id == file.id
    assert find_notebook(client=client).file.id == file.id


def test_a_colab_notebook_without_an_ending_gets_one_on_disk(client):
    """Hyperas reads only `<name>.ipynb`, so a renamed notebook gets the ending."""
    put(client, "a/b plan")
    found = find_notebook("a/b plan", client=client)
    assert (found.name, found.local_name) == ("a/b plan", "a_b plan.ipynb")
    assert download_notebook("a/b plan", client=client).name == "a_b plan.ipynb"


def test_a_notebook_is_found_by_its_id_and_by_its_links(client):
    """Ids and links from the address bar or an error message are accepted."""
    file = put(client, "x.ipynb")
    put(client, "x.ipynb", folder="Other")
    for text in (
        file.id,
        f"https://colab.research.google.com/drive/{file.id}#scrollTo=abc",
        f"https://drive.google.com/file/d/{file.id}/view?usp=sharing",
        f"https://drive.google.com/open?id={file.id}",
        f"colab.research.google.com/drive/{file.id}",
    ):
        assert find_notebook(text, client=client).file.id == file.id


def test_a_shortcut_leads_to_its_notebook(client, drive_emulator):
    """A shortcut is followed by its id and by its name; with its target's name it is no second."""
    file = put(client, "x.ipynb")
    for name in ("short.ipynb", "x.ipynb"):
        made = requests.post(
            f"{drive_emulator.url}/drive/v3/files",
            headers={"Authorization": f"Bearer {drive_emulator.token}"},
            json={
                "name": name,
                "mimeType": "application/vnd.google-apps.shortcut",
                "shortcutDetails": {"targetId": file.id},
            },
            timeout=100,
        )
        for text in (name, made.json()["id"]):
            assert find_notebook(text, client=client).file.id == file.id


@pytest.mark.parametrize("name", [5, b"x", Path("x.ipynb")])
def test_a_name_is_a_text(client, name):
    """A name of another type is refused as such."""
    with pytest.raises(UsageError, match="name must be a text"):
        find_notebook(name, client=client)


def test_a_link_to_another_place_is_told_from_a_name(client):
    """The error for a link to GitHub asks for a copy in Drive, not for another spelling."""
    with pytest.raises(NotebookNotFoundError, match="not a link to a notebook in Drive"):
        find_notebook("https://colab.research.google.com/github/a/b/x.ipynb", client=client)


def test_two_notebooks_of_one_name_are_an_error_that_lists_them(client):
    """The error about two notebooks of one name lists id, owner, folder and time of both."""
    first, second = put(client, "x.ipynb"), put(client, "x.ipynb", folder="Old/2019")
    with pytest.raises(AmbiguousNotebookError) as caught:
        find_notebook("x", client=client)
    message = str(caught.value)
    for expected in (first.id, second.id, "owner@example.com", "'2019'", "'Colab Notebooks'"):
        assert expected in message
    assert "modified 20" in message
    assert "setup(notebook='" in message
    assert list(Path().iterdir()) == []


def test_an_unknown_name_is_an_error_that_names_the_account(client):
    """A name whose case differs is not found, and the error names the account."""
    put(client, "Quick.ipynb")
    with pytest.raises(NotebookNotFoundError, match=r"owner@example.com has no notebook named"):
        find_notebook("quick", client=client)


def test_a_folder_of_that_id_is_no_notebook(client):
    """The id of a folder is refused with an error that says so."""
    folder = client.folder("Colab Notebooks")
    with pytest.raises(NotebookError, match="is not a notebook but"):
        find_notebook(folder.id, client=client)


def test_nothing_known_and_several_in_drive_is_not_guessed(client):
    """If the running notebook is unknown, one of several in Drive is never selected."""
    with pytest.raises(NotebookNotFoundError, match=r"name one with setup\(notebook="):
        find_notebook(client=client)
    only = put(client, "one.ipynb")
    assert find_notebook(client=client).file.id == only.id
    put(client, "two.ipynb")
    with pytest.raises(AmbiguousNotebookError, match="could be the running one"):
        find_notebook(client=client)


def test_a_notebook_that_a_rerun_has_kept_is_not_taken_for_the_running_one(client):
    """Executed notebooks in `runs/` of searches are no candidates; by name they are found."""
    parent = client.create_folder("runs", parent="root").id
    kept = client.create_file(
        "2026-01-01T00-00-00Z finished.ipynb",
        notebook("1"),
        parent=parent,
        mime_type="application/octet-stream",
        properties={"cdt_ended": "finished"},
    )
    with pytest.raises(NotebookNotFoundError, match=r"name one with setup\(notebook="):
        find_notebook(client=client)
    only = put(client, "one.ipynb", mime_type="application/octet-stream")
    assert find_notebook(client=client).file.id == only.id
    assert find_notebook(kept.name, client=client).file.id == kept.id


def test_the_running_notebook_is_known_by_its_id_also_after_it_was_renamed(client, colab):
    """A renamed notebook is found by the id in the session list, under its present name."""
    file = put(client, "today.ipynb")
    with SessionsServer([entry("yesterday.ipynb", f"fileId={file.id}")]) as server:
        colab(server)
        found = find_notebook(client=client)
    assert (found.file.id, found.name, found.running) == (file.id, "today", True)


def test_of_two_notebooks_of_one_name_the_running_one_is_found(client, colab):
    """If a user names the notebook in use, the session list decides between two of that name."""
    put(client, "x.ipynb", notebook("other"))
    file = put(client, "x.ipynb", folder="Mine")
    with SessionsServer([entry("x.ipynb", f"fileId={file.id}")]) as server:
        colab(server)
        assert find_notebook("x", client=client).file.id == file.id
        assert find_notebook(client=client).file.id == file.id


def test_a_notebook_from_github_is_not_mixed_up_with_a_namesake_in_drive(client, colab):
    """A notebook from GitHub is read from its page; without a page it is an error."""
    put(client, "x.ipynb", notebook("somebody else's cell"))
    path = "https://github.com/me/it/blob/main/x.ipynb"
    with SessionsServer([entry("x.ipynb", path)]) as server:
        colab(server)
        with pytest.raises(NotebookNotFoundError, match="Searches work without it"):
            find_notebook(client=client)
        colab(server, google_colab.Page(json.loads(notebook("the open cell"))))
        copy = download_notebook(client=client)
    assert json.loads(copy.read_bytes()) == json.loads(notebook("the open cell"))


def test_a_lone_surrogate_in_an_open_cell_is_kept(client, colab):
    """Half an emoji, to which JavaScript can cut a string, is kept in the copy."""
    content = {"cells": [{"cell_type": "code", "source": "'\ud83d'"}], "metadata": {}}
    path = "https://github.com/me/it/blob/main/x.ipynb"
    with SessionsServer([entry("x.ipynb", path)]) as server:
        colab(server, google_colab.Page(content))
        assert json.loads(download_notebook(client=client).read_bytes()) == content


def test_a_session_list_without_an_id_finds_a_unique_name(client, colab):
    """A listed name without an id finds the only notebook of that name, but none of two."""
    file = put(client, "100% 🧪.ipynb")
    put(client, "other.ipynb")
    with SessionsServer([entry("100% 🧪.ipynb", "100% 🧪.ipynb")]) as server:
        colab(server)
        found = find_notebook(client=client)
        assert (found.file.id, found.running) == (file.id, True)
        put(client, "100% 🧪.ipynb", folder="Other")
        with pytest.raises(AmbiguousNotebookError):
            find_notebook(client=client)


def test_a_notebook_that_the_account_cannot_see_is_an_error(client, colab):
    """The error about a notebook that Drive hides from the account names the account."""
    with SessionsServer([entry("x.ipynb", "fileId=" + "1" * 33)]) as server:
        colab(server)
        with pytest.raises(NotebookNotFoundError, match=r"cannot be seen by owner@example.com"):
            find_notebook(client=client)


def test_a_shared_notebook_of_somebody_else_is_found(bare_machine, drive_emulator, colab):  # noqa: F811
    """A reader finds a shared notebook, although its folder is not visible to them."""
    import requests

    drive_emulator.allow("friend", "friend@example.com")
    client = DriveClient.connect()
    file = put(client, "x.ipynb")
    requests.post(
        f"{drive_emulator.url}/drive/v3/files/{file.id}/permissions",
        json={"role": "reader", "type": "user", "emailAddress": "friend@example.com"},
        headers={"Authorization": "Bearer emulator"},
        timeout=100,
    ).raise_for_status()
    with (
        pytest.MonkeyPatch.context() as patch,
        SessionsServer([entry("x.ipynb", f"fileId={file.id}")]) as server,
    ):
        patch.setenv("DRIVE_EMULATOR_TOKEN", "friend")
        colab(server)
        friend = DriveClient.connect()
        assert download_notebook(client=friend).read_bytes() == notebook("1")
        assert find_notebook("x.ipynb", client=friend).file.id == file.id


def test_a_notebook_in_a_shared_drive_is_found(client, drive_emulator, colab):
    """A notebook in a shared drive is found by name, by id and as the running one."""
    import requests

    made = requests.post(
        f"{drive_emulator.url}/drive/v3/drives?requestId=team",
        json={"name": "Team"},
        headers={"Authorization": "Bearer emulator"},
        timeout=100,
    )
    made.raise_for_status()
    team = made.json()["id"]
    file = client.create_file("x.ipynb", notebook("team"), parent=team, mime_type=COLAB)
    assert find_notebook("x", client=client).file.id == file.id
    assert find_notebook(file.id, client=client).file.id == file.id
    with SessionsServer([entry("x.ipynb", f"fileId={file.id}")]) as server:
        colab(server)
        assert download_notebook(client=client).read_bytes() == notebook("team")
    put(client, "x.ipynb")
    with pytest.raises(AmbiguousNotebookError, match="owner a shared drive"):
        find_notebook("x", client=client)


def test_unsaved_changes_warn(client, colab):
    """Unsaved changes warn, because hyperas would run the old cells of the copy."""
    file = put(client, "x.ipynb", notebook("old"))
    with SessionsServer([entry("x.ipynb", f"fileId={file.id}")]) as server:
        colab(server, google_colab.Page(json.loads(notebook("new"))))
        with pytest.warns(NotebookWarning, match="not saved in Drive yet"):
            download_notebook(client=client)
        # The page has a cell's source as one string, the file as a list of lines.
        colab(server, google_colab.Page({"cells": [{"cell_type": "code", "source": "old"}]}))
        assert download_notebook(client=client).read_bytes() == notebook("old")


def test_an_unchanged_notebook_is_not_downloaded_again(client, drive_emulator):
    """The second download requests the notebook's metadata, but not its content."""
    put(client, "x.ipynb")
    download_notebook("x", client=client)
    drive_emulator.clear_log()
    download_notebook("x", client=client)
    assert not [call for call in drive_emulator.log if "alt=media" in str(call["query"])]


def test_an_edited_copy_is_renamed_before_a_download(client):
    """The user's edits are kept under another name, which the warning gives."""
    put(client, "x.ipynb")
    download_notebook("x", client=client)
    Path("x.ipynb").write_bytes(b"my edits")
    with pytest.warns(NotebookWarning, match=r"renamed to x \(kept\).ipynb"):
        download_notebook("x", client=client)
    assert Path("x (kept).ipynb").read_bytes() == b"my edits"
    assert Path("x.ipynb").read_bytes() == notebook("1")


def test_a_notebook_that_is_not_json_replaces_nothing(client):
    """An upload that only has the ending is refused by name."""
    put(client, "x.ipynb", b"%PDF-1.7", mime_type="application/octet-stream")
    Path("x.ipynb").write_bytes(b"theirs")
    with pytest.raises(NotebookError, match="its content is not JSON"):
        download_notebook("x", client=client)
    assert Path("x.ipynb").read_bytes() == b"theirs"


def test_a_local_notebook_needs_no_credentials(monkeypatch, tmp_path):
    """A notebook on this disk is used without client, credentials or copy."""
    path = tmp_path / "lab.ipynb"
    path.write_bytes(notebook("1"))
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    assert download_notebook() == path
    assert download_notebook("lab") == path
    assert list(Path().iterdir()) == []


def test_finding_a_name_without_credentials_is_an_error():
    """Without credentials and a browser there is an error and no prompt."""
    with pytest.raises(CredentialsError):
        find_notebook("x")
