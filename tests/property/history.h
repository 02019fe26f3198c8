/* history.h - random histories of one run: an engine that behaves, and the chance that both halves share. */
#ifndef FLOWOPS_TESTS_HISTORY_H
#define FLOWOPS_TESTS_HISTORY_H

#include "domain/decide.h"

/* splitmix64: a history is a function of its seed alone. */
typedef struct {
    uint64_t state;
} Chance;

static inline uint64_t chance_next(Chance *chance)
{
    uint64_t z = (chance->state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline int64_t chance_below(Chance *chance, int64_t n)
{
    return (int64_t)(chance_next(chance) % (uint64_t)n);
}

static inline bool chance_percent(Chance *chance, int percent)
{
    return chance_below(chance, 100) < percent;
}

/* What an engine of the history says of itself. */
typedef enum {
    DIALECT_OURS, /* generation and attempt in every status; an earlier failure is RUNNING of the next attempt */
    DIALECT_BARE, /* neither: the contract's own members only, each failure is FAILED */
} Dialect;

typedef struct HistoryEngine HistoryEngine;

/* One engine's view of the run: all it knows came in START (the run as it was when START was read). */
HistoryEngine *history_engine_new(Dialect dialect, const Run *run);
void history_engine_free(HistoryEngine *engine);
void history_engine_command(HistoryEngine *engine, CommandKind command, int64_t now_ms, GPtrArray *statuses);
/* Does one thing, if there is one left to do; its statuses are appended to `statuses`. */
void history_engine_work(HistoryEngine *engine, Chance *chance, int64_t now_ms, GPtrArray *statuses);
/* The terminal status it has reported; RUN_RUNNING while it has not. */
RunStatus history_engine_outcome(const HistoryEngine *engine);

#endif
