"""``python -m monitoring``: what Prometheus and Kubernetes are to be told of a stack, on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from monitoring.daemonset import ImageError, daemonset
from monitoring.rules import RepositoryError, linked

if TYPE_CHECKING:
    from components.outputs import StackOutputs

_DESCRIPTION = """\
What Prometheus and Kubernetes are to be told of a stack, on standard output.

docs/monitoring.md says what to do with it."""
_EXAMPLES = """\
  pulumi stack output --json | python -m monitoring scrape >prometheus.yml
  python -m localcloud outputs --json | python -m monitoring scrape >prometheus.yml     on the local cloud
  python -m monitoring rules --repository https://git.example.com/acme/hybrid-wireguard/blob/main >hybridnet-rules.yaml
  promtool check config prometheus.yml

Exit status: 0; 1 when a file cannot be read; 2 when it was not called right, as with what are no outputs of a stack."""
_SOURCE = "the outputs in JSON; standard input without it"


class MisuseError(Exception):
    """It was not called right; the message says how."""


class FailureError(Exception):
    """It cannot be done; the message says why and what to do."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monitoring",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    scrape = commands.add_parser("scrape", help="Prometheus' configuration", description="Prometheus' configuration.")
    scrape.add_argument("--from", dest="source", type=Path, metavar="FILE", help=_SOURCE)
    scrape.add_argument(
        "--discovery",
        choices=("http", "file", "static"),
        default="http",
        help="how Prometheus knows of nodes: http asks the gateways, and knows machines of pools, too (default); "
        "file reads what `targets` prints; static has them in the configuration",
    )
    scrape.add_argument(
        "--ca",
        metavar="FILE",
        default="/etc/hybridnet/ca.pem",
        help="with http: where Prometheus has the stack's authority; by default where each machine of the stack has it",
    )
    scrape.set_defaults(run=_scrape)

    targets = commands.add_parser(
        "targets",
        help="the declared nodes as a file of file_sd",
        description="The declared nodes as a file of file_sd.",
    )
    targets.add_argument("--from", dest="source", type=Path, metavar="FILE", help=_SOURCE)
    targets.set_defaults(run=_targets)

    rules = commands.add_parser(
        "rules", help="the rules, with links to the runbooks", description="The rules, with links to the runbooks."
    )
    rules.add_argument("--repository", required=True, metavar="URL", help="where a browser shows this project's files")
    rules.set_defaults(run=_rules)

    manifest = commands.add_parser(
        "daemonset",
        help="prometheus_wireguard_exporter for a Kubernetes cluster",
        description="A DaemonSet that runs prometheus_wireguard_exporter in a Kubernetes cluster.",
    )
    manifest.add_argument(
        "--image", required=True, help="an image of prometheus_wireguard_exporter, with tag or digest"
    )
    manifest.set_defaults(run=_daemonset)
    return parser


def _read(source: Path | None, stdin: TextIO) -> str:
    if source is None:
        if stdin.isatty():
            raise MisuseError("nothing comes in: pipe `pulumi stack output --json` into it, or use --from")
        return stdin.read()
    try:
        return source.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise FailureError(f"{source} cannot be read: {reason}") from None


def _outputs(options: argparse.Namespace) -> StackOutputs:
    from components.outputs import OutputsError, parse_outputs

    remedy = "give what `pulumi stack output --json` prints"
    try:
        document: object = json.loads(_read(options.source, sys.stdin))
    except ValueError:
        raise MisuseError(f"what came in is not JSON: {remedy}") from None
    if not isinstance(document, dict) or "schema_version" not in document:
        raise MisuseError(f"what came in are no outputs of this project's stacks: {remedy}")
    try:
        return parse_outputs(cast("dict[str, Any]", document))
    except OutputsError as error:
        raise MisuseError(str(error)) from None


def _scrape(options: argparse.Namespace) -> str:
    from monitoring.scrape import prometheus_config

    return prometheus_config(_outputs(options), options.discovery, options.ca)


def _targets(options: argparse.Namespace) -> str:
    from monitoring.scrape import file_targets

    return file_targets(_outputs(options))


def _rules(options: argparse.Namespace) -> str:
    return linked(options.repository)


def _daemonset(options: argparse.Namespace) -> str:
    return daemonset(options.image)


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = _parser().parse_args(arguments)
    try:
        sys.stdout.write(cast("Callable[[argparse.Namespace], str]", options.run)(options))
    except (MisuseError, ImageError, RepositoryError) as error:
        print(f"monitoring: {error}", file=sys.stderr)
        return 2
    except FailureError as error:
        print(f"monitoring: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
