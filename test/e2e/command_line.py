"""Shared by the tests of the command line."""

from __future__ import annotations

from commc import tools
from commc.tools import EXIT


def commc(*arguments):
    return tools.run("commc", *arguments, check=False)


def commrun(*arguments, **options):
    return tools.run("commrun", *arguments, check=False, **options)


def one_error(done, code):
    """The tool ended with `code` and said at least one sentence of the error form, without a stack trace."""
    assert done.returncode == EXIT[code], f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "error" in done.stderr and "Stack dump" not in done.stderr
    return done.stderr
