"""Faults by rule and seed, the request log, and the admin endpoint."""

import dataclasses
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.emulator.api.calls import Request, stream_of
from colab_drive_tuner.emulator.faults import KINDS, NUMBERS, TEXTS, Faults, Rule, parse_rule
from tests.emulator.raw_client import ALL, ALL_FILES, RawClient
from tests.processes import wait_until

REQUEST = Request("GET", "/", [], {}, stream_of(b""), "")
BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


def statuses(wire, count, path="/drive/v3/files"):
    return [wire("GET", path).status_code for _ in range(count)]


def test_an_error_applies_to_the_calls_that_it_names(me, emulator):
    """The n-th matching call, counted from 1, gets the status; other calls do not."""
    emulator.faults.add("error", status=503, nth=[2, 4], api="drive.files.list")
    assert statuses(me, 5) == [200, 503, 200, 503, 200]
    assert me("GET", "/drive/v3/about?fields=user").status_code == 200
    assert emulator.faults.rules[0]["struck"] == 2


def test_an_error_looks_like_google_s(me, emulator):
    """Reason, domain and Retry-After are those of the rule, or the usual ones of the status."""
    emulator.faults.add("error", status=429, retry_after=7, times=1)
    answer = me("GET", "/drive/v3/files")
    assert answer.headers["Retry-After"] == "7"
    error = answer.json()["error"]["errors"][0]
    assert (error["reason"], error["domain"]) == ("rateLimitExceeded", "usageLimits")
    emulator.faults.add("error", status=403, reason="dailyLimitExceeded", times=1)
    assert me.refusal("GET", "/drive/v3/files") == (403, "dailyLimitExceeded")
    emulator.faults.add("error", status=401, retry_after=7, times=1)
    answer = me("GET", "/drive/v3/files")
    assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')
    assert answer.headers["Retry-After"] == "7"
    error = answer.json()["error"]["errors"][0]
    assert (error["reason"], error["location"]) == ("authError", "Authorization")


def test_a_rule_for_a_method_applies_to_each_request_of_its_upload(me, emulator):
    """The chunks of a resumable upload belong to its method and account, as in the log."""
    start = "/upload/drive/v3/files?uploadType=resumable"
    uri = me("POST", start, json={"name": "f"}).headers["Location"]
    emulator.faults.add(
        "error", status=503, api="drive.files.create", account=me.account, verb="PUT", times=1
    )
    # The address alone authorizes a chunk.
    answers = [requests.put(uri, data=b"x", timeout=30).status_code for _ in range(2)]
    assert answers == [503, 200]


def test_rules_match_verb_path_query_and_account(me, person, emulator):
    """A rule applies if all of its conditions hold."""
    emulator.faults.add(
        "error", status=500, verb="POST|PATCH", path="/files$", account=me.account, query="x=1|^$"
    )
    assert me("POST", "/drive/v3/files", json={}).status_code == 500
    assert me("GET", "/drive/v3/files").status_code == 200
    assert me("POST", "/drive/v3/files?fields=id", json={}).status_code == 200
    assert person()("POST", "/drive/v3/files", json={}).status_code == 200


def test_probability_is_repeatable_from_a_seed():
    """The same seed and rule apply to the same calls; another seed to others."""

    def struck(seed):
        faults = Faults(seed)
        faults.add(0.0, do="error", probability=0.3)
        calls = range(200)
        return [n for n in calls if faults.triggered(0.0, REQUEST)]

    assert struck(1) == struck(1) != struck(2)
    assert 30 < len(struck(1)) < 90


def test_rules_can_skip_repeat_and_end():
    """`after`, `every`, `times` and `until` limit the calls that a rule applies to."""

    def struck(now=0.0, **values):
        faults = Faults()
        faults.add(0.0, do="error", **values)
        return [n for n in range(1, 9) if faults.triggered(now, REQUEST)]

    assert struck(after=5) == [6, 7, 8]
    assert struck(every=3) == [3, 6]
    assert struck(times=2) == [1, 2]
    assert struck(until=10.0, now=9.0) == list(range(1, 9))
    assert struck(until=10.0, now=11.0) == []


def test_a_reset_before_processing_has_no_effect(me, emulator):
    """The connection breaks, and nothing is created."""
    emulator.faults.add("reset", when="before", verb="POST", times=1)
    with pytest.raises(BROKEN):
        me.create("lost")
    assert me.names("") == []


def test_a_reset_after_processing_took_effect(me, emulator):
    """The answer is lost, but the file exists: a repeated create is a 409."""
    file_id = me.get("files/generateIds", count=1)["ids"][0]
    emulator.faults.add("reset", when="after", verb="POST", times=1)
    with pytest.raises(BROKEN):
        me.create("done", id=file_id)
    assert me.names("") == ["done"]
    again = {"json": {"name": "done", "id": file_id}}
    assert me.refusal("POST", "/drive/v3/files", **again) == (409, "fileIdInUse")


def test_a_reset_during_the_body_keeps_a_part_of_a_session(me, emulator):
    """The bytes that arrived before the break count for the upload session."""
    content = b"x" * (4 * 256 * 1024)
    start = me("POST", "/upload/drive/v3/files?uploadType=resumable", json={"name": "part"})
    uri = start.headers["Location"]
    emulator.faults.add("reset", when="during", verb="PUT", fraction=0.6, times=1)
    with pytest.raises(BROKEN):
        me("PUT", uri, data=content)
    answer = me("PUT", uri, headers={"Content-Range": f"bytes */{len(content)}"})
    assert (answer.status_code, answer.headers["Range"]) == (308, "bytes=0-524287")


def test_a_late_delivery_takes_effect_after_the_client_gave_up(me, emulator):
    """The connection breaks at once, and the file appears after the delay."""
    before: list[str] = []
    for seconds in (0.5, 5.0, 50.0):  # on a busy machine the list may take longer
        emulator.faults.clear()
        emulator.faults.add("late", seconds=seconds, verb="POST", times=1)
        with pytest.raises(BROKEN):
            me.create(f"ghost {seconds}")
        before = me.names(f"name = 'ghost {seconds}'")
        wait_until(lambda: me.names(f"name = 'ghost {seconds}'"))  # noqa: B023 - waits here
        if not before:
            break
    assert not before


def test_a_late_delivery_of_a_body_that_cannot_be_unpacked_breaks_the_connection(me, emulator):
    """Also such a request gets no answer, and the emulator goes on."""
    emulator.faults.add("late", seconds=0.1, verb="POST", times=1)
    with pytest.raises(BROKEN):
        me("POST", "/drive/v3/files", data=b"no gzip", headers={"Content-Encoding": "gzip"})
    assert me.names("") == []


def test_a_hanging_call_gives_no_answer(me, emulator):
    """A hanging call ends by the client's own timeout."""
    emulator.faults.add("hang", seconds=60, times=1)
    with pytest.raises(requests.Timeout):
        me.session.get(f"{me.url}/drive/v3/files", timeout=0.1)


def test_truncated_and_corrupted_bodies(me, emulator):
    """A truncated body is shorter than its Content-Length; a corrupt one has a few other bytes."""
    content = bytes(range(256)) * 1000
    file = me.upload(content)
    path = f"/drive/v3/files/{file['id']}?alt=media"
    emulator.faults.add("truncate", fraction=0.5, query="alt=media", times=1)
    with pytest.raises(BROKEN):
        me("GET", path)
    emulator.faults.add("corrupt", query="alt=media", times=1)
    spoiled = me("GET", path).content
    assert len(spoiled) == len(content)
    assert 1 <= sum(a != b for a, b in zip(spoiled, content, strict=True)) <= 4
    assert me("GET", path).content == content


def test_an_error_applies_to_single_calls_of_a_batch(me, emulator):
    """A rule that names a method applies to parts of a batch, another one to the whole batch."""
    part = "POST /drive/v3/files\r\n\r\n{}"
    emulator.faults.add("error", status=403, reason="userRateLimitExceeded", api="*.create", nth=2)
    answer = me.batch(part, part, part)
    found = re.findall(r"HTTP/1\.1 (\d+)", answer.text)
    assert (answer.status_code, found) == (200, ["200", "403", "200"])
    assert len(me.names("")) == 2
    emulator.faults.add("error", status=503, times=1)
    assert me.batch(part).status_code == 503


def test_a_rate_limit_counts_each_call_of_a_batch(me, emulator):
    """A batch of n calls counts as n calls, and those above the limit are refused one by one."""
    part = "GET /drive/v3/files/root"
    emulator.faults.add("rate_limit", per_second=0.01)
    answer = me.batch(part, part, part)
    found = re.findall(r"HTTP/1\.1 (\d+)", answer.text)
    assert (answer.status_code, found) == (200, ["200", "403", "403"])


@pytest.mark.parametrize("name", ["seconds", "jitter"])
def test_lists_lag_and_gets_do_not(me, emulator, name):
    """With list lag, lists show a change late by the emulator's clock; gets show it at once."""
    before = me.create("before")["id"]
    emulator.faults.add("list_lag", **{name: 60})
    file = me.create("new")["id"]
    me("PATCH", f"/drive/v3/files/{before}", json={"name": "after"})
    assert me.get(f"files/{file}")["name"] == "new"
    assert me.names("name = 'before'") == ["before"]
    assert "new" not in me.names("")
    emulator.advance_clock(61)
    assert me.names("") == ["after", "new"]


@pytest.mark.parametrize("fields", ["*", "kind"])
def test_a_list_that_lags_shows_what_was_deleted(me, emulator, fields):
    """A shared drive, a file of it and a text are listed until then, with any fields."""
    drive = me.shared_drive()
    inside = me.create(parents=[drive], params=ALL_FILES)["id"]
    me.share(inside, me, "writer")
    text = me.upload(b"zebra", type="text/plain")["id"]
    emulator.faults.add("list_lag", seconds=600)
    assert me("DELETE", f"/drive/v3/files/{text}").status_code == 204
    flags = "allowItemDeletion=true&useDomainAdminAccess=true"
    assert me("DELETE", f"/drive/v3/drives/{drive}?{flags}").status_code == 204
    assert len(me.get("drives", fields=f"drives({fields})")["drives"]) == 1
    assert len(me.get("files", fields=f"files({fields})", **ALL)["files"]) == 2
    assert me.get("files", q="fullText contains 'zebra'")["files"] == []


def test_rate_limits_quota_expiry_and_outage(me, emulator):
    """A rate limit, a full quota, an expiry and an outage give Drive's errors while they last."""
    emulator.faults.add("rate_limit", per_second=2)
    found = statuses(me, 40)
    assert found[:2] == [200] * 2
    assert 403 in found
    emulator.faults.clear()
    file_id = me.create("to be replaced")["id"]
    emulator.faults.add("quota")
    refused = me.refusal("POST", "/upload/drive/v3/files?uploadType=media", data=b"x")
    assert refused == (403, "storageQuotaExceeded")
    assert me.refusal("PATCH", f"/upload/drive/v3/files/{file_id}", data=b"x") == refused
    assert me("GET", "/drive/v3/files").status_code == 200
    emulator.faults.clear()
    emulator.faults.add("outage", status=503)
    assert statuses(me, 3) == [503] * 3
    emulator.faults.clear()
    emulator.faults.add("outage")
    with pytest.raises(BROKEN):
        me("GET", "/drive/v3/files")
    emulator.faults.clear()
    emulator.faults.add("expire", nth=[2])
    assert statuses(me, 3) == [200, 401, 401]


def test_a_chunk_without_a_token_expires_no_token(me, emulator):
    """The address of an upload session is enough to send a chunk, which then expires nothing."""
    uri = me("POST", "/upload/drive/v3/files?uploadType=resumable", json={}).headers["Location"]
    emulator.faults.add("expire", verb="PUT")
    assert requests.put(uri, data=b"x", timeout=30).status_code == 200
    assert me("GET", "/drive/v3/files").status_code == 200


def test_latency_delays_one_call_and_no_other(me, person, emulator):
    """The fault `latency` delays a call by its seconds; meanwhile another call is answered."""
    other = person()
    first = ""
    for seconds in (0.2, 2.0, 20.0):  # on a busy machine the other call may take longer
        emulator.clear_log()
        emulator.faults.clear()
        emulator.faults.add("latency", seconds=seconds, jitter=0.05, account=me.account)
        begun = time.monotonic()
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(me, "GET", "/drive/v3/files")
            wait_until(lambda: emulator.faults.rules[0]["struck"])
            other("GET", "/drive/v3/files")
            slow.result()
        assert time.monotonic() - begun >= seconds
        first = emulator.log[0]["account"]
        if first == other.account:
            break
    assert first == other.account


def test_an_invalid_rule_is_refused(emulator):
    """An unknown kind, name or value is an error, not a rule that never applies."""
    for wrong in (
        {"do": "explode"},
        {"do": "reset", "when": "never"},
        {"do": "error", "x": 1},
        {"do": "error", "path": "("},
        {"do": "error", "verb": "GET|PUTS"},
        {"do": "error", "api": "drive.file.get"},
        {"do": "error", "api": "files.*"},
        {"do": "latency"},
        {"do": "list_lag", "seconds": 0},
    ):
        with pytest.raises(ValueError, match=r"must|expression"):
            emulator.faults.add(**wrong)
    assert emulator.faults.rules == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("probability", ["x", 2, -1, True]),
        ("status", ["503", 200, 99, 1000]),
        ("nth", ["x", 0, [1, "x"]]),
        ("every", [0, -1, 1.5]),
        ("times", ["x", -1]),
        ("seconds", ["x", -1, [1]]),
        ("fraction", [5]),
        ("per_second", [0, 10**400]),
        ("until", [10**400]),
        ("retry_after", ["soon", 10**400]),
        ("verb", [5]),
        ("api", [5]),
        ("account", [["a@example.com"]]),
        ("struck", [7]),
    ],
)
def test_the_values_of_a_rule_are_checked(emulator, name, values):
    """A value of another type or range is refused when the rule is added."""
    for value in values:
        with pytest.raises(ValueError, match=name):
            emulator.faults.add("error", **{name: value})


def test_null_is_the_default_of_a_value(emulator):
    """A rule with null for each of its values is the rule without them."""
    emulator.faults.add("reset", **dict.fromkeys([*TEXTS, *NUMBERS]))
    emulator.faults.add("reset")
    given, plain = ({**rule, "id": 0} for rule in emulator.faults.rules[-2:])
    assert {**given, "started": 0} == {**plain, "started": 0}


def test_every_field_of_a_rule_is_checked():
    """Each field of Rule has a check, and is known to the command line."""
    values = {field.name for field in dataclasses.fields(Rule) if field.init}
    assert values == {"do", *TEXTS, *NUMBERS}


def test_the_page_on_the_emulator_lists_every_fault():
    """docs/emulator.md lists each kind of fault."""
    page = Path(__file__).parents[2] / "docs" / "emulator.md"
    _, table = page.read_text("utf-8").split("| kind | what it does |\n")
    first_cells = [row.split("|")[1] for row in table.partition("\n\n")[0].splitlines()[1:]]
    assert set(re.findall(r"`(\w+)`", "".join(first_cells))) == set(KINDS)


def test_a_rule_on_the_command_line_is_parsed():
    """Numbers are parsed as whole or decimal numbers; an invalid value is named."""
    text = "do=rate_limit,per_second=0.5,seconds=0.25,jitter=1,fraction=0.1,times=2,until=3,path=/x"
    assert parse_rule(text) == {
        "do": "rate_limit",
        "per_second": 0.5,
        "seconds": 0.25,
        "jitter": 1.0,
        "fraction": 0.1,
        "times": 2,
        "until": 3.0,
        "path": "/x",
    }
    for wrong in (
        "do=error,status=abc",
        "do=error,nth=1+x",
        "do=latency,seconds=",
        "do=error,id=1",
    ):
        with pytest.raises(ValueError, match=r"not a"):
            parse_rule(wrong)
    with pytest.raises(ValueError, match="probability"):
        parse_rule("do=error,probability=7")
    with pytest.raises(ValueError, match="NAME=VALUE"):
        parse_rule("do=error,nonsense")
    assert parse_rule("do=error,status=503,nth=1+3,probability=0.5") == {
        "do": "error",
        "status": 503,
        "nth": [1, 3],
        "probability": 0.5,
    }


def test_the_log_describes_requests_without_secrets(me, emulator):
    """The log has method, path, status, bytes and account of each request, and no token."""
    emulator.clear_log()
    me.upload(b"x" * 1000, fields="id")
    me("GET", "/drive/v3/files", params={"access_token": me.token, "q": "trashed=false"})
    uri = me("POST", "/upload/drive/v3/files?uploadType=resumable", json={}).headers["Location"]
    me("PUT", uri, data=b"secret address")
    me("POST", "/token", params={"refresh_token": "secret-refresh", "client_secret": "secret-too"})
    # A call that an earlier test left hanging may be logged only now.
    entries = [entry for entry in emulator.log if entry["account"] == me.account]
    assert len(entries) == 5
    upload = entries[0]
    assert (upload["method"], upload["status"]) == ("POST", 200)
    assert upload["path"] == "/upload/drive/v3/files"
    assert upload["bytes_in"] > 1000
    assert upload["bytes_out"] > 0
    assert upload["account"] == me.account
    assert upload["api"] == "drive.files.create"
    text = json.dumps(entries) + (emulator.data_dir / "requests.jsonl").read_text()
    assert me.token not in text
    assert uri.rpartition("upload_id=")[2] not in text
    assert "secret-" not in text
    for line in (emulator.data_dir / "requests.jsonl").read_text().splitlines():
        assert json.loads(line)["time"] > 0


def test_a_broken_call_is_logged(me, emulator):
    """A broken call is logged with status 0 and its fault."""
    emulator.clear_log()
    emulator.faults.add("outage", times=1)
    with pytest.raises(BROKEN):
        me("GET", "/drive/v3/files")
    (entry,) = (entry for entry in emulator.log if entry["account"] == me.account)
    assert (entry["status"], entry["faults"]) == (0, ["outage"])


def test_sixteen_threads_share_one_emulator(emulator, person):
    """Concurrent calls are all answered, and each takes effect once."""
    from concurrent.futures import ThreadPoolExecutor

    wires = [person("crowd@example.com") for _ in range(16)]

    def work(wire: RawClient) -> None:
        for number in range(10):
            wire.create(f"file {number}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, wires))
    assert len(wires[0].names("", pageSize=1000)) == 160


def test_the_fixture_is_public(pytester_free_environment, drive_emulator):
    """`drive_emulator` is a running emulator, and its environment points to it."""
    environment = drive_emulator.environment
    assert environment["DRIVE_EMULATOR_HOST"] == drive_emulator.url
    with RawClient(drive_emulator.url, environment["DRIVE_EMULATOR_TOKEN"]) as wire:
        assert wire.get("about", fields="user")["user"]["emailAddress"] == "owner@example.com"


@pytest.fixture
def pytester_free_environment(monkeypatch):
    """An environment without an emulator."""
    monkeypatch.delenv("DRIVE_EMULATOR_HOST", raising=False)


def test_a_token_without_an_account_is_refused(tmp_path):
    """A token given to the constructor needs an account's address."""
    with pytest.raises(ValueError, match="TOKEN=ACCOUNT"), DriveEmulator(tokens=["nonsense"]):
        pass
