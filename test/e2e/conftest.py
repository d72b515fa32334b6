"""Fixtures of the end-to-end tests: the tools, and one folder per session in which compiled executables are shared."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from commc import tools


@pytest.fixture(scope="session", autouse=True)
def built_tools():
    """Skips while the sources of a tool are not in the tree; a tool that is there but not built is a failure."""
    for name in ("commc", "commrun"):
        try:
            tools.find(name)
        except tools.ToolMissing as missing:
            if (tools.ROOT / "tools" / name).is_dir():
                pytest.fail(str(missing), pytrace=False)
            pytest.skip(f"{name} does not exist yet")


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home folder of the session, so that the user's allow list of native code is left alone."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("home")
    patch.setenv("HOME", str(folder))
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        patch.delenv(variable, raising=False)
    yield folder
    patch.undo()


@pytest.fixture(scope="session")
def lab(tmp_path_factory, home):
    """See harness.Lab."""
    from harness import Lab

    return Lab(tmp_path_factory.mktemp("e2e"))


@pytest.fixture(scope="session")
def bert(lab):
    """(executable on 2 ranks, inputs, outputs) of bert_dynamic."""
    from harness import first_tier

    model, inputs, outputs = first_tier("bert_dynamic")
    return lab.compile(model, 2, inputs), inputs[0], outputs[0]
