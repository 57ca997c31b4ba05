#!/usr/bin/env bash
# Belief refuted: a free height and width in an OpenVINO model cost time only; its answers stay those of fixed sizes.
# Seen: an integer Divide that says m_pythondiv=True (floor) floors where constants are folded, and truncates when
#   the CPU computes it: -7 / 2 is -4 or -3. A traced network that pads by -(-n // stride), as TensorFlow-style
#   convolutions do, pads an odd side too little when its size is free: EfficientNet-Lite0 of 112-pixel views gave
#   features 2.5 off, without a message. Compiled for one height and width, the same network agrees to 1e-5.
# Versions: openvino 2026.4.1, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-28.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 openvino==2026.4.1
cd "$folder"
found=$(PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
import numpy as np
import openvino as ov
from openvino import opset13 as op

core = ov.Core()
for size in ([7, 8], [-1, -1]):
    image = op.parameter(size, np.float32)
    half = op.divide(op.negative(op.shape_of(image, "i64")), op.constant(np.array([2])))
    rounded_up = op.negative(half)  # ceil(side / 2), as Python writes it
    network = core.compile_model(ov.Model([op.result(rounded_up)], [image]), "CPU")
    answer = network(np.zeros((7, 8), np.float32))[0].tolist()
    print("fixed" if size[0] > 0 else "free", half.get_attributes()["m_pythondiv"], answer)
PYTHON
)
expected="fixed True [4, 4]
free True [3, 4]"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
