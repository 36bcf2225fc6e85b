"""Two towers: one makes a vector of a user from their ordered history, one of a title from what is known of it.

A user and a title fit as far as their vectors point the same way. The user tower reads the history with causal
attention (Vaswani et al. 2017; Kang and McAuley, "Self-Attentive Sequential Recommendation", 2018), so that one pass
trains on every place of it. The title tower adds an id of its own to its content and sometimes does without the id
(Volkovs et al., "DropoutNet", 2017), so that a title nobody has watched is placed by its content.

Beside what is read in order, both vectors carry taste, which knows no order: see `towers_taste`.

Shapes: B windows, T places of a window, I titles, E width of what is read in order, K of taste, D numbers of a text
vector.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.models.device import device_in_use
from pipelines.models.torch_threads import one_torch_thread
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.models.towers_inputs import (
    PROFILE_COLUMNS,
    ItemInputs,
    Vocabularies,
    item_inputs,
    profile_codes,
    share_codes,
    user_codes,
    year_buckets,
)
from pipelines.models.towers_taste import Taste, learn_taste, users_by_taste
from pipelines.sorted_ids import positions_among

_FORMAT = 2
# Titles of histories read at once while users are encoded.
_TOKENS_AT_ONCE = 16_384


class ItemTower(nn.Module):
    """From a title's id and content to a vector; [I, E], not yet of unit length."""

    def __init__(self, configuration: TowersConfiguration, known: Vocabularies) -> None:
        super().__init__()
        width = configuration.width
        self.id_dropout = configuration.id_dropout
        self.ids = nn.Embedding(len(known.item_ids) + 1, width)
        self.languages = nn.Embedding(len(known.languages) + 1, width)
        self.years = nn.Embedding(year_buckets(), width)
        self.kinds = nn.Embedding(len(known.kinds) + 1, width)
        self.creators = nn.Embedding(known.creator_buckets + 1, width)
        self.genres = nn.Linear(max(len(known.genres), 1), width, bias=False)
        self.text = nn.Linear(known.text_width, width, bias=False)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        for table in (self.ids, self.languages, self.years, self.kinds, self.creators):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, items: "ItemTensors", without_id: Tensor | None = None) -> Tensor:
        """Vectors of titles [I, E].

        Args:
            items: what is known of them.
            without_id: bool [I], those that must do without their id.
        """
        ids = items.ids if without_id is None else items.ids.masked_fill(without_id, 0)
        content = (
            self.languages(items.languages)
            + self.years(items.years)
            + self.kinds(items.kinds)
            + self.creators(items.creators)
            + self.genres(items.has_genre)
            + self.text(items.text)
        )
        # The unknown id says nothing: it is not learned, but left out.
        own = self.ids(ids) * (ids > 0).unsqueeze(-1)
        mixed: Tensor = own + content + self.mix(own + content)
        return mixed


def dropped(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Dropout by a generator of one's own, so that threads beside each other draw what they would alone."""
    if generator is None or not share:
        return x
    kept = torch.empty_like(x).bernoulli_(1 - share, generator=generator)
    return x * kept.div_(1 - share)


class Block(nn.Module):
    """One layer of causal attention and one of feed-forward, each after a norm and beside what it reads.

    How far back a title stands is added to how it is attended to, learned for each head and distance (Raffel et al.,
    "Exploring the Limits of Transfer Learning", 2020, without its buckets).
    """

    def __init__(self, width: int, heads: int, places: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.forward_part = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.distances = nn.Parameter(torch.zeros(heads, places))

    def forward(self, x: Tensor, last_only: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """[B, T, E] in and out; a place reads itself and those before it.

        Args:
            x: what each place holds.
            last_only: out for the last place alone.
            generator: draws what is dropped; without one nothing is.
        """
        width = x.shape[2]
        read = self.before(x)
        asking = read[:, -1:] if last_only else read
        weight, bias = self.project.weight, self.project.bias
        if last_only:
            q = F.linear(asking, weight[:width], bias[:width])
            k, v = F.linear(read, weight[width:], bias[width:]).chunk(2, -1)
        else:
            q, k, v = F.linear(read, weight, bias).chunk(3, -1)
        shape = (self.heads, width // self.heads)
        q, k, v = (part.reshape(*part.shape[:2], *shape).transpose(1, 2) for part in (q, k, v))
        fits = (q * (width // self.heads) ** -0.5) @ k.transpose(-1, -2) + self._standing(x.shape[1])[:, -q.shape[2] :]
        mixed = (fits.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)
        x = x[:, -1:] if last_only else x
        x = x + dropped(self.join(mixed), self.dropout, generator)
        out: Tensor = x + dropped(self.forward_part(self.between(x)), self.dropout, generator)
        return out

    def _standing(self, places: int) -> Tensor:
        """What distance adds for each asking and each read place, [heads, T, T]; never later places."""
        later = self.distances.new_full((self.heads, places - 1), float("-inf"))
        line = torch.cat([self.distances[:, :places].flip(1), later], 1)
        return line.unfold(1, places, 1).flip(1)


class UserTower(nn.Module):
    """From who a user is and what they watched to a vector at every place of the history."""

    def __init__(self, configuration: TowersConfiguration, known: Vocabularies) -> None:
        super().__init__()
        width, self.dropout = configuration.width, configuration.dropout
        self.users = nn.Embedding(known.user_buckets + 1, width, padding_idx=0)
        self.profiles = nn.ModuleList(nn.Embedding(len(names) + 1, width) for names in known.profiles)
        self.places = nn.Embedding(configuration.history_length + 1, width)
        self.shares = nn.Embedding(4, width)
        self.blocks = nn.ModuleList(
            Block(width, configuration.heads, configuration.history_length + 1, configuration.dropout)
            for _ in range(configuration.blocks)
        )
        self.last = nn.LayerNorm(width)
        nn.init.zeros_(self.users.weight)
        for table in (*self.profiles, self.places, self.shares):
            nn.init.normal_(table.weight, std=0.02)

    def forward(
        self,
        user_codes: Tensor,
        profiles: Tensor,
        titles: Tensor,
        shares: Tensor,
        *,
        last_only: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Vectors [B, T + 1, E]: that at place t has read who the user is and the first t titles.

        Args:
            user_codes: int64 [B].
            profiles: int64 [B, 4].
            titles: vectors of the titles watched, [B, T, E], oldest first.
            shares: how much of each was watched, int64 [B, T].
            last_only: give the vector at the last place alone, [B, 1, E]: what no other place needs is not computed.
            generator: draws what is dropped; without one nothing is.
        """
        first = self.users(user_codes)
        for column, table in enumerate(self.profiles):
            first = first + table(profiles[:, column])
        places = torch.arange(titles.shape[1] + 1, device=titles.device)
        x = torch.cat([first.unsqueeze(1), titles + self.shares(shares)], 1) + self.places(places)
        x = dropped(x, self.dropout, generator)
        for number, block in enumerate(self.blocks):
            x = block(x, last_only and number == len(self.blocks) - 1, generator)
        out: Tensor = self.last(x)
        return out


class TwoTowers(nn.Module):
    """Both towers, and the temperature by which cosines become logits."""

    def __init__(self, configuration: TowersConfiguration, known: Vocabularies) -> None:
        super().__init__()
        self.items = ItemTower(configuration, known)
        self.users = UserTower(configuration, known)
        self.log_temperature = nn.Parameter(torch.tensor(np.log(0.1), dtype=torch.float32))

    def temperature(self) -> Tensor:
        """Learned, and kept where a softmax of cosines still says something."""
        return self.log_temperature.clamp(np.log(0.01), np.log(1.0)).exp()


@dataclass(frozen=True)
class ItemTensors:
    """As `ItemInputs`, on a device."""

    ids: Tensor
    languages: Tensor
    years: Tensor
    kinds: Tensor
    creators: Tensor
    has_genre: Tensor
    text: Tensor

    @staticmethod
    def of(inputs: ItemInputs, device: torch.device) -> "ItemTensors":
        """The inputs, moved to a device."""
        arrays = dataclasses.asdict(inputs)
        if not arrays["has_genre"].shape[1]:
            arrays["has_genre"] = np.zeros((len(inputs.ids), 1), np.float32)
        return ItemTensors(**{name: torch.as_tensor(array).to(device) for name, array in arrays.items()})

    def rows(self, chosen: Tensor) -> "ItemTensors":
        """Some of the titles."""
        return ItemTensors(
            **{field.name: getattr(self, field.name)[chosen] for field in dataclasses.fields(ItemTensors)}
        )


class Towers:
    """Trained towers, as they are kept and used: what is read in order, and taste beside it where it was learned."""

    def __init__(
        self,
        configuration: TowersConfiguration,
        known: Vocabularies,
        network: TwoTowers,
        taste: Taste | None = None,
    ) -> None:
        self.configuration, self.known, self.taste = configuration, known, taste
        self.device = device_in_use()
        self.network = network.to(self.device).eval()

    def with_taste(self, histories: Histories, catalogue: Catalogue, text: NDArray[np.float32]) -> "Towers":
        """The same towers with taste, learned from histories, in their vectors; as they are if it is to have no width.

        Args:
            histories: those that the towers learned from.
            catalogue: the titles that they learned with.
            text: of the catalogue, float32 [I, D].
        """
        if not self.configuration.taste_width:
            return self
        inputs = self._inputs(catalogue, text)
        placed = self._by_content(inputs)
        # The last row is of titles that the catalogue no longer holds.
        placed = np.concatenate([placed, np.zeros_like(placed[:1])])[catalogue.positions(self.known.item_ids)]
        configuration = self.configuration
        taste = learn_taste(histories, self.known.item_ids, placed, configuration.taste_width, configuration.seed)
        return Towers(configuration, self.known, self.network, taste)

    @property
    def temperature(self) -> float:
        """By which a cosine is divided to be a logit."""
        # Half of what a title's vector is worth is its taste.
        return self._temperature / (2**0.5 if self.taste else 1)

    @property
    def _temperature(self) -> float:
        return float(self.network.temperature().detach())

    def encode_items(self, catalogue: Catalogue, text: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors of the titles of a catalogue: float32 [I, E + K].

        Args:
            catalogue: of a day; titles that were not learned from are placed by their content.
            text: float32 [I, D], zeros where a title has no text.

        Raises:
            DataError: if text vectors do not fit or are not finite.
        """
        inputs = self._inputs(catalogue, text)
        in_order = _to_numpy(F.normalize(self._titles(inputs), dim=-1))
        if self.taste is None:
            return in_order
        return np.hstack([in_order, self._factors(self.taste, catalogue, inputs)]) / np.float32(2**0.5)

    def encode_users(
        self, histories: Histories, users: pa.Table, catalogue: Catalogue, text: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Unit vectors of users from their histories: float32 [U, E + K]; of those with none, by who they are.

        Args:
            histories: of the users, U.
            users: rows of USERS, in any order.
            catalogue: titles of the histories that it does not hold are not read.
            text: of the catalogue.
        """
        histories = histories.where(catalogue.positions(histories.item_ids) >= 0)
        inputs = self._inputs(catalogue, text)
        in_order = self._users_in_order(histories, users, catalogue, self._titles(inputs))
        if self.taste is None:
            return in_order
        # A logit is a cosine divided by the temperature; by taste, what was watched scores up to 1.
        by_taste = users_by_taste(histories, catalogue.item_ids, self._factors(self.taste, catalogue, inputs))
        weight = np.float32(self.configuration.taste_weight * self._temperature)
        both = np.hstack([in_order, weight * by_taste])
        both /= np.linalg.norm(both, axis=1, keepdims=True)
        return both

    def _users_in_order(
        self, histories: Histories, users: pa.Table, catalogue: Catalogue, titles: Tensor
    ) -> NDArray[np.float32]:
        """Unit vectors of users by the order of what they watched last: float32 [U, E]."""
        profiles = profile_codes(users, histories.user_ids, self.known)
        codes = user_codes(histories.user_ids, self.known.user_buckets)
        histories = histories.newest(self.configuration.history_length)
        positions = catalogue.positions(histories.item_ids)
        shares = share_codes(histories.shares).astype(np.int64)
        vectors = np.zeros((len(histories.user_ids), self.configuration.width), np.float32)

        def encode(group: tuple[NDArray[np.int64], int]) -> None:
            rows, length = group
            at = histories.offsets[rows][:, None] + np.arange(length)
            with torch.inference_mode():
                read = self.network.users(
                    torch.as_tensor(codes[rows]).to(self.device),
                    torch.as_tensor(profiles[rows]).to(self.device),
                    titles[torch.as_tensor(positions[at]).to(self.device)],
                    torch.as_tensor(shares[at]).to(self.device),
                    last_only=True,
                )
                vectors[rows] = _to_numpy(F.normalize(read[:, -1], dim=-1))

        # Groups beside each other, each with a thread of its own: threads inside small products wait for one another.
        thread_count = torch.get_num_threads() if self.device.type == "cpu" else 1
        with one_torch_thread(), ThreadPoolExecutor(thread_count) as pool:
            for _ in pool.map(encode, by_length(np.diff(histories.offsets))):
                pass
        return vectors

    def _inputs(self, catalogue: Catalogue, text: NDArray[np.float32]) -> ItemTensors:
        return ItemTensors.of(item_inputs(catalogue, text, self.known), self.device)

    def _titles(self, inputs: ItemTensors) -> Tensor:
        with torch.inference_mode():
            titles: Tensor = self.network.items(inputs).float()
            return titles

    def _by_content(self, inputs: ItemTensors) -> NDArray[np.float32]:
        """Unit vectors of titles as if none had an id that is known: float32 [I, E]."""
        with torch.inference_mode():
            without = torch.ones(len(inputs.ids), dtype=torch.bool, device=self.device)
            return _to_numpy(F.normalize(self.network.items(inputs, without).float(), dim=-1))

    def _factors(self, taste: Taste, catalogue: Catalogue, inputs: ItemTensors) -> NDArray[np.float32]:
        """Unit factors of the titles of a catalogue: float32 [I, K]."""
        learned = positions_among(self.known.item_ids, catalogue.item_ids)
        return taste.of_titles(
            learned, lambda unknown: self._by_content(inputs.rows(torch.as_tensor(unknown, device=self.device)))
        )

    def to_files(self) -> dict[str, bytes]:
        """Weights and vocabularies, by file name."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        known = dataclasses.asdict(self.known)
        known.pop("item_ids")
        weights["known.item_ids"] = torch.as_tensor(self.known.item_ids)
        if self.taste is not None:
            weights["taste.factors"] = torch.as_tensor(self.taste.factors)
            weights["taste.of_content"] = torch.as_tensor(self.taste.of_content)
        described = {"format": _FORMAT, "configuration": dataclasses.asdict(self.configuration), "known": known}
        return {
            "towers.safetensors": tensors_to_bytes(weights),
            "towers.json": json.dumps(described, sort_keys=True, indent=1).encode(),
        }

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> "Towers":
        """The towers that `to_files` wrote.

        Raises:
            DataError: if weights are missing, of another shape or not finite.
        """
        try:
            described: dict[str, Any] = json.loads(files["towers.json"])
            weights = tensors_from_bytes(files["towers.safetensors"])
        except (KeyError, ValueError, SafetensorError) as error:
            raise DataError(f"the files of the towers cannot be read: {error}") from None
        if described.get("format") != _FORMAT:
            raise DataError(f"the towers are of format {described.get('format')}; this code reads {_FORMAT}")
        named = described["known"]
        named["profiles"] = tuple(tuple(names) for names in named["profiles"])
        named |= {name: tuple(named[name]) for name in ("genres", "languages", "kinds")}
        if len(named["profiles"]) != len(PROFILE_COLUMNS) or "known.item_ids" not in weights:
            raise DataError("the towers lack their vocabularies")
        known = Vocabularies(item_ids=weights.pop("known.item_ids").numpy(), **named)
        configuration = TowersConfiguration(**described["configuration"])
        for name, tensor in weights.items():
            if not torch.isfinite(tensor).all():
                raise DataError(f"the weights {name} of the towers are not all finite")
        taste = _taste_in(weights, len(known.item_ids), configuration)
        network = TwoTowers(configuration, known)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise DataError(f"the towers do not fit together: {str(error).splitlines()[-1].strip()}") from None
        return Towers(configuration, known, network, taste)


def _taste_in(weights: dict[str, Tensor], titles: int, configuration: TowersConfiguration) -> Taste | None:
    """Taste, taken out of the weights of a file; None of towers that were judged without it."""
    parts = [weights.pop(name).numpy() for name in ("taste.factors", "taste.of_content") if name in weights]
    if not parts:
        return None
    width = configuration.taste_width
    if [part.shape for part in parts] != [(titles, width), (configuration.width, width)]:
        raise DataError("the taste of the towers does not fit their titles and widths")
    return Taste(*parts)


def by_length(lengths: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Rows of one length together, as many as are read at once, and that length: nothing is padded."""
    order = np.argsort(lengths, kind="stable")
    cuts = np.flatnonzero(np.diff(lengths[order])) + 1
    for group in np.split(order, cuts):
        if not len(group):
            continue
        length = int(lengths[group[0]])
        step = max(1, _TOKENS_AT_ONCE // (length + 1))
        for start in range(0, len(group), step):
            yield group[start : start + step], length


def _to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return array
