"""What models are judged on: days that none of them learned from, with equal histories for all.

The evaluation and the audit of a night read it here, so that they look at the same users.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from feature_defs.interactions import COMPLETE_SHARE
from pipelines.catalogue import Catalogue, as_known, read_catalogue
from pipelines.evaluation.comparison import new_to_each
from pipelines.histories import Histories, Popularity, read_histories, read_opted_out, read_popularity
from pipelines.lake import Lake


@dataclass(frozen=True)
class HeldOut:
    """The question: given what was known at the end of `learned_until`, what will these users watch to the end?

    `histories`: of everybody, up to then. `truth`: of U users, what they watched to the end since and had never played
    before; users without any are left out. `popularity`: of titles, up to then. `catalogue`: as known then, with the
    titles that may be shown on the last of the days held out.
    """

    learned_until: date
    histories: Histories
    truth: Histories
    popularity: Popularity
    catalogue: Catalogue

    @property
    def known(self) -> Histories:
        """What the users of the truth had watched before, in their order."""
        return self.histories.of(self.truth.user_ids)


def read_held_out(lake: Lake, day: date, truth_days: int) -> HeldOut:
    """What models that learned until `truth_days` before a day are judged on, up to that day."""
    learned_until = day - timedelta(days=truth_days)
    opted_out = read_opted_out(lake, day)
    histories = read_histories(lake, learned_until, opted_out=opted_out)
    later = read_histories(lake, day, first_day=learned_until + timedelta(days=1), opted_out=opted_out)
    return HeldOut(
        learned_until,
        histories,
        new_to_each(later, histories, COMPLETE_SHARE),
        read_popularity(lake, learned_until),
        as_known(read_catalogue(lake, day), learned_until, day),
    )
