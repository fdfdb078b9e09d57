"""A `python` and a `dvc` that start in milliseconds: both run in forks of a process that has imported the libraries.

The pipeline tests run hundreds of stages and of DVC's commands; importing torch, open_clip and DVC each time would take
most of their time. DVC and the stages are the real ones: only the two programs on the PATH are this file's client,
which hands its arguments, environment, folder and streams to the server.
"""

import gc
import importlib
import json
import os
import pickle
import runpy
import selectors
import socket
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([os.getcwd(), {program!r}, sys.argv[1:], dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16) or b"1"))
"""
OF_STAGES = ("matplotlib.pyplot", "open_clip", "pandas", "pyarrow.parquet", "pydantic", "scipy.ndimage", "scipy.stats")
OF_DVC = (
    *("dvc.cli.parser", "dvc.commands.queue", "dvc.dvcfile", "dvc.fs.dvc", "dvc.render.convert", "dvc.repo.checkout"),
    *("dvc.repo.experiments", "dvc.repo.metrics.diff", "dvc.repo.plots", "dvc.repo.reproduce", "dvc.repo.status"),
    *("dvc.stage.run", "dvc_data.index.checkout", "dvc_task.app", "dvc.utils.hydra", "networkx", "ruamel.yaml"),
)


def install(folder: Path, address: Path) -> None:
    """Writes the client as `python` and as `dvc` into a folder for the PATH."""
    folder.mkdir()
    for program in ("python", "dvc"):
        client = folder / program
        client.write_text(CLIENT.format(python=sys.executable, address=str(address), program=program))
        client.chmod(0o755)


def serve(address: str) -> None:
    """Answers clients, several at once, until it is killed."""
    for library in (*OF_STAGES, *OF_DVC):
        importlib.import_module(library)
    quick_yaml()
    quick_tracking()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as selector:
        server.bind(address)
        server.listen()
        selector.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not server:
                    selector.unregister(key.fileobj)
                    finish(key.fd, *key.data)
                    continue
                connection, _ = server.accept()
                if (child := os.fork()) == 0:
                    server.close()
                    answer(connection)
                selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, connection))


def quick_yaml() -> None:
    """Let DVC write its lock file by `block_style` and read no text twice.

    It reads and writes the whole file for each stage, which takes longer than most stages here.
    """
    from dvc.utils.serialize import _yaml
    from ruamel.yaml import YAML

    parse, read = YAML.load, {}

    def load(yaml: YAML, text: object) -> object:
        if not isinstance(text, str):
            return parse(yaml, text)
        if text not in read:
            read[text] = pickle.dumps(parse(yaml, text))
        return pickle.loads(read[text])

    def dump(data: object, stream: TextIO) -> None:
        if stream.name.endswith(".lock"):
            plain = json.loads(json.dumps(data))
            text = "".join(f"{line}\n" for line in block_style(plain))
            read[text] = pickle.dumps(plain)
            stream.write(text)
            return
        yaml = YAML(typ="safe")
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False
        yaml.Representer.add_representer(OrderedDict, yaml.Representer.represent_dict)
        yaml.dump(data, stream)

    YAML.load = load
    _yaml.parse_yaml_for_update, _yaml._dump = _yaml.parse_yaml, dump


def block_style(data: dict | list, indent: str = "") -> Iterator[str]:
    """Yield the lines of YAML for what JSON can hold."""
    items = data.items() if isinstance(data, dict) else ((None, value) for value in data)
    for key, value in items:
        head = f"{indent}-" if key is None else f"{indent}{json.dumps(key)}:"
        if isinstance(value, dict | list) and value:
            yield head
            yield from block_style(value, f"{indent} ")
        else:
            yield f"{head} {json.dumps(value, ensure_ascii=False)}"


def quick_tracking() -> None:
    """Let an experiment of DVC find what git has to track without collecting all stages anew after each of them."""
    from dvc.stage import Stage, utils
    from dvc.utils import relpath

    outs: set[str] = set()

    def stage_files(stage: Stage) -> list[str]:
        if not outs:
            outs.update(out.fs_path for out in stage.repo.index.outs)
        files = [stage.dvcfile.relpath, stage.dvcfile._lockfile.relpath]
        for dep in stage.deps:
            made = any(str(path) in outs for path in (Path(dep.fs_path), *Path(dep.fs_path).parents))
            if dep.is_in_repo and not dep.use_scm_ignore and not made:
                files.append(relpath(dep.fs_path))
        return files + [relpath(out.fs_path) for out in stage.outs if out.is_in_repo and not out.use_scm_ignore]

    utils._get_stage_files = stage_files


def finish(ended: int, child: int, connection: socket.socket) -> None:
    """Tells a client how the process that ran its command ended."""
    _, status = os.waitpid(child, 0)
    os.close(ended)
    with connection:
        connection.sendall(str(os.waitstatus_to_exitcode(status) & 255).encode())


def answer(connection: socket.socket) -> None:
    """Runs a client's command in this process and ends it."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection, connection.makefile("rb") as request:
        folder, program, arguments, environment = json.load(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code: object = 0
    try:
        code = run_dvc(arguments) if program == "dvc" else run_module(folder, arguments)
    except SystemExit as stop:
        code = stop.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 255 if isinstance(code, int) else int(code is not None))


def run_dvc(arguments: list[str]) -> int:
    """Runs `dvc ...`."""
    from dvc.cli import main

    sys.argv = ["dvc", *arguments]
    return main(arguments)


def run_module(folder: str, arguments: list[str]) -> None:
    """Runs `python -m module ...`."""
    _, module, *rest = arguments  # after -m
    sys.argv = [module, *rest]
    sys.path.insert(0, folder)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(sys.argv[1])
