"""From a table to production with tinygrad_dls: the program that predicts, in another process."""

import tinygrad_dls as tg


def predict(frame):
    model, _, extra = tg.load("model.safetensors")
    table = tg.datasets.from_frame(frame, like=extra["recipe"])
    return [table.classes[i] for i in model.predict(table.X)[0]]
