"""A small hub on loopback for the real huggingface_hub client: model repos on disk, and faults that a test plans.

It speaks what huggingface_hub's hf_api.py, lfs.py and file_download.py ask of a hub without xet. Contents are kept
by SHA-256 under `objects/`; of a repo, `commits/<id>.json` names the files, and `refs.json` holds the branches and the
pull requests.
"""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".tar.gz", ".zip")
"""What the hub's .gitattributes of a new repo sends to the large file storage."""

MANY = 10 * 2**20
"""A file of more bytes is large whatever it is called."""


@dataclass
class Fault:
    """What happens to a request whose "METHOD /path" matches: from the `first`, `times` times."""

    pattern: str
    status: int | None = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Any = None
    """What is answered in place of the real thing, with status 200."""
    drop_after: int | None = None
    """Cuts the connection after so many bytes of the body, the request's (PUT, POST) or the response's (GET)."""
    lose_answer: bool = False
    """Does what was asked and cuts the connection before the answer."""
    delay: float = 0.0
    byte_delay: float = 0.0
    """Seconds before each byte of the response's body."""
    endless: bool = False
    """Sends the response's body again and again, without an end; HEAD states the true size."""
    reader_delay: float = 0.0
    """Seconds before each 64 KB at most that are read of the request's body."""
    first: int = 1
    times: int = 10**9
    seen: int = 0

    def hits(self, request: str) -> bool:
        if not re.search(self.pattern, request):
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


class Refusal(Exception):
    """A status other than 200, with the hub's headers and message."""

    def __init__(self, status: int, message: str, **headers: str):
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class Repo:
    """A repo on disk."""

    folder: Path
    name: str

    @classmethod
    def create(cls, folder: Path, name: str, private: bool) -> "Repo":
        (folder / "commits").mkdir(parents=True)
        (folder / "repo.json").write_text(json.dumps({"private": private, "pull_requests": 0}))
        (folder / "refs.json").write_text("{}")
        return cls(folder, name)

    @property
    def info(self) -> dict[str, Any]:
        return json.loads((self.folder / "repo.json").read_text())

    @property
    def refs(self) -> dict[str, str]:
        return json.loads((self.folder / "refs.json").read_text())

    def point(self, ref: str, commit: str) -> None:
        (self.folder / "refs.json").write_text(json.dumps({**self.refs, ref: commit}))

    def open_pull_request(self) -> int:
        info = self.info
        info["pull_requests"] += 1
        (self.folder / "repo.json").write_text(json.dumps(info))
        return info["pull_requests"]

    def resolve(self, revision: str) -> str:
        """The commit that a branch, a pull request or a commit's own id stands for."""
        if commit := self.refs.get(revision):
            return commit
        if (self.folder / "commits" / f"{revision}.json").exists():
            return revision
        raise Refusal(404, f"Invalid rev id: {revision}", X_Error_Code="RevisionNotFound")

    def files(self, commit: str) -> dict[str, dict[str, Any]]:
        return json.loads((self.folder / "commits" / f"{commit}.json").read_text())["files"]

    def commit(self, ref: str, parent: str | None, title: str, files: Mapping[str, Any]) -> str:
        text = json.dumps(
            {"parent": parent, "title": title, "files": files, "number": len(self.log())}, sort_keys=True
        )
        name = hashlib.sha1(text.encode()).hexdigest()
        (self.folder / "commits" / f"{name}.json").write_text(text)
        self.point(ref, name)
        return name

    def log(self) -> list[str]:
        return [path.stem for path in (self.folder / "commits").iterdir()]


class LoopbackHub(ThreadingHTTPServer):
    """The hub; `tokens` says who may write and where: token -> namespaces, none for a token that only reads."""

    daemon_threads = True

    def __init__(self, root: Path, tokens: Mapping[str, tuple[str, ...]]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.tokens = root, dict(tokens)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        (root / "objects").mkdir(parents=True)

    def handle_error(self, request, client_address):
        """A client that went away is no news; anything else is a mistake in this file and shows as status 500."""

    def plan(self, pattern: str, **fault: Any) -> Fault:
        self.faults.append(Fault(pattern, **fault))
        return self.faults[-1]

    def asked(self, pattern: str) -> list[str]:
        """The requests so far that match."""
        return [request for request in self.requests if re.search(pattern, request)]

    def repo(self, name: str) -> Repo:
        folder = self.root / "repos" / name
        if not folder.is_dir():
            raise Refusal(404, "Repository not found", X_Error_Code="RepoNotFound")
        return Repo(folder, name)

    def create(self, name: str, private: bool = False) -> Repo:
        repo = Repo.create(self.root / "repos" / name, name, private)
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS)
        repo.commit("main", None, "initial commit", {".gitattributes": self.keep(attributes.encode(), False)})
        return repo

    def add(self, name: str, files: Mapping[str, bytes], ref: str = "main") -> str:
        """Commits files to a repo, which is made if need be, without a client."""
        repo = self.repo(name) if (self.root / "repos" / name).is_dir() else self.create(name)
        head = repo.resolve(ref)
        kept = {path: self.keep(content, is_large(path, len(content))) for path, content in files.items()}
        return repo.commit(ref, head, "files", {**repo.files(head), **kept})

    def contents(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Every file of a revision, without the hub's own .gitattributes."""
        repo = self.repo(name)
        files = repo.files(repo.resolve(revision))
        return {path: self.object(each["sha256"]).read_bytes() for path, each in files.items() if path[0] != "."}

    def object(self, sha256: str) -> Path:
        return self.root / "objects" / sha256

    def keep(self, content: bytes, large: bool) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        self.object(sha256).write_bytes(content)
        return {"sha256": sha256, "size": len(content), "lfs": large, "blob": git_blob(content)}


def is_large(path: str, size: int) -> bool:
    return path.endswith(LFS) or size > MANY


def git_blob(content: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_pointer(each: Mapping[str, Any]) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
        each["sha256"].encode(),
        each["size"],
    )


def entry(path: str, each: Mapping[str, Any]) -> dict[str, Any]:
    """A file as the tree endpoint tells of it."""
    if not each["lfs"]:
        return {"type": "file", "path": path, "size": each["size"], "oid": each["blob"]}
    pointer = lfs_pointer(each)
    lfs = {"oid": each["sha256"], "size": each["size"], "pointerSize": len(pointer)}
    return {"type": "file", "path": path, "size": each["size"], "oid": git_blob(pointer), "lfs": lfs}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LoopbackHub

    def log_message(self, *_):
        pass

    def _dispatch(self) -> None:
        split = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(split.query).items()}
        request = f"{self.command} {split.path}"
        with self.server.lock:
            self.server.requests.append(request)
            hit = [fault for fault in self.server.faults if fault.hits(request)]
        fault = hit[0] if hit else Fault("")
        time.sleep(fault.delay)
        self.fault = fault
        self.drop_after = fault.drop_after if self.command == "GET" else None
        if self.command in ("PUT", "POST") and fault.drop_after is not None:
            self.rfile.read1(fault.drop_after)
            return self._cut()
        if fault.reader_delay:
            return self._read_slowly(fault.reader_delay)
        self.content = b"".join(self._body())
        try:
            if fault.status is not None:
                raise Refusal(fault.status, fault.message, **fault.headers)
            if fault.answer is not None:
                return self._answer(200, json.dumps(fault.answer).encode(), {})
            status, body, headers = self._route(split.path)
        except Refusal as refusal:
            headers = {"X-Error-Message": str(refusal).splitlines()[0] if str(refusal) else "", **refusal.headers}
            status, body = refusal.status, json.dumps({"error": str(refusal)}).encode()
        except Exception as error:  # a mistake in this file, told to the client
            status, body, headers = 500, json.dumps({"error": f"loopback hub: {error!r}"}).encode(), {}
        if fault.lose_answer:
            return self._cut()
        self._answer(status, body, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _dispatch

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        endless = self.fault.endless and self.command != "HEAD"
        self.send_header(*(("Transfer-Encoding", "chunked") if endless else ("Content-Length", str(len(body)))))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if endless:
            return self._send_for_ever(body)
        if self.fault.byte_delay:
            return self._send_slowly(body, self.fault.byte_delay)
        if self.drop_after is not None and status < 300:
            self.wfile.write(body[: self.drop_after])
            return self._cut()
        self.wfile.write(body)

    def _send_for_ever(self, body: bytes) -> None:
        self.close_connection = True
        body = (body or b"x") * 1_000
        with contextlib.suppress(OSError):  # the client went away
            while True:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))

    def _send_slowly(self, body: bytes, delay: float) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            for each in body:
                time.sleep(delay)
                self.wfile.write(bytes([each]))

    def _read_slowly(self, delay: float) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            while self.rfile.read1(2**16):
                time.sleep(delay)

    def _cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _route(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        for pattern, handle in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                with self.server.lock:
                    value = handle(self, **{name: unquote(text or "") for name, text in match.groupdict().items()})
                return value if isinstance(value, tuple) else (200, json.dumps(value).encode(), {})
        raise Refusal(404, f"no such page: {self.command} {path}")

    # Who asks.

    def _namespaces(self) -> tuple[str, ...] | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not token:
            return None
        if token not in self.server.tokens:
            message = "Invalid credentials in Authorization header"
            raise Refusal(401, message, X_Error_Message=message)
        return self.server.tokens[token]

    def _readable(self, name: str) -> Repo:
        namespaces, repo = self._namespaces(), None
        with contextlib.suppress(Refusal):
            repo = self.server.repo(name)
        if repo and (not repo.info["private"] or name.split("/")[0] in (namespaces or ())):
            return repo
        # The hub does not tell strangers whether a repo exists.
        raise Refusal(401 if namespaces is None else 404, "Repository not found", X_Error_Code="RepoNotFound")

    def _writable(self, name: str) -> Repo:
        if self._namespaces() is None:
            raise Refusal(401, "Invalid username or password.")
        repo = self._readable(name)
        if name.split("/")[0] not in self._namespaces() and not self.query.get("create_pr"):
            raise Refusal(403, "Authorization error.")
        return repo

    # Repos.

    def _create(self):
        asked = json.loads(self.content)
        namespaces = self._namespaces()
        if namespaces is None:
            raise Refusal(401, "Invalid username or password.")
        namespace = asked.get("organization") or (*namespaces, "")[0]
        if namespace not in namespaces:
            raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
        name = f"{namespace}/{asked['name']}"
        body = {"url": f"{self.server.endpoint}/{name}", "name": name}
        if (self.server.root / "repos" / name).is_dir():
            answer = {**body, "error": "You already created this model repo"}
            return 409, json.dumps(answer).encode(), {}
        self.server.create(name, asked.get("private") or asked.get("visibility") == "private")
        return body

    def _delete(self):
        asked = json.loads(self.content)
        repo = self._writable(f"{asked['organization']}/{asked['name']}")
        repo.folder.rename(self.server.root / f"deleted-{len(self.server.requests)}")
        return {}

    def _validate(self):
        text = json.loads(self.content)["content"]
        bad = re.search(r"^license:\s*(?P<value>not-a-licence)\s*$", text.split("\n---", 1)[0], re.MULTILINE)
        errors = (
            [{"message": f'"license" must be one of [apache-2.0, mit, other, ...], not {bad["value"]}'}] if bad else []
        )
        return 400 if errors else 200, json.dumps({"errors": errors, "warnings": []}).encode(), {}

    def _whoami(self):
        namespaces = self._namespaces()
        if namespaces is None:
            raise Refusal(401, "Invalid username or password.")
        return {
            "type": "user",
            "name": (*namespaces, "reader")[0],
            "orgs": [{"name": each} for each in namespaces[1:]],
        }

    # Reading.

    def _info(self, repo, revision=""):
        found = self._readable(repo)
        commit = found.resolve(revision or "main")
        siblings = [{"rfilename": path} for path in found.files(commit)]
        if self.query.get("blobs"):
            rows = (entry(path, each) for path, each in found.files(commit).items())
            siblings = [
                {
                    "rfilename": row["path"],
                    "size": row["size"],
                    "blobId": row["oid"],
                    **({"lfs": {**row["lfs"], "sha256": row["lfs"]["oid"]}} if "lfs" in row else {}),
                }
                for row in rows
            ]
        return {"id": repo, "modelId": repo, "sha": commit, "private": found.info["private"], "siblings": siblings}

    def _refs(self, repo):
        refs = [{"name": name, "ref": name, "targetCommit": at} for name, at in self._readable(repo).refs.items()]
        return {
            "branches": [{**ref, "ref": f"refs/heads/{ref['name']}"} for ref in refs if "/pr/" not in ref["name"]],
            "pullRequests": [ref for ref in refs if "/pr/" in ref["name"]],
            "tags": [],
            "converts": [],
        }

    def _tree(self, repo, revision, path=""):
        found = self._readable(repo)
        files = found.files(found.resolve(revision))
        rows = [entry(name, each) for name, each in files.items() if not path or name.startswith(path + "/")]
        if path and not rows:
            raise Refusal(404, f"{path} does not exist", X_Error_Code="EntryNotFound")
        return rows

    def _paths_info(self, repo, revision):
        found = self._readable(repo)
        files = found.files(found.resolve(revision))
        wanted = parse_qs(self.content.decode()).get("paths") or json.loads(self.content).get("paths", [])
        return [entry(path, files[path]) for path in wanted if path in files]

    def _resolve(self, repo, revision, path):
        found = self._readable(repo)
        commit = found.resolve(revision)
        each = found.files(commit).get(path)
        if each is None:
            raise Refusal(404, "Entry not found", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        content = self.server.object(each["sha256"]).read_bytes()
        etag = '"{}"'.format(each["sha256"] if each["lfs"] else each["blob"])
        headers = {"X-Repo-Commit": commit, "ETag": etag, "Content-Type": "application/octet-stream"}
        headers |= {"Accept-Ranges": "bytes"}
        if each["lfs"]:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(each["size"])}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
            return 206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(content)}"}
        return 200, content, headers

    # Writing.

    def _preupload(self, repo, revision):
        found = self._writable(repo)
        files = found.files(found.resolve(revision))
        rows = []
        for asked in json.loads(self.content)["files"]:
            large, there = is_large(asked["path"], asked["size"]), files.get(asked["path"])
            oid = there and (there["sha256"] if large else there["blob"])
            mode = "lfs" if large else "regular"
            rows.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": rows}

    def _lfs_batch(self, repo):
        self.query = {"create_pr": "1"}  # who may only propose may send large files too
        self._writable(repo)
        rows = []
        for each in json.loads(self.content)["objects"]:
            href = f"{self.server.endpoint}/storage/{each['oid']}"
            actions = {"upload": {"href": href, "header": {}}, "verify": {"href": f"{href}/verify", "header": {}}}
            there = self.server.object(each["oid"]).exists()
            rows.append({"oid": each["oid"], "size": each["size"], **({} if there else {"actions": actions})})
        return {"objects": rows, "transfer": "basic"}

    def _lfs_put(self, sha256):
        if hashlib.sha256(self.content).hexdigest() != sha256:
            raise Refusal(400, "BadDigest")
        self.server.object(sha256).write_bytes(self.content)
        return 200, b"", {}

    def _lfs_verify(self, sha256):
        asked, path = json.loads(self.content), self.server.object(sha256)
        if not path.exists() or path.stat().st_size != asked["size"]:
            raise Refusal(404, "the object is not there")
        return {}

    def _commit(self, repo, revision):
        found = self._writable(repo)
        header, *operations = (json.loads(line) for line in self.content.splitlines())
        proposal = self.query.get("create_pr")
        head = found.resolve(revision)
        if revision not in found.refs:
            raise Refusal(400, f"Invalid rev id: {revision} is no branch")
        if header["value"].get("parentCommit", head) != head:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = found.files(head)
        for operation in operations:
            self._apply(files, operation["key"], operation["value"])
        ref = f"refs/pr/{found.open_pull_request()}" if proposal else revision
        commit = found.commit(ref, head, header["value"]["summary"], files)
        url = f"{self.server.endpoint}/{repo}"
        request = {"pullRequestUrl": f"{url}/discussions/{ref.split('/')[-1]}"} if proposal else {}
        return {"success": True, "commitOid": commit, "commitUrl": f"{url}/commit/{commit}", **request}

    def _apply(self, files: dict[str, Any], key: str, value: Mapping[str, Any]) -> None:
        match key:
            case "file":
                files[value["path"]] = self.server.keep(base64.b64decode(value["content"]), False)
            case "lfsFile":
                if not self.server.object(value["oid"]).exists():
                    raise Refusal(400, "LFS pointer pointed to a file that does not exist")
                files[value["path"]] = {"sha256": value["oid"], "size": value["size"], "lfs": True, "blob": ""}
            case "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise Refusal(404, "A file with this name doesn't exist", X_Error_Code="EntryNotFound")

    def _branch(self, repo, branch):
        found = self._writable(repo)
        if branch.startswith("refs/"):
            raise Refusal(400, f"Invalid ref name: {branch}")
        if branch in found.refs:
            raise Refusal(409, "Reference already exists")
        found.point(branch, found.resolve(json.loads(self.content or b"{}").get("startingPoint", "main")))
        return {}


REPO = "(?P<repo>[^/]+/[^/]+)"
MODEL = f"/api/models/{REPO}"
ROUTES = (
    ("POST /api/repos/create", _Handler._create),
    ("DELETE /api/repos/delete", _Handler._delete),
    ("POST /api/validate-yaml", _Handler._validate),
    ("GET /api/whoami-v2", _Handler._whoami),
    (f"GET {MODEL}", _Handler._info),
    (f"GET {MODEL}/revision/(?P<revision>[^/]+)", _Handler._info),
    (f"GET {MODEL}/refs", _Handler._refs),
    (f"GET {MODEL}/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", _Handler._tree),
    (f"POST {MODEL}/paths-info/(?P<revision>[^/]+)", _Handler._paths_info),
    (f"POST {MODEL}/preupload/(?P<revision>[^/]+)", _Handler._preupload),
    (f"POST {MODEL}/commit/(?P<revision>[^/]+)", _Handler._commit),
    (f"POST {MODEL}/branch/(?P<branch>[^/]+)", _Handler._branch),
    (rf"POST /{REPO}\.git/info/lfs/objects/batch", _Handler._lfs_batch),
    ("PUT /storage/(?P<sha256>[0-9a-f]{64})", _Handler._lfs_put),
    ("POST /storage/(?P<sha256>[0-9a-f]{64})/verify", _Handler._lfs_verify),
    (f"(GET|HEAD) /{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler._resolve),
)


@contextlib.contextmanager
def serve(root: Path, tokens: Mapping[str, tuple[str, ...]]) -> Iterator[LoopbackHub]:
    """Runs a hub in a thread of this process."""
    with LoopbackHub(root, tokens) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def connect(patch: Any, hub: LoopbackHub, token: str | None, home: Path) -> list[float]:
    """Points this process's huggingface_hub at the hub, with an empty cache, and gives the waits that it would make.

    The client reads its environment when it is imported, so that its constants are set in place of the environment.
    """
    import huggingface_hub
    from huggingface_hub import constants, file_download, hf_api
    from huggingface_hub.utils import _http

    waits: list[float] = []
    clock = SimpleNamespace(sleep=waits.append, time=time.time, monotonic=time.monotonic)
    settings = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
    }
    for name, value in settings.items():
        patch.setattr(constants, name, value)
    patch.setattr(hf_api.api, "endpoint", hub.endpoint)  # what huggingface_hub.model_info() and its like ask
    for module in (_http, file_download):
        patch.setattr(module, "time", clock)
    patch.delenv("HF_TOKEN", raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)
    huggingface_hub.utils.close_session()
    return waits


def environment(hub: LoopbackHub, token: str, home: Path) -> dict[str, str]:
    """What a process of its own needs to find nothing but the hub."""
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "0",
    }
