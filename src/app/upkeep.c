/* Faults and results go to stdout, progress and errors to stderr. */
#include "app/upkeep.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "service/copy.h"
#include "service/fsck.h"
#include "store/store_mongo_legacy.h"

#define EXIT_FAULTS 1
#define EXIT_TROUBLE 2
#define PROGRESS_MS 2000

typedef struct {
    Clock *clock;
    const char *spec; /* the store at hand */
    int64_t told_at;  /* monotonic ms of the last line of progress */
} Upkeep;

static int fail(const GError *error)
{
    fprintf(stderr, "flowops: %s\n", error->message);
    return EXIT_TROUBLE;
}

/* False: usage was wrong, and it was said. */
static bool parse(const char *program, const char *summary, const GOptionEntry *entries, int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_set_prgname(program);
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, summary);
    g_option_context_add_main_entries(context, entries, NULL);
    bool is_parsed = g_option_context_parse(context, &argc, &argv, &error);
    if (is_parsed && argc > 1)
        g_set_error(&error, FLOWOPS_ERROR, FLOWOPS_INVALID, "unexpected argument \"%s\"", argv[1]);
    if (error != NULL)
        (void)fail(error);
    return error == NULL;
}

/* ---- stores ---- */

typedef enum {
    OPEN_TO_LOOK,   /* beside whoever writes */
    OPEN_EXISTING,  /* alone */
    OPEN_OR_CREATE, /* alone */
} OpenMode;

static bool is_mongo(const char *spec)
{
    return g_str_has_prefix(spec, "mongodb://") || g_str_has_prefix(spec, "mongodb+srv://");
}

static Store *open_directory(const char *path, OpenMode mode, const Clock *clock, GError **error)
{
    if (mode == OPEN_OR_CREATE)
        return store_open_sqlite(path, clock, error);
    g_autoptr(Store) reader = store_open_sqlite_readonly(path, error); /* a path that was mistyped makes no store */
    if (reader == NULL || mode == OPEN_TO_LOOK)
        return g_steal_pointer(&reader);
    store_close(g_steal_pointer(&reader));
    return store_open_sqlite(path, clock, error);
}

/* The database in a URI's path; NULL when there is none. */
static char *database_of(const char *uri)
{
    const char *path = strchr(strstr(uri, "://") + 3, '/');
    if (path == NULL)
        return NULL;
    g_autofree char *name = g_strndup(path + 1, strcspn(path + 1, "?"));
    g_autofree char *plain = g_uri_unescape_string(name, "/");
    return plain != NULL && *plain != '\0' ? g_steal_pointer(&plain) : NULL;
}

/* A store as it was named, and the database where the name has none. */
typedef struct {
    char *spec;
    char *database; /* MongoDB; NULL: in the URI's path */
} Place;

static void place_done(Place *place)
{
    g_free(place->spec);
    g_free(place->database);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_done)

static Store *open_place(const Place *place, OpenMode mode, const Clock *clock, GError **error)
{
    if (!is_mongo(place->spec))
        return open_directory(place->spec, mode, clock, error);
    g_autofree char *database = place->database != NULL ? g_strdup(place->database) : database_of(place->spec);
    if (database == NULL) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                            "a mongodb:// URI needs the database in its path: mongodb://host/database");
        return NULL;
    }
    return mode == OPEN_OR_CREATE ? store_open_mongo(place->spec, database, clock, error)
                                  : store_open_mongo_existing(place->spec, database, clock, error);
}

/* What is said of a store: a URI may hold a password. */
static const char *shown(const char *spec)
{
    return is_mongo(spec) ? "mongodb" : spec;
}

/* MONGO_URI with MONGO_DB, else DATA_DIR. env_file: as --env-file, or NULL. False: the settings are faulty, which is said. */
static bool configured_place(const char *env_file, Place *ret_place)
{
    Config config = {0};
    g_autoptr(GPtrArray) faults = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(SettingValues) values = setting_values_read_file(env_file, faults);
    bool is_loaded = config_load(&config, FOR_UPKEEP, values, faults);
    if (is_loaded) {
        ret_place->spec = g_strdup(config.mongo_uri != NULL ? config.mongo_uri : config.data_dir);
        ret_place->database = g_strdup(config.mongo_uri != NULL ? config.mongo_db : NULL);
    } else {
        config_print_faults(faults);
    }
    config_done(&config);
    return is_loaded;
}

/* ---- fsck ---- */

static void tell(void *arg, const char *line)
{
    (void)arg;
    printf("%s\n", line);
}

static bool is_time_to_tell(Upkeep *upkeep)
{
    int64_t now_ms = clock_monotonic_ms(upkeep->clock);
    if (now_ms - upkeep->told_at < PROGRESS_MS)
        return false;
    upkeep->told_at = now_ms;
    return true;
}

static void tell_fsck_progress(void *arg, const FsckReport *so_far)
{
    Upkeep *upkeep = arg;
    if (is_time_to_tell(upkeep))
        fprintf(stderr,
                "%s: %" G_GINT64_FORMAT " flows, %" G_GINT64_FORMAT " runs, %" G_GINT64_FORMAT " events so far\n",
                shown(upkeep->spec), so_far->n_flows, so_far->n_runs, so_far->n_events);
}

static void print_report(const char *spec, const FsckReport *report)
{
    double seconds = (double)MAX(report->elapsed_ms, 1) / 1000;
    printf("%s: %" G_GINT64_FORMAT " flows (%" G_GINT64_FORMAT " versions, %" G_GINT64_FORMAT
           " schedule decisions), %" G_GINT64_FORMAT " runs, %" G_GINT64_FORMAT " events, %" G_GINT64_FORMAT
           " to publish; %" G_GINT64_FORMAT " documents behind; %" G_GINT64_FORMAT " faults, %" G_GINT64_FORMAT
           " mended; %.3f s, %.0f runs/s, %.0f events/s\n",
           shown(spec), report->n_flows, report->n_flow_versions, report->n_decisions, report->n_runs, report->n_events,
           report->n_outbox, report->n_behind, report->n_faults, report->n_repaired, seconds,
           (double)report->n_runs / seconds, (double)report->n_events / seconds);
}

static bool check_store(Upkeep *upkeep, const char *spec, Store *store, bool repairs, FsckReport *ret_report,
                        GError **error)
{
    FsckOptions options = {.repairs = repairs, .tell = tell, .progress = tell_fsck_progress, .arg = upkeep};
    upkeep->spec = spec;
    upkeep->told_at = clock_monotonic_ms(upkeep->clock);
    if (!fsck_check_store(store, upkeep->clock, &options, ret_report, error))
        return false;
    print_report(spec, ret_report);
    return true;
}

static int fsck(const Place *place, bool repairs)
{
    Upkeep upkeep = {.clock = clock_new_system()};
    g_autoptr(GError) error = NULL;
    FsckReport report;
    int status;
    Store *store = open_place(place, repairs ? OPEN_EXISTING : OPEN_TO_LOOK, upkeep.clock, &error);
    if (store == NULL || !check_store(&upkeep, place->spec, store, repairs, &report, &error))
        status = fail(error);
    else
        status = report.n_faults > report.n_repaired ? EXIT_FAULTS : 0;
    store_close(store);
    clock_free(upkeep.clock);
    return status;
}

int upkeep_fsck(int argc, char **argv)
{
    g_auto(Place) place = {0};
    g_autofree char *env_file = NULL;
    gboolean repairs = FALSE;
    const GOptionEntry entries[] = {
        {"store", 0, 0, G_OPTION_ARG_FILENAME, &place.spec,
         "A directory, or mongodb://host/database (the configured store)", "STORE"},
        {"env-file", 0, 0, G_OPTION_ARG_FILENAME, &env_file, "Without --store: a file with settings", "FILE"},
        {"repair", 0, 0, G_OPTION_ARG_NONE, &repairs, "Make faulty documents anew; nobody else may use the store",
         NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!parse("flowops fsck", "Folds every journal and compares it with what is shown of it.", entries, argc, argv))
        return EXIT_TROUBLE;
    if (place.spec == NULL && !configured_place(env_file, &place))
        return EXIT_TROUBLE;
    return fsck(&place, repairs);
}

/* ---- copy ---- */

static void tell_copy_progress(void *arg, const CopyReport *so_far)
{
    if (is_time_to_tell(arg))
        fprintf(stderr, "copied %" G_GINT64_FORMAT " runs, %" G_GINT64_FORMAT " events so far\n", so_far->n_runs,
                so_far->n_events);
}

static bool is_same(const FsckReport *one, const FsckReport *other)
{
    return one->n_flows == other->n_flows && one->n_flow_versions == other->n_flow_versions &&
           one->n_decisions == other->n_decisions && one->n_backfills == other->n_backfills &&
           one->n_runs == other->n_runs && one->n_events == other->n_events && one->n_outbox == other->n_outbox &&
           memcmp(one->digest, other->digest, FSCK_DIGEST_SIZE) == 0;
}

static int conclude(const FsckReport *source, const FsckReport *target)
{
    if (target->n_faults == 0 && is_same(source, target)) {
        printf("the copy is complete: both sides hold the same\n");
        return 0;
    }
    printf("the copy is NOT complete: the two sides differ%s\n", target->n_faults > 0 ? ", the target is faulty" : "");
    return EXIT_FAULTS;
}

/* Proves both sides. A source's faulty documents are its own: the target's were made from the journals. */
static int verify(Upkeep *upkeep, const char *from, Store *source, const char *to, Store *target)
{
    g_autoptr(GError) error = NULL;
    FsckReport source_report, target_report;
    if (!check_store(upkeep, from, source, false, &source_report, &error) ||
        !check_store(upkeep, to, target, false, &target_report, &error))
        return fail(error);
    return conclude(&source_report, &target_report);
}

static int copy_source(Upkeep *upkeep, StoreSource *source, Store *target)
{
    g_autoptr(GError) error = NULL;
    CopyReport report;
    CopyOptions options = {.progress = tell_copy_progress, .arg = upkeep};
    upkeep->told_at = clock_monotonic_ms(upkeep->clock);
    if (!copy_store(source, target, &options, &report, &error))
        return fail(error);
    printf("%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " flow versions, %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
           " schedule decisions, %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " runs, %" G_GINT64_FORMAT
           " of %" G_GINT64_FORMAT " events written; the rest was there\n",
           report.n_flow_versions_written, report.n_flow_versions, report.n_decisions_written, report.n_decisions,
           report.n_runs_written, report.n_runs, report.n_events_written, report.n_events);
    return 0;
}

static int copy_between(Upkeep *upkeep, const char *from, Store *source, const char *to, Store *target)
{
    g_autoptr(StoreSource) walk = store_source_new(source);
    int status = copy_source(upkeep, walk, target);
    return status != 0 ? status : verify(upkeep, from, source, to, target);
}

static int copy(const Place *from, const Place *to)
{
    Upkeep upkeep = {.clock = clock_new_system()};
    g_autoptr(GError) error = NULL;
    Store *source = open_place(from, OPEN_EXISTING, upkeep.clock, &error);
    Store *target = source != NULL ? open_place(to, OPEN_OR_CREATE, upkeep.clock, &error) : NULL;
    int status = target != NULL ? copy_between(&upkeep, from->spec, source, to->spec, target) : fail(error);
    store_close(target);
    store_close(source);
    clock_free(upkeep.clock);
    return status;
}

/* ---- copy of what the older service wrote ---- */

/* A place that is a MongoDB database, opened as the older service's. */
static StoreSource *open_legacy(const Place *from, const LegacyOptions *options, GError **error)
{
    g_autofree char *database = is_mongo(from->spec) ? database_of(from->spec) : NULL;
    if (database == NULL) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                            "--from-legacy takes a URI with the database in its path: mongodb://host/database");
        return NULL;
    }
    return legacy_source_open(from->spec, database, options, error);
}

/* The source is walked once more for its sum: what it told the first time is held against what the target has now. */
static int verify_legacy(Upkeep *upkeep, const Place *from, const LegacyOptions *options, const Place *to,
                         Store *target)
{
    g_autoptr(GError) error = NULL;
    FsckReport source_report, target_report;
    LegacyOptions silent = *options;
    silent.tell = NULL; /* once is enough */
    g_autoptr(StoreSource) source = open_legacy(from, &silent, &error);
    if (source == NULL)
        return fail(error);
    legacy_source_set_target(source, target);
    if (!fsck_sum_source(source, upkeep->clock, &source_report, &error) ||
        !check_store(upkeep, to->spec, target, false, &target_report, &error))
        return fail(error);
    return conclude(&source_report, &target_report);
}

static int tell_refusals(LegacyRefusals refusals)
{
    if (refusals.n_flows + refusals.n_runs + refusals.n_schedules == 0)
        return 0;
    printf("%" G_GINT64_FORMAT " flows and %" G_GINT64_FORMAT " runs could not be taken, %" G_GINT64_FORMAT
           " flows lost their schedule\n",
           refusals.n_flows, refusals.n_runs, refusals.n_schedules);
    return EXIT_FAULTS;
}

static int copy_legacy_to(Upkeep *upkeep, const Place *from, StoreSource *source, const LegacyOptions *options,
                          const Place *to, Store *target)
{
    legacy_source_set_target(source, target);
    int status = copy_source(upkeep, source, target);
    if (status != 0)
        return status;
    int refused = tell_refusals(legacy_source_refusals(source));
    status = verify_legacy(upkeep, from, options, to, target);
    return MAX(status, refused);
}

static int copy_legacy(const Place *from, const Id *owner, const Place *to)
{
    Upkeep upkeep = {.clock = clock_new_system()};
    g_autoptr(GError) error = NULL;
    LegacyOptions options = {.owner = *owner, .now_ms = clock_wall_ms(upkeep.clock), .tell = tell};
    StoreSource *source = open_legacy(from, &options, &error);
    Store *target = source != NULL ? open_place(to, OPEN_OR_CREATE, upkeep.clock, &error) : NULL;
    int status = target != NULL ? copy_legacy_to(&upkeep, from, source, &options, to, target) : fail(error);
    store_close(target);
    store_source_close(source);
    clock_free(upkeep.clock);
    return status;
}

/* ---- usage ---- */

typedef struct {
    Place from, legacy, to;
    char *owner;
} CopyArguments;

static void copy_arguments_done(CopyArguments *arguments)
{
    place_done(&arguments->from);
    place_done(&arguments->legacy);
    place_done(&arguments->to);
    g_free(arguments->owner);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CopyArguments, copy_arguments_done)

/* "hosts/database" of a URI, without login and options. */
static char *address_of(const char *uri)
{
    const char *rest = strstr(uri, "://") + 3;
    g_autofree char *plain = g_strndup(rest, strcspn(rest, "?"));
    const char *at = strrchr(plain, '@');
    return g_ascii_strdown(at != NULL ? at + 1 : plain, -1);
}

static bool is_same_directory(const char *one, const char *other)
{
    GStatBuf a, b;
    return g_stat(one, &a) == 0 && g_stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* As far as names tell: one server under two names is found by nobody, and does no harm. */
static bool is_same_place(const char *one, const char *other)
{
    if (is_mongo(one) != is_mongo(other))
        return false;
    if (!is_mongo(one))
        return is_same_directory(one, other);
    g_autofree char *a = address_of(one);
    g_autofree char *b = address_of(other);
    return strcmp(a, b) == 0;
}

/* NULL: nothing is wrong. */
static const char *check_copy_arguments(const CopyArguments *arguments, Id *ret_owner)
{
    *ret_owner = (Id){""};
    if ((arguments->from.spec == NULL) == (arguments->legacy.spec == NULL) || arguments->to.spec == NULL)
        return "copy needs --to, and either --from or --from-legacy";
    if (arguments->from.spec != NULL && is_same_place(arguments->from.spec, arguments->to.spec))
        return "a store is not copied onto itself: --to names what is copied from";
    if (arguments->owner != NULL && arguments->legacy.spec == NULL)
        return "--owner goes with --from-legacy";
    if (arguments->owner != NULL && !id_parse(arguments->owner, ret_owner))
        return "--owner takes a UUID";
    return NULL;
}

int upkeep_copy(int argc, char **argv)
{
    g_auto(CopyArguments) arguments = {0};
    const GOptionEntry entries[] = {
        {"from", 0, 0, G_OPTION_ARG_FILENAME, &arguments.from.spec, "A directory, or mongodb://host/database", "STORE"},
        {"from-legacy", 0, 0, G_OPTION_ARG_FILENAME, &arguments.legacy.spec,
         "Instead: the database of the service that was here before", "URI"},
        {"to", 0, 0, G_OPTION_ARG_FILENAME, &arguments.to.spec, "As --from; empty, or a part of such a copy", "STORE"},
        {"owner", 0, 0, G_OPTION_ARG_STRING, &arguments.owner,
         "Whose the flows of --from-legacy are that name no owner", "UUID"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    Id owner;
    if (!parse(
            "flowops copy",
            "Moves a whole store into another. Nobody else may use either meanwhile. Cut short, it goes on when it is "
            "started again.",
            entries, argc, argv))
        return EXIT_TROUBLE;
    const char *fault = check_copy_arguments(&arguments, &owner);
    if (fault != NULL) {
        fprintf(stderr, "flowops: %s\n", fault);
        return EXIT_TROUBLE;
    }
    return arguments.legacy.spec != NULL ? copy_legacy(&arguments.legacy, &owner, &arguments.to)
                                         : copy(&arguments.from, &arguments.to);
}
