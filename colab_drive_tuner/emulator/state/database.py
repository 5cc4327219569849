"""Database of the emulator: an SQLite file, a folder of contents, and metadata in memory.

Every change is in the write-ahead log before it is answered, so a SIGKILL loses no acknowledged
change. (The log is not synced: the emulator does not emulate power failures.) Queries are answered
from a copy of all metadata in memory.
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from .model import FOLDER, Account, Node, random_text, root_id


class Clock:
    """The service's clock: real time plus an offset that tests may set."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time() + self.offset

    def ms(self) -> int:
        """Return the time in milliseconds since 1970."""
        return int(self.now() * 1000)


class Database:
    """Files, accounts and small documents; for one thread of one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "content"
        self.incoming = folder / "incoming"
        # Before anything is deleted: another emulator may be receiving contents in this folder.
        self._sql = _connect(folder)
        self.blobs.mkdir(exist_ok=True)
        self.incoming.mkdir(exist_ok=True)
        for left in self.incoming.iterdir():
            # Partial contents of interrupted requests; those of upload sessions are kept.
            if not left.name.startswith("session-"):
                left.unlink()
        self.clock = Clock()
        self.nodes: dict[str, Node] = {}
        self.children: dict[str, dict[str, None]] = {}
        self.names: dict[str, dict[str, None]] = {}
        self.usage: dict[str, int] = {}
        self.accounts: dict[str, Account] = {}
        self._unused_blobs: list[str] = []
        """Contents of files removed in the current transaction, deleted after its commit."""
        self.changed: list[tuple[Node | None, Node | None]] = []
        """Changes of the current call as (before, after), for delayed listings."""
        for _, value in self.documents("account"):
            self.accounts[value["email"]] = Account(**value)
        for (text,) in self._sql.execute("SELECT value FROM documents WHERE kind = 'node'"):
            self._index(Node.from_json(text))
        numbers = [node.change for node in self.nodes.values()]
        numbers += [entry["change"] for _, entry in self.documents("removal")]
        self.change = max(numbers, default=0)
        known = {revision["blob"] for node in self.nodes.values() for revision in node.revisions}
        for left in self.blobs.iterdir():
            # Contents without a file, left when the process was killed.
            if left.name not in known:
                left.unlink()
        self.clock.offset = self.document("setting", "clock") or 0.0
        stored = self.document("setting", "secret")
        self._secret = bytes.fromhex(stored) if stored else secrets.token_bytes(16)
        if not stored:
            self.store("setting", "secret", self._secret.hex())

    def set_clock(self, offset: float) -> None:
        """Set the clock's offset from real time; it stays set when the emulator is restarted."""
        self.clock.offset = offset
        self.store("setting", "clock", offset)

    def close(self) -> None:
        """Close the files."""
        self._sql.close()

    # Small documents

    def documents(self, kind: str) -> Iterator[tuple[str, Any]]:
        """Return all documents of a kind, as (key, value)."""
        rows = self._sql.execute("SELECT key, value FROM documents WHERE kind = ?", (kind,))
        for key, value in rows.fetchall():
            yield key, json.loads(value)

    def document(self, kind: str, key: str) -> Any:
        """Return one document, or None."""
        row = self._sql.execute(
            "SELECT value FROM documents WHERE kind = ? AND key = ?", (kind, key)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def store(self, kind: str, key: str, value: Any) -> None:
        """Store a document; None removes it."""
        if value is None:
            self._sql.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))
        else:
            self._write(kind, key, json.dumps(value))

    def _write(self, kind: str, key: str, text: str) -> None:
        self._sql.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, text))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes within the block atomic, even if the process is killed."""
        self._sql.execute("BEGIN")
        try:
            yield
        except BaseException:  # also roll back after an interrupt
            self._sql.execute("ROLLBACK")
            self._unused_blobs.clear()
            raise
        self._sql.execute("COMMIT")
        while self._unused_blobs:
            self.drop_blob(self._unused_blobs.pop())

    # Files

    def put(self, node: Node) -> None:
        """Store a new or changed file, within a transaction."""
        before = self.nodes.get(node.id)
        self.change += 1
        node = replace(node, change=self.change, changed=self.clock.ms())
        if before is not None:
            lost = self._reaching(before) - self._reaching(node)
            lost_inside = self._reaching(before, inside=True) - self._reaching(node, inside=True)
            self._note_losses(before, lost, lost_inside)
            if before.drive != node.drive:  # it leaves the list of changes of My Drive or the drive
                self._note_removal(before, self._reaching(before))
        self._write("node", node.id, node.to_json())
        if before is not None:
            self._forget(before)
        self._index(node)
        self.changed.append((before, node))

    def save(self, node: Node) -> None:
        """Store a new or changed file in a transaction of its own."""
        with self.transaction():
            self.put(node)

    def remove(self, node: Node) -> None:
        """Delete a file permanently, within a transaction; its id remains used."""
        self._sql.execute("DELETE FROM documents WHERE kind = 'node' AND key = ?", (node.id,))
        self.store("used", node.id, True)
        self.store("comments", node.id, None)
        self.change += 1
        self._note_removal(node, self._reaching(node))
        self._forget(node)
        self.changed.append((node, None))
        # A kill before the commit must leave the file intact.
        self._unused_blobs += [revision["blob"] for revision in node.revisions]

    def _reaching(self, node: Node, *, inside: bool = False) -> set[str]:
        """Return the accounts that find a file, or what is `inside` a folder, by its permissions.

        Who has access to the folder above finds a folder with limited access, but nothing in it.
        """
        emails: set[str] = set()
        current: Node | None = node
        while current is not None:
            emails |= current.accounts()
            for permission in current.permissions.values():
                if permission["type"] == "domain" and permission.get("allowFileDiscovery"):
                    ending = f"@{permission['domain']}"
                    emails |= {email for email in self.accounts if email.endswith(ending)}
            if current.has_limited_access and (inside or current is not node):
                break
            current = self.nodes.get(current.parent)
        return emails

    def _note_losses(self, node: Node, emails: set[str], inside: set[str]) -> None:
        """Record that the accounts `emails` lost a file, and `inside` what is in the folder.

        What they still see by other permissions does not count: changes.list leaves it out.
        """
        self._note_removal(node, emails)
        for child in self.children.get(node.id, ()) if inside else ():
            self.change += 1
            self._note_losses(self.nodes[child], inside, inside)

    def _note_removal(self, node: Node, emails: set[str]) -> None:
        """Record for changes.list that these accounts lost the file where it was."""
        entry = {
            "id": node.id,
            "change": self.change,
            "time": self.clock.ms(),
            "drive": node.drive,
            "space": node.space,
            "owner": node.owner,
        }
        for email in emails:
            self.store("removal", f"{email} {node.id} {node.drive}", entry)

    def removals(self, email: str) -> Iterator[dict[str, Any]]:
        """Return the account's removed files, by the list of changes that each was removed from."""
        for key, entry in self.documents("removal"):
            if key.partition(" ")[0] == email:
                yield entry

    def drop_blob(self, blob: str) -> None:
        """Delete a content that no file refers to."""
        (self.blobs / blob).unlink(missing_ok=True)

    def is_used(self, file_id: str) -> bool:
        """Whether this id was ever used."""
        return file_id in self.nodes or self.document("used", file_id) is not None

    def _index(self, node: Node) -> None:
        self.nodes[node.id] = node
        self.children.setdefault(node.parent, {})[node.id] = None
        self.names.setdefault(node.name.lower(), {})[node.id] = None
        if node.owner:
            self.usage[node.owner] = self.usage.get(node.owner, 0) + stored_bytes(node)

    def _forget(self, node: Node) -> None:
        del self.nodes[node.id]
        del self.children[node.parent][node.id]
        name = node.name.lower()
        del self.names[name][node.id]
        if not self.names[name]:
            del self.names[name]
        if node.owner:
            self.usage[node.owner] -= stored_bytes(node)

    # Accounts and ids

    def account(self, email: str) -> Account:
        """Return the account of this address; create it with a root folder on first use."""
        email = email.lower()
        if email not in self.accounts:
            account = Account(email, root_id())
            if account.is_service:
                account = replace(account, limit=0)
            now = self.clock.ms()
            root = Node(
                id=account.root,
                name="My Drive",
                mime_type=FOLDER,
                owner=email,
                created=now,
                modified=now,
            )
            with self.transaction():
                self.put(root)
                self.set_account(account)
            self.changed.clear()
        return self.accounts[email]

    def set_account(self, account: Account) -> None:
        """Store a new or changed account."""
        self.accounts[account.email] = account
        self.store("account", account.email, account.__dict__)

    def new_id(self, email: str, kind: str = "files") -> str:
        """Return a new id of 33 characters, as in Drive, which only this account may use.

        It is for `files` (including folders) or for `shortcuts`. Its last characters are a
        signature, so issued ids need not be stored.
        """
        body = "1" + random_text(24)
        return body + self._signature(email, kind, body)

    def is_generated(self, email: str, kind: str, file_id: str) -> bool:
        """Whether `new_id` returned this id for this account and kind of file."""
        return len(file_id) == 33 and hmac.compare_digest(
            self._signature(email, kind, file_id[:25]).encode(), file_id[25:].encode()
        )

    def _signature(self, email: str, kind: str, body: str) -> str:
        message = f"{email.lower()} {kind} {body}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:8]


def _connect(folder: Path) -> sqlite3.Connection:
    """Open the folder's database for this process alone; raise ValueError if it is unusable."""
    sql = None
    if not (folder / "metadata.sqlite").exists():
        for foreign in (folder / name for name in ("content", "incoming")):
            if any(foreign.glob("*")):
                raise ValueError(
                    f"{foreign} contains files of something else, and the emulator deletes what "
                    "it does not know there: choose another folder"
                )
    try:
        sql = sqlite3.connect(
            folder / "metadata.sqlite", isolation_level=None, check_same_thread=False, timeout=2
        )
        # Exclusive: a second emulator on the same folder would overwrite the data of this one.
        sql.execute("PRAGMA locking_mode = EXCLUSIVE")
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = NORMAL")
        sql.execute(
            "CREATE TABLE IF NOT EXISTS documents (kind TEXT, key TEXT, value TEXT, "
            "PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )
    except sqlite3.DatabaseError as error:
        if sql is not None:
            sql.close()
        raise ValueError(
            f"{folder} cannot be used ({error}): stop another emulator that holds it, "
            "or choose another folder"
        ) from None
    return sql


def stored_bytes(node: Node) -> int:
    """Return the bytes that count against the owner's quota: the head and kept revisions."""
    kept = sum(int(r["size"]) for r in node.revisions[:-1] if r.get("keep"))
    return kept + node.size
