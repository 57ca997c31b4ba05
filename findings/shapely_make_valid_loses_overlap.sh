#!/usr/bin/env bash
# shapely.make_valid cuts out what a ring goes around twice.
#
# Seen on 2026-11-28 with shapely 2.2.0, numpy 2.4.6.
# Behaviour: a shape of about 8 x 8 whose closing stroke runs past its start and around a part of it again. The default
# method ("linework") applies the even-odd rule: that part becomes a hole. method="structure" keeps it. Drawing programs
# tell what is inside by the nonzero winding number, for which the part is inside. Both methods keep both halves of a
# figure of eight.
# Refutes the belief: "make_valid mends a polygon without changing what was drawn".

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-compile --target site \
    shapely==2.2.0 numpy==2.4.6

cat > try.py <<'PYTHON'
import shapely

overshot = shapely.Polygon([(0, 0), (8, 0), (8, 8), (0, 8), (1, -1), (4, -1), (4, 3), (-1, 3)])
eight = shapely.Polygon([(0, 0), (8, 8), (8, 0), (0, 8)])
for method in ("linework", "structure"):
    areas = [round(shapely.make_valid(shape, method=method).area, 2) for shape in (overshot, eight)]
    inside = shapely.make_valid(overshot, method=method).contains(shapely.Point(3, 1))
    print(method, areas, "inside where it goes around twice:", inside)
print("by default:", round(shapely.make_valid(overshot).area, 2))
PYTHON

cat > expected <<'TEXT'
linework [57.33, 32.0] inside where it goes around twice: False
structure [67.17, 32.0] inside where it goes around twice: True
by default: 57.33
TEXT

PYTHONPATH=site python3 -W ignore try.py | tee seen
diff expected seen && echo "as on 2026-11-28"
