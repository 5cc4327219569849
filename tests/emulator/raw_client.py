"""Raw HTTP client for the emulator, without any of this package's own client code."""

import itertools
import json
from typing import Any, Self

import requests

FOLDER = "application/vnd.google-apps.folder"
ALL_FILES = {"supportsAllDrives": "true"}
ALL = {**ALL_FILES, "includeItemsFromAllDrives": "true"}
RELATED = {"Content-Type": "multipart/related; boundary=xyz"}
_numbers = itertools.count(1)


class RawClient:
    """HTTP session of one account, with short methods for the API's paths."""

    def __init__(self, url: str, token: str, account: str = "owner@example.com") -> None:
        self.url = url
        self.token = token
        self.account = account
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def __call__(self, verb: str, path: str, **more: Any) -> requests.Response:
        address = path if path.startswith("http") else self.url + path
        return self.session.request(verb, address, timeout=30, **more)

    def get(self, path: str, **params: Any) -> Any:
        answer = self("GET", f"/drive/v3/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(self, name: str = "a file", *, params: Any = None, **body: Any) -> Any:
        answer = self("POST", "/drive/v3/files", json={"name": name, **body}, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def folder(self, name: str, **body: Any) -> str:
        return self.create(name, mimeType=FOLDER, **body)["id"]

    def upload(self, content: bytes, fields: str = "*", params: Any = None, **metadata: Any) -> Any:
        kind = metadata.pop("type", "application/octet-stream")
        params = {"uploadType": "multipart", "fields": fields, **(params or {})}
        whole = related(metadata, content, kind)
        answer = self("POST", "/upload/drive/v3/files", params=params, **whole)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def share(
        self, file: str, other: "RawClient | str", role: str = "reader", **permission: Any
    ) -> Any:
        """Give another account a role on a file or shared drive; return the permission."""
        email = other if isinstance(other, str) else other.account
        body = {"type": "user", "role": role, "emailAddress": email, **permission}
        answer = self("POST", f"/drive/v3/files/{file}/permissions", json=body, params=ALL_FILES)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def shared_drive(self) -> str:
        """Create a shared drive; return its id."""
        path = f"/drive/v3/drives?requestId={next(_numbers)}"
        return self("POST", path, json={"name": "team"}).json()["id"]

    def batch(self, *parts: str | tuple[str, str]) -> requests.Response:
        """Send requests in a batch, some as (headers of the part, request)."""
        head, body = "--b\r\nContent-Type: application/http\r\n", ""
        for part in parts:
            headers, request = ("", part) if isinstance(part, str) else part
            body += f"{head}{headers}\r\n{request}\r\n\r\n"
        kind = {"Content-Type": "multipart/mixed; boundary=b"}
        return self("POST", "/batch/drive/v3", data=f"{body}--b--", headers=kind)

    def names(self, q: str, **params: Any) -> list[str]:
        found = self.get("files", q=q, orderBy="name", **params)
        return [one["name"] for one in found["files"]]

    def refusal(self, verb: str, path: str, **more: Any) -> tuple[int, str]:
        """Send a request that must fail; return its status and reason."""
        answer = self(verb, path, **more)
        assert answer.status_code >= 400, answer.text
        error = answer.json()["error"]
        assert error["code"] == answer.status_code
        assert error["message"]
        return answer.status_code, error["errors"][0]["reason"]


def related(
    metadata: Any, content: bytes = b"x", kind: str = "text/plain", newline: bytes = b"\r\n"
) -> dict[str, Any]:
    """Return a multipart/related body with the given line ends, and its header."""
    lines = [
        b"--xyz",
        b"Content-Type: application/json; charset=UTF-8",
        b"",
        json.dumps(metadata).encode(),
        b"--xyz",
        b"Content-Type: " + kind.encode(),
        b"",
        content,
        b"--xyz--",
    ]
    return {"data": newline.join(lines), "headers": dict(RELATED)}


def fresh_account(domain: str = "example.com") -> str:
    return f"user{next(_numbers)}@{domain}"
