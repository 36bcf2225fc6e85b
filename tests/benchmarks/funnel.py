"""What each part of the funnel adds, on a simulated service with known truth, beside its oracle.

    make bench-funnel            10,000 users, 3,000 titles, 60 days
    make bench-funnel-demo       what `make demo` left: its world, its models, its last night

A week and a night are run through the jobs, as a person would; protocol A then on the night's day (one day of truth),
and on the days that the ranker learned from for what needs more truth and no ranker (new titles, short histories).
The last line is one JSON object.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import fields, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from machine import machine, versions
from simulated_service import (
    FUNNEL,
    Judge,
    Night,
    beside,
    figure,
    nightly_jobs,
    run_jobs,
    set_of,
    weekly_jobs,
)

from feature_defs.interactions import COMPLETE_SHARE
from feature_defs.ranking import CONTEXT_DENSE, DENSE_FEATURES, ITEM_DENSE, PAIR_DENSE, USER_DENSE
from pipelines.evaluation import metrics
from pipelines.evaluation.comparison import CANDIDATES, per_user
from pipelines.largest import largest
from pipelines.lists.candidate_configuration import Weights
from pipelines.models.model_set import ModelSet
from pipelines.models.ranker import Ranker
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.truth import oracle_ranking, state_before
from pipelines.simulation.world import make_world

# Reciprocal ranks as Cormack et al. have them: all sources are worth the same.
UNWEIGHTED = Weights(**{field.name: 1.0 for field in fields(Weights)})


def parts_of_the_funnel(judge: Judge, model_set: ModelSet, oracle: np.ndarray) -> dict[str, object]:
    lists = {"oracle": oracle, **judge.stages(model_set), "most_popular": judge.popular()}
    # Its weights were chosen by how well the fusion orders: beside it stands an order of which nothing was chosen.
    unweighted = judge.stages(model_set, replace(FUNNEL, candidates=replace(FUNNEL.candidates, weights=UNWEIGHTED)))
    lists["retrieved_unweighted"] = unweighted["retrieved"]
    values = {name: per_user(ranking, judge.truth) for name, ranking in lists.items()}
    genres = {
        name: metrics.genres_at(judge.catalogue.positions(ranking[:, :20]), judge.catalogue.main_genres, 20)
        for name, ranking in lists.items()
    }
    models = {}
    for name, found in values.items():
        models[name] = {metric: figure(found[metric]) for metric in ("ndcg_at_20", "recall_at_20", "hit_rate_at_200")}
        models[name]["genres_at_20"] = round(float(genres[name].mean()), 2)
        print(f"  {name:<20} {models[name]}", flush=True)
    return {
        "users": len(judge.truth.user_ids),
        "models": models,
        "funnel_over_towers_ndcg": beside(values["funnel"]["ndcg_at_20"], values["towers"]["ndcg_at_20"]),
        "towers_over_als_ndcg": beside(values["towers"]["ndcg_at_20"], values["als"]["ndcg_at_20"]),
        "als_over_most_popular_ndcg": beside(values["als"]["ndcg_at_20"], values["most_popular"]["ndcg_at_20"]),
        "hybrid_over_als_recall": beside(values["retrieved"]["recall_at_20"], values["als"]["recall_at_20"]),
        "ranked_over_retrieved_ndcg": beside(values["ranked"]["ndcg_at_20"], values["retrieved"]["ndcg_at_20"]),
        "ranked_over_retrieved_unweighted_ndcg": beside(
            values["ranked"]["ndcg_at_20"], values["retrieved_unweighted"]["ndcg_at_20"]
        ),
        "diversity_ndcg": beside(values["funnel"]["ndcg_at_20"], values["ranked"]["ndcg_at_20"]),
        "diversity_genres": beside(genres["funnel"], genres["ranked"]),
    }


def sources_left_out(judge: Judge, model_set: ModelSet) -> dict[str, object]:
    """The retrieval order and the funnel without each source."""
    found = {}
    for source in ("towers", "als", "item_item", "content", "trending", "next_episode", "new_title"):
        without = judge.stages(model_set, replace(FUNNEL, candidates=FUNNEL.candidates.without(source)))
        found[source] = {
            "retrieved_recall_at_20": figure(per_user(without["retrieved"], judge.truth)["recall_at_20"]),
            "hit_rate_at_200": figure(per_user(without["retrieved"], judge.truth)["hit_rate_at_200"]),
            "ranked_ndcg_at_20": figure(per_user(without["ranked"], judge.truth)["ndcg_at_20"]),
        }
        print(f"  without {source:<13} {found[source]}", flush=True)
    return found


def features_left_out(judge: Judge, model_set: ModelSet) -> dict[str, object]:
    """The ranker with a group of features held at their mean: what it reads there says nothing any more."""
    names = [feature.name for feature in DENSE_FEATURES]
    retrieval = {"als_score", "als_standing", "tower_score", "tower_log_share", "item_item_score"}
    content = {"content_mean", "content_best", "genre_affinity", "onboarding_match", "language_share", "kind_share"}
    groups = {
        "retrieval_scores": retrieval,
        "content": content,
        "series_and_creators": {
            "is_next_episode",
            "episodes_ahead",
            "is_out_of_turn",
            "is_where_left_off",
            "series_recency",
            "series_turn",
            "series_watched",
            "series_completed_share",
            "creator_watched",
        },
        "tiredness": {"genre_share_5", "genre_share_20"},
        "interests": {"interest_lift"},
        "user": {feature.name for feature in USER_DENSE},
        "item": {feature.name for feature in ITEM_DENSE},
        "context": {feature.name for feature in CONTEXT_DENSE},
    }
    assert {feature.name for feature in PAIR_DENSE} <= set().union(*groups.values())
    found = {}
    for group, members in groups.items():
        chosen = np.array([name in members for name in names])
        facts = model_set.ranker.facts
        # Divided by so much, a feature is always at its mean.
        blind = replace(facts, scales=np.where(chosen, np.float32(1e30), facts.scales).astype(np.float32))
        ranker = Ranker(model_set.ranker.network, blind)
        ranked = judge.stages(replace(model_set, ranker=ranker))["ranked"]
        found[group] = figure(per_user(ranked, judge.truth)["ndcg_at_20"])
        print(f"  without {group:<20} ranked ndcg_at_20 {found[group]}", flush=True)
    return found


def titles_without_history(judge: Judge, model_set: ModelSet) -> dict[str, object]:
    """Recall among titles that nobody had played: the towers beside the best of three lists by text alone."""
    new = ~np.isin(judge.catalogue.item_ids, judge.popularity.item_ids) & judge.catalogue.may_be_shown
    truth = judge.truth.where(np.isin(judge.truth.item_ids, judge.catalogue.item_ids[new]))
    wanting = np.flatnonzero((np.diff(truth.offsets) > 0) & (np.diff(judge.past.offsets) > 0))
    truth, past = truth.of(truth.user_ids[wanting]), judge.past.of(truth.user_ids[wanting])
    titles = np.flatnonzero(new)
    completed = past.where(past.shares >= COMPLETE_SHARE)

    def recall(scores: np.ndarray) -> np.ndarray:
        best = largest(scores.astype(np.float32), 20)
        ranking = np.where(best >= 0, judge.catalogue.item_ids[titles[np.maximum(best, 0)]], -1)
        return per_user(ranking, truth)["recall_at_20"]

    vectors = model_set.towers.encode_users(past, judge.users, judge.catalogue, judge.text)
    towers = recall(vectors @ model_set.towers.encode_items(judge.catalogue, judge.text)[titles].T)
    by_text = {}
    for name, length in (("mean_of_last_10", 10), ("mean_of_all", 10**6), ("nearest_of_last_10", 10)):
        rows = completed.newest(length)
        scores = np.zeros((len(wanting), len(titles)), np.float32)
        at = judge.catalogue.positions(rows.item_ids)
        near = judge.text[np.maximum(at, 0)] * (at >= 0)[:, None] @ judge.text[titles].T
        if name.startswith("nearest"):
            np.maximum.at(scores, rows.owners(), near)
        else:
            np.add.at(scores, rows.owners(), near)
        by_text[name] = recall(scores)
    best = max(by_text, key=lambda name: by_text[name].mean())
    return {
        "titles": len(titles),
        "users": len(wanting),
        "towers": figure(towers),
        "content_only": {name: figure(values) for name, values in by_text.items()},
        "towers_over_best_content_only": beside(towers, by_text[best]),
    }


def short_histories(judge: Judge, model_set: ModelSet) -> dict[str, object]:
    """Users with fewer than 5 events; and others as if they had just come, beside themselves after 20 events."""
    lengths = np.diff(judge.past.offsets)
    popular = per_user(judge.popular(), judge.truth)["ndcg_at_20"]
    funnel = per_user(judge.stages(model_set)["funnel"], judge.truth)["ndcg_at_20"]
    cold, known = lengths < 5, lengths >= 20
    empty = judge.past.where(np.zeros(len(judge.past.item_ids), np.bool_))
    # What was watched is still not to be found: the truth is new to the user either way.
    lists = {"0": judge.stages(model_set, past=empty), "20": judge.stages(model_set, past=judge.past.newest(20))}
    after = {name: per_user(found["funnel"], judge.truth)["ndcg_at_20"][known] for name, found in lists.items()}
    return {
        "under_5_events_over_most_popular": beside(funnel[cold], popular[cold]),
        "under_5_events": figure(funnel[cold]),
        "same_users_without_events": figure(after["0"]),
        "same_users_after_20_events": figure(after["20"]),
        "20_events_over_none": beside(after["20"], after["0"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--titles", type=int, default=3000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, help="a folder of an earlier run, to judge again without training")
    parser.add_argument("--week", type=date.fromisoformat, help="the day of the weekly run, where it is not the last")
    arguments = parser.parse_args()
    configuration = WorldConfiguration(arguments.users, arguments.titles, arguments.days, seed=arguments.seed)
    day = configuration.last_day
    week = arguments.week or day - timedelta(days=1)
    started = time.monotonic()
    home = arguments.home or Path(tempfile.mkdtemp(prefix="marquee-bench-funnel-"))
    night = Night(home)
    try:
        if not (home / "models").exists():
            jobs = [*weekly_jobs(configuration, week), ("train_ranker", "--day", week), *nightly_jobs(day)]
            run_jobs(night, jobs)
        last = Judge(night, day, 1)
        world = make_world(configuration)
        oracle = oracle_ranking(world, state_before(world, day), day, last.past, last.catalogue.eligible, CANDIDATES)
        model_set = set_of(night, day, "daily")
        result = {"world": {name: getattr(arguments, name) for name in ("users", "titles", "days", "seed")}}
        result["night"] = parts_of_the_funnel(last, model_set, oracle)
        result["without_source"] = sources_left_out(last, model_set)
        result["without_features"] = features_left_out(last, model_set)
        weekly = set_of(night, week, "weekly")
        before = Judge(night, week, (week - weekly.learned_until).days)
        result["titles_without_history"] = titles_without_history(before, weekly)
        result["short_histories"] = {
            "night": short_histories(last, model_set),
            "label_days_without_ranker": short_histories(before, weekly),
        }
    finally:
        if arguments.home is None:
            shutil.rmtree(home)
    result["seconds"] = round(time.monotonic() - started)
    result["versions"] = versions("numpy", "torch", "pyspark", "faiss-cpu")
    result["machine"] = machine()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
