"""Finding the running notebook's file in Drive."""

import json
from pathlib import Path

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.errors import (
    AmbiguousNotebookError,
    CredentialsError,
    NotebookError,
    NotebookNotFoundError,
    NotebookWarning,
)
from colab_drive_tuner.notebook import download_notebook, find_notebook
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
    """Bytes of a notebook with these code cells."""
    cells = [{"cell_type": "code", "metadata": {}, "source": [source]} for source in sources]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}).encode()


@pytest.fixture
def client(bare_machine, drive_emulator):  # noqa: F811
    """Somebody's Drive, empty; variables are cleared first, then the emulator's are set."""
    return DriveClient.connect()


def put(client, name, content=None, *, mime_type=COLAB, folder="Colab Notebooks"):
    """Put a notebook into a folder of Drive, as Colab or an upload does."""
    content = notebook("1") if content is None else content
    parent = client.folder(folder).id
    return client.create_file(name, content, parent=parent, mime_type=mime_type)


@pytest.fixture
def colab(monkeypatch):
    """Colab's runtime as it is while `page` shows the notebook that its session list names."""

    def start(server, page=None):
        google_colab.install(monkeypatch, page or google_colab.Page(attached=False))
        monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
        monkeypatch.setenv("KMP_TARGET_PORT", str(server.port))

    return start


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_found_and_downloaded_by_its_name(client, name):
    """With or without `.ipynb`, whatever signs the name holds; lookalikes are passed over."""
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
    """By name, and as the only candidate where nothing says what runs."""
    file = put(client, "x.ipynb", mime_type=mime_type)
    put(client, "data.json", b"{}", mime_type="application/json")
    put(client, "weights.bin", b"{}", mime_type="application/octet-stream")
    assert find_notebook("x", client=client).file.id == file.id
    assert find_notebook(client=client).file.id == file.id


def test_a_colab_notebook_without_an_ending_gets_one_on_disk(client):
    """People rename notebooks; hyperas reads `<name>.ipynb` and nothing else."""
    put(client, "a/b plan")
    found = find_notebook("a/b plan", client=client)
    assert (found.name, found.local_name) == ("a/b plan", "a_b plan.ipynb")
    assert download_notebook("a/b plan", client=client).name == "a_b plan.ipynb"


def test_a_notebook_is_found_by_its_id_and_by_its_links(client):
    """What people copy out of the address bar, and what an error told them to use."""
    file = put(client, "x.ipynb")
    put(client, "x.ipynb", folder="Other")
    for text in (
        file.id,
        f"https://colab.research.google.com/drive/{file.id}#scrollTo=abc",
        f"https://drive.google.com/file/d/{file.id}/view?usp=sharing",
        f"https://drive.google.com/open?id={file.id}",
    ):
        assert find_notebook(text, client=client).file.id == file.id


def test_two_of_one_name_are_listed_and_never_guessed_between(client):
    """The message holds id, owner, folder and time of both, and how to choose."""
    first, second = put(client, "x.ipynb"), put(client, "x.ipynb", folder="Old/2019")
    with pytest.raises(AmbiguousNotebookError) as caught:
        find_notebook("x", client=client)
    message = str(caught.value)
    for expected in (first.id, second.id, "owner@example.com", "'2019'", "'Colab Notebooks'"):
        assert expected in message
    assert "modified 20" in message
    assert "setup(notebook='" in message
    assert list(Path().iterdir()) == []


def test_an_unknown_name_says_where_it_was_looked_for(client):
    """Upper and lower case count, as in Drive's own names."""
    put(client, "Quick.ipynb")
    with pytest.raises(NotebookNotFoundError, match=r"owner@example.com has no notebook named"):
        find_notebook("quick", client=client)


def test_a_folder_of_that_id_is_no_notebook(client):
    """An id of something else is named for what it is."""
    folder = client.folder("Colab Notebooks")
    with pytest.raises(NotebookError, match="is not a notebook but"):
        find_notebook(folder.id, client=client)


def test_nothing_known_and_several_in_drive_is_not_guessed(client):
    """So it is where Colab's command line drives the runtime."""
    with pytest.raises(NotebookNotFoundError, match=r"name one with setup\(notebook="):
        find_notebook(client=client)
    only = put(client, "one.ipynb")
    assert find_notebook(client=client).file.id == only.id
    put(client, "two.ipynb")
    with pytest.raises(AmbiguousNotebookError, match="could be the running one"):
        find_notebook(client=client)


def test_the_running_notebook_is_known_by_its_id_also_after_it_was_renamed(client, colab):
    """The session list keeps the name of the start; Drive knows the name of today."""
    file = put(client, "today.ipynb")
    with SessionsServer([entry("yesterday.ipynb", f"fileId={file.id}")]) as server:
        colab(server)
        found = find_notebook(client=client)
    assert (found.file.id, found.name, found.running) == (file.id, "today", True)


def test_of_two_namesakes_the_running_one_is_meant(client, colab):
    """Somebody names the notebook that they are in; the session list says which of two that is."""
    put(client, "x.ipynb", notebook("other"))
    file = put(client, "x.ipynb", folder="Mine")
    with SessionsServer([entry("x.ipynb", f"fileId={file.id}")]) as server:
        colab(server)
        assert find_notebook("x", client=client).file.id == file.id
        assert find_notebook(client=client).file.id == file.id


def test_a_notebook_from_github_is_not_mixed_up_with_a_namesake_in_drive(client, colab):
    """Its open page is what hyperas gets; without a page the error says what works without."""
    put(client, "x.ipynb", notebook("somebody else's cell"))
    path = "https://github.com/me/it/blob/main/x.ipynb"
    with SessionsServer([entry("x.ipynb", path)]) as server:
        colab(server)
        with pytest.raises(NotebookNotFoundError, match="Searches work without it"):
            find_notebook(client=client)
        colab(server, google_colab.Page(json.loads(notebook("the open cell"))))
        copy = download_notebook(client=client)
    assert json.loads(copy.read_bytes()) == json.loads(notebook("the open cell"))


def test_half_an_emoji_in_an_open_cell_is_kept_as_it_is(client, colab):
    """JavaScript cuts strings in the middle of one; UTF-8 has no way to write that."""
    content = {"cells": [{"cell_type": "code", "source": "'\ud83d'"}], "metadata": {}}
    path = "https://github.com/me/it/blob/main/x.ipynb"
    with SessionsServer([entry("x.ipynb", path)]) as server:
        colab(server, google_colab.Page(content))
        assert json.loads(download_notebook(client=client).read_bytes()) == content
        colab(server, google_colab.Page({"cells": [b"no JSON"]}))
        with pytest.raises(NotebookError, match="cannot be saved"):
            download_notebook(client=client)


def test_a_list_that_gives_the_name_alone_leads_to_the_only_one_of_that_name(client, colab):
    """The quoted name without an id: one notebook of it is taken, of two none."""
    file = put(client, "100% 🧪.ipynb")
    put(client, "other.ipynb")
    with SessionsServer([entry("100% 🧪.ipynb", "100% 🧪.ipynb")]) as server:
        colab(server)
        found = find_notebook(client=client)
        assert (found.file.id, found.running) == (file.id, True)
        put(client, "100% 🧪.ipynb", folder="Other")
        with pytest.raises(AmbiguousNotebookError):
            find_notebook(client=client)


def test_a_notebook_of_another_account_says_so(client, colab):
    """Opened by somebody else, or shared with them only: Drive answers 404 for it."""
    with SessionsServer([entry("x.ipynb", "fileId=" + "1" * 33)]) as server:
        colab(server)
        with pytest.raises(NotebookNotFoundError, match=r"cannot be seen by owner@example.com"):
            find_notebook(client=client)


def test_a_shared_notebook_of_somebody_else_is_found(bare_machine, drive_emulator, colab):  # noqa: F811
    """Shared by its owner; it lies in a folder that one may not see, and one reads it."""
    import requests

    drive_emulator.allow("friend", "friend@example.com")
    client = DriveClient.connect()
    file = put(client, "x.ipynb")
    requests.post(
        f"{drive_emulator.url}/drive/v3/files/{file.id}/permissions",
        json={"role": "reader", "type": "user", "emailAddress": "friend@example.com"},
        headers={"Authorization": "Bearer emulator"},
        timeout=10,
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
    """By its name, by its id, and as the running one; a shared drive belongs to nobody."""
    import requests

    made = requests.post(
        f"{drive_emulator.url}/drive/v3/drives?requestId=team",
        json={"name": "Team"},
        headers={"Authorization": "Bearer emulator"},
        timeout=10,
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


def test_changes_that_are_not_saved_yet_are_pointed_out(client, colab):
    """Hyperas reads the copy: it would run old cells without a word."""
    file = put(client, "x.ipynb", notebook("old"))
    with SessionsServer([entry("x.ipynb", f"fileId={file.id}")]) as server:
        colab(server, google_colab.Page(json.loads(notebook("new"))))
        with pytest.warns(NotebookWarning, match="not saved in Drive yet"):
            download_notebook(client=client)
        # As the page gives it: a source is one string there, a list of lines in the file.
        colab(server, google_colab.Page({"cells": [{"cell_type": "code", "source": "old"}]}))
        assert download_notebook(client=client).read_bytes() == notebook("old")


def test_downloading_again_fetches_nothing_that_is_here_already(client, drive_emulator):
    """The second time Drive is asked about the notebook, not for its content."""
    put(client, "x.ipynb")
    download_notebook("x", client=client)
    drive_emulator.clear_log()
    download_notebook("x", client=client)
    assert not [call for call in drive_emulator.log if "alt=media" in str(call["query"])]


def test_an_edited_copy_is_kept_aside_and_named(client):
    """The user's edits survive under another name, which the warning tells."""
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


def test_a_local_notebook_needs_nobody_to_sign_in(monkeypatch, tmp_path):
    """Served from this very disk: no client, no credentials, no copy."""
    path = tmp_path / "lab.ipynb"
    path.write_bytes(notebook("1"))
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    assert download_notebook() == path
    assert download_notebook("lab") == path
    assert list(Path().iterdir()) == []


def test_without_drive_the_search_for_a_name_says_that_nobody_is_signed_in():
    """No emulator, no credentials, no browser: an error, and no prompt."""
    with pytest.raises(CredentialsError):
        find_notebook("x")
