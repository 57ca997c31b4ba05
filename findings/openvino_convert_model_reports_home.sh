#!/usr/bin/env bash
# Belief refuted: converting a network with a local library tells nobody.
# Seen: the first openvino.convert_model of a user writes a client number into the home folder and sends usage events
#   (framework, version, success) to its makers' analytics, from a forked process that is waited for up to three
#   seconds each; nobody was asked, and only `opt_in_out --opt_out` or a CI variable stops it. Loading the same file
#   by openvino.Core().read_model sends nothing.
# Versions: openvino 2026.4.1, openvino-telemetry 2025.2.0, onnx 1.23.2, numpy 2.4.6, Python 3.11, Linux. Date: 2026-11-28.
# Exits with 0 while this is so, and with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder/site" \
    numpy==2.4.6 openvino==2026.4.1 openvino-telemetry==2025.2.0 onnx==1.23.2
cd "$folder"
mkdir home
found=$(env -u CI -u TF_BUILD -u JENKINS_URL HOME="$folder/home" PYTHONPATH="$folder/site" python3 -W ignore - <<'PYTHON'
from pathlib import Path

import onnx
import openvino
from onnx import TensorProto, helper
from openvino_telemetry.backend.backend_ga4 import GA4Backend

events = []
GA4Backend.send = lambda self, message: events.extend(one["name"] for one in message["events"])  # not to the network

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "relu.onnx")

openvino.Core().read_model("relu.onnx")
print("read_model:", len(events) > 0)
openvino.convert_model("relu.onnx")
print("convert_model:", len(events) > 0)
print("client number:", any(Path.home().rglob("openvino_ga_cid")))
PYTHON
)
expected="read_model: False
convert_model: True
client number: True"
echo "$found"
if [ "$found" != "$expected" ]; then
    echo "changed; on 2026-11-28 it was:" >&2
    echo "$expected" >&2
    exit 1
fi
