/* histogram.h - counters and histograms that cost next to nothing: each has one thread that writes it, so counting is a plain
 * load and store (relaxed atomics: no lock, no locked instruction, no shared cache line), and whoever reads may be a moment
 * behind. What several threads count is kept once for each and added up when it is looked at.
 * Thread: writing the owner's, reading any. Owner: whoever embeds it; zeros are an empty one. */
#ifndef FLOWOPS_BASE_HISTOGRAM_H
#define FLOWOPS_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS_MAX 16

/* Ascending bounds, each included; above the last there is one bucket more. */
typedef struct {
    size_t n_bounds; /* < HISTOGRAM_BUCKETS_MAX */
    int64_t bounds[HISTOGRAM_BUCKETS_MAX - 1];
} HistogramShape;

typedef struct {
    int64_t n[HISTOGRAM_BUCKETS_MAX]; /* each bucket alone */
    int64_t sum;
} Histogram;

static inline void counter_add(int64_t *counter, int64_t n)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline int64_t counter_read(const int64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void histogram_add(Histogram *histogram, const HistogramShape *shape, int64_t value)
{
    size_t i = 0;
    while (i < shape->n_bounds && value > shape->bounds[i])
        i++;
    counter_add(&histogram->n[i], 1);
    counter_add(&histogram->sum, value);
}

/* Adds what is in `from`, another thread's, to the caller's own. */
static inline void histogram_collect(const Histogram *from, Histogram *to)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS_MAX; i++)
        to->n[i] += counter_read(&from->n[i]);
    to->sum += counter_read(&from->sum);
}

#endif
