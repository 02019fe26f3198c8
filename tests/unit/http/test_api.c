/* The api from request to reply, with a service that answers when told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake.h"
#include "http/api.h"
#include "http/routes.h"

#define BASE "/api/executions"
#define ME "0190a0a0-0000-7000-8000-00000000000a"
#define STRANGER "0190a0a0-0000-7000-8000-00000000000b"
#define FLOW "0190a0a0-0000-7000-8000-00000000000f"
#define RUN "0190a0a0-0000-7000-8000-000000000001"
#define HOST "Host: localhost:8080"
#define JSON HOST "\nContent-Type: application/json"
#define META "\"metadata\":{\"timestamp\":\"2026-01-31T09:16:40.123Z\",\"success\":"

static const unsigned char SECRET[API_SECRET_SIZE] = "0123456789abcdef0123456789abcde";

static const unsigned char *cursor_secret(void *arg)
{
    (void)arg;
    return SECRET;
}
static Api *api;

static Api *make_api(AuthMode mode, const char *secret)
{
    ApiOptions options = {.auth_mode = mode,
                          .gateway_secret = secret,
                          .local_user = {ME},
                          .cursor_secret = cursor_secret,
                          .n_loops = 1,
                          .version = "1.2.3"};
    return api_new(&options, NULL, fake.hub, fake.clock);
}

static int setup(void **state)
{
    (void)state;
    fake_init();
    api = make_api(AUTH_NONE, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    api_free(api);
    fake_done();
    return 0;
}

static void reply_done(Reply **reply)
{
    if (*reply)
        reply_free(*reply);
}
#define REPLY __attribute__((cleanup(reply_done))) Reply

static void expect_status(const Reply *reply, int status)
{
    if (reply->status != status)
        fail_msg("%d instead of %d: %s", reply->status, status, reply->body->str);
}

static void expect_in_body(const Reply *reply, const char *text)
{
    if (!strstr(reply->body->str, text))
        fail_msg("no %s in %s", text, reply->body->str);
}

/* One request that is answered at once. */
static void expect(HttpMethod method, const char *target, const char *headers, const char *body, int status,
                   const char *text)
{
    REPLY *reply = fake_request(api, method, target, headers, body);
    expect_status(reply, status);
    expect_in_body(reply, text);
}

static GString *gstring(const char *text)
{
    return g_string_new(text);
}

/* ---- the way to a handler ---- */

static void test_every_route_of_the_contract(void **state)
{
    (void)state;
    static const struct {
        HttpMethod method;
        const char *path;
    } calls[] = {
        {HTTP_POST, BASE "/flows"},
        {HTTP_GET, BASE "/flows"},
        {HTTP_GET, BASE "/flows/" FLOW},
        {HTTP_PUT, BASE "/flows/" FLOW},
        {HTTP_DELETE, BASE "/flows/" FLOW},
        {HTTP_POST, BASE "/flows/" FLOW "/start"},
        {HTTP_GET, BASE "/flows/" FLOW "/runs"},
        {HTTP_GET, BASE "/flows/" FLOW "/schedule"},
        {HTTP_GET, BASE "/flows/" FLOW "/schedule/decisions"},
        {HTTP_POST, BASE "/schedules/preview"},
        {HTTP_POST, BASE "/flows/" FLOW "/backfill"},
        {HTTP_GET, BASE "/flows/" FLOW "/backfills"},
        {HTTP_GET, BASE "/flows/" FLOW "/backfills/" RUN},
        {HTTP_POST, BASE "/flows/" FLOW "/backfills/" RUN "/pause"},
        {HTTP_POST, BASE "/flows/" FLOW "/backfills/" RUN "/resume"},
        {HTTP_POST, BASE "/flows/" FLOW "/backfills/" RUN "/cancel"},
        {HTTP_GET, BASE "/runs"},
        {HTTP_POST, BASE "/runs/" RUN "/pause"},
        {HTTP_POST, BASE "/runs/" RUN "/resume"},
        {HTTP_POST, BASE "/runs/" RUN "/stop"},
        {HTTP_GET, BASE "/runs/" RUN "/status"},
        {HTTP_GET, BASE "/runs/" RUN "/events"},
        {HTTP_DELETE, BASE "/runs/" RUN},
        {HTTP_GET, BASE "/stream/" RUN},
        {HTTP_GET, "/healthz"},
        {HTTP_GET, "/readyz"},
        {HTTP_GET, "/metrics"},
    };
    size_t n_routes;
    const Route *routes = api_routes(&n_routes);
    assert_int_equal(n_routes, G_N_ELEMENTS(calls));
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        RouteMatch match = routes_match(routes, n_routes, calls[i].method, calls[i].path);
        assert_int_equal(match.outcome, ROUTE_FOUND);
        assert_int_equal(match.route->is_public, !g_str_has_prefix(calls[i].path, BASE));
    }
}

static void test_unknown_path(void **state)
{
    (void)state;
    expect(HTTP_GET, BASE "/nothing", HOST, NULL, 404,
           "{\"errors\":[{\"code\":\"NOT_FOUND\",\"message\":\"there is nothing at this path\"}]," META
           "false,\"requestId\":\"req-1\"}}");
}

static void test_wrong_method(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_POST, BASE "/runs/" RUN "/status", HOST, NULL);
    expect_status(reply, 405);
    assert_string_equal(reply_header(reply, "Allow"), "GET, HEAD, OPTIONS");
    expect_in_body(reply, "METHOD_NOT_ALLOWED");
}

static void test_options(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_OPTIONS, BASE "/flows/" FLOW, HOST, NULL);
    expect_status(reply, 204);
    assert_string_equal(reply_header(reply, "Allow"), "GET, HEAD, PUT, DELETE, OPTIONS");
    assert_string_equal(reply->body->str, "");
}

static void test_bad_id(void **state)
{
    (void)state;
    expect(HTTP_GET, BASE "/flows/nonsense", HOST, NULL, 400, "\"INVALID_REQUEST\"");
    expect(HTTP_GET, BASE "/runs/0190a0a0-0000-7000-8000-0000000000011/status", HOST, NULL, 400, "not a UUID");
    expect(HTTP_GET, BASE "/stream/0190a0a0-0000-7000-8000-00000000000g", HOST, NULL, 400, "not a UUID");
}

static void test_host(void **state)
{
    (void)state;
    expect(HTTP_GET, "/healthz", "Host: evil.example", NULL, 400, "\"field\":\"Host\"");
    expect(HTTP_GET, "/healthz", NULL, NULL, 400, "loopback");
    expect(HTTP_GET, "/healthz", "Host: [::1]:8080", NULL, 200, "\"up\"");
}

static void test_gateway(void **state)
{
    (void)state;
    Api *open = api;
    api = make_api(AUTH_GATEWAY, "hush");
    REPLY *reply = fake_request(api, HTTP_GET, BASE "/flows", "X-Gateway-Secret: hush", NULL);
    expect_status(reply, 401);
    assert_non_null(reply_header(reply, "WWW-Authenticate"));
    expect_in_body(reply, "\"UNAUTHENTICATED\"");
    expect(HTTP_GET, BASE "/flows", "X-User-Id: " ME, NULL, 401, "X-Gateway-Secret is missing");
    expect(HTTP_GET, BASE "/flows", "X-Gateway-Secret: hus\nX-User-Id: " ME, NULL, 401, "X-Gateway-Secret is wrong");
    expect(HTTP_GET, BASE "/flows", "X-Gateway-Secret: hush\nX-User-Id: me", NULL, 401, "not a UUID");
    expect(HTTP_GET, BASE "/flows", "X-Gateway-Secret: hush\nX-User-Id: " ME "\nX-User-Id: " STRANGER, NULL, 401,
           "UUID");
    expect(HTTP_GET, BASE "/flows/nonsense", NULL, NULL, 401, "UNAUTHENTICATED"); /* who asks comes before what */
    expect(HTTP_GET, "/healthz", NULL, NULL, 200, "1.2.3");

    REPLY *good =
        fake_request(api, HTTP_GET, BASE "/runs/" RUN "/status", "X-Gateway-Secret: hush\nX-User-Id: " STRANGER, NULL);
    ServiceCall *call = fake_call(CALL_GET_RUN);
    assert_string_equal(call->caller.text, STRANGER);
    fake_answer(call, RESULT_NOT_FOUND, "no run");
    expect_status(good, 404);
    api_free(api);
    api = open;
}

/* ---- bodies ---- */

static void test_bodies(void **state)
{
    (void)state;
    expect(HTTP_POST, BASE "/flows", HOST, "{}", 415, "\"UNSUPPORTED_MEDIA_TYPE\"");
    expect(HTTP_POST, BASE "/flows", HOST "\nContent-Type: text/plain", "{}", 415, "application/json");
    expect(HTTP_POST, BASE "/flows", HOST, NULL, 400, "line 1, column 1");
    expect(HTTP_POST, BASE "/flows", JSON, "{\n\"name\": ]", 400, "line 2, column");
    expect(HTTP_PUT, BASE "/flows/" FLOW, JSON, "[]", 400, "the body must be an object, not array");
    expect(HTTP_POST, BASE "/flows/" FLOW "/start", HOST, "{}", 415, "UNSUPPORTED");
    expect(HTTP_POST, BASE "/runs/" RUN "/stop", JSON, "{", 400, "\"INVALID_REQUEST\"");
}

static void test_a_bad_flow_never_reaches_the_service(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_POST, BASE "/flows", JSON, "{\"name\":\" \",\"description\":1}");
    expect_status(reply, 400);
    expect_in_body(reply, "\"field\":\"name\"");
    expect_in_body(reply, "\"field\":\"description\"");
    assert_null(fake_call(CALL_CREATE_FLOW));
}

/* ---- flows ---- */

static void test_create_flow(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_POST, BASE "/flows", JSON "; charset=utf-8", "{\"name\":\"n\"}");
    ServiceCall *call = fake_call(CALL_CREATE_FLOW);
    assert_int_equal(reply->status, 0);
    assert_string_equal(call->caller.text, ME);
    assert_string_equal(call->flow->owner.text, ME);
    assert_string_equal(call->flow->name, "n");
    g_autofree char *location = g_strdup_printf(BASE "/flows/%s", call->flow->id.text);
    call->data = gstring("{\"id\":1}");
    call->tag = 1;
    fake_answer(call, RESULT_OK, NULL);
    expect_status(reply, 201);
    assert_string_equal(reply_header(reply, "Location"), location);
    assert_string_equal(reply_header(reply, "ETag"), "\"1\"");
    assert_string_equal(reply_header(reply, "Content-Type"), "application/json");
    expect_in_body(reply, "{\"data\":{\"id\":1}," META "true");
}

static void test_get_flow_and_its_conditions(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        int status;
    } cases[] = {{HOST, 200},
                 {HOST "\nIf-None-Match: \"3\"", 200},
                 {HOST "\nIf-None-Match: W/\"4\"", 304},
                 {HOST "\nIf-None-Match: \"1\"\nIf-None-Match: \"4\"", 304},
                 {HOST "\nIf-None-Match: *", 304},
                 {HOST "\nIf-None-Match: 4", 400},
                 {HOST "\nIf-Match: \"4\"", 200},
                 {HOST "\nIf-Match: \"5\"", 412},
                 {HOST "\nIf-Match: x", 400}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        REPLY *reply =
            fake_request(api, HTTP_GET, BASE "/flows/0190A0A0-0000-7000-8000-00000000000F/", cases[i].headers, NULL);
        ServiceCall *call = fake_call(CALL_GET_FLOW);
        assert_string_equal(call->flow_id.text, FLOW);
        call->data = gstring("{}");
        call->tag = 4;
        fake_answer(call, RESULT_OK, NULL);
        expect_status(reply, cases[i].status);
        if (reply->status == 200 || reply->status == 304)
            assert_string_equal(reply_header(reply, "ETag"), "\"4\"");
    }
}

static void test_update_flow(void **state)
{
    (void)state;
    REPLY *reply =
        fake_request(api, HTTP_PUT, BASE "/flows/" FLOW, JSON "\nIf-Match: \"7\", \"9\"", "{\"name\":\"x\"}");
    ServiceCall *call = fake_call(CALL_UPDATE_FLOW);
    assert_true(call->precondition.is_set && !call->precondition.is_any);
    assert_int_equal(call->precondition.n_tags, 2);
    assert_string_equal(json_text(json_get(call->body, "name")), "x");
    call->data = gstring("{}");
    call->tag = 8;
    fake_answer(call, RESULT_OK, NULL);
    expect_status(reply, 200);
    assert_string_equal(reply_header(reply, "ETag"), "\"8\"");
}

static void test_update_faults_come_from_the_service(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_PUT, BASE "/flows/" FLOW, JSON, "{}");
    ServiceCall *call = fake_call(CALL_UPDATE_FLOW);
    call->faults = faults_new();
    faults_add(call->faults, "name", NULL, "is needed");
    fake_answer(call, RESULT_INVALID, "the flow is not valid");
    expect_status(reply, 400);
    expect_in_body(reply, "\"errors\":[{\"code\":\"VALIDATION_ERROR\",\"message\":\"is needed\",\"field\":\"name\"}]");
}

static void test_delete_flow(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_DELETE, BASE "/flows/" FLOW "?force=true", HOST "\nIf-Match: *", NULL);
    ServiceCall *call = fake_call(CALL_DELETE_FLOW);
    assert_true(call->is_forced);
    assert_true(call->precondition.is_any);
    fake_answer(call, RESULT_OK, NULL);
    expect_status(reply, 204);
    assert_string_equal(reply->body->str, "");
    expect(HTTP_DELETE, BASE "/flows/" FLOW "?force=yes", HOST, NULL, 400, "\"field\":\"force\"");
}

static void test_lists(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_GET, BASE "/flows?page=2&pageSize=1", HOST, NULL);
    ServiceCall *call = fake_call(CALL_LIST_FLOWS);
    assert_int_equal(call->query.skip, 2);
    assert_string_equal(call->query.owner, ME);
    call->list = g_new0(ListPage, 1);
    call->list->items = g_new0(ListItem, 1);
    call->list->n_items = 1;
    call->list->has_more = true;
    call->list->total = 9;
    call->list->items[0] = (ListItem){.json = g_strdup("{\"n\":1}"), .size = 7, .position = {5, {FLOW}}};
    fake_answer(call, RESULT_OK, NULL);
    expect_status(reply, 200);
    expect_in_body(
        reply,
        "{\"data\":[{\"n\":1}]," META
        "true,\"requestId\":\"req-1\",\"totalCount\":9,\"pageSize\":1,\"currentPage\":2,\"additional\":{\"nextCursor\":\"");

    const char *start = strstr(reply->body->str, "nextCursor\":\"") + strlen("nextCursor\":\"");
    g_autofree char *cursor = g_strndup(start, strcspn(start, "\""));
    g_autofree char *target = g_strdup_printf(BASE "/flows?cursor=%s", cursor);
    REPLY *next = fake_request(api, HTTP_GET, target, HOST, NULL);
    call = fake_call(CALL_LIST_FLOWS);
    assert_true(call->query.after->created_at == 5);
    call->list = g_new0(ListPage, 1);
    call->list->total = -1;
    fake_answer(call, RESULT_OK, NULL);
    expect_in_body(next, "{\"data\":[]," META "true,\"requestId\":\"req-1\",\"pageSize\":50}}");

    g_autofree char *stolen = g_strdup_printf(HOST "\nX-User-Id: %s", STRANGER);
    expect(HTTP_GET, target, stolen, NULL, 400, "\"field\":\"cursor\"");
    expect(HTTP_GET, BASE "/runs?status=DONE&page=-1", HOST, NULL, 400, "\"field\":\"status\"");
}

static void test_list_runs_of_a_flow(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_GET, BASE "/flows/" FLOW "/runs?status=FAILED", HOST, NULL);
    ServiceCall *call = fake_call(CALL_LIST_RUNS);
    assert_string_equal(call->query.flow_id, FLOW);
    assert_int_equal(*call->query.status, RUN_FAILED);
    fake_answer(call, RESULT_UNAVAILABLE, "database disk image is malformed");
    expect_status(reply, 503);
    assert_null(strstr(reply->body->str, "malformed"));
}

/* ---- runs ---- */

static void test_start(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_POST, BASE "/flows/" FLOW "/start", HOST, NULL);
    ServiceCall *call = fake_call(CALL_START_RUN);
    assert_string_equal(call->flow_id.text, FLOW);
    assert_null(call->start.triggered_by);
    assert_null(call->start.idempotency_key);
    g_strlcpy(call->run_id.text, RUN, ID_TEXT_SIZE);
    fake_answer(call, RESULT_OK, NULL);
    expect_status(reply, 202);
    assert_string_equal(reply_header(reply, "Location"), BASE "/runs/" RUN "/status");
    expect_in_body(reply, "{\"data\":\"" RUN "\"," META);
}

static void test_start_with_everything(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_POST, BASE "/flows/" FLOW "/start", JSON "\nIdempotency-Key: k-1",
                                "{\"triggeredBy\":\"system\",\"inputs\":{\"a\":\"b\"}}");
    ServiceCall *call = fake_call(CALL_START_RUN);
    assert_string_equal(call->start.triggered_by, "system");
    assert_string_equal(call->start.idempotency_key, "k-1");
    assert_string_equal(text_map_find(&call->start.inputs, "a"), "b");
    fake_answer(call, RESULT_CONFLICT, "this Idempotency-Key was used with another body");
    expect_status(reply, 409);
    expect_in_body(reply, "{\"code\":\"CONFLICT\",\"message\":\"this Idempotency-Key was used with another body\"}");
    expect(HTTP_POST, BASE "/flows/" FLOW "/start", HOST "\nIdempotency-Key: a\nIdempotency-Key: b", NULL, 400,
           "\"field\":\"Idempotency-Key\"");
    expect(HTTP_POST, BASE "/flows/" FLOW "/start", JSON, "{\"flowId\":\"" RUN "\"}", 400, "\"field\":\"flowId\"");
}

static void test_commands(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        CommandKind command;
        bool is_forced;
    } cases[] = {{"pause", COMMAND_PAUSE, false},
                 {"resume", COMMAND_RESUME, false},
                 {"stop", COMMAND_STOP, false},
                 {"stop?force=true", COMMAND_STOP, true},
                 {"pause?force=true", COMMAND_PAUSE, false}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *target = g_strdup_printf(BASE "/runs/" RUN "/%s", cases[i].path);
        REPLY *reply = fake_request(api, HTTP_POST, target, HOST "\nIf-Match: \"3\"", NULL);
        ServiceCall *call = fake_call(CALL_COMMAND_RUN);
        assert_int_equal(call->command, cases[i].command);
        assert_int_equal(call->is_forced, cases[i].is_forced);
        assert_int_equal(call->precondition.tags[0], 3);
        call->view = fake_view(RUN, ME, RUN_RUNNING, PHASE_OPEN, 4, "{\"seq\":4}");
        fake_answer(call, i % 2 ? RESULT_NOTHING_TO_DO : RESULT_OK, NULL);
        expect_status(reply, i % 2 ? 200 : 202);
        assert_string_equal(reply_header(reply, "ETag"), "\"4\"");
        expect_in_body(reply, "{\"data\":{\"seq\":4},");
    }
}

static void test_status_from_memory(void **state)
{
    (void)state;
    fake_set_view(fake_view(RUN, ME, RUN_COMPLETED, PHASE_SETTLED, 12, "{\"seq\":12}"));
    REPLY *reply = fake_request(api, HTTP_GET, BASE "/runs/" RUN "/status", HOST, NULL);
    expect_status(reply, 200);
    assert_string_equal(reply_header(reply, "ETag"), "\"12\"");
    assert_string_equal(reply->body->str, "{\"data\":{\"seq\":12}," META "true,\"requestId\":\"req-1\"}}");
    REPLY *cached = fake_request(api, HTTP_GET, BASE "/runs/" RUN "/status", HOST "\nIf-None-Match: \"12\"", NULL);
    expect_status(cached, 304);
    REPLY *head = fake_request(api, HTTP_HEAD, BASE "/runs/" RUN "/status", HOST, NULL);
    expect_status(head, 200);
    assert_string_equal(head->body->str, "");
}

static void test_somebody_elses_run_is_as_one_that_is_not(void **state)
{
    (void)state;
    fake_set_view(fake_view(RUN, STRANGER, RUN_RUNNING, PHASE_OPEN, 12, "{}"));
    REPLY *theirs = fake_request(api, HTTP_GET, BASE "/runs/" RUN "/status", HOST, NULL);
    fake_answer(fake_call(CALL_GET_RUN), RESULT_NOT_FOUND, "no run " RUN);
    REPLY *nobodys = fake_request(api, HTTP_GET, BASE "/runs/" RUN "/status", HOST, NULL);
    fake_answer(fake_call(CALL_GET_RUN), RESULT_NOT_FOUND, "no run " RUN);
    expect_status(theirs, 404);
    assert_string_equal(theirs->body->str, nobodys->body->str);
    assert_string_equal(theirs->headers->str, nobodys->headers->str);
}

static void test_events(void **state)
{
    (void)state;
    REPLY *reply = fake_request(api, HTTP_GET, BASE "/runs/" RUN "/events?after=4&limit=2", HOST, NULL);
    ServiceCall *call = fake_call(CALL_READ_EVENTS);
    assert_int_equal(call->after, 4);
    assert_int_equal(call->limit, 2);
    call->journal = g_new0(JournalPage, 1);
    call->journal->texts = g_ptr_array_new();
    call->journal->entries = g_new0(JournalEntry, 2);
    call->journal->n_entries = 2;
    call->journal->has_more = true;
    call->journal->entries[0] = (JournalEntry){5, "{\"seq\":5}", 9};
    call->journal->entries[1] = (JournalEntry){6, "{\"seq\":6}", 9};
    fake_answer(call, RESULT_OK, NULL);
    expect_status(reply, 200);
    expect_in_body(reply, "{\"data\":[{\"seq\":5},{\"seq\":6}]," META
                          "true,\"requestId\":\"req-1\",\"pageSize\":2,\"additional\":{\"nextCursor\":\"6\"}}}");
    expect(HTTP_GET, BASE "/runs/" RUN "/events?limit=0", HOST, NULL, 400, "\"field\":\"limit\"");
    expect(HTTP_GET, BASE "/runs/" RUN "/events?limit=1001&after=x", HOST, NULL, 400, "\"field\":\"after\"");
}

/* ---- outcomes ---- */

static void test_outcomes(void **state)
{
    (void)state;
    static const struct {
        CallResult result;
        int status;
        const char *text;
        const char *retry_after;
    } cases[] = {
        {RESULT_INVALID, 400, "\"VALIDATION_ERROR\"", NULL},
        {RESULT_NOT_FOUND, 404, "{\"code\":\"NOT_FOUND\",\"message\":\"told\"}", NULL},
        {RESULT_CONFLICT, 409, "{\"code\":\"CONFLICT\",\"message\":\"told\"}", NULL},
        {RESULT_PRECONDITION_FAILED, 412, "\"PRECONDITION_FAILED\"", NULL},
        {RESULT_BUSY, 503, "\"additional\":{\"outcome\":\"none\"}", "1"},
        {RESULT_UNAVAILABLE, 503, "\"additional\":{\"outcome\":\"none\"}", "1"},
        {RESULT_UNKNOWN, 503, "\"additional\":{\"outcome\":\"unknown\"}", "1"},
        {RESULT_INTERNAL, 500, "\"INTERNAL_ERROR\"", NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        REPLY *reply = fake_request(api, HTTP_POST, BASE "/flows/" FLOW "/start", HOST, NULL);
        fake_answer(fake_call(CALL_START_RUN), cases[i].result, "told");
        expect_status(reply, cases[i].status);
        expect_in_body(reply, cases[i].text);
        if (cases[i].retry_after)
            assert_string_equal(reply_header(reply, "Retry-After"), cases[i].retry_after);
        else
            assert_null(reply_header(reply, "Retry-After"));
        bool may_tell = cases[i].result != RESULT_INTERNAL && cases[i].result != RESULT_UNAVAILABLE &&
                        cases[i].result != RESULT_UNKNOWN;
        assert_int_equal(strstr(reply->body->str, "told") != NULL, may_tell);
    }
}

static void test_full_queue(void **state)
{
    (void)state;
    fake.is_busy = true;
    REPLY *reply = fake_request(api, HTTP_POST, BASE "/runs/" RUN "/stop", HOST, NULL);
    expect_status(reply, 503);
    assert_string_equal(reply_header(reply, "Retry-After"), "1");
    expect_in_body(reply, "\"outcome\":\"none\"");
    expect_in_body(reply, "too many requests are waiting");
}

/* ---- health and the end ---- */

static void test_health(void **state)
{
    (void)state;
    expect(HTTP_GET, "/healthz", HOST, NULL, 200, "{\"data\":{\"status\":\"up\",\"version\":\"1.2.3\",\"startedAt\":");
    expect(
        HTTP_GET, "/readyz", HOST, NULL, 200,
        "{\"data\":{\"status\":\"ready\",\"reason\":null,\"components\":{\"store\":{\"status\":\"up\",\"reason\":null},\"bus\":{\"status\":\"up\",\"reason\":null}}}");
    fake.is_store_impaired = true;
    expect(HTTP_GET, "/readyz", HOST, NULL, 200,
           "\"components\":{\"store\":{\"status\":\"degraded\",\"reason\":\"the store lacks");
    fake.is_bus_down = true;
    expect(
        HTTP_GET, "/readyz", HOST, NULL, 200,
        "{\"status\":\"degraded\",\"reason\":\"the store lacks indexes, lists may be slow; the log says why; the bus is down");
    fake.is_store_impaired = false;
    expect(HTTP_GET, "/readyz", HOST, NULL, 200, "{\"status\":\"degraded\",\"reason\":\"the bus is down");
    expect(HTTP_GET, "/readyz", HOST, NULL, 200, "\"bus\":{\"status\":\"down\",\"reason\":\"the bus is down");
    fake.is_store_down = true;
    expect(HTTP_GET, "/readyz", HOST, NULL, 503, "the store does not answer; the bus is down");
    REPLY *reply = fake_request(api, HTTP_GET, "/metrics", HOST, NULL);
    expect_status(reply, 200);
    assert_string_equal(reply_header(reply, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    expect_in_body(reply, "# TYPE flowops_runs_open gauge\nflowops_runs_open 7\n");
    expect_in_body(reply, "flowops_store_up 0\n");
    expect_in_body(reply, "flowops_http_requests_total{method=\"GET\",route=\"/readyz\",status=\"200\"} 5\n"
                          "flowops_http_requests_total{method=\"GET\",route=\"/readyz\",status=\"503\"} 1\n");
    assert_null(strstr(reply->body->str, "http_connections"));
    api_set_server(api, (HttpServer *)(void *)api); /* any: the fake does not look */
    expect(HTTP_GET, "/metrics", HOST, NULL, 200, "flowops_http_connections 3\n");
}

/* Ids, unknown paths and methods make no series of their own. */
static void test_requests_are_counted_by_route(void **state)
{
    (void)state;
    static const char *const paths[] = {"/nowhere", BASE "/" ME, "/healthz/x"};
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++)
        expect(HTTP_GET, paths[i], HOST, NULL, 404, "");
    expect(HTTP_PUT, "/healthz", HOST, NULL, 405, "");
    expect(HTTP_OPTIONS, "/healthz", HOST, NULL, 204, "");
    expect(HTTP_GET, "/healthz", "Host: example.com", NULL, 400, "");
    expect(HTTP_GET, BASE "/runs/x/status", HOST, NULL, 400, "");
    expect(HTTP_HEAD, "/healthz", HOST, NULL, 200, "");
    for (int i = 0; i < 2; i++) {
        REPLY *reply = fake_request(api, HTTP_POST, BASE "/flows/" FLOW "/start", HOST, NULL);
        clock_fake_advance(fake.clock, 20 + 4000 * i);
        fake_answer(fake_call(CALL_START_RUN), RESULT_NOT_FOUND, "told");
        expect_status(reply, 404);
    }
    g_autoptr(GString) out = g_string_new(NULL);
    api_error_body(431, "too much", "r", out, api);
    REPLY *reply = fake_request(api, HTTP_GET, "/metrics", HOST, NULL);
    static const char other[] = "flowops_http_requests_total{method=\"other\",route=\"other\",status=";
    static const char start[] = "method=\"POST\",route=\"" BASE "/flows/{id}/start\"";
    static const struct {
        const char *before, *after;
    } lines[] = {
        {other, "\"404\"} 3\n"},
        {other, "\"405\"} 1\n"},
        {other, "\"204\"} 1\n"},
        {other, "\"400\"} 1\n"},
        {"flowops_http_requests_total{method=\"GET\",route=\"" BASE "/runs/{id}/status\",status=", "\"400\"} 1\n"},
        {"flowops_http_requests_total{method=\"GET\",route=\"/healthz\",status=", "\"200\"} 1\n"},
        {"flowops_http_request_duration_seconds_bucket{", ",le=\"0.01\"} 0\n"},
        {"flowops_http_request_duration_seconds_bucket{", ",le=\"0.025\"} 1\n"},
        {"flowops_http_request_duration_seconds_bucket{", ",le=\"5\"} 2\n"},
        {"flowops_http_request_duration_seconds_sum{", "} 4.040000\n"},
        {"flowops_http_request_duration_seconds_count{", "} 2\n"},
        {"flowops_http_refused_total{status=", "\"431\"} 1\n"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        bool is_of_start = g_str_has_suffix(lines[i].before, "seconds_bucket{") ||
                           strstr(lines[i].before, "seconds_sum") || strstr(lines[i].before, "seconds_count");
        g_autofree char *line = g_strconcat(lines[i].before, is_of_start ? start : "", lines[i].after, NULL);
        expect_in_body(reply, line);
    }
    assert_null(strstr(reply->body->str, ME));
    assert_null(strstr(reply->body->str, FLOW));
}

static void test_error_body(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    api_error_body(431, "too much", "r", out, api);
    assert_string_equal(out->str, "{\"errors\":[{\"code\":\"HEADERS_TOO_LARGE\",\"message\":\"too much\"}]," META
                                  "false,\"requestId\":\"r\"}}");
}

int main(void)
{
#define WITH_API(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_API(test_every_route_of_the_contract),
        WITH_API(test_unknown_path),
        WITH_API(test_wrong_method),
        WITH_API(test_options),
        WITH_API(test_bad_id),
        WITH_API(test_host),
        WITH_API(test_gateway),
        WITH_API(test_bodies),
        WITH_API(test_a_bad_flow_never_reaches_the_service),
        WITH_API(test_create_flow),
        WITH_API(test_get_flow_and_its_conditions),
        WITH_API(test_update_flow),
        WITH_API(test_update_faults_come_from_the_service),
        WITH_API(test_delete_flow),
        WITH_API(test_lists),
        WITH_API(test_list_runs_of_a_flow),
        WITH_API(test_start),
        WITH_API(test_start_with_everything),
        WITH_API(test_commands),
        WITH_API(test_status_from_memory),
        WITH_API(test_somebody_elses_run_is_as_one_that_is_not),
        WITH_API(test_events),
        WITH_API(test_outcomes),
        WITH_API(test_full_queue),
        WITH_API(test_health),
        WITH_API(test_requests_are_counted_by_route),
        WITH_API(test_error_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
