"""Which titles may be shown at a moment, to anybody anywhere: moderated, not restricted, not withdrawn, licensed."""

from datetime import UTC, datetime

from pipelines.serving.title import Title

MODERATION, RESTRICTED, WITHDRAWN, LICENCE = "moderation", "restricted", "withdrawn", "licence"
_NEVER = datetime.max.replace(tzinfo=UTC)


def why_hidden(title: Title, now: datetime, restricted_from: int) -> str | None:
    """The first rule that keeps a title from being shown; `None` where none does.

    A window holds its first moment and not its last. What is not published yet is outside its licence.

    Args:
        title: the title.
        now: the moment.
        restricted_from: least age in years from which a title is never shown.
    """
    if (title.withdrawn_at or _NEVER) <= now:
        return WITHDRAWN
    if not max(title.published_at, title.licence_from or title.published_at) <= now < (title.licence_until or _NEVER):
        return LICENCE
    if title.moderation_state != "approved":
        return MODERATION
    return RESTRICTED if title.maturity >= restricted_from else None


def changes(title: Title) -> list[datetime]:
    """The moments at which the answer may change."""
    moments = (title.published_at, title.withdrawn_at, title.licence_from, title.licence_until)
    return [moment for moment in moments if moment is not None]
