"""Challenger beside champion and most popular: python -m jobs.evaluate_models --day 2026-01-31

On the days held out, which none of them learned from, with equal histories for all.
"""

from datetime import date, timedelta

from feature_defs.interactions import COMPLETE_SHARE, INTERACTIONS
from feature_defs.record import EVALUATIONS
from pipelines.catalogue import read_titles
from pipelines.command_line import run, say
from pipelines.evaluation.comparison import CANDIDATES, Catalogue, Judged, compare, new_to_each
from pipelines.histories import read_histories, read_opted_out, read_popularity
from pipelines.lake import Lake
from pipelines.lists.ranking import most_popular, rank
from pipelines.models.model_sets import ModelSets
from pipelines.promotion import champion
from pipelines.runs import last_step, run_of, step
from pipelines.settings import read_settings


def main(day: date) -> None:
    """Judge the challenger of a day's run.

    Args:
        day: the day whose night this is.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    learned_until = day - timedelta(days=this_run.configuration.truth_days)
    challenger = str(last_step(lake, this_run, "train_als")["writes"]["model_set"])
    gate = this_run.configuration.gate
    with step(lake, this_run, "evaluate_models") as work:
        work.reads = {INTERACTIONS.name: lake.version(INTERACTIONS) or 0}
        opted_out = read_opted_out(lake, day)
        histories = read_histories(lake, learned_until, opted_out=opted_out)
        later = read_histories(lake, day, first_day=learned_until + timedelta(days=1), opted_out=opted_out)
        popularity = read_popularity(lake, learned_until)
        titles = read_titles(lake, day)
        truth = new_to_each(later, histories, COMPLETE_SHARE)
        known = histories.of(truth.user_ids)
        judged = {"most_popular": Judged(most_popular(known, popularity.most_popular(), titles.eligible, CANDIDATES))}
        sets = ModelSets(settings.models)
        now = champion(lake)
        for role, digest in (("challenger", challenger), ("champion", now.challenger if now else None)):
            if digest is None:
                say("there is no champion yet: the challenger is held against most popular")
                continue
            model_set = sets.load(digest)
            if model_set.learned_until > learned_until:
                say(f"the champion learned until {model_set.learned_until}: it is not judged on what it learned from")
                continue
            als = model_set.als
            lists = rank(als, als.encode(known), known, popularity, titles.eligible, CANDIDATES)
            judged[role] = Judged(lists.item_ids, digest)
        catalogue = Catalogue(
            size=len(titles.eligible),
            most_popular=popularity.most_popular(),
            item_ids=popularity.item_ids,
            play_counts=popularity.play_counts,
            user_count=len(histories.user_ids),
            genres=titles.genres,
        )
        rows = compare(
            judged,
            truth,
            histories,
            catalogue,
            run_id=this_run.run_id,
            day=day,
            resamples=gate.resamples,
            seed=gate.seed,
        )
        work.wrote(lake.replace(EVALUATIONS, rows, day, where={"run_id": this_run.run_id}, run_id=this_run.run_id))
        work.counts |= {"users": len(truth.user_ids), "roles": sorted(judged)}
        for row in rows.to_pylist():
            if row["metric"] == gate.metric and row["segment"] == "all":
                say(f"{row['role']:>13}: {gate.metric} {row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]")


if __name__ == "__main__":
    run(main, description=__doc__)
