"""Installs what scripts need of other languages under target/, once for each state of its list."""

import shutil
import subprocess
import sys
from pathlib import Path


def node(folder, source, *names):
    """Installs what `package-lock.json` in `source` lists, copies these files as well, and returns Node.js."""
    interpreter, npm = shutil.which("node"), shutil.which("npm")
    if interpreter is None or npm is None:
        fail(7, "Node.js or npm is missing (Debian: apt-get install nodejs npm)")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", *names):
        shutil.copy(source / name, folder / name)
    once(folder, (source / "package-lock.json").read_bytes(), [npm, "ci", "--silent", "--prefix", str(folder)])
    return interpreter


def python(folder, requirements):
    """Makes a virtual environment with these requirements; returns its interpreter."""
    interpreter = folder / "bin/python"
    if not interpreter.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True)
        if made.returncode != 0:
            fail(7, f"cannot make a Python venv (Debian: apt-get install python3-venv): {made.stderr}")
    once(folder, requirements.read_bytes(), [str(interpreter), "-m", "pip", "install", "--quiet", "--no-deps",
                                             "--disable-pip-version-check", "-r", str(requirements)])
    return str(interpreter)


def once(folder, listed, *commands, environment=None):
    """Runs the commands, unless they have been run in the folder for the same list."""
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_bytes() == listed:
        return
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            fail(1, f"{' '.join(map(str, command))} failed: {done.stdout}{done.stderr}")
    stamp.write_bytes(listed)


def fail(code, message):
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(code)
