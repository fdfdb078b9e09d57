"""rescore: classify the stored images of an entry again, through the method packed with them; nothing is attacked.

    python -m stages.rescore entries/fashion-tiny-clip-advpt

Its numbers must be those that the entry states. A tool, no stage.
"""

from pathlib import Path

from stages.entries.rescore import rescore
from stages.report.wording import percent
from stages.runtime.cli import command
from stages.runtime.params import load_params


def main(entry: str) -> str:
    """Print the numbers of an entry, which its images give again."""
    record = rescore(Path(entry), runtime=load_params().runtime)
    for result in record["results"]:
        shares = {name: result[name] for name in ("clean", "oblivious", "adaptive") if result[name]}
        print(
            f"eps {result['eps']:g}:", ", ".join(f"{name} {percent(one['accuracy'])}" for name, one in shares.items())
        )
    return f"the stored images give the stated numbers, n = {record['data']['n']}"


if __name__ == "__main__":
    command(main)
