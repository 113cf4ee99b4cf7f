"""The whole of nginx's configuration, as text.

Everything is in one file, so that it is taken or refused as one. Directives mean the same in nginx 1.18 to 1.24
(nginx.org/en/docs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from pathlib import Path

from overlay.fields import Source
from overlay.model import is_node_name
from overlay.serving import API_KEY, MAX_CONNECTIONS, MAX_WEIGHT, SERVING_PORT

LOG = Path("/var/log/nginx")
PID = Path("/run/nginx.pid")
STREAM_SECONDS = 3600
"""A process that a reload has replaced lets its requests go on for so long, and then ends with them."""
RETRY_SECONDS = 5
"""What ``Retry-After`` says where another try may help."""
UPSTREAM = "inference_nodes"
_ZONE_KIB = 256
_KIB_A_SERVER = 2
"""A server takes less than 1 KiB of the zone (tried with 10,000)."""
_PATH = re.compile(r"(?:/[A-Za-z0-9_.-]+)+")
_SERVER = re.compile(r"^ +server ([0-9.]+):([0-9]+) ", re.MULTILINE)

_ERRORS = (
    # What nginx answers by itself: its codes, the status told, type and message of the body.
    ((400, 494, 497), 400, "invalid_request_error", "bad_request", "The request is not valid HTTP over TLS."),
    ((495, 496), 400, "invalid_request_error", "client_certificate", "A valid client certificate is needed."),
    ((401,), 401, "invalid_request_error", "invalid_api_key", "A valid API key is needed as a bearer token."),
    ((404,), 404, "invalid_request_error", "not_found", "There is nothing here."),
    ((405,), 405, "invalid_request_error", "method_not_allowed", "This method is not allowed."),
    ((413,), 413, "invalid_request_error", "request_too_large", "The body is too large."),
    ((414,), 414, "invalid_request_error", "uri_too_long", "The URI is too long."),
    ((500,), 500, "server_error", "internal_error", "The gateway failed."),
    ((501,), 501, "invalid_request_error", "not_implemented", "This transfer encoding is not known here."),
    ((502,), 502, "server_error", "bad_gateway", "The machine did not answer as it should."),
    ((503,), 503, "server_error", "no_machine", "No machine can take requests right now."),
    ((504,), 504, "server_error", "timeout", "The machine did not answer in time."),
    ((505,), 505, "invalid_request_error", "http_version", "This version of HTTP is not known here."),
)
_BUSY = "Every machine has as many requests as it takes, or does not answer."

_CLAIMS = (
    # What proxies say of the client's address,
    "Forwarded", "X-Forwarded", "X-Original-Forwarded-For", "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4",
    "CF-IPCountry", "True-Client-IP", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Remote-IP", "X-Remote-Addr",
    "X-Originating-IP", "Fastly-Client-IP", "Fly-Client-IP", "X-Azure-ClientIP", "X-Envoy-External-Address",
    # of who it is,
    "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "Remote-User",
    "X-Remote-User", "X-Forwarded-Client-Cert", "X-Client-Cert", "X-SSL-Client-Cert", "X-SSL-Client-Verify",
    "X-SSL-Client-S-DN",
    # and of what it asked for.
    "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Path",
    "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Scheme", "X-Forwarded-Protocol", "X-Forwarded-Ssl",
    "Front-End-Https", "CF-Visitor", "X-Scheme", "X-Url-Scheme", "X-Host", "X-Original-Host", "X-Original-Method",
    "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override",
)  # fmt: skip
"""Headers that a machine may believe, and that any client can send: none of them goes on."""


@dataclass(frozen=True)
class Server:
    """A machine that gets requests. ``max_conns`` bounds those at once, 0 for no bound."""

    address: IPv4Address
    port: int
    weight: int
    backup: bool
    max_conns: int


@dataclass(frozen=True)
class Pems:
    """Where the files are that nginx reads beside its configuration."""

    certificate: Path
    private_key: Path
    client_ca: Path | None


def servers_of(text: str) -> set[tuple[IPv4Address, int]]:
    """Address and port of every machine that a configuration of ours sends requests to."""
    return {(IPv4Address(address), int(port)) for address, port in _SERVER.findall(text)}


def render(
    servers: Iterable[Server], pems: Pems, api_keys: Mapping[str, str], trusted_proxies: Sequence[Source]
) -> str:
    """The configuration; ValueError for a value that is none of its kind.

    The same values make the same text, in whatever order they come. ``api_keys`` are by name.
    """
    found = sorted(servers, key=lambda each: (each.address, each.port))
    parts = [
        _MAIN.format(pid=PID, log=LOG, stream=STREAM_SECONDS),
        _upstream(found),
        _key_map(api_keys),
        _SERVER_HEAD.format(
            port=SERVING_PORT,
            certificate=_path(pems.certificate),
            private_key=_path(pems.private_key),
        ),
        _client_ca(pems.client_ca),
        _real_ip(trusted_proxies),
        *(_error_page(codes) for codes, *_ in _ERRORS),
        _HEALTHY if found else _UNHEALTHY.format(retry=RETRY_SECONDS, body=_body(503)),
        _proxied(api_keys) if found else _closed(api_keys),
        *(_error(codes, status) for codes, status, *_ in _ERRORS),
        "  }\n}\n",
    ]
    return "".join(parts)


def _upstream(servers: Sequence[Server]) -> str:
    if not servers:
        return ""
    # nginx refuses an upstream that has none but backups.
    is_primary_there = any(not each.backup for each in servers)
    size = max(_ZONE_KIB, _KIB_A_SERVER * len(servers))
    lines = [f"  upstream {UPSTREAM} {{", f"    zone {UPSTREAM} {size}k;", "    least_conn;"]
    for each in servers:
        address, port = IPv4Address(each.address), _number(each.port, 1, 65535)
        words = [f"    server {address}:{port} weight={_number(each.weight, 1, MAX_WEIGHT)}"]
        if _number(each.max_conns, 0, MAX_CONNECTIONS):
            words.append(f"max_conns={each.max_conns}")
        # The gateway's own checks are what counts. This only spares requests the wait until those have their outcome.
        words.append("max_fails=3 fail_timeout=5s")
        if each.backup and is_primary_there:
            words.append("backup")
        lines.append(" ".join(words) + ";")
    return "\n".join([*lines, "  }\n"])


def _key_map(api_keys: Mapping[str, str]) -> str:
    """Authorization -> the key's name. Regular expressions, since nginx compares plain texts without their case."""
    lines: list[str] = []
    for name, key in sorted(api_keys.items()):
        if not is_node_name(name) or not API_KEY.fullmatch(key):
            raise ValueError("an API key has no name, or is no bearer token")
        pattern = re.sub(r"([.+])", r"[\1]", key)
        lines.append(f'    "~^(?i:bearer) {pattern}$" {name};\n')
    return "  map $http_authorization $api_key {\n" + "".join(lines) + '    default "";\n  }\n'


def _client_ca(path: Path | None) -> str:
    if path is None:
        return ""
    return f"    ssl_client_certificate {_path(path)};\n    ssl_verify_client on;\n    ssl_verify_depth 3;\n"


def _real_ip(trusted_proxies: Sequence[Source]) -> str:
    if not trusted_proxies:
        return ""
    lines = [f"    set_real_ip_from {ip_network(str(each))};\n" for each in trusted_proxies]
    return "".join(lines) + "    real_ip_header CF-Connecting-IP;\n"


def _ask_key(api_keys: Mapping[str, str]) -> str:
    return '      if ($api_key = "") {\n        return 401;\n      }\n' if api_keys else ""


def _proxied(api_keys: Mapping[str, str]) -> str:
    # A key is for the gateway alone; where it asks for none, the header is the machines' own affair.
    hide = '      proxy_set_header Authorization "";\n' if api_keys else ""
    return f"    location / {{\n{_ask_key(api_keys)}{hide}{_PROXY}    }}\n"


def _closed(api_keys: Mapping[str, str]) -> str:
    return f"    location / {{\n{_ask_key(api_keys)}      return 503;\n    }}\n"


def _place(codes: tuple[int, ...]) -> str:
    return f"/.hybridnet/{codes[0]}"


def _error_page(codes: tuple[int, ...]) -> str:
    # With "=" the place says the status: what nginx finds to be 502 is 503 where no machine was free.
    equals = "= " if 502 in codes else ""
    return f"    error_page {' '.join(map(str, codes))} {equals}{_place(codes)};\n"


def _body(code: int, message: str | None = None) -> str:
    for codes, _, kind, name, text in _ERRORS:
        if code in codes:
            return f'{{"error": {{"message": "{message or text}", "type": "{kind}", "code": "{name}"}}}}'
    raise KeyError(code)


def _error(codes: tuple[int, ...], status: int) -> str:
    lines = [
        f"    location = {_place(codes)} {{",
        "      internal;",
        "      add_header X-Request-ID $request_id always;",
    ]
    if status == 401:
        lines.append('      add_header WWW-Authenticate "Bearer" always;')
    if status in (502, 503, 504):
        lines.append(f'      add_header Retry-After "{RETRY_SECONDS}" always;')
    if status == 502:
        # nginx names the upstream itself as the last one that it tried when there was none that it could try.
        lines.append(f"      if ($upstream_addr ~ {UPSTREAM}$) {{\n        return 503 '{_body(503, _BUSY)}';\n      }}")
    return "\n".join([*lines, f"      return {status} '{_body(codes[0])}';", "    }\n"])


def _number(value: int, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{value!r} is no whole number from {low} to {high}")
    return value


def _path(path: Path) -> str:
    if not _PATH.fullmatch(str(path)):
        raise ValueError(f"{str(path)!r} is no plain path")
    return str(path)


_MAIN = """\
# Made by the gateway's service, and overwritten by it.
user www-data;
worker_processes auto;
# Each reload leaves processes that end with their last request: without a bound a stream could keep one for ever.
worker_shutdown_timeout {stream}s;
pid {pid};
# An error's line shows the request with its query, so only what concerns nginx itself is kept.
error_log {log}/error.log crit;

events {{
  worker_connections 16384;
}}

http {{
  server_tokens off;
  default_type application/json;
  log_format inference escape=json '{{"time":"$time_iso8601","request_id":"$request_id","client":"$remote_addr",'
    '"method":"$plain_method","path":"$plain_path","protocol":"$server_protocol","status":$plain_status,'
    '"bytes":$body_bytes_sent,"seconds":$request_time,"upstream":"$upstream_addr",'
    '"upstream_status":"$upstream_status","connect_seconds":"$upstream_connect_time",'
    '"header_seconds":"$upstream_header_time","api_key":"$api_key"}}';
  access_log {log}/inference.log inference;

  # As it was asked for, without the query.
  map $request_uri $plain_path {{
    "~^(?<before_query>[^?]*)" $before_query;
    default "";
  }}
  # As it was asked with: what answers an error is a GET.
  map $request $plain_method {{
    "~^(?<asked_method>[A-Z]+) " $asked_method;
    default "";
  }}
  # 000 is what nginx notes where there was no answer, and no number in JSON.
  map $status $plain_status {{
    "~^0" 0;
    default $status;
  }}
  map $http_upgrade $upgrade {{
    "~*^websocket$" websocket;
    default "";
  }}
  map $upgrade $connection_header {{
    "" close;
    default upgrade;
  }}
"""

_SERVER_HEAD = """\
  server {{
    listen {port} ssl http2;
    listen [::]:{port} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {private_key};
    # Mozilla's intermediate profile (ssl-config.mozilla.org), without DHE.
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:tls:10m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;
    client_header_timeout 10s;
    client_max_body_size 64m;
    # Longer than Cloudflare keeps an idle connection (900 s), so that it is not closed while a request comes on it. In
    # nginx 1.18 idle HTTP/2 connections end after 180 s in spite of that, but HTTP/2 tells the client which requests
    # were not taken (GOAWAY); http2_idle_timeout would be for those alone, and is obsolete since 1.19.7.
    keepalive_timeout 960s;
    keepalive_requests 10000;
"""

_HEALTHY = """\
    location = /health {
      access_log off;
      add_header X-Request-ID $request_id always;
      return 200 '{"status": "ok"}';
    }
"""

_UNHEALTHY = """\
    location = /health {{
      access_log off;
      add_header X-Request-ID $request_id always;
      add_header Retry-After "{retry}" always;
      return 503 '{body}';
    }}
"""

_CLEARED = "".join(f'      proxy_set_header {name} "";\n' for name in _CLAIMS)

_PROXY = f"""\
      proxy_pass http://{UPSTREAM};
      proxy_http_version 1.1;
      proxy_connect_timeout 5s;
      proxy_read_timeout 120s;
      # A machine that is gone ends its requests after 30 s (90-hybridnet.conf of first boot), one that thinks does not.
      proxy_socket_keepalive on;
      # Answers go on as they come. Requests go on when they are here whole, so that slow clients hold no place.
      proxy_buffering off;
      proxy_request_buffering on;
      # Without non_idempotent: what may have been done is not done again.
      proxy_next_upstream error timeout;
      proxy_next_upstream_tries 3;
      proxy_next_upstream_timeout 15s;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $upgrade;
      proxy_set_header Connection $connection_header;
      proxy_set_header X-Request-ID $request_id;
      # What a client says of itself in the usual headers never reaches a machine.
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Real-IP $remote_addr;
{_CLEARED}      proxy_headers_hash_max_size 1024;
      proxy_headers_hash_bucket_size 128;
      # Machines answer, and do not tell nginx what to do.
      proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset;
      proxy_hide_header X-Request-ID;
      add_header X-Request-ID $request_id always;
"""
