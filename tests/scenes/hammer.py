"""Sends a gateway what it must refuse: ``hammer.py CASE URL CA_FILE [BODY_FILE SIGNATURE]``; prints one JSON line.

Runs at the desk of the local cloud, with nothing but the standard library.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

SIGNATURE = "X-Hybridnet-Signature"


def main() -> None:
    case, url, ca_file = sys.argv[1:4]
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 443
    context = ssl.create_default_context(cafile=ca_file)

    def ask(method: str, path: str, body: bytes = b"", **headers: str) -> int:
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=60)
        try:
            connection.request(method, path, body or None, {name.replace("_", "-"): v for name, v in headers.items()})
            return connection.getresponse().status
        finally:
            connection.close()

    def put(body: bytes, signature: str) -> int:
        return ask("PUT", "/v1/roster", body, X_Hybridnet_Signature=signature)

    def attempt(body: bytes, signature: str) -> int | str:
        try:
            return put(body, signature)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__

    if case == "put":
        result: object = put(Path(sys.argv[4]).read_bytes(), sys.argv[5])
    elif case == "unsigned":
        result = ask("PUT", "/v1/roster", b"{}")
    elif case == "huge":
        result = attempt(b"x" * 50_000_000, "A" * 86 + "==")
    elif case == "truncated":
        with context.wrap_socket(socket.create_connection((host, port), 10), server_hostname=host) as raw:
            raw.sendall(f"PUT /v1/roster HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nabc".encode())
        result = "closed"
    elif case == "flood":
        with ThreadPoolExecutor(1000) as pool:
            asked = [pool.submit(attempt, b"{}", "A" * 86 + "==") for _ in range(1000)]
            result = Counter(str(one.result()) for one in asked)
    else:
        raise SystemExit(f"unknown case {case!r}")
    print(json.dumps(result))


main()
