"""All declared tables, by where they live."""

from feature_defs.declarations import Table
from feature_defs.events import ANSWERS, EVENTS
from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.interactions import INTERACTIONS, ITEM_PLAYS, LABELS
from feature_defs.items import ITEM_TEXT_VECTORS, ITEMS
from feature_defs.judged_lists import JUDGED_LISTS
from feature_defs.recommendations import RECOMMENDATIONS
from feature_defs.record import AUDIT_RECORDS, DECISIONS, ERASURES, EVALUATIONS, QUARANTINE, RUNS, STEPS
from feature_defs.users import PREFERENCES, PROTECTED_ATTRIBUTES, USER_STATE, USERS

WAREHOUSE_TABLES: tuple[Table, ...] = (EVENTS, ITEMS, USERS, PROTECTED_ATTRIBUTES, ANSWERS)
# Of the warehouse too, but written by `load_events` alone: a warehouse that is loaded anew keeps them.
SAID_TABLES: tuple[Table, ...] = (PREFERENCES,)
LAKE_TABLES: tuple[Table, ...] = (
    EVENTS,
    ITEMS,
    USERS,
    PROTECTED_ATTRIBUTES,
    INTERACTIONS,
    ITEM_PLAYS,
    USER_FEATURES.table,
    ITEM_FEATURES.table,
    LABELS,
    ITEM_TEXT_VECTORS,
    RECOMMENDATIONS,
    RUNS,
    STEPS,
    EVALUATIONS,
    JUDGED_LISTS,
    DECISIONS,
    AUDIT_RECORDS,
    QUARANTINE,
    ERASURES,
)
STORE_TABLES: tuple[Table, ...] = (USER_STATE,)
ALL_TABLES: tuple[Table, ...] = tuple(
    {table.name: table for table in (*WAREHOUSE_TABLES, *SAID_TABLES, *LAKE_TABLES, *STORE_TABLES)}.values()
)
