"""Challengers that are worse than what was trained, put in its place before a night judges it."""

from dataclasses import replace

import numpy as np
from night import NIGHTS, Night

from pipelines.digested_files import DigestedFiles
from pipelines.models.model_set import ModelSet
from pipelines.models.nearest import build
from pipelines.runs import last_step, run_of, step


def with_random_weights(model_set: ModelSet) -> ModelSet:
    """Nothing in it was learned: factors, vectors and neighbours are drawn."""
    draw = np.random.default_rng(7)
    vectors = draw.standard_normal(model_set.item_vectors.shape).astype(np.float32)
    factors = draw.standard_normal(model_set.als.item_factors.shape).astype(np.float32)
    return _with(model_set, factors, vectors, np.zeros(len(model_set.item_ids), np.bool_))


def starving(model_set: ModelSet, titles: np.ndarray) -> ModelSet:
    """It has forgotten these titles, and with them whoever likes them."""
    is_gone = np.isin(model_set.item_ids, titles)
    factors = np.where(np.isin(model_set.als.item_ids, titles)[:, None], 0, model_set.als.item_factors)
    rest = model_set.item_vectors[~is_gone].mean(0)
    vectors = np.where(is_gone[:, None], -rest / np.linalg.norm(rest), model_set.item_vectors)
    return _with(model_set, factors.astype(np.float32), vectors.astype(np.float32), is_gone)


def _with(model_set: ModelSet, factors: np.ndarray, vectors: np.ndarray, is_gone: np.ndarray) -> ModelSet:
    near = model_set.neighbours
    is_named = is_gone[np.maximum(near.positions, 0)] | is_gone[:, None]
    positions = np.where(is_named | (not is_gone.any()), -1, near.positions).astype(np.int32)
    weights = np.where(positions < 0, 0, near.weights).astype(np.float32)
    order = np.argsort(positions < 0, axis=1, kind="stable")
    return replace(
        model_set,
        als=replace(model_set.als, item_factors=factors),
        item_vectors=vectors,
        index=build(vectors),
        neighbours=replace(
            near, positions=np.take_along_axis(positions, order, 1), weights=np.take_along_axis(weights, order, 1)
        ),
    )


def challenge_with(night: Night, spoil) -> str:
    """Let the last night's run have another challenger: what is made of the one that it trained; returns its digest."""
    run = run_of(night.lake, NIGHTS[1])
    files = DigestedFiles(str(night.home / "models"))
    trained = ModelSet.from_files(files.load(last_step(night.lake, run, "assemble_models")["writes"]["model_set"]))
    digest = files.save(spoil(trained).to_files())
    with step(night.lake, run, "assemble_models") as work:
        work.writes["model_set"] = digest
    return digest
