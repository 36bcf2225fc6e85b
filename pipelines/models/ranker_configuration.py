"""The hyperparameters of the ranker."""

from dataclasses import dataclass

# Steps of a pass, and the fewest rows of a step: in steps of 2,048 rows a small service had too few to learn by, and a
# large one has enough.
_STEPS, _FEWEST_ROWS = 1400, 256


@dataclass(frozen=True)
class RankerConfiguration:
    """What the ranker looks like and how it learns."""

    # Width of the vectors whose dot products are taken.
    width: int = 32
    # Units of the hidden layer between dense features and their vector.
    bottom_units: int = 64
    # Units of the two hidden layers above the dot products.
    top_units: tuple[int, int] = (128, 64)
    # Slots with a bias of their own; later ones share the last.
    slot_count: int = 32
    # Rows a step, at most: fewer where a pass would have less than 1,400 steps.
    batch_size: int = 2048
    # Passes over the rows, at most: a third makes codes fit the week and lists worse.
    epochs: int = 2
    # Passes without a better loss on the held-out rows after which learning stops.
    patience: int = 1
    # Step size of Adam, falling to a tenth along a cosine.
    learning_rate: float = 2e-3
    # Decay of the weights of layers (Loshchilov, Hutter 2019); embeddings are not decayed.
    weight_decay: float = 1e-4
    # Share of codes that are hidden in training, so that the vector of the unknown is learned, and a title is judged by
    # what is known of it rather than by its name.
    code_dropout: float = 0.3
    # A code seen in fewer training rows has the vector of the unknown: few of its rows were watched, and a vector
    # learned from these fits the week and lists worse.
    least_code_count: int = 2000
    # The newest days that together hold at least this share of the rows are held out for stopping and calibration.
    held_out_share: float = 0.1
    # Of initial weights, order of rows and dropout.
    seed: int = 1

    def rows_a_step(self, rows: int) -> int:
        """Rows of one step where a pass goes over `rows`."""
        return min(self.batch_size, max(rows // _STEPS, _FEWEST_ROWS))
