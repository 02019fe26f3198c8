/* store_contract_crash.c - what was durable stays, whatever becomes of the process: a child writes and says what was
 * acknowledged through a pipe, dies by SIGKILL in the middle, and its store is opened again. */
#include "store_contract.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_ROUNDS = 8, N_RUNS = 16, DEADLINE_MS = 20000 };

static Id owner, flow_id;

static void test_everything_is_there_after_reopening(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 3);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    write_flow_version(fixture->store, flow);
    text_map_add(&run->labels, "env", "prod");
    sample_command(run, 1);
    append_events(fixture->store, run, 1);
    append_events(fixture->store, run, 5);
    store_fixture_reopen(fixture);

    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) read = store_get_flow(fixture->store, flow->id.text, 0, &error);
    assert_no_error(error);
    assert_string_equal(read->name, flow->name);
    assert_int_equal(check_journal(fixture->store, &run->row.run_id, 0, 100, 10000, 0), 6);
    RunSeq entry;
    size_t n = 0;
    assert_true(store_read_outbox(fixture->store, NULL, 1, &entry, &n, &error));
    assert_int_equal(n, 1);
    ListQuery query = query_of(&owner);
    query.label_name = "env";
    g_autoptr(ListPage) page = list_runs(fixture->store, &query);
    assert_int_equal(page->n_items, 1);

    append_events(fixture->store, run, 1); /* and goes on from there */
    sample_command(run, 8);
    append_events(fixture->store, run, 1);
    RunSeq first = entry;
    assert_true(store_read_outbox(fixture->store, &first, 1, &entry, &n, &error));
    assert_int_equal(n, 1);
    assert_int_equal(entry.seq, 8);
}

/* What the child acknowledges: up to this seq, run number so-and-so is durable. */
typedef struct {
    unsigned n;
    int64_t seq;
} Acknowledged;

/* Appends for ever, two events at a time, to runs that stand at these seqs. Ends by being killed. */
static void write_until_killed(const StoreFixture *fixture, const int64_t *seqs, int pipe_fd)
{
    g_autoptr(GError) error = NULL;
    Store *store = fixture->open(fixture->data_dir, fixture->clock, &error);
    if (store == NULL)
        _exit(2);
    SampleRun *runs[N_RUNS];
    for (unsigned n = 0; n < N_RUNS; n++) {
        runs[n] = sample_run_new(n, &owner, &flow_id);
        runs[n]->row.seq = seqs[n];
    }
    for (unsigned round = 0;; round++) {
        StoreWrite writes[N_RUNS];
        unsigned n_writes = 1 + round % N_RUNS;
        for (unsigned n = 0; n < n_writes; n++)
            writes[n] = sample_append(runs[n], 2, 100 + 400 * n);
        if (!store_write(store, writes, n_writes, &error))
            _exit(3);
        for (unsigned n = 0; n < n_writes; n++) {
            Acknowledged line = {n, runs[n]->row.seq};
            /* A server may carry out what a process sent just before it died when the next one has begun: the same events. */
            bool is_there =
                writes[n].ret_outcome == WRITTEN || (store_is_shared(store) && writes[n].ret_outcome == WRITE_CONFLICT);
            if (!is_there || write(pipe_fd, &line, sizeof line) != (ssize_t)sizeof line)
                _exit(4);
        }
    }
}

/* Reads acknowledgements until so many came, kills the child, reads the rest. */
static void collect(int pipe_fd, pid_t child, unsigned n_wanted, int64_t *seqs)
{
    unsigned n_seen = 0;
    Acknowledged line;
    bool is_killed = false;
    for (;;) {
        struct pollfd poll_fd = {.fd = pipe_fd, .events = POLLIN};
        if (poll(&poll_fd, 1, DEADLINE_MS) <= 0) {
            (void)kill(child, SIGKILL);
            fail_msg("the child writes nothing");
        }
        if (read(pipe_fd, &line, sizeof line) != (ssize_t)sizeof line)
            break;
        seqs[line.n] = line.seq;
        if (++n_seen >= n_wanted && !is_killed) {
            assert_int_equal(kill(child, SIGKILL), 0);
            is_killed = true;
        }
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_killed_in_the_middle_of_writing(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    int64_t seqs[N_RUNS] = {0};
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        store_close(g_steal_pointer(&fixture->store)); /* the child is to be its only holder */
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(pipe_fds[0]);
            write_until_killed(fixture, seqs, pipe_fds[1]);
        }
        close(pipe_fds[1]);
        collect(pipe_fds[0], child, 1 + round * 37, seqs);
        close(pipe_fds[0]);

        store_fixture_reopen(fixture);
        for (unsigned n = 0; n < N_RUNS; n++) {
            Id id = test_id('r', n);
            int64_t last = check_journal(fixture->store, &id, 0, 1000, 1 << 20, 100 + 400 * n);
            assert_true(last == seqs[n] || last == seqs[n] + 2); /* one append more may have been on its way */
            seqs[n] = last;
            g_autoptr(GError) error = NULL;
            g_autoptr(RunDocument) document = store_get_run(fixture->store, id.text, &error);
            if (!store_is_shared(fixture->store))
                assert_true(last == 0 ? document == NULL : document->seq == last);
            else /* it may have been left behind; it is never ahead */
                assert_true(document == NULL || document->seq <= last);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_everything_is_there_after_reopening),
    cmocka_unit_test(test_killed_in_the_middle_of_writing),
};

StoreTests store_crash_tests(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    return (StoreTests){tests, G_N_ELEMENTS(tests)};
}
