"""How fast the simulator is, and how like real data.

    python tests/benchmarks/simulation.py --users 200000 --titles 8000 --events 10000000 [--data FOLDER]

Writes the events of a simulated service to Parquet day by day, in a folder that is removed afterwards. Plays a user and
plays a title, each relative to its mean, are held against MovieLens 1M: against the data itself where --data names the
folder that holds `ml-1m/`, otherwise against a table of its quantiles. Draws `docs/simulation.png`. The last line is
one JSON object.
"""

import argparse
import json
import math
import resource
import shutil
import tempfile
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from machine import machine, versions
from scipy.stats import ks_2samp

from pipelines.simulation.choices import examination
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.events import event_days
from pipelines.simulation.profiles import ACTIVITY_LEVELS, ACTIVITY_QUANTILES
from pipelines.simulation.slates import SLATE_LENGTH
from pipelines.simulation.tables import item_rows, protected_rows, user_rows
from pipelines.simulation.world import make_world

# Measured of the simulator: by it the days follow from the events that are asked for.
EVENTS_A_USER_DAY = 3.0
LEVELS = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)
POPULARITY = (0.004, 0.005, 0.0074, 0.026, 0.085, 0.163, 0.274, 0.458, 0.70, 1.04, 1.59, 2.70, 3.90, 6.61, 10.1, 12.7)
_COLUMNS = ("user_id", "item_id", "kind", "happened_at", "watched_share", "slot", "propensity", "request_id")


class Tally:
    """Counts of what the log says, added up batch by batch."""

    def __init__(self, users: int, titles: int) -> None:
        self.events = 0
        self.by_user, self.by_title = np.zeros(users, np.int64), np.zeros(titles, np.int64)
        self.kinds: dict[str, int] = {}
        self.shares = np.zeros(40, np.int64)
        self.hours = np.zeros(24, np.int64)
        self.shown, self.clicked = np.zeros(SLATE_LENGTH), np.zeros(SLATE_LENGTH)
        self.weighted_shown, self.weighted_clicked = np.zeros(SLATE_LENGTH), np.zeros(SLATE_LENGTH)

    def add(self, batch: pa.RecordBatch) -> None:
        self.events += batch.num_rows
        for entry in pc.value_counts(batch["kind"]).to_pylist():
            self.kinds[entry["values"]] = self.kinds.get(entry["values"], 0) + entry["counts"]
        plays = batch.filter(pc.equal(batch["kind"], "play"))
        self.by_user += np.bincount(plays["user_id"].to_numpy() - 1, minlength=len(self.by_user))
        self.by_title += np.bincount(plays["item_id"].to_numpy() - 1, minlength=len(self.by_title))
        self.shares += np.histogram(plays["watched_share"].to_numpy(), 40, (0, 1))[0]
        self.hours += np.bincount(pc.hour(plays["happened_at"]).to_numpy(), minlength=24)
        self._slots(batch)

    def _slots(self, batch: pa.RecordBatch) -> None:
        """Click rates by slot, plain and weighted to the distribution of the first slot.

        A title that the policy rarely shows (probability p under 1 %) is in slot s with propensity p / (1 - sum of
        those above), so that weighting by the inverse of the propensity, times p, makes the slots alike.
        """
        shown = batch.filter(pc.equal(batch["kind"], "impression"))
        slot, propensity = shown["slot"].to_numpy(), shown["propensity"].to_numpy().astype(np.float64)
        keys = pa.array(shown["request_id"]).dictionary_encode()
        row = keys.indices.to_numpy()
        grid = np.zeros((len(keys.dictionary), SLATE_LENGTH))
        grid[row, slot] = propensity
        left = np.cumprod(np.concatenate([np.ones((len(grid), 1)), 1 - grid[:, :-1]], 1), 1)
        weight = left[row, slot] * (propensity * left[row, slot] < 0.01)
        clicks = batch.filter(pc.equal(batch["kind"], "click"))
        number = pc.index_in(clicks["request_id"], keys.dictionary).fill_null(-1).to_numpy()
        # Late events are cut from the end of the log, and a click may have lost its impression there.
        where = np.full((len(keys.dictionary), SLATE_LENGTH), -1)
        where[row, slot] = np.arange(len(slot))
        at = where[number, clicks["slot"].to_numpy()]
        at = at[(number >= 0) & (at >= 0)]
        self.shown += np.bincount(slot, minlength=SLATE_LENGTH)
        self.clicked += np.bincount(slot[at], minlength=SLATE_LENGTH)
        self.weighted_shown += np.bincount(slot, weight, SLATE_LENGTH)
        self.weighted_clicked += np.bincount(slot[at], weight[at], SLATE_LENGTH)


def reference(folder: Path | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Plays a user and plays a title of MovieLens 1M, relative to their means."""
    if folder is not None:
        rows = np.loadtxt(folder / "ml-1m" / "sasrec_ml-1m.txt.gz", dtype=np.int64)
        counts = [np.bincount(column)[np.unique(column)] for column in rows.T]
        return counts[0] / counts[0].mean(), counts[1] / counts[1].mean(), "the data"
    drawn = (np.arange(5000) + 0.5) / 5000
    users = np.exp(np.interp(drawn, ACTIVITY_LEVELS, np.log(ACTIVITY_QUANTILES)))
    titles = np.exp(np.interp(drawn, LEVELS, np.log(POPULARITY)))
    return users, titles, "quantiles"


def relative(counts: np.ndarray) -> np.ndarray:
    played = counts[counts > 0]
    return played / played.mean()


def share_curve(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ordered = np.sort(values)[::-1]
    return np.arange(1, len(ordered) + 1) / len(ordered), np.cumsum(ordered) / ordered.sum()


def draw(path: Path, tally: Tally, real: tuple[np.ndarray, np.ndarray], caption: str, examples: list[str]) -> None:
    figure, axes = plt.subplots(2, 3, figsize=(16, 9), layout="constrained")
    levels = np.linspace(0.005, 0.995, 199)
    ax = axes[0, 0]
    ax.plot(levels, np.quantile(relative(tally.by_user), levels), label="simulated")
    ax.plot(levels, np.quantile(real[0], levels), "--", label="MovieLens 1M")
    ax.set(title="Plays a user, relative to the mean", xlabel="share of users", yscale="log")
    ax = axes[0, 1]
    ax.plot(*share_curve(relative(tally.by_title)), label="simulated")
    ax.plot(*share_curve(real[1]), "--", label="MovieLens 1M")
    ax.set(
        title="Plays of the most played titles", xlabel="share of titles, most played first", ylabel="share of plays"
    )
    ax = axes[0, 2]
    slots = np.arange(SLATE_LENGTH)
    naive, weighted = tally.clicked / tally.shown, tally.weighted_clicked / tally.weighted_shown
    ax.plot(slots, examination(slots), "k-", label="true examination")
    ax.plot(slots, weighted / weighted[0], "o", label="inverse propensity estimate")
    ax.plot(slots, naive / naive[0], "x", label="plain click rate")
    ax.set(title="Position bias, relative to the first slot", xlabel="slot", ylim=(0, 1.1))
    ax = axes[1, 0]
    ax.bar((np.arange(40) + 0.5) / 40, tally.shares / tally.shares.sum(), 1 / 40)
    ax.set(title="Watched share of plays", xlabel="watched share")
    ax = axes[1, 1]
    ax.bar(np.arange(24), tally.hours / tally.hours.sum())
    ax.set(title="Plays by hour", xlabel="hour, UTC")
    for one in (axes[0, 0], axes[0, 1], axes[0, 2]):
        one.legend()
    axes[1, 2].axis("off")
    axes[1, 2].set_title("Titles")
    axes[1, 2].text(0, 1, "\n\n".join(examples), va="top", wrap=True, fontsize=8)
    figure.suptitle(caption)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--titles", type=int, default=800)
    parser.add_argument("--events", type=int, default=336_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--plot", type=Path, default=Path("docs/simulation.png"))
    options = parser.parse_args()
    days = min(max(math.ceil(options.events / options.users / EVENTS_A_USER_DAY), 2), 366)
    configuration = WorldConfiguration(options.users, options.titles, days, seed=options.seed)
    started = time.monotonic()
    world = make_world(configuration)
    tally = Tally(options.users, options.titles)
    folder = Path(tempfile.mkdtemp())
    try:
        for rows in (item_rows(world), user_rows(world), protected_rows(world)):
            pq.write_table(pa.Table.from_batches([rows]), folder / f"{rows.schema.names[0]}-{rows.num_columns}.parquet")
        for day, batch in enumerate(event_days(world)):
            pq.write_table(pa.Table.from_batches([batch]), folder / f"events-{day}.parquet", compression="zstd")
            tally.add(batch)
            print(f"day {day + 1} of {days}: {tally.events:,} events, {time.monotonic() - started:.0f} s", flush=True)
        size = sum(path.stat().st_size for path in folder.iterdir())
    finally:
        shutil.rmtree(folder)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    users, titles, against = reference(options.data)
    slots = np.arange(SLATE_LENGTH)
    weighted = tally.weighted_clicked / np.maximum(tally.weighted_shown, 1e-9)
    singles = np.flatnonzero(world.titles.series < 0)
    examples = [
        f"{world.titles.names[one]} ({world.titles.release_years[one]}): {world.titles.synopses[one]}"
        for one in singles[:: max(len(singles) // 7, 1)][:7]
    ]
    caption = f"{options.users:,} users, {options.titles:,} titles, {days} days, {tally.events:,} events"
    draw(options.plot, tally, (users, titles), caption, examples)
    result = {
        "seconds": round(seconds, 1),
        "peak_rss_gib": round(peak, 2),
        "events": tally.events,
        "days": days,
        "parquet_mib": round(size / 2**20, 1),
        "kinds": tally.kinds,
        "plays_a_user": round(float(tally.by_user.mean()), 1),
        "ks_activity": round(float(ks_2samp(relative(tally.by_user), users).statistic), 4),
        "ks_popularity": round(float(ks_2samp(relative(tally.by_title), titles).statistic), 4),
        "held_against": against,
        "largest_examination_error": round(
            float(np.abs(weighted / max(weighted[0], 1e-9) - examination(slots)).max()), 4
        ),
    }
    print(json.dumps(result | {"machine": machine(), "versions": versions("numpy", "numba", "pyarrow", "scipy")}))


if __name__ == "__main__":
    main()
