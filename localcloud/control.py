"""How commands reach the instance's daemon: a socket in its folder, one request and one answer, a line of JSON each.

A request is `{"version": 1, "command": …, "arguments": {…}}`, an answer `{"answer": …}` or `{"error": text}`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from localcloud.cloud import Cloud, LocalCloudError
from localcloud.spec import JSON

log = logging.getLogger("localcloud")
VERSION = 1
LIMIT = 64 * 1024
"""Bytes of a line."""
REQUEST_SECONDS = 5
ANSWER_SECONDS = 120
"""A change waits for those before it, which may boot machines."""

Command = Callable[[Mapping[str, Any]], JSON]


class Control:
    """Serves commands by their names. What they raise as LocalCloudError is told to whoever asked."""

    def __init__(self, cloud: Cloud, commands: Mapping[str, Command]) -> None:
        self._path = cloud.control
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with _short(self._path) as path:
                self._server = _Server(path, commands)
        finally:
            os.umask(before)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="control", daemon=True).start()

    def close(self) -> None:
        """Take no more requests, and let those under way end."""
        self._path.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()


def ask(cloud: Cloud, command: str, **arguments: JSON) -> JSON:
    """The daemon's answer. Raises LocalCloudError with its reason, or when no daemon of this version serves."""
    request = {"version": VERSION, "command": command, "arguments": arguments}
    try:
        with socket.socket(socket.AF_UNIX) as connection, _short(cloud.control) as path:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(path)
            with connection.makefile("rw") as stream:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                line = stream.readline()
    except (FileNotFoundError, ConnectionError):
        line = ""
    except TimeoutError:
        raise LocalCloudError(f"the daemon did not answer within {ANSWER_SECONDS} s: see {cloud.daemon_log}") from None
    if not line:
        raise LocalCloudError("the daemon takes no such commands: `python -m localcloud up` starts it anew")
    found = cast("dict[str, JSON]", json.loads(line))
    if "error" in found:
        raise LocalCloudError(str(found["error"]))
    return found["answer"]


class _Server(socketserver.ThreadingUnixStreamServer):
    def __init__(self, path: str, commands: Mapping[str, Command]) -> None:
        super().__init__(path, _Handler)
        self.commands = commands


class _Handler(socketserver.StreamRequestHandler):
    timeout = REQUEST_SECONDS

    def handle(self) -> None:
        try:
            reply = _reply(cast("_Server", self.server).commands, self.rfile.readline(LIMIT))
            self.wfile.write(json.dumps(reply).encode() + b"\n")
        except OSError:
            return  # whoever asked is gone


def _reply(commands: Mapping[str, Command], line: bytes) -> Mapping[str, JSON]:
    try:
        request = json.loads(line)
        version, command, arguments = request["version"], request["command"], request["arguments"]
    except (ValueError, KeyError, TypeError):
        return {"error": "this is no request"}
    if version != VERSION or command not in commands:
        return {
            "error": f"the daemon does not know {command} of version {version}: `python -m localcloud up` renews it"
        }
    try:
        return {"answer": commands[command](arguments)}
    except LocalCloudError as error:
        return {"error": str(error)}
    except Exception:
        log.exception("%s failed", command)
        return {"error": f"{command} failed: the daemon's log says why"}


@contextmanager
def _short(path: Path) -> Generator[str]:
    """The path in few characters, whatever folder it is in: a socket's has 107 at most."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
