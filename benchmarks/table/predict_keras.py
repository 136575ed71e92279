"""From a table to production with Keras: the program that predicts, in another process."""

import joblib
import keras


def predict(frame):
    features, labels = joblib.load("features.joblib")
    A = keras.saving.load_model("model.keras").predict(features.transform(frame), verbose=0)
    return list(labels.inverse_transform(A.argmax(axis=1)))
