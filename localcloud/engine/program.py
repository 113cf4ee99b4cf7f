"""Runs the program in a process of its own and hands on what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO

from localcloud.engine import language_host, lifeline
from localcloud.engine.config import Config, Project
from localcloud.engine.context import Context
from localcloud.engine.steps import Reporter


def run(
    project: Project,
    config: Config,
    context: Context,
    address: str,
    *,
    environment: Mapping[str, str],
    reporter: Reporter,
) -> int:
    """Runs the program to its end and returns its exit status."""
    about = {
        "monitor": address,
        "engine": address,
        "project": context.project,
        "stack": context.stack,
        "organization": context.organization,
        "preview": context.preview,
        "parallel": context.parallel,
        "root_directory": str(project.directory),
    }
    process = subprocess.Popen(
        [sys.executable, "-u", lifeline.__file__, language_host.__file__, str(project.main)],
        cwd=project.main if project.main.is_dir() else project.main.parent,
        env={
            **environment,
            language_host.VARIABLE: json.dumps(about),
            "PULUMI_CONFIG": json.dumps(dict(config.values)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(sorted(config.secret_keys)),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        threading.Thread(target=_hand_on, args=(stream, severity, reporter))
        for stream, severity in ((process.stdout, "info"), (process.stderr, "info#err"))
    ]
    for reader in readers:
        reader.start()
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()
        for reader in readers:
            reader.join()


def _hand_on(stream: IO[str], severity: str, reporter: Reporter) -> None:
    with stream:
        for line in stream:
            reporter.says("", severity, line.rstrip("\n"))
