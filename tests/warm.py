"""A `python` that starts in milliseconds: each stage runs in a fork of a process that has imported the libraries.

The pipeline tests run some sixty stages; importing torch and open_clip each time would take most of their time. DVC
and the stages are the real ones: only `python` on the PATH is this file's client, which hands its arguments to the
server.
"""

import importlib
import json
import os
import runpy
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    told = [os.environ.get(name, "") for name in ("DVC_STAGE", "DVC_ROOT")]
    socket.send_fds(server, [json.dumps([os.getcwd(), sys.argv[1:], *told]).encode()], [1, 2])
    sys.exit(int(server.recv(16) or b"1"))
"""


def install(folder: Path, address: Path) -> None:
    """Writes the client as `python` into a folder for the PATH."""
    folder.mkdir()
    client = folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)


def serve(address: str) -> None:
    """Answers clients until it is killed."""
    for library in ("matplotlib.pyplot", "open_clip", "pandas", "pyarrow.parquet", "pydantic", "ruamel.yaml"):
        importlib.import_module(library)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        while True:
            connection, _ = server.accept()
            request, fds, _, _ = socket.recv_fds(connection, 65536, 2)
            folder, arguments, os.environ["DVC_STAGE"], os.environ["DVC_ROOT"] = json.loads(request)
            if (child := os.fork()) == 0:
                run(folder, arguments, fds)
            _, status = os.waitpid(child, 0)
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            for opened in fds:
                os.close(opened)
            connection.close()


def run(folder: str, arguments: list[str], fds: list[int]) -> None:
    """Runs `python -m module ...` in this process and ends it."""
    os.dup2(fds[0], 1)
    os.dup2(fds[1], 2)
    os.chdir(folder)
    _, module, *rest = arguments  # after -m
    sys.argv = [module, *rest]
    sys.path.insert(0, folder)
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
