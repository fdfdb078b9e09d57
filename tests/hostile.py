"""A data set whose every name and text would be code if anything took it for such: shell, HTML, Vega or a format."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = {  # of the classes, by folder
    "script": '<script>alert(1)</script>"; rm -rf ~',
    "braces": "{{7*7}} ${HOME} $(touch pwned) %s",
    "title": "</script><script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">": "<img src=x onerror=\"document.title='pwned'\">",
}
TEMPLATE = "</title><script>document.title='pwned'</script> & {}"
FILES = ['";touch pwned;".png', "<img src=x onerror=alert(2)>.png", "$(touch pwned).png", "`touch pwned`\n%s{0}.png"]


def write_hostile(folder: Path) -> None:
    """Writes the folder: four images of each class to tune on and two to judge, all of them different."""
    generator = np.random.default_rng(0)
    for split, files in (("train", FILES), ("test", FILES[:2])):
        for number, name in enumerate(NAMES):
            (folder / split / name).mkdir(parents=True)
            for file in files:
                noise = generator.integers(0, 60, (32, 32, 3), np.uint8) + 60 * number
                Image.fromarray(noise.astype(np.uint8)).save(folder / split / name / file)
    names = {key: name for key, name in NAMES.items() if key != name}
    (folder / "classes.json").write_text(json.dumps({"template": TEMPLATE, "names": names}), encoding="utf-8")
