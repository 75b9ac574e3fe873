"""Run the example as its README says: install the app alone in an empty environment, and send a message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import free_port, wait_for

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
# The environment contains nothing of the project's own tests.
ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Installed:
    def __init__(self, folder: Path) -> None:
        self.folder, self.programs = folder, folder / "venv" / "bin"

    def run(self, program: str, *arguments: str) -> str:
        ended = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Copy the example, and install only `playmatatu-sms` and its dependencies."""
    folder = tmp_path_factory.mktemp("hello")
    for source in (ROOT / "examples" / "hello").glob("*.*"):
        (folder / source.name).write_text(source.read_text())
    # uv is ten times faster than `python -m venv` and `pip install`.
    uv = Path(sys.executable).with_name("uv")
    made = Installed(folder)
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder / "venv"], check=True)
    subprocess.run(
        [uv, "pip", "install", "-q", "--system-certs", "--python", made.programs / "python", f"{ROOT}[testing]"],
        check=True,
    )
    return made


def test_the_wheel_holds_the_app_alone(installed: Installed) -> None:
    code = "from importlib.metadata import files; print(*files('playmatatu-sms'), sep='\\n')"
    files = installed.run("python", "-c", code).split()
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sms", "playmatatu_sms_pytest.py"}
    tracked = subprocess.run(["git", "ls-files", "sms"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(tracked.stdout.split()) <= set(files)
    code = "import sms, importlib.metadata as m; print(m.version('playmatatu-sms') == sms.__version__)"
    assert installed.run("python", "-c", code) == "True\n"


def test_a_text_from_there(installed: Installed) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = installed.folder / "settings.py"
    settings.write_text(settings.read_text().replace("http://127.0.0.1:8025", url))
    sandbox = subprocess.Popen(
        [installed.programs / "python", "manage.py", "dmark_sandbox", "--port", str(port)],
        cwd=installed.folder,
        env=ENVIRONMENT,
    )
    try:
        wait_for(lambda: _answers(url), seconds=60, every=0.1)
        installed.run("python", "manage.py", "migrate", "-v0")
        assert installed.run("python", "manage.py", "send_test_sms", "0772123456").startswith("sent")
        (text,) = requests.get(f"{url}/inbox.json", timeout=5).json()
        assert text["to"] == "0772123456"
    finally:
        sandbox.terminate()
        sandbox.wait()


def test_its_own_tests_pass_by_the_plugin_alone(installed: Installed) -> None:
    assert "1 passed" in installed.run("pytest", "-q")


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/inbox.json", timeout=1).ok
    except requests.ConnectionError:
        return False


def test_the_distributions_are_fit_for_pypi(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "-q", "--system-certs", "--out-dir", tmp_path, ROOT], check=True)
    files = sorted(tmp_path.glob("playmatatu_sms-*"))
    assert len(files) == 2
    checked = subprocess.run(
        [uv, "tool", "run", "-q", "--system-certs", "twine", "check", "--strict", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
