"""What the documentation says to type works as it stands."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from gateway.config_reference import SETTINGS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEPLOY = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "docs" / "deploy" / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", page)


def commands() -> list[str]:
    """What the README says to type."""
    return [line.removeprefix("$ ") for block in blocks(README, "console") for line in block.splitlines()]


def test_readme_configuration(tmp_path):
    """A key and a configuration, made as the README says, have no fault, and the key is nobody else's to read."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    command = tmp_path / ".venv" / "bin" / "wsdevice"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harness "$@"\n')
    command.chmod(0o755)
    (toml,) = blocks(README, "toml")
    (tmp_path / "gateway.toml").write_text(toml)
    (key,) = (line for line in commands() if "secrets" in line)
    (check,) = (line for line in commands() if "check-config" in line)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WSDEVICE_")}
    env = ours | {"PYTHONPATH": str(ROOT)}

    subprocess.run(key, shell=True, cwd=tmp_path, env=env, check=True)
    checked = subprocess.run(check, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert checked.stderr == ""
    assert checked.stdout.endswith("gateway.toml: ok\n")
    assert (tmp_path / "auth-key").stat().st_mode & 0o077 == 0


def test_readme_commands_need_no_activation():
    """Whoever follows the README has the commands in ``.venv``, not on the path."""
    assert all(re.match(r"python3 -m venv |\.venv/bin/(wsdevice|pytest) |\(umask ", line) for line in commands())


def test_guide_makes_the_same_key():
    """README and guide make the secret by the same command, under the same name."""
    (key,) = (line for line in commands() if "secrets" in line)

    assert key.replace("> auth-key", "> /etc/wsdevice/auth-key") in DEPLOY


def test_guide_installs_what_is_there():
    """Every file of this repository that the guide installs or builds exists."""
    named = set(re.findall(r"docs/deploy/[\w.-]+", "".join(blocks(DEPLOY, "sh"))))

    assert len(named) == 4
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_image_has_what_the_wheel_needs():
    """What the Dockerfile copies is there, and is all that a wheel is made of."""
    copied = [word for words in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", DOCKERFILE) for word in words.split()]
    needed = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], *needed} <= set(
        copied
    )


def test_image_sets_what_is_a_setting():
    """Each variable of ours in the Dockerfile is a setting."""
    variables = set(re.findall(r"WSDEVICE_\w+", DOCKERFILE))

    assert len(variables) == 3
    assert variables <= {setting.variable for setting in SETTINGS.values()}
