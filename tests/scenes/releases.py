"""Releases of the stack's own that are bad in a chosen way, pushed from the desk as the program pushes good ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from components import release
from localcloud.cli.desk import PASSPHRASE
from localcloud.engine.passphrase import Sealer
from overlay.signing import release_message
from tests.scenes.scene import ROOT, Scene

PUT = str(ROOT / "tests" / "scenes" / "put_release.py")
WAYS: Mapping[str, str] = {
    "crashes": "sys.exit(3)",
    "crashes after a beat": "os.write(pulse, b'h'); sys.exit(3)",
    "hangs": "time.sleep(600)",
    "hangs after a beat": "os.write(pulse, b'h'); time.sleep(600)",
    "fails its check": "",
}
"""What a bad release does when it starts."""


def signing_key(scene: Scene) -> Ed25519PrivateKey:
    """The stack's, as its state has it."""
    (state,) = scene.directory.rglob(f"{scene.stack}.json")
    deployment: dict[str, Any] = json.loads(state.read_text())["deployment"]
    (found,) = (each for each in deployment["resources"] if each["urn"].endswith("::stack-signing"))
    sealer = Sealer(PASSPHRASE, deployment["secrets_providers"]["state"]["salt"])
    key = load_pem_private_key(json.loads(sealer.open(found["outputs"]["privateKeyPem"]["ciphertext"])).encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def push(scene: Scene, number: int, ways: Mapping[str, str], folder: Path) -> None:
    """Push the project's own release, but bad for some roles: role -> one of :data:`WAYS`."""
    copy = folder / str(number)
    for room in release.ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                target = copy / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    main = copy / "node" / "__main__.py"
    bad = [f"import os, sys, time\nNUMBER = {number}\n"]
    for role, way in ways.items():
        if way == "fails its check":
            bad.append(f"if sys.argv[1:] == [{role!r}, 'check']:\n    sys.exit(4)\n")
        else:
            runs = f"sys.argv[1] == {role!r} and sys.argv[2] != 'check'"
            bad.append(f"if {runs}:\n    pulse = int(sys.argv[2])\n    {WAYS[way]}\n")
    head, future, rest = main.read_text().partition("from __future__ import annotations\n")
    main.write_text(head + future + "".join(bad) + rest)
    archive = release.build(copy)
    body, ca = folder / f"{number}.tar.gz", folder / "ca.pem"
    body.write_bytes(archive.data)
    ca.write_text(scene.exec("hetzner-1", "cat", "/etc/hybridnet/ca.pem"))
    signature = base64.b64encode(signing_key(scene).sign(release_message(number, archive.sha256))).decode()
    url = f"https://{scene.outputs()['wg_gateway_ip']}:8443"
    said = scene.run("run", "--", "python3", PUT, url, str(ca), str(body), str(number), signature).stdout
    assert said == "201\n"
