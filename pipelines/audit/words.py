"""What an audit found, in words for people who do not read statistics for a living.

Everything is made from the entry of the record alone, so that what is explained is what was signed.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# What a figure is, in few words and in more; by the name before the colon.
_METRICS = {
    "ndcg_at_20": ("order of the list", "how high up the first 20 places are what a user then watched"),
    "recall_at_20": ("share found", "how much of what a user then watched stood in the first 20 places"),
    "genre_miscalibration": (
        "distance from own genres",
        "how far the genres of a list are from those that the user watches; less is better",
    ),
    "popularity_miscalibration": (
        "distance from own popularity",
        "how far the mix of well-known and little-known titles is from what the user watches; less is better",
    ),
    "listed_popularity": ("popularity of what is listed", "plays of the titles listed, as multiples of the usual"),
    "popularity_lift": (
        "popularity added",
        "how much better known the titles listed are than those the user watches, as a share",
    ),
    "fallback_share": ("answers from a fallback", "the share of answers that were not from the user's own list"),
    "list_age_days": ("age of lists, in days", "how old the lists were that answers came from"),
    "exploration_share": ("explored places", "the share of places that were given to titles to be tried out"),
    "completed_share_ranked": ("ranked places watched to the end", "of the places that a model filled"),
    "completed_share_of_any": (
        "any title watched to the end",
        "of explored places, each weighed as if every title had been shown alike",
    ),
    "exposure": (
        "exposure",
        "how much of what is shown is theirs, a place counting less the lower it stands",
    ),
    "head_share": ("share of the 100 most popular titles", "of all places on pages"),
    "weekly_coverage": ("share of the catalogue shown in a week", "to anybody, in the worst week"),
    "coverage": ("share of the catalogue on pages", "titles that stand on at least one page"),
    "tail_coverage": ("share of little-known titles on pages", "of those that hold the last 20 % of plays"),
    "gini_of_titles": ("inequality of exposure of titles", "0: all are shown alike; 1: one has it all"),
    "gini_of_creators": ("inequality of exposure of creators", "0: all are shown alike; 1: one has it all"),
}
SIGNS = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?"}
_TESTS = {
    "floor": "held against everybody else",
    "kept": "held against the champion, on the same users",
    "limit": "held against a limit for all lists together",
    "wanted": "held against what is wanted: what users went on to watch",
    "catalogue": "held against what there is: the titles that may be shown",
    "": "reported; nothing is decided by it",
}
_ATTRIBUTES = {
    "activity_tier": "activity",
    "age_band": "age",
    "titles.creator_tier": "creators",
    "titles.language": "titles in",
    "titles.origin": "titles from",
    "titles.is_new": "titles",
    "all": "all lists",
}
_GROUPS = {
    "head": "most played",
    "middle": "middling",
    "tail": "little played",
    "not_new": "not new",
    "55_up": "55 and over",
    "under_month": "less than a month",
    "under_year": "less than a year",
    "over_year": "over a year",
    "small classes": "all that have few",
}
_MOMENTS = {
    "genesis": "The first model set of a new installation, by the lists it would serve",
    "challenger": "A challenger, by the lists it would serve",
    "monthly": "A month as served, and the champion",
    "on_demand": "Asked for by somebody",
}
_VERDICTS = {
    "PASS": (
        "Nothing was found to lie beyond its limit, and the audit would have found it: a planted bias was found, and "
        "shuffled groups were left alone."
    ),
    "FAIL": "Something lies beyond its limit, and that is more than chance would make of it.",
    "INCONCLUSIVE": (
        "Nothing is known to lie beyond its limit, but too little is known to say that nothing does: this holds a "
        "promotion as a failure would."
    ),
}


def split(metric: str) -> tuple[str, str]:
    """The figure and the kind of test that the name of a finding's metric joins."""
    name, _, test = metric.partition(":")
    return name, test


def metric_title(metric: str) -> str:
    """What a figure is called, in two or three words."""
    name, _ = split(metric)
    return _METRICS.get(name, (name.replace("_", " "), ""))[0]


def metric_explained(metric: str) -> str:
    """What a figure says; nothing where its title says it."""
    return _METRICS.get(split(metric)[0], ("", ""))[1]


def test_explained(metric: str) -> str:
    """What a figure was held against."""
    return _TESTS.get(split(metric)[1], split(metric)[1].replace("_", " "))


def attribute_title(attribute: str) -> str:
    """What users, or titles, are told apart by."""
    return _ATTRIBUTES.get(attribute, attribute.replace("_", " "))


def group_title(group: str) -> str:
    """A group as a person reads it; a pool names its members."""
    return " + ".join(
        _GROUPS.get(one, re.sub(r"(\d)_(\d)", r"\1–\2", one).replace("_", " ")) for one in group.split("+")
    )


def decides(finding: Mapping[str, Any]) -> bool:
    """Whether a finding has a part in the verdict: it was tested, held against a limit, or could not be judged."""
    is_limit = split(finding["metric"])[1] == "limit"
    return finding["p_value"] is not None or is_limit or finding["verdict"] != "PASS"


def moment_explained(moment: str) -> str:
    """What was audited."""
    return _MOMENTS.get(moment, moment.replace("_", " "))


def verdict_explained(verdict: str) -> str:
    """What a verdict means."""
    return _VERDICTS[verdict]


def number(value: float | None, digits: int = 3) -> str:
    """A figure as it is printed; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A share as it is printed; a dash where there is none."""
    return "–" if value is None else f"{value:.0%}"


def p_value(value: float | None) -> str:
    """A probability as it is printed."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def finding_sentence(finding: Mapping[str, Any]) -> str:
    """One finding as a sentence."""
    metric, test = split(finding["metric"])
    title, whose = metric_title(metric), _whose(finding)
    if finding["estimate"] is None:
        return f"{whose}: {finding['reason']}."
    sure = "" if finding["low"] is None else f" (95 % sure: {share(finding['low'])} to {share(finding['high'])})"
    estimate, limit = share(finding["estimate"]), share(finding["limit"] or 0)
    if test == "floor":
        return (
            f"{whose}: in {title} they get {estimate} of what everybody else gets{sure}; at least {limit} is asked for."
        )
    if test == "kept":
        return f"{whose}: {title} is {estimate} of what the champion gives them{sure}; the bound is {limit}."
    if test == "wanted":
        return f"{whose}: they have {estimate} of the exposure that is wanted{sure}; at least {limit} is asked for."
    return f"{title.capitalize()}: {estimate}{sure}; the limit is {limit}."


def _whose(finding: Mapping[str, Any]) -> str:
    attribute, group = attribute_title(finding["attribute"]), group_title(finding["group"])
    if finding["attribute"].startswith("titles."):
        return _upper(f"{attribute} {group}")
    count = f", {finding['user_count']:,} users" if finding["user_count"] else ""
    return f"{_upper(attribute)} “{group}”{count}"


def _upper(text: str) -> str:
    """Its first letter as at the beginning of a sentence, the others as they are."""
    return text[:1].upper() + text[1:]


def part_sentences(part: Mapping[str, Any]) -> list[str]:
    """A part of an audit in a few sentences: what was asked, what failed, what could not be judged."""
    findings: Sequence[Mapping[str, Any]] = part["findings"]
    decided = [one for one in findings if decides(one)]
    failed = [one for one in decided if one["verdict"] == "FAIL"]
    unclear = [one for one in decided if one["verdict"] == "INCONCLUSIVE"]
    if not findings:
        return ["Nothing could be looked at."]
    said = [
        f"{part['user_count']:,} users were looked at, and {len(decided)} questions asked: in "
        f"{len(decided) - len(failed) - len(unclear)} nothing is amiss, {len(failed)} failed, {len(unclear)} could not "
        "be told."
    ]
    said += [finding_sentence(one) for one in failed]
    primary = sorted({_whose(one) for one in unclear if one["is_primary"]})
    if primary:
        said.append(f"Too little is known of primary groups, which holds a promotion: {'; '.join(primary)}.")
    others = sorted({_whose(one) for one in unclear if not one["is_primary"]} - set(primary))
    if others:
        said.append(f"Too little is known of other groups, which holds nothing: {'; '.join(others)}.")
    return said


def controls_sentences(controls: Mapping[str, Any] | None) -> list[str]:
    """Whether the audit can be believed, in sentences."""
    if controls is None:
        return ["There were no controls: the audit could not be made."]
    return [
        _planted_sentence(controls),
        (
            f"Users were dealt into groups at random {controls['permutation_count']} times, where nothing can be "
            f"wrong: {controls['permutation_failure_count']} of these audits failed; with 95 % certainty the true "
            f"share is below {controls['bound']:.1%}."
        ),
    ]


def _planted_sentence(controls: Mapping[str, Any]) -> str:
    planted = controls["planted_group"].replace("_", " ")
    if not planted:
        return "No bias could be planted, as no group has its size: this audit could not have failed."
    found = "the audit failed it, as it must" if controls["planted_bias_failed"] else "the audit did not find it"
    return (
        f"A bias was planted in a copy of the lists (users of “{planted}” lost what they would have found), and "
        f"{found}."
    )


def policy_sentences(policy: Mapping[str, Any]) -> list[str]:
    """What a policy asks, in sentences."""
    kept = [one["name"] for one in policy["metrics"] if one["kept_margin"] is not None]
    floors = [one["name"] for one in policy["metrics"] if one["has_floor"]]
    said = [
        (
            f"Policy “{policy['name']}”, version {policy['version']}. The chance that anything is called a failure "
            f"where nothing lies beyond its limit is at most {policy['alpha']:.0%} for the whole audit (Holm)."
        ),
        (
            f"Floors ({', '.join(metric_title(name) for name in floors)}): a group must not be shown to reach less "
            "than a share of what everybody else reaches: "
            + ", ".join(f"{attribute_title(one['name'])} {one['floor']:.0%}" for one in policy["attributes"])
            + "."
        ),
        (
            f"Kept ({', '.join(metric_title(name) for name in kept)}): against the champion, no group may be shown to "
            "have lost more than a margin beyond what everybody else lost."
        ),
        (
            f"All lists together: the 100 most popular titles may have {policy['head_share_limit']:.0%} of all places "
            f"on pages, and {policy['weekly_coverage_limit']:.0%} of what may be shown must be shown to somebody "
            "within any 7 days (monthly)."
        ),
        (
            "Primary, so that too little known of them holds a promotion: "
            + ", ".join(attribute_title(one["name"]) for one in policy["attributes"] if one["is_primary"])
            + f". Of fewer than {policy['privacy_floor']} users no figure is given; fewer than "
            f"{policy['least_users']} are not judged by themselves."
        ),
    ]
    if policy["is_demo"]:
        said.append(
            "This is a policy for demonstrations: its limits are wide, since a few hundred users tell coarse faults "
            "apart and no others. It says nothing about a real service."
        )
    return said
