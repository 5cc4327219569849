"""Comments on files and replies to them, in both versions ("Manage comments and replies")."""

import pytest

ALL = {"fields": "*"}


@pytest.fixture
def file(me):
    return me.create("discussed")["id"]


def say(wire, path, **body):
    answer = wire("POST", f"/drive/v3/files/{path}", json=body, params=ALL)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_comment_is_created_changed_and_listed_newest_first(me, file, emulator):
    """Comments are listed newest first, without their author's address and with escaped HTML."""
    first = say(me, f"{file}/comments", content="a < b\nc", anchor='{"r": "head"}',
                quotedFileContent={"mimeType": "text/plain", "value": "a"})  # fmt: skip
    assert first["htmlContent"] == "a &lt; b<br>c"
    assert first["quotedFileContent"] == {"mimeType": "text/plain", "value": "a"}
    assert (first["anchor"], first["resolved"], first["replies"]) == ('{"r": "head"}', False, [])
    assert set(first["author"]) == {"kind", "displayName", "me"}
    emulator.advance_clock(10)
    say(me, f"{file}/comments", content="second")
    path = f"/drive/v3/files/{file}/comments"
    changed = me("PATCH", f"{path}/{first['id']}", json={"content": "new"}, params=ALL).json()
    assert changed["content"] == "new"
    assert changed["createdTime"] == first["createdTime"] < changed["modifiedTime"]
    listed = me.get(f"files/{file}/comments", fields="nextPageToken,comments(content)", pageSize=1)
    assert listed["comments"] == [{"content": "second"}]
    token = listed["nextPageToken"]
    rest = me.get(f"files/{file}/comments", fields="*", pageSize=1, pageToken=token)
    assert [one["id"] for one in rest["comments"]] == [first["id"]]
    assert "nextPageToken" not in rest
    late = me.get(f"files/{file}/comments", fields="*", startModifiedTime="2999-01-01T00:00:00Z")
    assert late["comments"] == []


def test_a_reply_resolves_and_reopens(me, file):
    """A reply with an action resolves or reopens its comment and updates the comment's time."""
    comment = say(me, f"{file}/comments", content="why?")["id"]
    path = f"{file}/comments/{comment}"
    texts = [say(me, f"{path}/replies", content="because", action="resolve")]
    assert me.get(f"files/{path}", fields="resolved") == {"resolved": True}
    texts.append(say(me, f"{path}/replies", action="reopen"))
    found = me.get(f"files/{path}", fields="*")
    assert (found["resolved"], found["replies"]) == (False, texts)
    assert found["modifiedTime"] == texts[-1]["modifiedTime"]
    listed = me.get(f"files/{path}/replies", fields="replies(action)")
    assert listed == {"replies": [{"action": "resolve"}, {"action": "reopen"}]}


def test_deleted_comments_and_replies_have_no_content(me, file):
    """A deleted reply is shown on request only; a deleted comment is a 404."""
    comment = say(me, f"{file}/comments", content="secret")["id"]
    path = f"{file}/comments/{comment}"
    reply = say(me, f"{path}/replies", content="secret")["id"]
    assert me("DELETE", f"/drive/v3/files/{path}/replies/{reply}").status_code == 204
    assert me.get(f"files/{path}", fields="*")["replies"] == []
    shown = me.get(f"files/{path}", fields="replies(content,deleted)", includeDeleted="true")
    assert shown == {"replies": [{"deleted": True}]}
    assert me("DELETE", f"/drive/v3/files/{path}").status_code == 204
    assert me.get(f"files/{file}/comments", fields="comments") == {"comments": []}
    for verb in ("GET", "PATCH"):
        refused = me.refusal(verb, f"/drive/v3/files/{path}", params=ALL, json={"content": "x"})
        assert refused == (404, "notFound")


@pytest.mark.parametrize(
    ("verb", "path", "body", "refusal"),
    [
        ("POST", "?fields=*", {}, (400, "required")),
        ("POST", "", {"content": "x"}, (400, "required")),
        ("GET", "", None, (400, "required")),
        ("GET", "/{id}/replies", None, (400, "required")),
        ("POST", "/{id}/replies?fields=*", {"content": ""}, (400, "required")),
        ("POST", "/{id}/replies?fields=*", {"action": "shout"}, (400, "invalid")),
        ("GET", "/nobody?fields=*", None, (404, "notFound")),
        ("GET", "/{id}/replies/nobody?fields=*", None, (404, "notFound")),
        ("GET", "?fields=*&startModifiedTime=yesterday", None, (400, "invalid")),
        ("GET", "?fields=*&pageSize=101", None, (400, "invalidParameter")),
    ],
)
def test_invalid_comments_and_replies_are_refused(me, file, verb, path, body, refusal):
    """Comments without content, without v3's required fields or with unknown ids are refused."""
    comment = say(me, f"{file}/comments", content="x")["id"]
    path = f"/drive/v3/files/{file}/comments{path.format(id=comment)}"
    assert me.refusal(verb, path, json=body) == refusal


def test_readers_read_commenters_comment_and_authors_change(me, file, person):
    """Readers cannot comment; only authors change comments; the file's owner may delete them."""
    reader, commenter = person(), person()
    for other, role in ((reader, "reader"), (commenter, "commenter")):
        me.share(file, other, role)
    theirs = say(commenter, f"{file}/comments", content="theirs")["id"]
    mine = say(me, f"{file}/comments", content="mine")["id"]
    path, refused = f"/drive/v3/files/{file}/comments", (403, "insufficientFilePermissions")
    assert len(reader.get(f"files/{file}/comments", fields="*")["comments"]) == 2
    body = {"content": "x"}
    assert reader.refusal("POST", path, json=body, params=ALL) == refused
    assert me.refusal("PATCH", f"{path}/{theirs}", json=body, params=ALL) == refused
    assert commenter.refusal("DELETE", f"{path}/{mine}") == refused
    assert me("DELETE", f"{path}/{theirs}").status_code == 204


def test_v2_has_its_own_names(me, file):
    """v2 names commentId, status, verb and context, and does not require `fields`."""
    path = f"/drive/v2/files/{file}/comments"
    context = {"type": "text/plain", "value": "a"}
    comment = me("POST", path, json={"content": "why?", "context": context}).json()
    assert (comment["status"], comment["context"], comment["fileId"]) == ("open", context, file)
    v3 = me("GET", f"/drive/v3/files/{file}/comments/{comment['commentId']}?fields=*").json()
    assert v3["quotedFileContent"] == {"mimeType": "text/plain", "value": "a"}
    path = f"{path}/{comment['commentId']}"
    reply = me("POST", f"{path}/replies", json={"verb": "resolve"}).json()
    assert (reply["kind"], reply["verb"]) == ("drive#commentReply", "resolve")
    listed = me("GET", f"/drive/v2/files/{file}/comments").json()
    assert [one["status"] for one in listed["items"]] == ["resolved"]
    assert listed["items"][0]["replies"] == [reply]
    changed = me("PUT", path, json={"content": "how?"}).json()
    assert changed["content"] == "how?"
