"""The thumbnails of the gallery, from what `make demo` wrote: `python -m tests.gallery demo_output` makes them anew.

One picture of each example that draws one, made small. A test holds them against what the examples draw now.
"""

import sys
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parents[1] / "docs" / "assets" / "gallery"
WIDTH = 640  # pixels: of a card on a screen with two pixels for one

# Of which picture: the one that says most by itself. What is not here shows words or formulas.
PICTURES = {
    "logistic_regression": "logistic_regression_boundary.png",
    "two_layer_network": "two_layer_network_boundary.png",
    "breast_cancer": "breast_cancer_cost.png",
    "activation_functions": "activation_functions.png",
    "gradient_descent": "gradient_descent_cost.png",
    "digits": "digits_mistakes.png",
    "initialisation": "initialisation_boundary.png",
    "regularisation": "regularisation_boundary.png",
    "optimizers": "optimizers_boundary.png",
    "gradient_checking": "gradient_checking.png",
    "newton": "newton.png",
}


def thumbnail(path):
    """A picture as it stands in the gallery."""
    picture = Image.open(path).convert("RGB")
    return picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        small = thumbnail(Path(sys.argv[1]) / picture).quantize(256)
        small.save(FOLDER / f"{name}.png", optimize=True)
        print(FOLDER / f"{name}.png")
