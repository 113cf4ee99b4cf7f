#!/bin/sh
# Installs the inference server from the folder of this script, and starts it. Again: takes the newer files.
set -eu
here=$(dirname "$(readlink -f "$0")")
python3 -c 'import aiohttp' 2>/dev/null || apt-get install -y -q python3-aiohttp
install -D -m 644 "$here/server.py" /usr/local/lib/inference/server.py
install -m 644 "$here/inference.service" /etc/systemd/system/inference.service
systemctl daemon-reload
systemctl enable -q inference
systemctl restart inference
