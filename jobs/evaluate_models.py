"""Challenger beside champion, its own parts and most popular: python -m jobs.evaluate_models --day 2026-01-31

On the days held out, which none of them learned from, with equal histories for all. The lists that they were judged by
are kept for the audit.
"""

from datetime import date

import pyarrow as pa

from feature_defs.interactions import INTERACTIONS
from feature_defs.judged_lists import JUDGED_LISTS
from feature_defs.record import EVALUATIONS
from pipelines.arrow_schemas import arrow_schema
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.evaluation.comparison import CANDIDATES, Judged, Measures, compare
from pipelines.evaluation.held_out import read_held_out
from pipelines.evaluation.judged_lists import judged_rows
from pipelines.evaluation.stages import lists_by_stage
from pipelines.knowledge import read_item_features, read_text_vectors, read_user_features, read_users
from pipelines.lake import Lake
from pipelines.lists.funnel import retrieval_for
from pipelines.lists.ranking import most_popular
from pipelines.models.model_set import ModelSet
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
    configuration = this_run.configuration
    challenger = str(last_step(lake, this_run, "assemble_models")["writes"]["model_set"])
    gate = configuration.gate
    with step(lake, this_run, "evaluate_models") as work:
        work.reads = {INTERACTIONS.name: lake.version(INTERACTIONS) or 0}
        held_out = read_held_out(lake, day, configuration.truth_days)
        learned_until, catalogue = held_out.learned_until, held_out.catalogue
        truth, popularity, known = held_out.truth, held_out.popularity, held_out.known
        users = read_users(lake, day)
        user_features = read_user_features(lake, learned_until, known.user_ids)
        item_features = read_item_features(lake, learned_until, catalogue)
        popular = most_popular(known, popularity.most_popular(), catalogue.eligible, CANDIDATES)
        judged = {"most_popular": Judged(popular)}
        sets = DigestedFiles(settings.models)
        now = champion(lake)
        for role, digest in (("challenger", challenger), ("champion", now.challenger if now else None)):
            if digest is None:
                say("there is no champion yet: the challenger is held against most popular")
                continue
            model_set = ModelSet.from_files(sets.load(digest))
            if model_set.learned_until > learned_until:
                say(f"the champion learned until {model_set.learned_until}: it is not judged on what it learned from")
                continue
            text = read_text_vectors(lake, catalogue, model_set.text_encoder, day)
            lists = lists_by_stage(
                model_set,
                retrieval_for(model_set, catalogue, text, popularity),
                known,
                users,
                user_features,
                item_features,
                popularity,
                learned_until,
                configuration.funnel,
            )
            judged[role] = Judged(lists.pop("funnel"), digest)
            if role == "challenger":
                # Its parts stand beside it, so that what each stage adds can be seen.
                judged |= {part: Judged(ranking, digest) for part, ranking in lists.items()}
        kept = [
            judged_rows(this_run.run_id, role, digest, truth.user_ids, one.ranking)
            for role, one in judged.items()
            if role in {"challenger", "champion"} and (digest := one.model_set)
        ]
        lists_kept = pa.concat_tables([arrow_schema(JUDGED_LISTS).empty_table(), *kept])
        work.wrote(
            lake.replace(JUDGED_LISTS, lists_kept, day, where={"run_id": this_run.run_id}, run_id=this_run.run_id)
        )
        measures = Measures(popularity, len(held_out.histories.user_ids), catalogue)
        rows = compare(
            judged,
            truth,
            held_out.histories,
            measures,
            run_id=this_run.run_id,
            day=day,
            resamples=gate.resamples,
            seed=gate.seed,
        )
        work.wrote(lake.replace(EVALUATIONS, rows, day, where={"run_id": this_run.run_id}, run_id=this_run.run_id))
        # What was judged is what may be audited and promoted, whatever is assembled after it.
        work.writes["model_set"] = challenger
        work.counts |= {"users": len(truth.user_ids), "roles": sorted(judged)}
        for row in rows.to_pylist():
            if row["metric"] == gate.metric and row["segment"] == "all":
                say(f"{row['role']:>13}: {gate.metric} {row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]")


if __name__ == "__main__":
    run(main, description=__doc__)
