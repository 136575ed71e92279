"""Files of ONNX, written and run: by onnxruntime, on one thread, as numbers and not as a picture of them."""

import numpy as np
import onnxruntime

import tinygrad_dls as tg

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = 1
OPTIONS.log_severity_level = 3  # errors only: it warns of constants that nothing needs
ACCURACY = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-6}  # what is promised


def run(path, *arrays):
    """The outputs of a file, by name."""
    session = onnxruntime.InferenceSession(str(path), OPTIONS, providers=["CPUExecutionProvider"])
    given = {x.name: np.asarray(array) for x, array in zip(session.get_inputs(), arrays, strict=True)}
    return dict(zip([x.name for x in session.get_outputs()], session.run(None, given), strict=True))


def exported(function, path, *arrays, **options):
    """What a function's file gives for arrays."""
    tg.onnx.export(function, path, *arrays, **options)
    return run(path, *arrays)


def assert_same(got, expected, accuracy=None):
    """The same shape, dtype and numbers: relative to their size where they are above 1."""
    expected = np.asarray(expected.data if isinstance(expected, tg.Tensor) else expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    accuracy = ACCURACY.get(expected.dtype, 0) if accuracy is None else accuracy
    np.testing.assert_allclose(got, expected, rtol=accuracy, atol=accuracy)
