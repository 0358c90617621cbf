"""What is installed: one namespace package over three folders, and nothing beside it."""

import os
import re
import subprocess
import sys
import tomllib
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

from llmos.version import VERSION

SOURCES = ("simulator", "kernels", "tui")


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """The wheel, as `pip install .` would build it."""
    folder = str(tmp_path_factory.mktemp("wheel"))
    return next(WheelBuilder(str(root)).build(directory=folder, versions=["standard"]))


@pytest.fixture(scope="module")
def files(wheel):
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds what the wheel holds, and nothing of the repository."""
    folder = tmp_path_factory.mktemp("installed")
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(script, path):
    """What Python prints for `script` with `path` in front, in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_no_folder_claims_the_namespace(root):
    assert [source for source in SOURCES if not (root / source / "llmos").is_dir()] == []
    assert [source for source in SOURCES if (root / source / "llmos" / "__init__.py").exists()] == []


def test_every_room_is_a_package(root):
    rooms = {path.parent for source in SOURCES for path in root.glob(f"{source}/llmos/*/**/*.py")}
    assert [room for room in rooms if not (room / "__init__.py").is_file()] == []


def test_the_wheel_holds_llmos_and_its_description_only(files):
    own = ("llmos/", f"llmos-{VERSION}.dist-info/")
    assert [name for name in files if not name.startswith(own)] == []
    assert "llmos/__init__.py" not in files
    assert [name for name in files if "__pycache__" in name or name.startswith("llmos/tests")] == []


def test_the_wheel_holds_every_file_of_the_sources(root, files):
    homes = {f"{source}/llmos": "llmos" for source in SOURCES}
    homes |= {"scenarios": "llmos/scenario/files", "assignments": "llmos/assignment/files"}
    for home, place in homes.items():
        ours = [
            path for path in (root / home).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        ]
        assert ours, f"{home} is empty"
        assert {f"{place}/{path.relative_to(root / home)}" for path in ours} - files == set()


def test_the_wheel_carries_the_licence(files):
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in files)


def test_the_command_starts_from_the_wheel_alone(installed, project):
    module, function = project["scripts"]["llmos"].split(":")
    script = (
        f"import sys, {module} as home\n"
        "sys.argv = ['llmos', '--help']\n"
        "print(home.__file__)\n"
        f"home.{function}()\n"
    )
    printed = python(script, installed)
    assert printed.splitlines()[0].startswith(str(installed))
    assert "Usage" in printed


def test_everything_that_is_installed_is_pinned(root, project):
    pins = (root / "constraints.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9-]+)==[0-9.]+$", pins, re.MULTILINE))
    assert len(pinned) == len([line for line in pins.splitlines() if line and not line.startswith("#")])
    extras = project["optional-dependencies"].values()
    wanted = {re.split(r"[^\w-]", each)[0] for each in sum(extras, project["dependencies"])}
    assert wanted - pinned == set()


def test_the_changelog_tells_of_this_version(root):
    assert f"## [{VERSION}]" in (root / "CHANGELOG.md").read_text(encoding="utf-8")
