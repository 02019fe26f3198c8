/* store_sqlite_file.c - is this file ours, whole, and not from a newer version? Asked before anything may write to it.
 * The first page's header is read by hand, since opening a WAL database already makes files beside it; then a
 * connection that can't write looks inside. A file that is refused keeps its bytes and its times.
 * Header fields: https://www.sqlite.org/fileformat.html, section 1.3. */
#include "store/store_sqlite_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_SIZE 100
/* A whole check reads every page; about 20 ms for a file of this size, so that a start stays within its 150 ms.
 * A larger one gets the cheap look here; docs/sqlite.md says how to check it whole. */
#define WHOLE_CHECK_MAX_BYTES (4 * 1024 * 1024)

static uint32_t read_u32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3];
}

static int64_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : -1;
}

/* Of the file whose name goes on with `ending`; -1 when there is none. */
static int64_t size_beside(const char *path, const char *ending)
{
    g_autofree char *beside = g_strconcat(path, ending, NULL);
    return size_of(beside);
}

static PRINTF_LIKE(2, 3) bool refuse(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID, message);
    return false;
}

static bool check_size(const char *path, const unsigned char *header, int64_t file_size, GError **error)
{
    int64_t page_size = header[16] << 8 | header[17];
    page_size = page_size == 1 ? 65536 : page_size;
    if (page_size < 512 || (page_size & (page_size - 1)) != 0) {
        return refuse(error, "%s is corrupt: its header names a page size of %" G_GINT64_FORMAT, path, page_size);
    }
    /* The page count holds only when the header was written by a version that keeps it; with a log beside the file,
     * pages may still be there alone. */
    int64_t n_pages = read_u32(header + 28);
    bool is_counted = n_pages > 0 && read_u32(header + 24) == read_u32(header + 92);
    if (is_counted && size_beside(path, "-wal") <= 0 && file_size < n_pages * page_size) {
        return refuse(error, "%s is corrupt: %" G_GINT64_FORMAT " of its %" G_GINT64_FORMAT " bytes are missing", path,
                      n_pages * page_size - file_size, n_pages * page_size);
    }
    return true;
}

static bool check_identity(const char *path, const unsigned char *header, size_t n_read, GError **error)
{
    if (n_read < 16 || memcmp(header, "SQLite format 3", 16) != 0) {
        return refuse(error, "%s is not a FlowOps database (it is no SQLite file, or its beginning is destroyed)",
                      path);
    }
    if (n_read < HEADER_SIZE) {
        return refuse(error, "%s is corrupt: it ends within its header", path);
    }
    if (read_u32(header + 68) != SQLITE_STORE_APPLICATION_ID) {
        return refuse(error, "%s is not a FlowOps database (it is another program's SQLite file)", path);
    }
    return true;
}

static bool check_version(const char *path, const unsigned char *header, int max_version, int *ret_version,
                          GError **error)
{
    uint32_t version = read_u32(header + 60);
    if (version > (uint32_t)max_version) {
        return refuse(error, "%s was written by a newer version of flowops (format %u, this one knows up to %d)", path,
                      version, max_version);
    }
    if (version == 0) {
        return refuse(error, "%s is corrupt: it has no format version", path);
    }
    *ret_version = (int)version;
    return true;
}

/* No database: only a new one may take its place, and no log of an old one may be played into that. */
static bool check_missing(const char *path, GError **error)
{
    if (size_beside(path, "-wal") > 0) {
        return refuse(error, "%s is missing but its log %s-wal is there: put the database back, or move the log away",
                      path, path);
    }
    return true;
}

typedef struct {
    unsigned char bytes[HEADER_SIZE];
    size_t n_read;
    int64_t file_size;
} Header;

/* False without an error: there is no file. */
static bool read_header(const char *path, Header *ret_header, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
    if (fd < 0 && errno == EPERM) { /* O_NOATIME is for the owner */
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0 && errno == ENOENT) {
        return false;
    }
    struct stat info;
    ssize_t n_read = -1;
    if (fd < 0 || fstat(fd, &info) != 0 || (n_read = pread(fd, ret_header->bytes, HEADER_SIZE, 0)) < 0) {
        int saved = errno;
        g_set_error(error, FLOWOPS_ERROR, saved == EISDIR ? FLOWOPS_INVALID : FLOWOPS_UNAVAILABLE, "cannot read %s: %s",
                    path, g_strerror(saved));
    } else {
        ret_header->n_read = (size_t)n_read;
        ret_header->file_size = info.st_size;
    }
    if (fd >= 0) {
        close(fd);
    }
    return n_read >= 0;
}

/* A migration that died in its middle left a rollback journal, and a file that is neither of one version nor the other
 * until SQLite has taken it back. */
static bool finish_rollback(const char *path, GError **error)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        set_sqlite_error(error, db, rc, "take back an unfinished migration");
    }
    sqlite3_close(db);
    return rc == SQLITE_OK;
}

bool file_inspect(const char *path, int max_version, FileState *ret_state, int *ret_version, GError **error)
{
    g_autoptr(GError) inner = NULL;
    Header header = {.n_read = 0};
    if (!read_header(path, &header, &inner)) {
        if (inner != NULL) {
            g_propagate_error(error, g_steal_pointer(&inner));
            return false;
        }
        *ret_state = FILE_MISSING;
        return check_missing(path, error);
    }
    if (!check_identity(path, header.bytes, header.n_read, error)) {
        return false;
    }
    if (size_beside(path, "-journal") > 0 && (!finish_rollback(path, error) || !read_header(path, &header, error))) {
        return false;
    }
    *ret_state = FILE_OURS;
    return check_version(path, header.bytes, max_version, ret_version, error) &&
           check_size(path, header.bytes, header.file_size, error);
}

/* Without a log the file alone is the database, and an immutable connection makes no file beside it. With a log both
 * have to be read together; a connection that can't write doesn't fold it in when it closes. */
static char *probe_uri(const char *path)
{
    g_autofree char *escaped = g_uri_escape_string(path, "/", FALSE);
    return g_strdup_printf("file://%s?mode=ro%s", escaped, size_beside(path, "-wal") > 0 ? "" : "&immutable=1");
}

/* The first row's first column as text; NULL with an error set. */
static char *query_text(sqlite3 *db, const char *sql, GError **error)
{
    sqlite3_stmt *statement = NULL;
    char *text = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(statement);
        if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
            const char *value = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
            text = g_strdup(value != NULL ? value : "");
        }
    }
    if (text == NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s", sqlite3_errmsg(db));
    }
    sqlite3_finalize(statement);
    return text;
}

static bool probe_inside(sqlite3 *db, const char *path, int max_version, GError **error)
{
    g_autoptr(GError) inner = NULL;
    g_autofree char *version = query_text(db, "PRAGMA user_version", &inner);
    if (version != NULL && g_ascii_strtoll(version, NULL, 10) > max_version) {
        return refuse(error, "%s was written by a newer version of flowops (format %s, this one knows up to %d)", path,
                      version, max_version);
    }
    /* The newest rows of the largest tables and the way to them: what a torn write would have hit. */
    static const char *const looks[] = {
        "SELECT count(*) FROM sqlite_schema",
        "SELECT length(value) FROM meta WHERE name = 'secret'",
        "SELECT length(events) FROM journal ORDER BY rowid DESC LIMIT 1",
        "SELECT length(rest) FROM runs ORDER BY rowid DESC LIMIT 1",
        "SELECT length(definition) FROM flow_versions ORDER BY rowid DESC LIMIT 1",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(looks) && inner == NULL; i++) {
        g_free(query_text(db, looks[i], &inner)); /* what it is does not matter, that it can be read does */
    }
    if (inner == NULL && size_of(path) <= WHOLE_CHECK_MAX_BYTES) {
        g_autofree char *found = query_text(db, "PRAGMA quick_check(1)", &inner);
        if (found != NULL && strcmp(found, "ok") != 0) {
            g_strdelimit(found, "\n", ' '); /* an error is one line */
            g_set_error_literal(&inner, FLOWOPS_ERROR, FLOWOPS_INVALID, found);
        }
    }
    return inner == NULL || refuse(error, "%s is corrupt: %s", path, inner->message);
}

bool file_probe(const char *path, int max_version, GError **error)
{
    g_autofree char *uri = probe_uri(path);
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    bool is_sound = false;
    if (rc == SQLITE_OK) {
        (void)sqlite3_busy_timeout(db, 1000);
        is_sound = probe_inside(db, path, max_version, error);
    } else {
        set_sqlite_error(error, db, rc, "open the database");
    }
    sqlite3_close(db);
    return is_sound;
}
