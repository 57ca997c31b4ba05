#!/usr/bin/env bash
# A GeoJSON file in pixels is read by GDAL as longitude and latitude, and says so when it is written again.
#
# Seen on 2026-11-28 with pyogrio 0.12.1 (GDAL 3.11), numpy 2.4.6; GeoPandas reads and writes through the same calls.
# Behaviour: a FeatureCollection without the member `crs`, in pixels as QuPath writes it (x = 25000), is read with
# the coordinate reference system EPSG:4326, though no longitude is 25000. Written again, the same pixels stand beside
# `"crs": CRS84`. No warning.
# Refutes the belief: "a GeoJSON file that names CRS84 is in degrees".

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-compile --target site \
    pyogrio==0.12.1 numpy==2.4.6

cat > try.py <<'PYTHON'
import json

from pyogrio import raw

ring = [[25000, 13000], [25050, 13000], [25050, 13050], [25000, 13000]]
feature = {"type": "Feature", "properties": {"n": 1}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
with open("pixels.geojson", "w") as file:
    json.dump({"type": "FeatureCollection", "features": [feature]}, file)
meta, _, shapes, columns = raw.read("pixels.geojson")
print("read as", meta["crs"])
kind = meta["geometry_type"]
raw.write("again.geojson", shapes, columns, meta["fields"], crs=meta["crs"], geometry_type=kind, driver="GeoJSON")
with open("again.geojson") as file:
    again = json.load(file)
print("written as", again["crs"]["properties"]["name"])
print("first corner", again["features"][0]["geometry"]["coordinates"][0][0])
PYTHON

cat > expected <<'TEXT'
read as EPSG:4326
written as urn:ogc:def:crs:OGC:1.3:CRS84
first corner [25000.0, 13000.0]
TEXT

PYTHONPATH=site python3 -W ignore try.py | tee seen
diff expected seen && echo "as on 2026-11-28"
