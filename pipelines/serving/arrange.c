/* The rules of `pipelines.serving.arranging`, compiled: the same answer, from tables instead of objects.

   What is here is what is there, in the same order and under the same names; tests hold one against the other. Python
   gives the tables (`pipelines.serving.shelf`) and the request, and makes words of the numbers that come back.
   Nothing is allocated here, and what the scratch space holds is put back before an answer is given.            */

#include <stdint.h>
#include <string.h>

#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST ""
#endif

/* Which source this was compiled from: a library of another one is not used. */
const char *mq_digest(void) { return SOURCE_DIGEST; }

enum { LISTED, FRESH, DRAWN };
/* As `pipelines.serving.compiled` has them; titles hidden from all are marked with the first four. */
enum {
    SHOWN, WITHDRAWN, LICENCE, MODERATION, RESTRICTED, UNKNOWN, TERRITORY, MATURITY, SERVED, EXCLUDED, NOT_INTERESTED,
    WATCHED, DEMOTED, CREATOR, GENRE, SERIES, RULE_COUNT
};
/* Of a title: why it is not offered. OUT is of one draw. */
enum { IS_EXCLUDED = 1, IS_SERVED = 2, IS_TURNED_DOWN = 4, IS_SEEN = 8, IS_NEAR = 16, IS_TAKEN = 32, IS_OUT = 64 };
enum { IS_NEVER = IS_EXCLUDED | IS_SERVED | IS_TURNED_DOWN };
/* Reasons beside the codes of sources. */
enum { REASON_FRESH = 256, REASON_EXPLORE = 257, REASON_NEXT_EPISODE = 258 };
enum { HEADER = 20, NO_REASON = 255, FRONT = 20, TRIES = 24 };
enum { NEEDS_CHANCE = -1, NEEDS_AUDIENCE = -2 };
static const double LITTLE = 1e-4;

/* All that the rules ask of a title in half a line of the cache. */
typedef struct {
    uint32_t id;
    int32_t genre, creator, series;             /* codes, -1: none */
    int32_t explorable;           /* its number among the explorable; -1: not explorable */
    int16_t territory;            /* set of countries; -1: everywhere */
    uint8_t maturity;
    uint8_t hidden;               /* 0, or the rule that hides it */
    uint8_t flags;                /* 0 between answers */
    uint8_t padding[7];
} Title;

typedef struct {
    int64_t count;
    const int32_t *order;   /* [count] explorable titles */
    const double *sums;     /* [count] the running sum of their weights */
    const double *masses;   /* [genres] the sum of each genre */
    double total;
} Audience;

typedef struct {
    int64_t row_count, slot_mask, code_count, genre_count, set_count, page, continued;
    int64_t genre_limit, creator_limit, series_limit, fresh_count, fresh_most, width, next_episode;
    Title *titles;                /* [rows] */
    const int32_t *slots;         /* [slot_mask + 1] rows by id, hashed; -1 where there is none */
    const uint8_t *allowed;       /* [countries, sets] */
    const int32_t *explorable_rows;             /* [explorable] */
    const double *weights;        /* [explorable] */
    const int32_t *by_code_at, *by_code;        /* the explorable of each creator and series */
    const int32_t *fresh_rows;    /* [fresh] */
    const float *fresh_vectors;   /* [fresh, width] */
    const uint8_t *plan;          /* [page] */
    const Audience *const *audiences;           /* [countries, 256] by the limit of age */
    /* Scratch. */
    int32_t *touched;             /* [rows] */
    int32_t *counts;              /* [codes], 0 between pages */
    uint8_t *is_full;             /* [codes], likewise */
    int32_t *counted, *full, *out;              /* [codes], [codes], [explorable] */
    int32_t *candidates;          /* [5, capacity, 3] */
    int64_t capacity;
    float *fresh_scores;          /* [fresh] */
    int32_t *fresh_best;          /* [fresh] */
} Shelf;

typedef struct {
    int64_t k, country, limit, has_draws;
    int64_t exclude_count, served_count, turned_down_count, watched_count, near_count, after_count, chance_count;
} Request;

typedef struct {
    uint32_t item, because;
    int64_t reason;
    double score, propensity;
} Placement;

typedef struct {
    int64_t relaxed;              /* one bit for each rule */
    int64_t filtered[RULE_COUNT];
    int64_t limit_needed;
    Placement items[];
} Answer;

typedef struct { int32_t item, place, row; } Candidate;
typedef struct { Candidate *at; int64_t first, count; } Queue;

typedef struct {
    const Shelf *shelf;
    const Request *request;
    const uint8_t *allowed, *ids, *history, *vector, *scores, *sources, *reasons;
    int64_t list_count, history_count, width, place, touched_count, counted_count, full_count;
    int64_t added_limit, chance_at, fresh_count;
    const uint64_t *chances;
    Queue pending, waiting, demoted, watched, next;
    Answer *answer;
} State;

static int32_t row_of(const Shelf *shelf, uint32_t id) {
    for (uint64_t at = (id * 2654435761u) & shelf->slot_mask;; at = (at + 1) & shelf->slot_mask) {
        int32_t row = shelf->slots[at];
        if (row < 0 || shelf->titles[row].id == id) return row;
    }
}

/* Rows by id, hashed: `slots` has room for twice as many, filled with -1. */
void mq_index(const Title *titles, int64_t count, int32_t *slots, int64_t slot_mask) {
    for (int64_t row = 0; row < count; row++) {
        uint64_t at = (titles[row].id * 2654435761u) & slot_mask;
        while (slots[at] >= 0) at = (at + 1) & slot_mask;
        slots[at] = (int32_t)row;
    }
}

static uint32_t u32_at(const uint8_t *data, int64_t number) {
    uint32_t value;
    memcpy(&value, data + 4 * number, 4);
    return value;
}

static float f16_at(const uint8_t *data, int64_t number) {
    uint16_t half;
    memcpy(&half, data + 2 * number, 2);
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 1023, bits;
    float value;
    if (exponent == 0) {  /* subnormal: fraction / 2^24 */
        value = (float)fraction / 16777216.0f;
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    memcpy(&value, &bits, 4);
    return value;
}

static void mark(State *state, int32_t row, uint8_t flag) {
    Title *title = state->shelf->titles + row;
    if (!title->flags) state->shelf->touched[state->touched_count++] = row;
    title->flags |= flag;
}

static const uint32_t *mark_all(State *state, const uint32_t *ids, int64_t count, uint8_t flag) {
    for (int64_t at = 0; at < count; at++) {
        int32_t row = row_of(state->shelf, ids[at]);
        if (row >= 0) mark(state, row, flag);
    }
    return ids + count;
}

static void turn_page(State *state) {
    const Shelf *shelf = state->shelf;
    for (int64_t at = 0; at < state->counted_count; at++) shelf->counts[shelf->counted[at]] = 0;
    for (int64_t at = 0; at < state->full_count; at++) shelf->is_full[shelf->full[at]] = 0;
    state->counted_count = state->full_count = 0;
}

static void count_code(State *state, int32_t code, int64_t limit) {
    const Shelf *shelf = state->shelf;
    if (code < 0) return;
    if (!shelf->counts[code]++) shelf->counted[state->counted_count++] = code;
    if (shelf->counts[code] >= limit && !shelf->is_full[code]) {
        shelf->is_full[code] = 1;
        shelf->full[state->full_count++] = code;
    }
}

/* Place a title: set it aside, and count it against the caps. */
static Placement *put(State *state, int32_t row, int64_t slot) {
    const Shelf *shelf = state->shelf;
    const Title *title = shelf->titles + row;
    mark(state, row, IS_TAKEN);
    count_code(state, title->genre, shelf->genre_limit);
    count_code(state, title->creator, shelf->creator_limit);
    count_code(state, title->series, shelf->series_limit);
    Placement *placed = state->answer->items + slot;
    *placed = (Placement){title->id, 0, 0, 0.0, 1.0};
    return placed;
}

static int is_full(const Shelf *shelf, int32_t code) { return code >= 0 && shelf->is_full[code]; }

static int is_capped(const Shelf *shelf, int32_t row) {
    const Title *title = shelf->titles + row;
    return is_full(shelf, title->genre) || is_full(shelf, title->creator) || is_full(shelf, title->series);
}

/* The caps that one more such title would break, a bit for each. */
static int64_t broken(const Shelf *shelf, int32_t row) {
    const Title *title = shelf->titles + row;
    return (int64_t)is_full(shelf, title->creator) << CREATOR | (int64_t)is_full(shelf, title->genre) << GENRE
           | (int64_t)is_full(shelf, title->series) << SERIES;
}

static int withheld(const State *state, int32_t row, int64_t limit) {
    const Title *title = state->shelf->titles + row;
    if (title->territory >= 0 && !state->allowed[title->territory]) return TERRITORY;
    return title->maturity > limit ? MATURITY : SHOWN;
}

static int64_t limit_of_added(State *state) {
    if (state->added_limit < 0) {
        int64_t known = 0;
        for (int64_t at = 0; at < state->list_count && at < FRONT; at++) {
            int32_t row = row_of(state->shelf, u32_at(state->ids, at));
            if (row >= 0 && state->shelf->titles[row].maturity > known) known = state->shelf->titles[row].maturity;
        }
        state->added_limit = known < state->request->limit ? known : state->request->limit;
    }
    return state->added_limit;
}

static void push(Queue *queue, Candidate candidate) { queue->at[queue->count++] = candidate; }

static void set_aside(State *state, Candidate candidate, uint8_t flags) {
    int64_t *filtered = state->answer->filtered;
    if (flags & IS_NEVER) {
        filtered[flags & IS_SERVED ? SERVED : flags & IS_EXCLUDED ? EXCLUDED : NOT_INTERESTED]++;
    } else if (flags & IS_SEEN) {
        push(&state->watched, candidate);
        filtered[WATCHED]++;
    } else if (flags & IS_NEAR) {
        push(&state->demoted, candidate);
        filtered[DEMOTED]++;
    }
}

/* The next title that may be shown: what waited, next episodes, then the list in order. */
static int next_candidate(State *state, Candidate *found) {
    const Shelf *shelf = state->shelf;
    Queue *pending = &state->pending, *next = &state->next;
    if (pending->first < pending->count) {
        *found = pending->at[pending->first++];
        return 1;
    }
    if (next->first < next->count) {
        *found = next->at[next->first++];
        return 1;
    }
    while (++state->place < state->list_count) {
        uint32_t item = u32_at(state->ids, state->place);
        int32_t row = row_of(shelf, item);
        int why = row < 0 ? UNKNOWN : shelf->titles[row].hidden;
        if (!why) why = withheld(state, row, state->request->limit);
        if (why) {
            state->answer->filtered[why]++;
            continue;
        }
        *found = (Candidate){(int32_t)item, (int32_t)state->place, row};
        if (!shelf->titles[row].flags) return 1;
        set_aside(state, *found, shelf->titles[row].flags);
    }
    state->place = state->list_count;
    return 0;
}

/* What leads the list: episodes after those finished since the run, then the list's own. */
static void find_next_episodes(State *state, const uint32_t *after, int64_t after_count) {
    const Shelf *shelf = state->shelf;
    int64_t place = -1, at = 0;
    while (state->next.count < shelf->continued) {
        uint32_t item;
        int64_t where;
        if (at < after_count) {
            item = after[at++];
            for (where = 0; where < state->list_count && u32_at(state->ids, where) != item; where++) {}
            if (where == state->list_count) where = -1;
        } else {
            while (++place < state->list_count && state->sources[place] != shelf->next_episode) {}
            if (place >= state->list_count) return;
            item = u32_at(state->ids, place);
            where = place;
        }
        int32_t row = row_of(shelf, item);
        if (row < 0 || shelf->titles[row].hidden || shelf->titles[row].flags) continue;
        /* What the night did not let pass keeps to what it did. */
        if (withheld(state, row, where >= 0 ? state->request->limit : limit_of_added(state))) continue;
        push(&state->next, (Candidate){(int32_t)item, (int32_t)where, row});
        mark(state, row, IS_TAKEN);
    }
}

/* As `pipelines.serving.rules.exploration.Chance` has them: of each eight, the last first. */
static double next_chance(State *state) {
    int64_t number = state->chance_at++;
    return (double)(state->chances[(number & ~(int64_t)7) + 7 - (number & 7)] >> 11) * 0x1p-53;
}

static int is_of_audience(State *state, int32_t row) {
    return !state->shelf->titles[row].hidden && !withheld(state, row, limit_of_added(state));
}

/* Draw a title: 1, 0 where none can be, or what is needed first. */
static int draw(State *state, int64_t slot) {
    const Shelf *shelf = state->shelf;
    int64_t limit = limit_of_added(state);
    const Audience *audience = shelf->audiences[state->request->country * 256 + limit];
    if (!audience) {
        state->answer->limit_needed = limit;
        return NEEDS_AUDIENCE;
    }
    double left = audience->total;
    int64_t out_count = 0;
    for (int64_t at = 0; at < state->touched_count; at++) {
        int32_t row = shelf->touched[at];
        if (shelf->titles[row].explorable >= 0 && is_of_audience(state, row)) {
            shelf->titles[row].flags |= IS_OUT;
            shelf->out[out_count++] = row;
        }
    }
    for (int64_t at = 0; at < state->full_count; at++) {
        int32_t code = shelf->full[at];
        if (code < shelf->genre_count) {
            left -= audience->masses[code];
            continue;
        }
        for (int32_t in = shelf->by_code_at[code]; in < shelf->by_code_at[code + 1]; in++) {
            int32_t row = shelf->explorable_rows[shelf->by_code[in]];
            if (!(shelf->titles[row].flags & IS_OUT) && is_of_audience(state, row)) {
                shelf->titles[row].flags |= IS_OUT;
                shelf->out[out_count++] = row;
            }
        }
    }
    double of_out = 0;
    for (int64_t at = 0; at < out_count; at++) {
        Title *title = shelf->titles + shelf->out[at];
        title->flags &= (uint8_t)~IS_OUT;
        if (!is_full(shelf, title->genre)) of_out += shelf->weights[title->explorable];
    }
    left -= of_out;
    int32_t drawn = -1;
    double propensity = 0;
    if (left > LITTLE * audience->total) {
        for (int number = 0; number < TRIES && drawn < 0; number++) {
            if (state->chance_at == state->request->chance_count) return NEEDS_CHANCE;
            double wanted = next_chance(state) * audience->total;
            int64_t low = 0, high = audience->count;
            while (low < high) {  /* the first whose sum is larger */
                int64_t middle = (low + high) / 2;
                if (wanted < audience->sums[middle]) high = middle;
                else low = middle + 1;
            }
            int32_t one = audience->order[low < audience->count ? low : audience->count - 1];
            int32_t row = shelf->explorable_rows[one];
            if (!shelf->titles[row].flags && !is_capped(shelf, row)) {
                drawn = row;
                propensity = shelf->weights[one] / left;
                if (propensity > 1.0) propensity = 1.0;
            }
        }
    }
    if (drawn < 0) {  /* almost nothing is left to draw from: what is left is gone through */
        double total = 0, sum = 0;
        int32_t last = -1;
        for (int64_t at = 0; at < audience->count; at++) {
            int32_t row = shelf->explorable_rows[audience->order[at]];
            if (!shelf->titles[row].flags && !is_capped(shelf, row)) total += shelf->weights[audience->order[at]];
        }
        if (total <= 0) return 0;
        if (state->chance_at == state->request->chance_count) return NEEDS_CHANCE;
        double wanted = next_chance(state) * total;
        for (int64_t at = 0; at < audience->count; at++) {
            int32_t row = shelf->explorable_rows[audience->order[at]];
            if (shelf->titles[row].flags || is_capped(shelf, row)) continue;
            last = audience->order[at];
            sum += shelf->weights[last];
            if (wanted < sum) break;
        }
        drawn = shelf->explorable_rows[last];
        propensity = shelf->weights[last] / total;
    }
    Placement *placed = put(state, drawn, slot);
    placed->reason = REASON_EXPLORE;
    placed->propensity = propensity;
    return 1;
}

/* The fresh titles that go best with the list's vector, best first. */
static void find_fresh(State *state) {
    const Shelf *shelf = state->shelf;
    state->fresh_count = 0;
    if (!shelf->fresh_count || state->width != shelf->width) return;
    float vector[256];
    for (int64_t at = 0; at < state->width; at++) vector[at] = f16_at(state->vector, at);
    for (int64_t number = 0; number < shelf->fresh_count; number++) {
        const float *other = shelf->fresh_vectors + number * shelf->width;
        float sums[8] = {0}, score = 0;
        int64_t at = 0;
        for (; at + 8 <= shelf->width; at += 8)
            for (int lane = 0; lane < 8; lane++) sums[lane] += vector[at + lane] * other[at + lane];
        for (; at < shelf->width; at++) score += vector[at] * other[at];
        for (int lane = 0; lane < 8; lane++) score += sums[lane];
        int64_t count = state->fresh_count, where = count;
        if (count == shelf->fresh_most && score <= shelf->fresh_scores[count - 1]) continue;
        if (count < shelf->fresh_most) state->fresh_count++;
        else where--;
        for (; where > 0 && shelf->fresh_scores[where - 1] < score; where--) {
            shelf->fresh_scores[where] = shelf->fresh_scores[where - 1];
            shelf->fresh_best[where] = shelf->fresh_best[where - 1];
        }
        shelf->fresh_scores[where] = score;
        shelf->fresh_best[where] = shelf->fresh_rows[number];
    }
}

/* Put the fresh title that fits best into this place; 0 where none does. */
static int freshest(State *state, int64_t slot) {
    const Shelf *shelf = state->shelf;
    if (state->fresh_count < 0) find_fresh(state);
    for (int64_t at = 0; at < state->fresh_count; at++) {
        int32_t row = shelf->fresh_best[at];
        if (shelf->titles[row].flags || withheld(state, row, limit_of_added(state)) || is_capped(shelf, row)) continue;
        Placement *placed = put(state, row, slot);
        placed->reason = REASON_FRESH;
        placed->score = shelf->fresh_scores[at];
        state->fresh_count--;
        for (; at < state->fresh_count; at++) {
            shelf->fresh_best[at] = shelf->fresh_best[at + 1];
            shelf->fresh_scores[at] = shelf->fresh_scores[at + 1];
        }
        return 1;
    }
    return 0;
}

/* The next title for which a rule gives way; 0 where there is nothing left. */
static int give_way(State *state, Candidate *found) {
    static const int64_t may_break[3] = {
        1 << CREATOR, 1 << CREATOR | 1 << GENRE, 1 << CREATOR | 1 << GENRE | 1 << SERIES};
    Queue *waiting = &state->waiting;
    for (int given = 0; given < 3; given++) {
        for (int64_t at = 0; at < waiting->count; at++) {
            int64_t breaks = broken(state->shelf, waiting->at[at].row);
            if (breaks & ~may_break[given]) continue;
            state->answer->relaxed |= breaks;
            *found = waiting->at[at];
            memmove(waiting->at + at, waiting->at + at + 1, (size_t)(--waiting->count - at) * sizeof(Candidate));
            return 1;
        }
    }
    Queue *held = state->demoted.first < state->demoted.count ? &state->demoted : &state->watched;
    if (held->first == held->count) return 0;
    *found = held->at[held->first++];
    state->answer->relaxed |= 1 << (held == &state->demoted ? DEMOTED : WATCHED) | broken(state->shelf, found->row);
    return 1;
}

/* Begin a page: what waited comes first, then what waited before and was not reached. */
static void begin_page(State *state) {
    Queue *pending = &state->pending, *waiting = &state->waiting;
    turn_page(state);
    while (pending->first < pending->count) push(waiting, pending->at[pending->first++]);
    Queue emptied = {pending->at, 0, 0};
    *pending = *waiting;
    pending->first = 0;
    *waiting = emptied;
}

static void put_listed(State *state, Candidate one, int64_t slot) {
    Placement *placed = put(state, one.row, slot);
    if (one.place < 0) {
        placed->reason = REASON_NEXT_EPISODE;
        return;
    }
    uint8_t reason = state->reasons[one.place];
    placed->score = f16_at(state->scores, one.place);
    placed->reason = state->sources[one.place];
    if (reason != NO_REASON) placed->because = u32_at(state->history, reason);
}

static int64_t fill(State *state) {
    const Shelf *shelf = state->shelf;
    int64_t slot = 0, k = state->request->k;
    while (slot < k) {
        begin_page(state);
        for (int64_t on_page = 0; on_page < shelf->page && slot < k; on_page++, slot++) {
            int done = 0, kind = state->request->has_draws ? shelf->plan[on_page] : LISTED;
            if (kind == DRAWN) done = draw(state, slot);
            else if (kind == FRESH) done = freshest(state, slot);
            if (done < 0) return done;
            if (done) continue;
            Candidate one;
            int is_found = 0;
            while (!is_found && next_candidate(state, &one)) {
                if (is_capped(shelf, one.row)) {
                    push(&state->waiting, one);
                    mark(state, one.row, IS_TAKEN);
                } else {
                    is_found = 1;
                }
            }
            if (!is_found && !give_way(state, &one)) return slot;
            put_listed(state, one, slot);
        }
    }
    return slot;
}

/* How many titles were placed, or what is needed first: more chances, or an audience. `data`: a packed list that was
   checked; `ids`: those of the request, kind after kind; `chances`: 64 random bits each.                            */
int64_t mq_arrange(
    const Shelf *shelf, const Request *request, const uint8_t *data, const uint32_t *ids, const uint64_t *chances,
    Answer *answer
) {
    State state = {.shelf = shelf, .request = request, .chances = chances, .answer = answer, .place = -1};
    uint16_t list_count;
    memcpy(&list_count, data + 4, 2);
    state.list_count = list_count;
    state.width = data[3];
    state.history_count = data[6];
    state.ids = data + HEADER;
    state.history = state.ids + 4 * state.list_count;
    state.vector = state.history + 4 * state.history_count;
    state.scores = state.vector + 2 * state.width;
    state.sources = state.scores + 2 * state.list_count;
    state.reasons = state.sources + state.list_count;
    state.allowed = shelf->allowed + request->country * shelf->set_count;
    state.added_limit = state.fresh_count = -1;
    Queue *queues[5] = {&state.pending, &state.waiting, &state.demoted, &state.watched, &state.next};
    for (int number = 0; number < 5; number++)
        queues[number]->at = (Candidate *)shelf->candidates + number * shelf->capacity;
    memset(answer, 0, sizeof(Answer));

    ids = mark_all(&state, ids, request->exclude_count, IS_EXCLUDED);
    ids = mark_all(&state, ids, request->served_count, IS_SERVED);
    ids = mark_all(&state, ids, request->turned_down_count, IS_TURNED_DOWN);
    ids = mark_all(&state, ids, request->watched_count, IS_SEEN);
    ids = mark_all(&state, ids, request->near_count, IS_NEAR);
    for (int64_t at = 0; at < state.history_count; at++) {
        int32_t row = row_of(shelf, u32_at(state.history, at));
        if (row >= 0) mark(&state, row, IS_SEEN);
    }
    find_next_episodes(&state, ids, request->after_count);
    int64_t placed = fill(&state);
    for (int64_t at = 0; at < state.waiting.count; at++) {
        int64_t breaks = broken(shelf, state.waiting.at[at].row);
        for (int rule = CREATOR; rule <= SERIES; rule++)
            if (breaks & (int64_t)1 << rule) {
                answer->filtered[rule]++;
                break;
            }
    }
    turn_page(&state);
    for (int64_t at = 0; at < state.touched_count; at++) shelf->titles[shelf->touched[at]].flags = 0;
    return placed;
}
