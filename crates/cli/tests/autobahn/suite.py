"""Installs the Autobahn|TestSuite, which runs on Python 2.7 only, under target/autobahn.

A Python 2.7 is taken from SOCKRATES_PYTHON2, from the PATH or from pyenv. Where there is none, the packages of the last
Debian that had one are unpacked beside the suite; nothing is installed on the machine.
"""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import install
from install import fail

LISTS = Path(__file__).resolve().parent
# The last Debian with Python 2.7 and pip for it.
RELEASE = "bullseye"
ARCHIVES = ["http://deb.debian.org/debian", "http://archive.debian.org/debian"]
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES = ["libffi7", "libpython2.7-dev", "libpython2.7-minimal", "libpython2.7-stdlib", "libssl1.1", "python-pip-whl",
            "python2.7", "python2.7-minimal"]
# What `wstest` is, without the path of an interpreter.
WSTEST = """
import site, sys
site.addsitedir(sys.argv.pop(1))
from autobahntestsuite.wstest import run
run()
"""


class Python:
    """A Python 2.7 with pip, and what its environment must say."""

    def __init__(self, path, unpacked=None):
        self.path = str(path)
        self.variables = {}
        self.pip_variables = {}
        if unpacked is not None:
            root = unpacked / "root/usr"
            includes = [root / "include/python2.7", root / "include"]
            self.variables = {"LD_LIBRARY_PATH": ":".join(str(one) for one in root.glob("lib/*-linux-gnu"))}
            self.pip_variables = {"PYTHONPATH": str(unpacked / "pip"),
                                  "CPPFLAGS": " ".join(f"-I{include}" for include in includes)}

    def environment(self):
        """What programs of the suite run with."""
        return {**os.environ, **self.variables, "PYTHONDONTWRITEBYTECODE": "1"}

    def pip_environment(self):
        return {**os.environ, **self.variables, **self.pip_variables}

    def pip(self, *arguments):
        return [self.path, "-m", "pip", *arguments]

    def works(self):
        """Says whether it is there, is what it should be, and has pip: a shim of pyenv may be there and not run."""
        ask = [self.path, "-c", "import sys, ssl; sys.exit(sys.version_info[:2] != (2, 7))"]
        return all(succeeds(command, env=self.pip_environment()) for command in (ask, self.pip("--version")))


def wstest(folder):
    """Installs the suite in the folder; returns the command line of `wstest` and its environment."""
    python = find(folder / "python")
    packages = folder / "packages"
    lists = [(LISTS / name).read_bytes() for name in ("requirements.txt", "accelerator.txt")]
    listed = b"".join([*lists, python.path.encode()])
    if not ((packages / ".installed").exists() and (packages / ".installed").read_bytes() == listed):
        shutil.rmtree(packages, ignore_errors=True)
        packages.mkdir(parents=True)
        options = ["install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target", str(packages), "-r"]
        environment = python.pip_environment()
        # Not every machine has a compiler; without this the cases of section 9 take ten times as long.
        accelerate = python.pip(*options, str(LISTS / "accelerator.txt"))
        if not succeeds(accelerate, env=environment):
            print("  no C compiler for wsaccel: the limits of section 9 take longer")
        install.once(packages, listed, python.pip(*options, str(LISTS / "requirements.txt")), environment=environment)
    return [python.path, "-c", WSTEST, str(packages)], python.environment()


def find(unpacked):
    """Returns a Python 2.7 that works."""
    named = os.environ.get("SOCKRATES_PYTHON2")
    if named:
        python = Python(named)
        return python if python.works() else fail(7, f"SOCKRATES_PYTHON2={named} is no Python 2.7 with pip")
    candidates = [shutil.which("python2.7"), *sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python"))]
    for candidate in filter(None, candidates):
        python = Python(candidate)
        if python.works():
            return python
    return unpack(unpacked)


def unpack(folder):
    """Unpacks Debian's last Python 2.7 in the folder, unless it is there."""
    interpreter = folder / "root/usr/bin/python2.7"
    if Python(interpreter, folder).works():
        return Python(interpreter, folder)
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing or not KEYS.exists():
        without_python(f"{', '.join(missing) or KEYS} is missing")
    for archive in ARCHIVES:
        shutil.rmtree(folder, ignore_errors=True)
        if download(folder, archive):
            break
    else:
        without_python(f"Debian's ({RELEASE}) cannot be downloaded from {' or '.join(ARCHIVES)}")
    for package in folder.glob("*.deb"):
        if not succeeds(["dpkg", "-x", package, folder / "root"]):
            without_python(f"{package} cannot be unpacked")
    # pip from within a wheel does not find its parts.
    for wheel in (folder / "root/usr/share/python-wheels").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / "pip")
    if not Python(interpreter, folder).works():
        without_python(f"Debian's ({RELEASE}) does not run here")
    return Python(interpreter, folder)


def download(folder, archive):
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    sources = folder / "sources.list"
    # The release will no longer be renewed: its index may be older than its own date says is good.
    sources.write_text(f"deb [signed-by={KEYS} check-valid-until=no] {archive} {RELEASE} main\n")
    settings = {"Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": "/dev/null", "Dir::State": folder / "state",
                "Dir::Cache": folder / "cache", "Dir::State::status": "/dev/null", "APT::Sandbox::User": "",
                "Acquire::Languages": "none"}
    options = [f"-o{name}={value}" for name, value in settings.items()]
    return all(succeeds(["apt-get", "-qq", *options, *command], cwd=folder)
               for command in (["update", "--error-on=any"], ["download", *PACKAGES]))


def without_python(reason):
    fail(7, f"the suite needs a Python 2.7 with pip. There is none on the PATH and in pyenv, and {reason}. "
            "SOCKRATES_PYTHON2 may name one.")


def succeeds(command, **options):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=600, **options)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
