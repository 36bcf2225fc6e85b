"""The hyperparameters of the two towers, and how they adapt to the size of what is learned from."""

from dataclasses import dataclass

from feature_defs.recommendations import VECTOR_WIDTH

_TASTE_WIDTH = 32
# Titles in the smallest batch that size alone may ask for.
_SMALLEST_BATCH = 2048
# An epoch of fewer steps than these takes smaller batches.
_STEPS_AN_EPOCH = 250


@dataclass(frozen=True)
class TowersConfiguration:
    """How the towers are built and how they learn."""

    # Of what is read in order, in the vectors of users and titles; taste, which knows no order, stands beside it.
    width: int = VECTOR_WIDTH - _TASTE_WIDTH
    # 0: no taste.
    taste_width: int = _TASTE_WIDTH
    # Of taste beside what is read in order: the logit of a title that was watched, by taste alone.
    taste_weight: float = 2.5
    # Layers of attention in the user tower.
    blocks: int = 3
    # Heads of each layer.
    heads: int = 2
    # Newest titles of a history that are read.
    history_length: int = 100
    # Passes over all histories, at most.
    epochs: int = 20
    # How much of a place's prediction the title after the next one is to have; the next has the rest.
    later_share: float = 0.17
    # Places predicted in all passes, at most: a large service makes fewer passes, but always one.
    places: int = 24_000_000
    # Passes without a better prediction of what was held out, after which learning ends; in the second half only.
    patience: int = 4
    # Share of users whose newest title is held out, to tell the best pass by.
    held_out_share: float = 0.05
    # Titles of histories in a batch, at most: fewer where there would be few batches.
    batch_tokens: int = 5632
    # Largest step of AdamW, for batches of that size; it rises over the first steps and falls to zero along a cosine.
    learning_rate: float = 8e-3
    # Decay of weights, not of biases and norms.
    weight_decay: float = 0.3
    # Share of activations dropped.
    dropout: float = 0.1
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


def passes(configuration: TowersConfiguration, targets: int) -> int:
    """How often everything is learned from, where a pass predicts `targets` places."""
    return max(1, min(configuration.epochs, configuration.places // max(targets, 1)))


def tokens_of_batch(configuration: TowersConfiguration, tokens: int) -> int:
    """Titles in a batch, where a pass reads `tokens` of them."""
    smallest = min(_SMALLEST_BATCH, configuration.batch_tokens)
    return max(smallest, min(configuration.batch_tokens, tokens // _STEPS_AN_EPOCH))


def largest_step(configuration: TowersConfiguration, tokens: int) -> float:
    """The largest step for batches of that size: it falls with the square root of the batch, as the noise rises."""
    share: float = (tokens_of_batch(configuration, tokens) / configuration.batch_tokens) ** 0.5
    return configuration.learning_rate * share
