"""A real container engine for tests: Podman's service on a socket of its own, with an image made from BusyBox alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.serving import until

IMAGE = "localhost/tiny:1"
CHATTY = "n=0; while true; do n=$((n+1)); echo line $n; sleep 0.2; done"
STORAGE = '[storage]\ndriver="vfs"\ngraphroot="{0}/graph"\nrunroot="{0}/run"\n'
CONTAINERS = (
    '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\nnetns="host"\n'
    '[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
    '[engine.runtimes]\nrunc=["{runc}"]\n'
)


@dataclass
class Pods:
    """The engine: its address, and a client of its own."""

    url: str
    client: Any

    def make(self, name: str, command: str = CHATTY, **options: Any) -> Any:
        """A new container that runs."""
        made = self.client.containers.create(IMAGE, ["sh", "-c", command], name=name, **options)
        made.start()
        return made

    def clear(self) -> None:
        for container in self.client.containers.list(all=True):
            container.remove(force=True)


def _lacking() -> str:
    """Why Podman cannot run here; empty where nothing is missing."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [p for p in ("podman", "runc", "conmon", "busybox") if not shutil.which(p, path=path)]
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install podman runc conmon busybox-static)"
    return "" if os.geteuid() == 0 else "runc needs root here"


def _image(folder: Path) -> Path:
    root = folder / "root"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    for name in ("sh", "sleep", "echo", "cat"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    file = folder / "root.tar"
    with tarfile.open(file, "w") as tar:
        tar.add(root, ".")
    return file


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Podman's service, with nothing running. Skips where Podman cannot run, and says why."""
    if reason := _lacking():
        pytest.skip(f"no container engine: {reason}")
    import docker

    folder = tmp_path_factory.mktemp("pods")
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
    (folder / "storage.conf").write_text(STORAGE.format(folder))
    (folder / "containers.conf").write_text(CONTAINERS.format(runc=runc))
    env = {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
    }
    imported = subprocess.run(
        ["podman", "import", _image(folder), IMAGE],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if imported.returncode:
        pytest.skip(f"no container engine: podman import: {imported.stderr[-300:]}")
    socket = folder / "podman.sock"
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(
            ["podman", "system", "service", "--time=0", f"unix://{socket}"],
            env=env,
            stdout=log,
            stderr=log,
        )
    try:
        until(socket.exists, 60)
        client = docker.DockerClient(base_url=f"unix://{socket}", timeout=60)
        made = Pods(f"unix://{socket}", client)
        try:
            made.make("probe", "true")
        except docker.errors.APIError as error:
            pytest.skip(f"no container engine: it cannot run a container here: {error}")
        made.clear()
        yield made
        made.clear()
        client.close()
    finally:
        service.terminate()
        service.wait(30)
