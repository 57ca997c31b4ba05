"""The README's first picture is made by the current demo."""

from __future__ import annotations

import numpy as np

from readme_picture import PICTURE, drawn, settings, stamped


def test_the_picture_is_of_the_demo_as_it_is_now() -> None:
    known, thumbnail = stamped(PICTURE)
    remedy = "make it anew: zoomin demo; python tests/readme_picture.py report/where_it_looked.png"
    assert known == settings(), remedy
    assert np.abs(thumbnail.astype(int) - drawn().astype(int)).mean() < 1, remedy
