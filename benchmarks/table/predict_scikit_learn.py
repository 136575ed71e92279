"""From a table to production with scikit-learn: the program that predicts, in another process."""

import joblib


def predict(frame):
    return list(joblib.load("model.joblib").predict(frame))
