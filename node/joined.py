"""``joined.py SECONDS`` waits until this machine has joined its pool, and says what keeps it from that.

Nothing is imported that is not in the standard library: it is there before the first release (cloudinit/pack.py).
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONFIG = Path(os.environ.get("CONFIGURATION_DIRECTORY", "/etc/hybridnet"))
STATE = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/hybridnet"))
TIMEOUT = 5.0
PROGRESS_SECONDS = 15.0


def say(text: str) -> None:
    print(f"hybridnet: {text}", file=sys.stderr, flush=True)


def ask(place: str, path: str, secret: str) -> tuple[int, bytes]:
    """Status and the beginning of the body of a gateway's answer; OSError when there is none."""
    host, _, port = place.rpartition(":")
    tls = ssl.create_default_context(cafile=CONFIG / "ca.pem")
    connection = http.client.HTTPSConnection(host, int(port), timeout=TIMEOUT, context=tls)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {secret}"})
        answer = connection.getresponse()
        return answer.status, answer.read(4096)
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP: {type(error).__name__}") from error
    finally:
        connection.close()


def lease() -> dict[str, Any] | None:
    """The gateway's answer to the join, if there is one that holds."""
    try:
        document = json.loads((STATE / "lease.json").read_text())
    except FileNotFoundError:
        return None
    found: dict[str, Any] | None = None if document["ended"] else json.loads(document["answer"])
    return found


def before_joining(control: str) -> str:
    """What keeps the machine from joining, as seen from here."""
    try:
        status, _ = ask(control, "/v1/release", (CONFIG / "token").read_text().strip())
    except OSError as error:
        return f"the gateway {control} does not answer: {error}; let TCP out to it"
    if status == 403:
        return "the gateway does not know the join token: give the present one of the pool"
    if status != 200:
        return f"the gateway has no release for this machine (status {status}): has the stack been brought up?"
    command = ["journalctl", "--unit=hybridnet", "--lines=1", "--output=cat", "--quiet"]
    last = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"not joined yet; the agent says: {last or 'nothing'}"


def problem(control: str, port: str) -> str | None:
    """Why the machine is not in the network yet; None once it is."""
    held = lease()
    if held is None:
        return before_joining(control)
    about = f"joined as {held['name']} at {held['address']}"
    try:
        status, body = ask(f"{held['control']}:{port}", "/v1/lease", held["secret"])
    except OSError as error:
        return f"{about}, but nothing comes back through the tunnel: {error}; let UDP out to the gateway"
    if status == 200 and json.loads(body)["state"] == "active":
        say(about)
        return None
    return f"{about}, but the lease does not hold (status {status})"


def main(seconds: float) -> int:
    """Wait; the exit status."""
    config = json.loads((CONFIG / "config.json").read_text())
    start = told = time.monotonic()
    while True:
        reason = problem(config["control"], config["control"].rpartition(":")[2])
        if reason is None:
            return 0
        now = time.monotonic()
        if now - start >= seconds:
            say(f"this machine has not joined {config['name']} within {seconds:.0f} s: {reason}")
            say("more: journalctl -u hybridnet -u wg-quick@wg0")
            return 1
        if now >= told:
            say(f"waiting to join {config['name']}: {reason} ({now - start:.0f} s of {seconds:.0f} s)")
            told = now + PROGRESS_SECONDS
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
