/* timers.c - a binary heap with the position of each timer kept in the timer, so that clearing costs O(log n) and the
 * heap never holds dead entries: most attempts end long before their time limit. */
#include "engine/timers.h"

#include <glib.h>
#include <stdbool.h>

struct Timers {
    GPtrArray *heap; /* of Timer, borrowed; the first is the earliest */
    uint64_t n_set;  /* so far: gives each setting its order */
};

Timers *timers_new(void)
{
    Timers *timers = g_new0(Timers, 1);
    timers->heap = g_ptr_array_new();
    return timers;
}

void timers_free(Timers *timers)
{
    if (timers == NULL)
        return;
    g_assert(timers->heap->len == 0);
    g_ptr_array_free(timers->heap, TRUE);
    g_free(timers);
}

static Timer *at(const Timers *timers, size_t place)
{
    return timers->heap->pdata[place - 1];
}

static void put(Timers *timers, size_t place, Timer *timer)
{
    timers->heap->pdata[place - 1] = timer;
    timer->place = place;
}

static bool is_earlier(const Timer *a, const Timer *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void sift_up(Timers *timers, size_t place)
{
    Timer *timer = at(timers, place);
    while (place > 1 && is_earlier(timer, at(timers, place / 2))) {
        put(timers, place, at(timers, place / 2));
        place /= 2;
    }
    put(timers, place, timer);
}

static void sift_down(Timers *timers, size_t place)
{
    Timer *timer = at(timers, place);
    size_t n = timers->heap->len;
    for (size_t child = place * 2; child <= n; child = place * 2) {
        if (child < n && is_earlier(at(timers, child + 1), at(timers, child)))
            child++;
        if (!is_earlier(at(timers, child), timer))
            break;
        put(timers, place, at(timers, child));
        place = child;
    }
    put(timers, place, timer);
}

void timers_clear(Timers *timers, Timer *timer)
{
    size_t place = timer->place;
    if (place == 0)
        return;
    timer->place = 0;
    Timer *last = at(timers, timers->heap->len);
    g_ptr_array_set_size(timers->heap, (int)timers->heap->len - 1);
    if (last == timer)
        return;
    put(timers, place, last);
    sift_up(timers, place);
    sift_down(timers, last->place);
}

void timers_set(Timers *timers, Timer *timer, int64_t at_ms, void (*fire)(Timer *timer))
{
    timers_clear(timers, timer);
    timer->at_ms = at_ms;
    timer->fire = fire;
    timer->order = ++timers->n_set;
    g_ptr_array_add(timers->heap, timer);
    sift_up(timers, timers->heap->len);
}

int64_t timers_next_at(const Timers *timers)
{
    return timers->heap->len > 0 ? at(timers, 1)->at_ms : INT64_MAX;
}

void timers_fire_due(Timers *timers, int64_t now_ms)
{
    uint64_t last_order = timers->n_set;
    while (timers->heap->len > 0) {
        Timer *timer = at(timers, 1);
        /* Those set meanwhile are not for the past: when one of them is the earliest, no older one is due. */
        if (timer->at_ms > now_ms || timer->order > last_order)
            break;
        timers_clear(timers, timer);
        timer->fire(timer);
    }
}

size_t timers_count(const Timers *timers)
{
    return timers->heap->len;
}
