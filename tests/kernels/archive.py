# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Debian's cloud kernels: the newest of a series, fetched and unpacked below build/, not installed.

Old and new kernels are in neighbouring suites of the archive that this machine installs from. They
are read through an apt configuration of our own, which leaves the machine's alone. Versions vanish
from the archive, so the newest is looked up anew once a day.
"""

import collections
import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import time

from lib.mplex import ROOT

CACHE = ROOT / "build" / "kernels"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Small ones all: the large suites have no other kernels of these series.
SUITES = {
    "Debian-Security": ("bullseye-security", "bookworm-security", "trixie-security"),
    "Debian": ("trixie-backports",),
}
IMAGE = re.compile(r"linux-image-(\d+\.\d+(?:\.\d+)*\S*-cloud-amd64)")
DAY = 24 * 60 * 60

# An unpacked kernel: its release (uname -r), its image, and the folder with lib/modules/RELEASE.
Kernel = collections.namedtuple("Kernel", "release image folder")


class Unavailable(Exception):
    """A kernel that cannot be fetched; the text says why."""


def apt(*words):
    """Runs a program of apt with our own configuration; returns what it printed."""
    environment = os.environ | {"APT_CONFIG": str(CACHE / "apt" / "apt.conf"), "LC_ALL": "C"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        # Its last line is the sum of the others.
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise Unavailable(f"{words[0]} {words[1]} failed: {said[0]}")
    return done.stdout


def configured_archives():
    """The addresses that this machine gets Debian's packages from, by the archive's label."""
    try:
        done = subprocess.run(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)"],
                              capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"apt does not say where its packages come from: {error}") from None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)


def configure():
    """Writes the apt configuration and reads the suites' indexes, at most once a day."""
    folder = CACHE / "apt"
    stamp = folder / "updated"
    if stamp.exists() and time.time() - stamp.stat().st_mtime < DAY:
        return
    archives = configured_archives()
    sources = [f"deb [signed-by={KEYRING}] {archives[label]} {suite} main\n"
               for label, suites in SUITES.items() if label in archives for suite in suites]
    if not sources:
        raise Unavailable("this machine does not install from a Debian archive")
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text("".join(sources))
    (folder / "apt.conf").write_text(
        f'Dir "{folder}";\nDir::State "{folder}";\nDir::Cache "{folder}";\n'
        f'Dir::State::status "{folder}/status";\nDir::Etc "{folder}";\n'
        'Dir::Etc::sourceparts "-";\nDir::Etc::parts "-";\n'
        'APT::Architecture "amd64";\nAPT::Architectures "amd64";\nAPT::Sandbox::User "root";\n'
        # Suites that are no longer maintained do not refresh their dates.
        'Acquire::Languages "none";\nAcquire::Check-Valid-Until "false";\n')
    # One suite that is gone must not hide the others: what is there decides.
    with contextlib.suppress(Unavailable):
        apt("apt-get", "update", "-q")
    if not any((folder / "lists").glob("*_Packages*")):
        raise Unavailable("no package index could be fetched")
    stamp.touch()


def version_key(release):
    """Orders releases as people do: 6.12.9 before 6.12.10."""
    return [int(number) for number in re.findall(r"\d+", release)]


def newest(series):
    """The newest release of a series: "6.12", or "7" for any 7.x."""
    names = apt("apt-cache", "pkgnames", "linux-image-").split()
    releases = [match[1] for match in map(IMAGE.fullmatch, names)
                if match and match[1].startswith(series + ".")
                # Another suite's rebuild, of a series older than its own.
                and "deb11" not in match[1]]
    if not releases:
        raise Unavailable(f"the archive has no kernel {series}")
    return max(releases, key=version_key)


def packages(release):
    """The image's package and those of its parts: newer kernels are split."""
    image = f"linux-image-{release}"
    shown = apt("apt-cache", "depends", "--no-recommends", "--no-suggests", image)
    parts = re.findall(r"^ *Depends: (linux-\S+)$", shown, re.MULTILINE)
    return [image, *(part for part in parts if part.endswith(release))]


def unpack(release, place):
    """Fetches and unpacks a release into a folder, and indexes its modules."""
    downloads = place / "packages"
    downloads.mkdir(parents=True)
    for name in packages(release):
        apt("sh", "-c", 'cd "$1" && exec apt-get download -q "$2"', "sh", downloads, name)
    for package in downloads.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, place], check=True, timeout=300)
    shutil.rmtree(downloads)
    if not (place / "lib").exists():
        (place / "lib").symlink_to("usr/lib")
    subprocess.run(["/sbin/depmod", "-b", place, release], check=True, timeout=300)


def unpacked(release, folder):
    images = [*folder.glob("boot/vmlinuz-*"), *folder.glob("usr/lib/modules/*/vmlinuz")]
    if len(images) != 1:
        raise Unavailable(f"the packages of {release} have {len(images)} kernel images")
    return Kernel(release, images[0], folder)


def fetch(series):
    """The newest kernel of a series, unpacked. Raises Unavailable."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure()
        release = newest(series)
        folder = CACHE / release
        if not folder.exists():
            place = CACHE / "unpacking"
            shutil.rmtree(place, ignore_errors=True)
            try:
                unpack(release, place)
            except (OSError, subprocess.SubprocessError) as error:
                raise Unavailable(f"{release}: {error}") from None
            place.rename(folder)
    return unpacked(release, folder)
