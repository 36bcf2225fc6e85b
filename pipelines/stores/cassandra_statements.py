"""What is asked of Cassandra, by the store that jobs use and by the endpoint's lookup."""

STATEMENTS = {
    "put_list": "INSERT INTO lists (attempt, user_id, data) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?",
    "list": "SELECT data FROM lists WHERE attempt = ? AND user_id = ?",
    "has_list": "SELECT user_id FROM lists WHERE attempt = ? AND user_id = ?",
    "erase_list": "DELETE FROM lists USING TIMESTAMP ? WHERE attempt = ? AND user_id = ?",
    "epoch": "SELECT epoch FROM epochs WHERE name = ?",
    "move_epoch": "UPDATE epochs SET epoch = ? WHERE name = ? IF epoch = ?",
    "attempts": "SELECT attempt, newest, opened_at, expires_at, manifest, is_dropped FROM attempts WHERE run_id = ?",
    "open": (
        "BEGIN BATCH UPDATE attempts SET newest = ? WHERE run_id = ? IF newest = ?; "
        "INSERT INTO attempts (run_id, attempt, opened_at, expires_at, is_dropped) VALUES (?, ?, ?, ?, false); "
        "APPLY BATCH"
    ),
    "trending": "SELECT trending FROM attempts WHERE run_id = ? AND attempt = ?",
    "put_trending": (
        "UPDATE attempts SET trending = ? WHERE run_id = ? AND attempt = ? "
        "IF newest = ? AND manifest = null AND is_dropped = false"
    ),
    "commit": (
        "UPDATE attempts SET manifest = ? WHERE run_id = ? AND attempt = ? "
        "IF newest = ? AND manifest = null AND is_dropped = false"
    ),
    "drop": (
        "UPDATE attempts SET is_dropped = true WHERE run_id = ? AND attempt = ? "
        "IF newest = ? AND manifest = ? AND is_dropped = false"
    ),
    "take_back": "UPDATE attempts SET is_dropped = false WHERE run_id = ? AND attempt = ? IF is_dropped = true",
    "recent": "SELECT attempt, run_id, opened_at FROM recent_attempts WHERE bucket = ?",
    "put_recent": "INSERT INTO recent_attempts (bucket, attempt, run_id, opened_at) VALUES (?, ?, ?, ?) USING TTL ?",
    "parts": "SELECT list_count, checksum FROM parts WHERE attempt = ?",
    "part": "SELECT begun_count, list_count, checksum FROM parts WHERE attempt = ? AND part = ?",
    "begin_part": (
        "UPDATE parts USING TTL ? SET begun_count = ?, begun_at = ?, list_count = null, checksum = null, "
        "finished_at = null WHERE attempt = ? AND part = ? IF begun_count = ?"
    ),
    "finish_part": (
        "UPDATE parts USING TTL ? SET list_count = ?, checksum = ?, finished_at = ? "
        "WHERE attempt = ? AND part = ? IF begun_count = ?"
    ),
    "surfaces": "SELECT surface FROM pointers",  # a handful of rows, on all nodes
    "pointer": "SELECT run_id, attempt, move, moved_at, fence FROM pointers WHERE surface = ?",
    "first_move": (
        "INSERT INTO pointers (surface, run_id, attempt, move, moved_at, fence) VALUES (?, ?, ?, 1, ?, 0) IF NOT EXISTS"
    ),
    "move": (
        "UPDATE pointers SET run_id = ?, attempt = ?, move = ?, moved_at = ? "
        "WHERE surface = ? IF move = ? AND fence = ?"
    ),
    "fence": "UPDATE pointers SET fence = ? WHERE surface = ? IF fence < ?",
    "state": "SELECT state, version FROM user_states WHERE user_id = ?",
    "first_state": "INSERT INTO user_states (user_id, state, version) VALUES (?, ?, 1) IF NOT EXISTS",
    "next_state": "UPDATE user_states SET state = ?, version = ? WHERE user_id = ? IF version = ?",
    "forgotten": "SELECT user_id FROM forgotten WHERE bucket = ?",
    "forget": "INSERT INTO forgotten (bucket, user_id, forgotten_at) VALUES (?, ?, ?)",
}
