"""The damage of benchmarks/mutations.py, in small: every file ends with an answer or an error of zoomin."""

from __future__ import annotations

import random

import pytest

import mutations
from mutate import mutated


def test_files_end_with_an_answer_or_an_error_of_zoomin(capsys):
    kinds = ["annotation", "features", "recipe", "manifest", "explanation", "predictions"]
    assert mutations.main(["--count", "40", "--seed", "7", "--kinds", *kinds]) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "seed 7: 40 files" in said and "'error'" in said and "'answer'" in said


@pytest.mark.parametrize(
    "name", ["a.png", "a.tif", "a.json", "a.npz", "a.safetensors", "a.jpg", "a.h5", "a.gif"]
)
def test_damage_depends_on_the_seed_alone(name):
    data = bytes(range(256)) * 4
    once, again = (mutated(data, name, random.Random(3)) for _ in range(2))
    other = [mutated(data, name, random.Random(seed)) for seed in range(5)]
    assert once == again and len(set(other)) > 1
