#!/usr/bin/env bash
# A GeoJSON file in pixels comes back from GeoPandas as longitude and latitude, and says so when written again.
#
# Seen on 2026-11-28 with geopandas 1.1.1, pyogrio 0.11.1, shapely 2.1.1, numpy 2.3.4.
# Behaviour: a FeatureCollection without the member `crs`, in pixels as QuPath writes it (x = 25000), is read with
# the coordinate reference system EPSG:4326, though no longitude is 25000. Written again by to_file(driver="GeoJSON"),
# the same pixels stand beside `"crs": CRS84`. No warning.
# Refutes the belief: "a GeoJSON file that names CRS84 is in degrees".

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check geopandas==1.1.1 pyogrio==0.11.1 shapely==2.1.1 numpy==2.3.4

cat > try.py <<'PYTHON'
import json

import geopandas

ring = [[25000, 13000], [25050, 13000], [25050, 13050], [25000, 13000]]
feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
with open("pixels.geojson", "w") as file:
    json.dump({"type": "FeatureCollection", "features": [feature]}, file)
frame = geopandas.read_file("pixels.geojson")
print("read as", frame.crs)
frame.to_file("again.geojson", driver="GeoJSON")
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

venv/bin/python -W ignore try.py | tee seen
diff expected seen && echo "as on 2026-11-28"
