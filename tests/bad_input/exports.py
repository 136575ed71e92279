"""Good calls of the export to ONNX, whose file is run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tinygrad_dls as tg
from tests.bad_input.calls import A, O, call
from tests.bad_input.corruptions import as_plain
from tests.bad_input.models import X35, two_by_hand
from tests.bad_input.ops import flag, softmax
from tests.support.onnx_files import run


def predicted(X, rows=False, dynamic=True):
    """The probabilities that come of the file of a model with the example X, for that example."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        tg.onnx.export(tg.nn.TwoLayerNetwork(3, 4, 2, rng=0), path, X, rows=rows, dynamic=dynamic)
        x = as_plain(X)
        A = run(path, x.T if rows else x)["predict_proba"]
        return A.T if rows else A


NAMES = ("layer1", "affine")
call("onnx.export", A(X35, role="X"), reference=lambda X: softmax(two_by_hand(X)), run=predicted, names=NAMES)
call("onnx.export", O("rows", True), names=NAMES,
     reference=lambda rows: (flag(rows), softmax(two_by_hand(X35)))[1],
     run=lambda rows: predicted(X35, rows=rows))  # fmt: skip
call("onnx.export", O("dynamic", True), names=NAMES,
     reference=lambda dynamic: (flag(dynamic), softmax(two_by_hand(X35)))[1],
     run=lambda dynamic: predicted(X35, dynamic=dynamic))  # fmt: skip
