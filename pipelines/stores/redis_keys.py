"""How are things named in Redis, and in which form are they?

| key | what |
|---|---|
| `m:l:ATTEMPT:USER` | a packed list; expires |
| `m:t:ATTEMPT` | the trending list of an attempt; expires in a hot copy |
| `m:s:USER` | a user's state and its version as JSON, `[state, version]`; expires in a hot copy: absent is unknown |
| `m:f:USER` | the user was forgotten; never expires, and goes before whatever else is found |
| `m:forgotten` | a set of all of them, to be listed |
| `m:pointers` | a hash: surface to where its pointer points, as the JSON of `Live` |
| `m:epoch` | the newest attempt's number |
| `m:attempts`, `m:newest`, `m:manifests` | hashes: attempt to run, run to its newest attempt, attempt to its manifest |
| `m:written` | a sorted set: attempts that may have lists, by when they were last written, in seconds |
| `m:parts:ATTEMPT` | a hash: part to the name of the one complete writing of it; expires |
| `m:users:ATTEMPT:WRITING` | whose lists that writing wrote: a list of blocks of numbers of 8 bytes; expires |
"""

FORGOTTEN_USERS = b"m:forgotten"
POINTERS = b"m:pointers"
EPOCH = b"m:epoch"
ATTEMPTS = b"m:attempts"
NEWEST = b"m:newest"
MANIFESTS = b"m:manifests"
WRITTEN = b"m:written"


def list_key(attempt: int, user_id: int) -> bytes:
    """Of a user's packed list in an attempt."""
    return b"m:l:%d:%d" % (attempt, user_id)


def trending_key(attempt: int) -> bytes:
    """Of the trending list of an attempt."""
    return b"m:t:%d" % attempt


def state_key(user_id: int) -> bytes:
    """Of a user's state: the JSON of a `Stated`."""
    return b"m:s:%d" % user_id


def forgotten_key(user_id: int) -> bytes:
    """Of the mark that a user was forgotten; what it holds means nothing."""
    return b"m:f:%d" % user_id


def parts_key(attempt: int) -> bytes:
    """Of the parts of an attempt that were written whole."""
    return b"m:parts:%d" % attempt


def users_key(attempt: int, writing: bytes) -> bytes:
    """Of the users whose lists one writing of a part wrote."""
    return b"m:users:%d:%b" % (attempt, writing)
