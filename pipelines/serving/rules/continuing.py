"""Whoever is in the middle of a series is offered its next episode first."""

from collections.abc import Mapping, Sequence, Set

from feature_defs.recommendations import SOURCES

NEXT_EPISODE = "next_episode"
CODE = SOURCES.index(NEXT_EPISODE)


def following(finished: Sequence[int], next_episodes: Mapping[int, int], seen: Set[int]) -> list[int]:
    """The episodes that follow those finished since the run, of the latest first; none that was seen, each once.

    Args:
        finished: titles finished, the latest last.
        next_episodes: the episode that follows each, if there is one.
        seen: titles watched at any time.
    """
    found = [next_episodes[item] for item in reversed(finished) if item in next_episodes]
    return [item for item in dict.fromkeys(found) if item not in seen] if found else found


def places_of_next_episodes(sources: bytes) -> list[int]:
    """Where a list holds next episodes, best first; `sources` is a byte for each of its titles."""
    places, at = [], sources.find(CODE)
    while at >= 0:
        places.append(at)
        at = sources.find(CODE, at + 1)
    return places
