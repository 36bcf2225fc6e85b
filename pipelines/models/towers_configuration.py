"""The hyperparameters of the two towers."""

from dataclasses import dataclass

from feature_defs.recommendations import VECTOR_WIDTH


@dataclass(frozen=True)
class TowersConfiguration:
    """How the towers are built and how they learn."""

    # Of the vectors of users and titles.
    width: int = VECTOR_WIDTH
    # Layers of attention in the user tower.
    blocks: int = 2
    # Heads of each layer.
    heads: int = 2
    # Newest titles of a history that are read.
    history_length: int = 50
    # Passes over all histories.
    epochs: int = 8
    # Titles of histories in a batch.
    batch_tokens: int = 1024
    # Largest step of AdamW; it rises over the first tenth of the steps and falls to zero along a cosine.
    learning_rate: float = 4e-3
    # Decay of weights, not of biases and norms.
    weight_decay: float = 0.01
    # Share of activations dropped.
    dropout: float = 0.3
    # Share of titles that must do without their id, in each batch.
    id_dropout: float = 0.2
    # Titles drawn evenly as negatives beside those of the batch; where the catalogue has no more, all of it is read.
    negatives: int = 4096
    # Creators are hashed into this many buckets.
    creator_buckets: int = 4096
    # User ids are hashed into this many; 0: a user is who they are and what they watched, without an id.
    user_buckets: int = 0
    # Of first weights, order and dropout.
    seed: int = 1
    # Batches between checkpoints.
    checkpoint_steps: int = 500
