"""Every file of examples/ runs as it stands."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from zoomin.annotations.open_annotation import open_annotation
from zoomin.errors import ImageError
from zoomin.inference.attention_on_roi import touches
from zoomin.testing import ReaderCase, check_reader

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SAID = {
    "training_loop.py": "saved: config.json, model.safetensors",
    "own_network.py": "loaded, same answers: True",
    "own_reader.py": "the reader keeps all 9 parts of the contract",
}


@pytest.mark.parametrize("name", SAID)
def test_example_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    said = capsys.readouterr().out
    assert SAID[name] in said
    if name == "training_loop.py":
        losses = [float(word) for word in said.splitlines()[0].split(":")[1].split(",")]
        assert losses[-1] < losses[0]


def test_every_example_is_run():
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert files == {*SAID, "notebook.ipynb"}


def test_notebook_runs_and_stores_no_output(tmp_path, monkeypatch):
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    names: dict[str, object] = {}
    for number, cell in enumerate(code):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    for name in ("result", "rows", "explanation"):
        assert names[name]._repr_html_().startswith("<p><b>"), name
    assert len(names["rows"]) == 8 and names["right"] >= 7  # of 8: a tutorial shows what works
    roi = open_annotation(names["positive"], *names["explanation"].size)
    assert roi is not None
    heaviest = names["explanation"].places().regions[:3]
    assert touches(roi, heaviest.double()).all()


def test_the_example_package_reader_keeps_the_contract(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES / "plugin_package" / "src"))
    from slides import picture
    from zoomin_dots.reader import READER, write_dots

    pixels = picture()
    path = write_dots(tmp_path / "a.dots", pixels)
    assert READER.reads(path, path.read_bytes()[:64])
    check_reader(ReaderCase(lambda: READER.open(path, mpp=0.5), pixels, shrunk=1))
    for length in (13, 11, 4):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ImageError, match="cut off"):
            READER.open(path)
