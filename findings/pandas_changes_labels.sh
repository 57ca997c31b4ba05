#!/usr/bin/env bash
# pandas turns class names into missing values, and whole numbers beside an empty cell into floats.
#
# Seen on 2026-11-28 with pandas 2.3.3, numpy 2.4.6.
# Behaviour: read_csv takes the classes "None", "NA" and "null" for missing, but keeps "none"; the labels 0 and 1
# become 0.0 and 1.0 as soon as one cell is empty, and to_csv writes them so. keep_default_na=False keeps all texts.
# Refutes the belief: "a list that has only been read and written by pandas has the same labels".

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-compile --target site \
    pandas==2.3.3 numpy==2.4.6

cat > try.py <<'PYTHON'
import io

import pandas

names = pandas.read_csv(io.StringIO("label\nNone\nnone\nNA\nnull\ntumor\n"), skip_blank_lines=False)
print("missing:", names.label.isna().tolist())
numbers = pandas.read_csv(io.StringIO("image,label\na,0\nb,1\nc,\n"))
print(repr(numbers.to_csv(index=False, lineterminator="\n")))
kept = pandas.read_csv(io.StringIO("image,label\na,0\nb,1\nc,\n"), keep_default_na=False)
print(repr(kept.to_csv(index=False, lineterminator="\n")))
PYTHON

cat > expected <<'TEXT'
missing: [True, False, True, True, False]
'image,label\na,0.0\nb,1.0\nc,\n'
'image,label\na,0\nb,1\nc,\n'
TEXT

PYTHONPATH=site python3 -W ignore try.py | tee seen
diff expected seen && echo "as on 2026-11-28"
