"""A simulated service: its titles and its users, both with what is hidden from the service."""

from dataclasses import dataclass

from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.profiles import Profiles, make_profiles
from pipelines.simulation.titles import Titles, make_titles


@dataclass(frozen=True)
class World:
    """The truth behind a log, a pure function of its configuration."""

    configuration: WorldConfiguration
    titles: Titles
    profiles: Profiles


def make_world(configuration: WorldConfiguration) -> World:
    """The world of a configuration; the same one every time."""
    titles = make_titles(configuration)
    return World(configuration, titles, make_profiles(configuration, titles))
