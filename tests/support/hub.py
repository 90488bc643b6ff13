"""A stand-in for the Hugging Face hub: as much of its HTTP API as uploading and downloading a model needs.

Repositories are kept in memory. Every request is noted; paths with a word in them can be refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_writer"


@dataclass
class Repository:
    """Branch -> file name -> content; `commits` are the commits' headers."""

    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Hub:
    """What the stand-in holds and saw. `refusals`: a word -> the status with which paths that have it are answered."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)


@lru_cache(maxsize=1000)
def _digest(data: bytes) -> str:
    """Asked for at every request, so that it must not take long for files of many megabytes."""
    return hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content if content is not None else {}).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        for word, status in self.hub.refusals.items():
            if word in path:
                return self._answer(status, {"error": f"refused with {status}"}, {"X-Error-Message": "refused here"})
        writes = self.command in ("POST", "PUT") and not path.startswith("/lfs/")
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        for pattern, function in self.ROUTES:
            found = re.fullmatch(f"{pattern.split(' ', 1)[1]}", path)
            if found and self.command in pattern.split(" ", 1)[0].split("|"):
                return function(self, body, *found.groups())
        return self._answer(404, {"error": "Not Found"})

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _validate(self, body: bytes) -> None:
        front = json.loads(body)["content"].split("---")[1]
        errors = [] if "license:" in front else [{"message": "license is missing"}]
        self._answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def _create(self, body: bytes) -> None:
        request = json.loads(body)
        name = f"{request['organization']}/{request['name']}"
        known = name in self.hub.repositories
        if not known:
            self.hub.repositories[name] = Repository(
                request.get("visibility") == "private" or bool(request.get("private"))
            )
        self._answer(409 if known else 200, {"url": f"{self.hub.url}/{name}", "name": name})

    def _branch(self, body: bytes, name: str, branch: str) -> None:
        branches = self.hub.repositories[name].branches
        known = branch in branches
        branches.setdefault(branch, dict(branches["main"]))
        self._answer(409 if known else 200)

    def _preupload(self, body: bytes, name: str, revision: str) -> None:
        def mode(file: dict[str, Any]) -> str:
            return "lfs" if file["path"].endswith(".safetensors") else "regular"

        files = json.loads(body)["files"]
        self._answer(200, {"files": [{"path": f["path"], "uploadMode": mode(f), "shouldIgnore": False} for f in files]})

    def _batch(self, body: bytes, name: str) -> None:
        objects = []
        for one in json.loads(body)["objects"]:
            upload = {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}
            objects.append(one | ({} if one["oid"] in self.hub.large else {"actions": {"upload": upload}}))
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._answer(400, {"error": "wrong content"})
        self.hub.large[oid] = body
        return self._answer(200)

    def _commit(self, body: bytes, name: str, revision: str) -> None:
        repository = self.hub.repositories[name]
        files = repository.branches[revision]
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repository.commits.append(value)
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        url = f"{self.hub.url}/{name}/commit/{self._oid(name, revision)}"
        self._answer(200, {"commitUrl": url, "commitOid": self._oid(name, revision)})

    def _oid(self, name: str, revision: str) -> str:
        files = self.hub.repositories[name].branches[revision]
        return hashlib.sha1(repr(sorted((path, _digest(data)) for path, data in files.items())).encode()).hexdigest()

    def _revision(self, name: str, revision: str) -> str | None:
        branches = self.hub.repositories[name].branches if name in self.hub.repositories else {}
        return next((branch for branch in branches if revision in (branch, self._oid(name, branch))), None)

    def _tree(self, body: bytes, name: str, revision: str) -> None:
        branch = self._revision(name, revision)
        if branch is None:
            return self._answer(404, {}, {"X-Error-Code": "RepoNotFound"})
        files = self.hub.repositories[name].branches[branch]
        rows = [{"type": "file", "path": path, "size": len(data), "oid": "0"} for path, data in files.items()]
        return self._answer(200, rows)

    def _info(self, body: bytes, name: str, revision: str = "main") -> None:
        branch = self._revision(name, revision)
        if branch is None:
            return self._answer(404, {}, {"X-Error-Code": "RepoNotFound"})
        files = self.hub.repositories[name].branches[branch]
        siblings = [{"rfilename": path} for path in files]
        return self._answer(200, {"id": name, "sha": self._oid(name, branch), "siblings": siblings})

    def _file(self, body: bytes, name: str, revision: str, path: str) -> None:
        branch = self._revision(name, revision)
        files = self.hub.repositories[name].branches[branch] if branch else {}
        if branch is None or path not in files:
            code = "RepoNotFound" if branch is None else "EntryNotFound"
            return self._answer(404, {}, {"X-Error-Code": code})
        data = files[path]
        headers = {"ETag": f'"{_digest(data)}"', "X-Repo-Commit": self._oid(name, branch)}
        return self._answer(200, data, headers)

    ROUTES = (
        ("POST /api/repos/create", _create),
        ("POST /api/validate-yaml", _validate),
        ("POST /api/models/([^/]+/[^/]+)/branch/(.+)", _branch),
        ("POST /api/models/([^/]+/[^/]+)/preupload/(.+)", _preupload),
        ("POST /([^/]+/[^/]+)\\.git/info/lfs/objects/batch", _batch),
        ("PUT /lfs/([0-9a-f]+)", _put),
        ("POST /api/models/([^/]+/[^/]+)/commit/(.+)", _commit),
        ("GET /api/models/([^/]+/[^/]+)/tree/(.+)", _tree),
        ("GET /api/models/([^/]+/[^/]+)/revision/(.+)", _info),
        ("GET /api/models/([^/]+/[^/]+)", _info),
        ("GET|HEAD /([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _file),
    )


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A running stand-in on a free port."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        _digest.cache_clear()  # it holds every file
