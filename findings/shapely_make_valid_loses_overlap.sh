#!/usr/bin/env bash
# shapely.make_valid cuts out what a ring goes around twice.
#
# Seen on 2026-11-28 with shapely 2.2.0, numpy 2.4.6.
# Behaviour: a square of 8 x 8 whose closing stroke runs past its start and around a corner of 2 x 2 again. The default
# method ("linework") applies the even-odd rule: the corner becomes a hole. method="structure" keeps it. Drawing programs
# tell what is inside by the nonzero winding number, for which the corner is inside. Both methods keep both halves of a
# figure of eight.
# Refutes the belief: "make_valid mends a polygon without changing what was drawn".

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check shapely==2.2.0 numpy==2.4.6

cat > try.py <<'PYTHON'
import shapely

overshot = shapely.Polygon([(0, 0), (8, 0), (8, 8), (0, 8), (0, -1), (2, -1), (2, 2), (0, 2)])
eight = shapely.Polygon([(0, 0), (8, 8), (8, 0), (0, 8)])
for method in ("linework", "structure"):
    areas = [shapely.make_valid(shape, method=method).area for shape in (overshot, eight)]
    inside = shapely.make_valid(overshot, method=method).contains(shapely.Point(1, 1))
    print(method, areas, "corner inside:", inside)
print("the default is linework:", shapely.make_valid(overshot).area == shapely.make_valid(overshot, method="linework").area)
PYTHON

cat > expected <<'TEXT'
linework [62.0, 32.0] corner inside: False
structure [66.0, 32.0] corner inside: True
the default is linework: True
TEXT

venv/bin/python -W ignore try.py | tee seen
diff expected seen && echo "as on 2026-11-28"
