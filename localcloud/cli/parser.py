"""Which words the commands take, and what `--help` teaches."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from localcloud.cli.console import fail
from localcloud.cloud import DIRECTORY_VARIABLE, Cloud, LocalCloudError

NOT_RUN = 125
"""Exit status of `exec`, `shell` and `run` when the command could not even be tried."""

_EPILOG = """\
A NODE is a machine by the name that the stack declares, such as hetzner-gw, hetzner-1 or aws-1, or a member of a pool
by the name that `status` shows, such as aws-burst-ef567890.

  python -m localcloud up                                  make the stack's machines and show that they reach each other
  python -m localcloud exec aws-1 -- ping -c 3 10.100.1.1  run a command on a machine; its exit status is the command's
  python -m localcloud shell hetzner-gw                    look around on a machine
  python -m localcloud run -- pulumi stack output          run anything where the program runs
  python -m localcloud kill hetzner-gw                     cut a machine's power; `start` boots it again from its disk
  python -m localcloud scale aws-burst 6                   give a pool six members
  python -m localcloud interrupt aws-burst-ef567890        take a member away as the cloud takes a spot machine
  python -m localcloud down                                leave nothing behind
"""


_NODE = "a machine by the name that the stack declares, such as aws-1, or a pool's member as `status` names it"
_MEMBER = "a member of a pool by the name that `status` shows, such as aws-burst-ef567890"
_CWD = "folder of another Pulumi project, whose stack stands beside this project's (default: this project)"
_MORE = {
    "up": """\
Previews first and then makes the changes; without any it only looks. Run it again after an edit of the stack's file
or an interruption: it goes on from what there is. A local cloud is of one stack; another stack needs another --dir.
Exit status: 0 when every node reaches every node that it may, else 1. Pairs that groups close are shown as `closed`,
and machines that others run are not waited for. With --policy-pack nothing is made of what violates a mandatory policy:
it is listed, and the exit status is 1.

  python -m localcloud up --cwd examples/consumer   a stack of another project, once this one's is up
  python -m localcloud up --skip-preview            make the changes at once: sooner, while you try things

With --skip-preview what the program or a provider refuses may come after other changes have been made, and a policy of
the whole stack, such as the budget, is asked when everything has been.
With --cwd the program of that folder runs with the same clouds and may read this project's outputs
(`pulumi.StackReference("organization/hybrid-wireguard/dev")`). Its machines are nodes as well, and `down` takes them
away too. It ends with what that stack exports. Exit status: 0 when everything was made and has booted, else 1.""",
    "preview": """\
  python -m localcloud preview
  python -m localcloud preview --policy-pack policy         and judge it by the stack's policies
  python -m localcloud preview --json | python -m review    what it means for peers, machines, ports and cost

Changes nothing. With --json the document that `pulumi preview --json --show-sames` prints is on standard output, also
where there is no pulumi CLI, and progress on standard error.
Exit status: 0 when the program could be previewed and no mandatory policy is violated, else 1.""",
    "secret": """\
  (umask 077 && openssl rand -hex 32 > ~/portal.key)
  python -m localcloud secret apiKeys.portal < ~/portal.key
  python -m localcloud secret tlsCertificate.privateKey < key.pem

Does what `pulumi config set --secret --path` does, for where there is no pulumi CLI. The value is read from standard
input; where that is a terminal, one line is asked for. A value that is there is replaced; to remove one, edit the file.

It is sealed with the stack's passphrase: PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE where that is the
stack's, else the one of the local cloud, which is published. Only stacks with that one run here.""",
    "down": "The machines' image stays in the cache, so that the next `up` is quick.",
    "status": """\
HANDSHAKE, RECEIVED and SENT are what the WireGuard of the gateway knows that a node hangs on; a session that lives
makes a handshake every two minutes, and only while there is something to send. With several gateways HANGS ON names it,
in a mesh DIRECT counts the nodes that a node has a tunnel to without any gateway. LEASE is what the gateway says of a
pool's machine: `none` has not joined, or has left; `gone` is a machine that vanished, whose lease lasts until the
gateway forgets it; `external` is a machine of an external pool. Below are the machines that each gateway's load
balancer knows, if there is one: only those IN ROTATION get requests, with BACKUP only when the others cannot.
`unknown`: the gateway does not answer.""",
    "outputs": """\
  python -m localcloud outputs                   for reading
  python -m localcloud outputs --json            for programs
  python -m localcloud outputs --write exports   outputs.json (secrets masked), ssh_node_pools.yaml,
                                                 skyserve_service.yaml and, with an external pool, its secret
                                                 skyserve_service.env; ssh_private_key, a secret too, and so is
                                                 configurations.json, for `python -m clients`

The files are for you alone, and replace none that this command did not write. docs/exports.md says what each is.""",
    "doctor": """\
  python -m localcloud doctor                 every machine, and one verdict: the likeliest cause first
  python -m localcloud doctor aws-1 --json    one machine, for programs

Asks `hybridnet doctor` on each machine that runs, and adds what only the clouds know: a machine that is off, a link
that is cut, a provider's firewall that closes WireGuard's port. docs/troubleshooting.md has the table.
Exit status: 0 when nothing is wrong, 1 when something is, or when there are no machines, 2 for wrong usage.""",
    "exec": """\
  python -m localcloud exec aws-1 -- ping -c 3 10.100.1.1
  python -m localcloud exec hetzner-gw -- wg show
  python -m localcloud exec gcp-1 -- cloud-init status --long

Exit status: the command's; 127 when the machine has no such command, 125 when there is no such machine running.""",
    "shell": """\
  python -m localcloud shell gcp-1
  echo 'wg show' | python -m localcloud shell gcp-1

Exit status: the shell's; 125 when there is no such machine running.""",
    "run": """\
  python -m localcloud run -- curl -k https://198.18.1.1:8443/v1/status
  python -m localcloud run -- pulumi preview                                     where there is a pulumi CLI on PATH
  python -m localcloud run --from internet -- curl -m 2 telnet://198.18.1.1:22   SSH: nobody answers a stranger
  python -m localcloud run --from edge -- curl -k https://198.18.1.1/health      as Cloudflare asks a gateway

Exit status: the command's; 127 when there is no such command, 125 when the local cloud is not up.""",
    "stop": "`start` boots it again from its disk.",
    "kill": "As if the plug were pulled: nothing is shut down or synced. `start` boots it again from its disk.",
    "cut": """\
  python -m localcloud cut aws-1 hetzner-gw   nothing between the two
  python -m localcloud cut aws-1              nothing at all to or from aws-1

`status` lists what is cut, `heal` ends it.""",
    "scale": """\
  python -m localcloud scale aws-burst 6
  python -m localcloud scale gcp-burst 1

A size from the pool's `min` to its `max`. Who leaves is told by its cloud first: on AWS it has up to 120 s to do so.
Exit status: 0 when the pool has that many members and all of them run, else 1.""",
    "interrupt": """\
  python -m localcloud interrupt aws-burst-ef567890               the notice, and the machine is gone in 120 s
  python -m localcloud interrupt aws-burst-ef567890 --after 10    in 10 s instead of the cloud's own time
  python -m localcloud interrupt aws-burst-ef567890 --rebalance   AWS's recommendation alone, no end

The group replaces what is taken, and on AWS what is recommended for rebalancing too.
Exit status: 0 when the machine has been told, else 1.""",
    "identity": """\
  python -m localcloud identity >identity.pem

What a site's `identityCertificates` are here, where a pool has `requireIdentity`. `down` forgets the key: after it
there is another certificate.""",
    "heal": """\
  python -m localcloud heal aws-1 hetzner-gw  ends the cut between the two
  python -m localcloud heal aws-1             ends every cut of aws-1""",
}


def main(words: Sequence[str]) -> int:
    """Carry out a command; returns its exit status."""
    options, unknown = _parser().parse_known_args(words)
    if unknown:  # by the command's own parser, whose usage says what it takes
        options.usage.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.name in ("up", "preview", "down"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was begun is ended first
    cloud = Cloud(options.dir) if options.dir else Cloud.default()
    try:
        if os.geteuid() != 0 and options.name != "secret":
            raise LocalCloudError(
                "the local cloud needs root (it makes namespaces and boots machines): run it with sudo"
            )
        command: Callable[[Cloud, argparse.Namespace], int] = options.command
        return command(cloud, options)
    except LocalCloudError as error:
        fail(str(error))
        return NOT_RUN if options.name in ("exec", "shell", "run") else 1
    except KeyboardInterrupt:
        fail("interrupted; the next `python -m localcloud up` goes on from here")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localcloud",
        description="The clouds on this machine: real machines in network namespaces, without credentials.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dir",
        type=Path,
        help=f"folder of the instance (default: {DIRECTORY_VARIABLE}, else .localcloud of the project)",
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", title="commands")

    def add(name: str, command: Callable[[Cloud, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=_MORE.get(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(command=command, usage=added)
        return added

    _add_stack_commands(add)
    _add_looking_commands(add)
    _add_running_commands(add)
    _add_machine_commands(add)
    _add_pool_commands(add)
    return parser


_Add = Callable[[str, Callable[[Cloud, argparse.Namespace], int], str], argparse.ArgumentParser]


def _add_stack_commands(add: _Add) -> None:
    from localcloud.cli import stack

    def seal(cloud: Cloud, options: argparse.Namespace) -> int:
        from localcloud.cli import secret  # its cryptography takes longer to load than most commands take

        return secret.seal(cloud, options)

    for name, command, text in (
        ("up", stack.up, "make the local cloud equal to the stack, and show that every node reaches every node"),
        ("preview", stack.preview, "show what `up` would change"),
        ("secret", seal, "put a secret from standard input, sealed, into the stack's configuration"),
    ):
        added = add(name, command, text)
        added.add_argument("--stack", default="dev", help="name of the stack (default: dev)")
        added.add_argument("--config-file", type=Path, help="its configuration (default: Pulumi.<stack>.yaml)")
        if name != "secret":
            added.add_argument("--cwd", type=Path, metavar="DIR", help=_CWD)
            added.add_argument(
                "--policy-pack", type=Path, action="append", default=[], metavar="DIR",
                help="judge the stack by this policy pack, such as policy (repeatable)",
            )  # fmt: skip
            added.add_argument(
                "--policy-pack-config", type=Path, action="append", default=[], metavar="FILE",
                help="the pack's configuration, JSON; one for each pack, in their order, or none",
            )  # fmt: skip
        else:
            added.add_argument("key", metavar="KEY", help="which setting, such as apiKeys.portal")
        if name == "up":
            added.add_argument("--skip-preview", action="store_true", help="make the changes without looking first")
        if name == "preview":
            added.add_argument("--json", action="store_true", help="as `pulumi preview --json`, for `python -m review`")
    add("down", stack.down, "remove every machine, namespace, process and file of the local cloud")
    serve = add("serve", stack.serve, "be the daemon that `up` starts: providers, groups of machines, metadata")
    serve.add_argument("--ready", type=int, metavar="FD", help="descriptor on which to say that it serves")


def _add_looking_commands(add: _Add) -> None:
    from localcloud.cli import doctor, look

    status = add("status", look.status, "show the machines and what the gateway knows of them")
    status.add_argument("--json", action="store_true", help="as one JSON document")
    outputs = add("outputs", look.outputs, "show what the stack exports; secrets are masked")
    outputs.add_argument("--json", action="store_true", help="as one JSON document")
    outputs.add_argument("--cwd", type=Path, metavar="DIR", help=_CWD)
    outputs.add_argument("--stack", help="name of the stack (default: the one that is up)")
    outputs.add_argument(
        "--write", type=Path, metavar="DIR", help="write the outputs, SkyPilot's documents and what belongs to them"
    )
    found = add("doctor", doctor.doctor, "say what is wrong with the network, and what mends it")
    found.add_argument("nodes", metavar="NODE", nargs="*", help="machines to look at (default: the network's)")
    found.add_argument("--json", action="store_true", help="as one JSON document")


def _add_running_commands(add: _Add) -> None:
    from localcloud.cli import running

    execute = add("exec", running.execute, "run a command on a machine; the exit status is the command's")
    execute.add_argument("node", metavar="NODE", help=_NODE)
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command with its arguments")
    shell = add("shell", running.shell, "a shell on a machine")
    shell.add_argument("node", metavar="NODE", help=_NODE)
    run = add(
        "run", running.run, "run a command at the desk, with providers, backend and passphrase set (no CMD: a shell)"
    )
    run.add_argument(
        "--from", dest="source", choices=("desk", "internet", "edge"), default="desk",
        help="desk (default), internet: a stranger's address, or edge: an address of Cloudflare's",
    )  # fmt: skip
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command with its arguments")


def _add_machine_commands(add: _Add) -> None:
    from localcloud.cli import operate

    for name, text in (
        ("stop", "shut a machine down cleanly"),
        ("start", "boot a machine that is stopped"),
        ("kill", "cut a machine's power; a pool's group replaces its member"),
        ("reboot", "boot a machine again"),
    ):
        add(name, operate.power, text).add_argument("node", metavar="NODE", help=_NODE)
    for name, text in (
        ("cut", "let nothing pass between two machines, or between one and everything"),
        ("heal", "end a cut between two machines, or every cut of one"),
    ):
        added = add(name, operate.connect, text)
        added.add_argument("node", metavar="NODE", help=_NODE)
        added.add_argument("other", metavar="NODE", nargs="?", help="the other end; none: everything")


def _add_pool_commands(add: _Add) -> None:
    from localcloud.cli import pools

    scale = add("scale", pools.scale, "give a pool another number of members, and wait until they run")
    scale.add_argument("pool", metavar="POOL", help="a pool by the name that the stack declares, such as aws-burst")
    scale.add_argument("size", metavar="N", type=int, help="how many")
    interrupt = add("interrupt", pools.interrupt, "take a pool's member away as its cloud takes a spot machine")
    interrupt.add_argument("node", metavar="NODE", help=_MEMBER)
    interrupt.add_argument(
        "--after", type=float, metavar="S", help="seconds from the notice to the end (default: AWS's 120, GCP's 30)"
    )
    interrupt.add_argument("--rebalance", action="store_true", help="give AWS's rebalance recommendation, no notice")
    add("identity", pools.identity, "print the certificate that Amazon's identity documents are signed with here")
