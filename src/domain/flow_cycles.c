/* flow_cycles.c - finds dependency cycles by one depth-first walk with a stack of its own: linear, and no deeper in the
 * machine's stack however long a chain a client sends. */
#include <stdlib.h>

#include "domain/flow_internal.h"

enum { SPELLED_MAX = 40 /* steps of a cycle that a message names; the rest are counted */ };

typedef enum { UNSEEN, ON_PATH, DONE } Mark;

typedef struct {
    FlowReader *reader;
    const StepEdge *edges; /* sorted by from, to; no repeats */
    size_t *first_edge;    /* of each step; one more for the end */
    size_t *next_edge;     /* of each step: where the walk goes on */
    uint32_t *path;        /* the steps the walk is in */
    size_t *place;         /* of each step on the path */
    size_t path_size;
    unsigned char *marks;
} Walk;

static int compare_edges(const void *a, const void *b)
{
    const StepEdge *left = a, *right = b;
    if (left->from != right->from)
        return left->from < right->from ? -1 : 1;
    return (left->to > right->to) - (left->to < right->to);
}

static const StepNode *node_at(const FlowReader *reader, uint32_t index)
{
    return &g_array_index(reader->nodes, StepNode, index);
}

/* The path from `start` to its end is the cycle. It is told from the step that comes first in the flow. */
static void add_cycle_fault(const Walk *walk, size_t start)
{
    const FlowReader *reader = walk->reader;
    if (faults_count(reader->faults) > FAULTS_MAX) { /* counted, not kept: spelling it out would be for nothing */
        faults_add(reader->faults, NULL, NULL, "dependency cycle");
        return;
    }
    size_t n = walk->path_size - start, lead = 0;
    for (size_t i = 1; i < n; i++) {
        if (walk->path[start + i] < walk->path[start + lead])
            lead = i;
    }
    g_autoptr(GString) spelled = g_string_new(NULL);
    for (size_t i = 0; i < MIN(n, SPELLED_MAX); i++)
        g_string_append_printf(spelled, "%s -> ",
                               node_at(reader, walk->path[start + (lead + i) % n])->step->step_id.text);
    if (n > SPELLED_MAX)
        g_string_append_printf(spelled, "(%zu more) -> ", n - SPELLED_MAX);
    const StepNode *first = node_at(reader, walk->path[start + lead]);
    g_string_append(spelled, first->step->step_id.text);
    faults_add(reader->faults, first->path, NULL, "dependency cycle, each step waits for the next: %s", spelled->str);
}

static void enter(Walk *walk, uint32_t step)
{
    walk->marks[step] = ON_PATH;
    walk->place[step] = walk->path_size;
    walk->path[walk->path_size++] = step;
}

static void walk_from(Walk *walk, uint32_t root)
{
    enter(walk, root);
    while (walk->path_size > 0) {
        uint32_t step = walk->path[walk->path_size - 1];
        if (walk->next_edge[step] == walk->first_edge[step + 1]) {
            walk->marks[step] = DONE;
            walk->path_size--;
            continue;
        }
        uint32_t next = walk->edges[walk->next_edge[step]++].to;
        if (walk->marks[next] == ON_PATH)
            add_cycle_fault(walk, walk->place[next]);
        else if (walk->marks[next] == UNSEEN)
            enter(walk, next);
    }
}

static size_t sort_edges(GArray *edges)
{
    StepEdge *all = (StepEdge *)(void *)edges->data;
    size_t n = 0;
    if (edges->len > 1)
        qsort(all, edges->len, sizeof(StepEdge), compare_edges);
    for (guint i = 0; i < edges->len; i++) {
        if (n == 0 || compare_edges(&all[n - 1], &all[i]) != 0)
            all[n++] = all[i];
    }
    return n;
}

/* Where each step's edges begin, by counting them. */
static void index_edges(const Walk *walk, uint32_t n_steps, size_t n_edges)
{
    for (size_t i = 0; i < n_edges; i++)
        walk->first_edge[walk->edges[i].from + 1]++;
    for (uint32_t i = 0; i < n_steps; i++) {
        walk->first_edge[i + 1] += walk->first_edge[i];
        walk->next_edge[i] = walk->first_edge[i];
    }
}

void flow_check_cycles(FlowReader *reader, GArray *edges)
{
    uint32_t n_steps = reader->nodes->len;
    size_t n_edges = sort_edges(edges);
    g_autofree size_t *first_edge = g_new0(size_t, n_steps + 1);
    g_autofree size_t *next_edge = g_new0(size_t, n_steps + 1);
    g_autofree uint32_t *path = g_new(uint32_t, n_steps + 1);
    g_autofree size_t *place = g_new0(size_t, n_steps + 1);
    g_autofree unsigned char *marks = g_new0(unsigned char, n_steps + 1);
    Walk walk = {.reader = reader,
                 .edges = (const StepEdge *)(const void *)edges->data,
                 .first_edge = first_edge,
                 .next_edge = next_edge,
                 .path = path,
                 .place = place,
                 .marks = marks};
    index_edges(&walk, n_steps, n_edges);
    for (uint32_t i = 0; i < n_steps; i++) {
        if (marks[i] == UNSEEN)
            walk_from(&walk, i);
    }
}
