"""Connect to the Ray cluster of RAY_ADDRESS, or start one on this machine; all that can go wrong is a ValueError."""

import logging
import os
import platform
import re
import socket
import sys
import tempfile
from pathlib import Path

import ray

from stages.runtime.cores import available_cores

CONNECT = 10.0  # seconds within which the port of a Ray head has to accept a connection
ADDRESS = re.compile(r"(?:ray://)?(?P<host>\[[^\[\]/]+\]|[^\[\]/:]+):(?P<port>\d{1,5})")
LONGEST_SOCKET = 107 if sys.platform == "linux" else 103  # bytes that the system allows for the path of a socket
SOCKET = "session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store"  # the longest that Ray adds to its folder


def connect() -> None:
    """Connect to the cluster of RAY_ADDRESS; without it, or if it is `local`, start one on this machine.

    Raises:
        ValueError: If there is no such cluster, or none can be started.
    """
    address = os.environ.get("RAY_ADDRESS", "").strip() or "local"
    if address == "local":
        start()
        return
    if address != "auto":
        require_listening(address)
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # one try, which takes 40 s, instead of twenty
    try:
        ray.init(address=address, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises many classes; nothing of ours runs here
        raise ValueError(
            f"runtime.engine: no connection to a Ray cluster at RAY_ADDRESS = {address}: {reason_of(error)}. Allowed "
            f"is the port of a head with Ray {ray.__version__} and Python {platform.python_version()}, as here, whose "
            "cluster this machine belongs to (`ray start`); if the head asks for a token, set RAY_AUTH_MODE=token and "
            "copy its ~/.ray/auth_token; unset RAY_ADDRESS to use this machine alone"
        ) from error


def start() -> None:
    """Start a cluster on this machine, of the cores that this process may use.

    Raises:
        ValueError: If Ray says that it cannot.
    """
    folder = folder_of_sessions()
    try:
        ray.init(address="local", num_cpus=available_cores(), logging_level=logging.ERROR, _temp_dir=str(folder))
    except Exception as error:  # as above
        raise ValueError(
            f"runtime.engine: Ray cannot start on this machine: {reason_of(error)}. It writes to {folder} (set "
            "RAY_TMPDIR to another folder), to /dev/shm and to ~/.ray; runtime.engine: local works without Ray"
        ) from error


def require_listening(address: str) -> None:
    """Refuse an address that is malformed, or at which nothing accepts connections: Ray would try for minutes.

    Raises:
        ValueError: If it is one.
    """
    found = ADDRESS.fullmatch(address)
    if not found or not 0 < int(found["port"]) < 2**16:
        raise ValueError(
            f"RAY_ADDRESS: got {address!r}; allowed are auto, local, and host:port of a Ray head, as in 10.0.0.1:6379; "
            "unset it to use this machine alone"
        )
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=CONNECT).close()
    except (OSError, UnicodeError) as error:  # the latter of names that no host can have
        raise ValueError(
            f"runtime.engine: no Ray head at RAY_ADDRESS = {address} ({error}); start one there "
            f"(`ray start --head --port={found['port']}`), or unset RAY_ADDRESS to use this machine alone"
        ) from error


def folder_of_sessions() -> Path:
    """Return the folder for files of a cluster that starts here: in the user's temporary folder, if sockets fit there.

    The temporary folder of a batch job often has too long a name. RAY_TMPDIR, where it is set, is taken and no other.

    Raises:
        ValueError: If no folder will do.
    """
    try:
        default = [tempfile.gettempdir()]
    except FileNotFoundError:  # nowhere can a file be made
        default = []
    wanted = os.environ.get("RAY_TMPDIR")
    for parent in map(Path, [wanted] if wanted else [*default, "/tmp", "/var/tmp", "/dev/shm"]):
        folder = parent.absolute() / "ray"
        fits = len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET
        if fits and os.access(folder if folder.exists() else parent, os.W_OK | os.X_OK):
            return folder
    place = f" at RAY_TMPDIR = {wanted}" if wanted else ""
    longest = LONGEST_SOCKET - len("/ray/") - len(SOCKET)
    raise ValueError(
        f"runtime.engine: Ray finds no folder for its files{place}; set RAY_TMPDIR to one that is there and can be "
        f"written to, whose path has at most {longest} bytes"
    )


def reason_of(error: Exception) -> str:
    """Return what an error of Ray's says, without the traceback that Ray appends to some."""
    return " ".join(str(error).split("Traceback")[0].split()).rstrip(".:") or repr(error)
