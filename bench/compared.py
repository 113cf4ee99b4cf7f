"""What the gateway costs requests: beside nginx set up by hand on the same machine, and beside no gateway at all.

nginx by hand is there in two ways: with a connection to a machine for each request, as the gateway does it, and with
connections that it keeps. All send to the same machines from the same desk, in turn. The desk reaches only what the
stack opens, so the others stand at port 22, which is SSH's: nginx by hand on the gateway, and on one machine a second
inference server that is asked directly, without gateway, TLS and tunnel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from bench.figures import Paired, Row, shown_ratio
from bench.joins import percentile
from bench.load import Outcome, Task
from bench.serving import COMPLETIONS, GATEWAY, Serving

ROUNDS = 8
ROUND_SECONDS = 3.0
CLIENTS = 16
RATE = 100.0
"""Requests a second where latency is measured."""
MACHINES = {"hetzner-1": "10.100.1.1", "hetzner-2": "10.100.1.2"}
DIRECT = "hetzner-1"
"""The machine that is asked directly."""
LEAST, MOST = 0.95, 1.05
"""The aims: throughput and latency as ratios to nginx by hand that connects for each request."""
PORT = 22
FOLDER = "/root/by-hand"
KEEPING = "/keeping"
"""What paths begin with at nginx by hand to go by kept connections."""

CONFIGURATION = """\
user www-data;
worker_processes auto;
pid {folder}/nginx.pid;
events {{
  worker_connections 4096;
}}
http {{
  access_log /var/log/nginx/by-hand.log;
  upstream machines {{
    least_conn;
    {servers}
  }}
  upstream machines_kept {{
    least_conn;
    {servers}
    keepalive 32;
  }}
  server {{
    listen {port} ssl http2;
    ssl_certificate {folder}/tls.crt;
    ssl_certificate_key {folder}/tls.key;
    ssl_session_cache shared:tls:10m;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_buffering off;
    location / {{
      proxy_pass http://machines;
    }}
    location {keeping}/ {{
      proxy_pass http://machines_kept/;
    }}
  }}
}}
"""
"""As guides tell people to put nginx in front of inference servers."""


def rows(serving: Serving, by_hand: str, say: Callable[[str], None]) -> list[Row]:
    """The table's lines on what requests cost; `by_hand` is the URL of the root of nginx by hand.

    RuntimeError when a request fails.
    """
    direct = _server_at_ssh(serving)
    ours = replace(serving.task({"max_tokens": 1}), seconds=ROUND_SECONDS, keeps=True)
    tasks = [
        ours,
        replace(ours, url=f"{by_hand}{COMPLETIONS}"),
        replace(ours, url=f"{by_hand}{KEEPING}{COMPLETIONS}"),
        replace(ours, url=f"{direct}{COMPLETIONS}", ca_pem=""),
    ]
    say("throughput through the gateway, through nginx by hand, and directly")
    many = _in_turn(serving, [replace(task, clients=CLIENTS) for task in tasks])
    found = compared(
        f"requests a second, {CLIENTS} clients", many, lambda seen: len(seen) / ROUND_SECONDS, f">= {LEAST}"
    )
    say("latency of the same")
    steady = _in_turn(serving, [replace(task, rate=RATE) for task in tasks])
    for percent in (50, 99):
        what = f"latency at {RATE:g} requests a second, p{percent}, ms"
        found += compared(what, steady, lambda seen, percent=percent: _milliseconds(percent, seen), f"<= {MOST}")
    return found


def _in_turn(serving: Serving, tasks: Sequence[Task]) -> list[list[list[Outcome]]]:
    """What each task saw in each round; in every round another one is the first."""
    taken: list[list[list[Outcome]]] = [[] for _ in tasks]
    for number in range(ROUNDS):
        for step in range(len(tasks)):
            which = (number + step) % len(tasks)
            outcomes = serving.measured(tasks[which])
            if wrong := [each.error for each in outcomes if each.error]:
                raise RuntimeError(f"{len(wrong)} of {len(outcomes)} requests to {tasks[which].url} failed: {wrong[0]}")
            taken[which].append(outcomes)
    return taken


def _milliseconds(percent: int, seen: list[Outcome]) -> float:
    return percentile(percent, [each.seconds for each in seen]) * 1e3


def compared(
    what: str, taken: list[list[list[Outcome]]], measure: Callable[[list[Outcome]], float], aim: str
) -> list[Row]:
    """Lines of a measure of what `taken` has: ours, by hand, by hand with kept connections, directly; each by round."""
    ours, *others = (tuple(measure(seen) for seen in rounds) for rounds in taken)
    names = (
        (f"{what}; by hand: a connection for each request", aim),
        ("  by hand: keepalive 32", ""),
        ("  beside a machine that is asked directly", ""),
    )
    return [
        Row(name, _shown(median(ours)), _shown(median(other)), shown_ratio(Paired(ours, other)), aim)
        for (name, aim), other in zip(names, others, strict=True)
    ]


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def start_nginx_by_hand(serving: Serving) -> str:
    """Start nginx by hand on the gateway, with the certificate that the gateway shows; the URL of its root."""
    servers = "\n    ".join(f"server {address}:8000;" for address in MACHINES.values())
    text = CONFIGURATION.format(folder=FOLDER, port=PORT, servers=servers, keeping=KEEPING)
    start = f"""
        systemctl stop ssh.socket ssh
        mkdir -p {FOLDER} && cd {FOLDER}
        cp /var/lib/hybridnet/nginx/tls-*.crt tls.crt
        cp /var/lib/hybridnet/nginx/tls-*.key tls.key
        printf %s "$0" > nginx.conf
        systemd-run --quiet --collect --unit by-hand --service-type=forking nginx -c {FOLDER}/nginx.conf"""
    serving.place.execute(GATEWAY, "sh", "-c", start, text)
    return f"https://{serving.address.partition(':')[0]}:{PORT}"


def _server_at_ssh(serving: Serving) -> str:
    """Start another inference server where the desk can ask it; the URL of its root."""
    program = ("/usr/bin/python3", "/usr/local/lib/inference/server.py", "--port", str(PORT), "--slots", "256")
    serving.place.execute(DIRECT, "sh", "-c", "systemctl stop ssh.socket ssh")
    serving.place.execute(DIRECT, "systemd-run", "--quiet", "--collect", "--unit", "direct", *program)
    address = serving.public_address(DIRECT)
    return f"http://{address}:{PORT}"
