"""The package as others get it: its types, its wheel, and the examples of its README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast
from support import BINARY, Process, environment, eventually

HERE = Path(__file__).parents[1]
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (HERE / "README.md").read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The service as the README has it started; the settings that it prints."""
    folder = tmp_path_factory.mktemp("demo")
    env = environment() | {"HOLDFAST_DATA_DIR": str(folder), "HOLDFAST_LISTEN": "127.0.0.1:0"}
    printed = folder / "printed"
    with printed.open("wb") as output:
        process = Process([BINARY, "serve", "--demo"], env, stdout=output, stderr=subprocess.DEVNULL)
    try:
        key = eventually("it prints a key", lambda: re.search(r"(hf_live_\S+)\n", printed.read_text()))
        address = re.search(r"http://[\d.:]+", printed.read_text())
        assert address is not None
        yield {"HOLDFAST_URL": address[0], "HOLDFAST_KEY": key[1]}
    finally:
        # Asked, so that it ends its private Redis, too.
        process.child.terminate()
        process.child.wait(20)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_readme_runs_as_it_is_pasted(demo: dict[str, str], number: int) -> None:
    env = environment() | demo
    ran = subprocess.run([sys.executable, "-c", EXAMPLES[number]], env=env, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout and not ran.stderr


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7


def test_types_are_right_under_the_strictest_rules() -> None:
    ran = subprocess.run([sys.executable, "-m", "mypy"], cwd=HERE, env=os.environ, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_wheel_has_the_code_and_the_marker_of_its_types(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=HERE, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("holdfast-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    sources = {f"holdfast/{path.name}" for path in (HERE / "src" / "holdfast").iterdir() if path.is_file()}
    assert "holdfast/py.typed" in sources <= names
    assert f"\nVersion: {holdfast.__version__}\n" in metadata
    assert re.findall(r"^Requires-Dist: (?!.*extra ==)(.*)$", metadata, re.M) == ["httpx<1,>=0.27"]
