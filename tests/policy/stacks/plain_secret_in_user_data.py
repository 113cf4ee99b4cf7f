"""A machine whose key was wrapped, which is not the same as kept secret; beside it one that is told as it should be."""

import base64
import gzip

import pulumi
import pulumi_hcloud as hcloud

KEY = base64.b64encode(bytes(range(1, 33))).decode()
CONFIGURATION = base64.b64encode(gzip.compress(f"[Interface]\nPrivateKey = {KEY}\n".encode(), mtime=0)).decode()
USER_DATA = f"""#cloud-config
write_files:
- path: /etc/wireguard/wg1.conf
  encoding: gz+b64
  content: {CONFIGURATION}
"""
for name, user_data in (("plain", USER_DATA), ("marked", pulumi.Output.secret(USER_DATA))):
    hcloud.Server(
        name,
        server_type="cx23",
        image="ubuntu-22.04",
        location="fsn1",
        user_data=user_data,
        labels={"stack": "dev", "site": "hetzner", "role": "jump-host"},
    )
