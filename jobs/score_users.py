"""Lists by the champion for a part of the users: python -m jobs.score_users --day 2026-01-31 --shard 0/2

The champion encodes each user from everything known at the end of the day, whoever was promoted or refused that night.
"""

from datetime import date

import pyarrow as pa

from feature_defs.interactions import INTERACTIONS
from feature_defs.recommendations import RECOMMENDATIONS
from pipelines.arrow_schemas import arrow_schema
from pipelines.catalogue import read_catalogue
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.histories import read_popularity
from pipelines.knowledge import read_item_features, read_text_vectors
from pipelines.lake import Lake
from pipelines.lists.funnel import retrieval_for
from pipelines.lists.people import read_people
from pipelines.lists.scoring import list_rows
from pipelines.models.model_set import ModelSet
from pipelines.promotion import champion
from pipelines.runs import run_of, step
from pipelines.settings import read_settings
from pipelines.shards import parse_shard


def main(day: date, shard: str = "0/1") -> None:
    """Make the lists of a day's run for one part of the users.

    Args:
        day: the day whose night this is.
        shard: which part, as i/n with i from 0.
    """
    part = parse_shard(shard)
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    now = champion(lake)
    with step(lake, this_run, "score_users", shard) as work:
        work.reads = {INTERACTIONS.name: lake.version(INTERACTIONS) or 0}
        if now is None:
            say("no model set was ever promoted: there are no personal lists, users get what trends")
            work.counts = {"users": 0, "champion": None}
            return
        work.writes["model_set"] = now.challenger
        model_set = ModelSet.from_files(DigestedFiles(settings.models).load(now.challenger))
        catalogue = read_catalogue(lake, day)
        text = read_text_vectors(lake, catalogue, model_set.text_encoder, day)
        batches = list_rows(
            this_run.run_id,
            shard,
            model_set,
            retrieval_for(model_set, catalogue, text, read_popularity(lake, day)),
            read_people(lake, day, part),
            read_item_features(lake, day, catalogue),
            day,
            this_run.configuration.funnel,
        )
        stream = pa.RecordBatchReader.from_batches(arrow_schema(RECOMMENDATIONS), batches)
        work.wrote(lake.replace(RECOMMENDATIONS, stream, day, where={"shard": shard}, run_id=this_run.run_id))
        work.counts |= {"champion": now.challenger}


if __name__ == "__main__":
    run(main, description=__doc__)
