/* test_flow_request.c - what a client may send for a flow: what becomes of it, every fault with its exact path and
 * message, limits, and that hostile bodies stay cheap. Bodies are written with ' for ". */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "domain/flow_internal.h"

#define ID(n) "0191aaaa-0000-7000-8000-0000000000" n
#define S1 ID("01")
#define S2 ID("02")
#define S3 ID("03")
#define S4 ID("04")
#define UNKNOWN ID("ff")
#define FLOW_ID ID("f0")
#define OWNER "0191cccc-0000-7000-8000-000000000001"
#define ACTOR "0191cccc-0000-7000-8000-000000000002"
#define NOW INT64_C(1769850000123)

static Id make_id(void *arg)
{
    unsigned *n = arg;
    Id id;
    g_snprintf(id.text, sizeof(id.text), "0191dddd-0000-7000-8000-%012x", ++*n);
    return id;
}

static JsonValue *parse(const char *text)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    g_autoptr(GError) error = NULL;
    JsonValue *value = NULL;
    if (!json_parse(json, strlen(json), 4 * FLOW_MAX_DEPTH + 64, &value, &error))
        fail_msg("%.200s: %s", text, error->message);
    return value;
}

static FlowOrigin origin_of(unsigned *n_ids)
{
    FlowOrigin origin = {.now_ms = NOW, .make_id = make_id, .make_id_arg = n_ids};
    g_strlcpy(origin.flow_id.text, FLOW_ID, ID_TEXT_SIZE);
    g_strlcpy(origin.owner.text, OWNER, ID_TEXT_SIZE);
    g_strlcpy(origin.actor.text, OWNER, ID_TEXT_SIZE);
    return origin;
}

static Flow *create(const char *text, Faults *faults)
{
    unsigned n_ids = 0;
    FlowOrigin origin = origin_of(&n_ids);
    g_autoptr(JsonValue) body = parse(text);
    return flow_create(body, &origin, faults);
}

/* `field: message [rejected]`, one line each. */
static char *list_faults(const Faults *faults)
{
    GString *out = g_string_new(NULL);
    for (size_t i = 0; i < faults_count(faults); i++) {
        const Fault *fault = faults_at(faults, i);
        g_string_append_printf(out, "%s%s: %s", i == 0 ? "" : "\n", fault->field == NULL ? "-" : fault->field,
                               fault->message);
        if (fault->rejected != NULL)
            g_string_append_printf(out, " [%s]", fault->rejected);
    }
    g_strdelimit(out->str, "\"", '\'');
    return g_string_free(out, FALSE);
}

static Flow *create_valid(const char *text)
{
    g_autoptr(Faults) faults = faults_new();
    Flow *flow = create(text, faults);
    if (flow == NULL) {
        g_autofree char *listed = list_faults(faults);
        fail_msg("%s: %s", text, listed);
    }
    assert_int_equal(faults_count(faults), 0);
    return flow;
}

static void assert_faults(const char *text, const char *expected)
{
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) flow = create(text, faults);
    g_autofree char *found = list_faults(faults);
    assert_string_equal(found, expected);
    assert_null(flow);
}

static void the_least_flow_is_a_name(void **state)
{
    (void)state;
    g_autoptr(Flow) flow = create_valid("{'name':'n'}");
    assert_string_equal(flow->name, "n");
    assert_string_equal(flow->id.text, FLOW_ID);
    assert_string_equal(flow->owner.text, OWNER);
    assert_string_equal(flow->created_by.text, OWNER);
    assert_int_equal(flow->version, 1);
    assert_true(flow->created_at == NOW && flow->updated_at == NOW);
    assert_null(flow->description);
    assert_null(flow->cron);
    assert_int_equal(flow->n_flat, 0);
    assert_string_equal(flow->steps_json, "[]");
}

static void null_is_absent_and_the_unknown_is_ignored(void **state)
{
    (void)state;
    g_autoptr(Flow) flow = create_valid(
        "{'name':'n','description':null,'cron':null,'timezone':null,'labels':null,'id':5,'createdAt':[],'steps':["
        "{'stepId':null,'pluginId':'echo','type':'action','inputs':{'a':null,'b':''},'outputs':null,'condition':null,"
        "'branches':null,'children':null,'config':null,'colour':{}},"
        "{'type':'Decision','pluginId':null,'branches':[{'branchId':null,'condition':null,'steps':null,'x':1}],"
        "'config':{'timeoutMs':null}}]}");
    assert_int_equal(flow->n_flat, 2);
    assert_int_equal(flow->flat[0]->inputs.n_pairs, 1);
    assert_false(flow->flat[1]->config.has_timeout);
    assert_string_equal(flow->flat[0]->step_id.text, "0191dddd-0000-7000-8000-000000000001");
    assert_string_equal(flow->flat[1]->step_id.text, "0191dddd-0000-7000-8000-000000000002");
    assert_string_equal(flow->flat[1]->branches[0].branch_id.text, "0191dddd-0000-7000-8000-000000000003");
    assert_int_equal(flow->flat[1]->type, STEP_DECISION);
}

static void a_whole_flow_is_taken_as_it_is(void **state)
{
    (void)state;
    g_autoptr(Flow) flow =
        create_valid("{'name':' Nightly ','description':'','cron':'0 9 * * mon-fri','timezone':'Europe/Berlin',"
                     "'labels':{'env':'prod','a.b':''},'steps':["
                     "{'stepId':'" S1 "','pluginId':'0191EEEE-0000-7000-8000-000000000001','type':'ACTION',"
                     "'inputs':{'url':'http://example.com/${run.inputs.path}'},'outputs':{'status':'integer'},"
                     "'config':{'timeoutMs':86400000,'retryCount':100,'retryDelayMs':0}},"
                     "{'stepId':'" S2 "','type':'DECISION','condition':'" S1 ".status < 500','branches':["
                     "{'branchId':'" ID("b1") "','condition':'${" S1 ".status} == 200','steps':["
                                              "{'stepId':'" S3
                                              "','pluginId':'delay','type':'ACTION','inputs':{'ms':'" S1 ".status'}}]},"
                                              "{'branchId':'" ID("b2") "'}],'children':[{'stepId':'" S4
                                                                       "','pluginId':'fail','type':'ACTION'}]}]}");
    assert_string_equal(flow->name, " Nightly ");
    assert_string_equal(flow->description, "");
    assert_string_equal(flow->flat[0]->plugin_id, "0191eeee-0000-7000-8000-000000000001");
    assert_int_equal(flow->flat[0]->config.timeout_ms, 86400000);
    assert_true(flow->flat[0]->config.has_retry_delay);
    assert_string_equal(flow->flat[2]->step_id.text, S4); /* a child before the branches */
    assert_string_equal(flow->flat[3]->step_id.text, S3);
    assert_string_equal(text_map_find(&flow->labels, "env"), "prod");
}

static void uuids_become_lower_case_in_references_too(void **state)
{
    (void)state;
#define UP "0191AAAA-0000-7000-8000-0000000000AB"
#define LOW ID("ab")
    g_autoptr(Flow) flow = create_valid(
        "{'name':'n','steps':[{'stepId':'" UP "','pluginId':'echo','type':'ACTION'},"
        "{'pluginId':'echo','type':'ACTION','inputs':{'a':'X ${" UP ".KEY} ${" LOW ".K} $${" UP ".x}','b':'" UP ".KEY',"
        "'c':'" UP " is prose'},'condition':'${" UP ".A} && " UP ".B != \\'" UP "\\''},"
        "{'type':'DECISION','branches':[{'branchId':'" UP "','condition':'" UP ".c'}]}]}");
    const Step *step = flow->flat[1];
    assert_string_equal(flow->flat[0]->step_id.text, LOW);
    assert_string_equal(step->inputs.pairs[0].value, "X ${" LOW ".KEY} ${" LOW ".K} $${" UP ".x}");
    assert_string_equal(step->inputs.pairs[1].value, LOW ".KEY");
    assert_string_equal(step->inputs.pairs[2].value, UP " is prose");
    assert_string_equal(step->condition, "${" LOW ".A} && " LOW ".B != \"" UP "\"");
    assert_string_equal(flow->flat[2]->branches[0].branch_id.text, LOW);
    assert_string_equal(flow->flat[2]->branches[0].condition, LOW ".c");
    assert_non_null(strstr(flow->steps_json, "\"b\":\"" LOW ".KEY\""));
}

static void references_that_are_fine(void **state)
{
    (void)state;
    static const char *const STEPS[] = {
        /* forward */
        "{'stepId':'" S1 "','pluginId':'echo','type':'ACTION','inputs':{'a':'${" S2 ".x}'}},"
        "{'stepId':'" S2 "','pluginId':'echo','type':'ACTION'}",
        /* a child to its parent, a branch's step to its DECISION and to a step outside */
        "{'stepId':'" S1 "','pluginId':'echo','type':'ACTION','children':["
        "{'pluginId':'echo','type':'ACTION','inputs':{'a':'${" S1 ".x}'}}]},"
        "{'stepId':'" S2 "','type':'DECISION','branches':[{'steps':["
        "{'pluginId':'echo','type':'ACTION','inputs':{'a':'${" S2 ".x}${" S1 ".x}'}}]}]}",
        /* a diamond */
        "{'stepId':'" S1 "','pluginId':'echo','type':'ACTION','inputs':{'a':'${" S2 ".x}${" S3 ".x}'}},"
        "{'stepId':'" S2 "','pluginId':'echo','type':'ACTION','inputs':{'a':'${" S4 ".x}'}},"
        "{'stepId':'" S3 "','pluginId':'echo','type':'ACTION','inputs':{'a':'${" S4 ".x}'}},"
        "{'stepId':'" S4 "','pluginId':'echo','type':'ACTION'}",
        /* a branch looks at what its DECISION's plugin gave */
        "{'stepId':'" S1 "','pluginId':'echo','type':'DECISION','branches':[{'condition':'" S1 ".x == 1'}]}",
        /* a DECISION without branches, an ACTION with an empty list */
        "{'type':'DECISION'},{'pluginId':'echo','type':'ACTION','branches':[]}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(STEPS); i++) {
        g_autofree char *text = g_strdup_printf("{'name':'n','steps':[%s]}", STEPS[i]);
        g_autoptr(Flow) flow = create_valid(text);
        assert_true(flow->n_flat > 0);
    }
}

static void faults_of_a_flow(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"null", "-: the body must be an object, not null"},
        {"[]", "-: the body must be an object, not an array [[]]"},
        {"'x'", "-: the body must be an object, not a string ['x']"},
        {"{}", "name: is required"},
        {"{'name':null}", "name: is required"},
        {"{'name':''}", "name: must not be blank ['']"},
        {"{'name':' \\t\\u00a0\\u2003'}", "name: must not be blank [' \\t\xc2\xa0\xe2\x80\x83']"},
        {"{'name':5}", "name: must be a string, not an integer [5]"},
        {"{'name':1.5}", "name: must be a string, not a number with a fraction, an exponent or too many digits [1.5]"},
        {"{'name':true}", "name: must be a string, not a boolean [true]"},
        {"{'name':['a']}", "name: must be a string, not an array [['a']]"},
        {"{'name':'n','description':{}}", "description: must be a string, not an object [{}]"},
        {"{'name':'n','cron':5}", "cron: must be a string, not an integer [5]"},
        {"{'name':'n','cron':''}", "cron: column 1: the expression is empty; leave it out for no schedule ['']"},
        {"{'name':'n','cron':'61 * * * *'}", "cron: minute, column 1: expected 0 to 59, found 61 ['61 * * * *']"},
        {"{'name':'n','timezone':'Mars/Base'}",
         "timezone: expected an IANA time zone known here, such as Europe/Paris, or UTC ['Mars/Base']"},
        {"{'name':'n','labels':[]}", "labels: must be an object, not an array [[]]"},
        {"{'name':'n','labels':{'a':1,'b':'x','c':['y'],' ':'z'}}",
         "labels.a: must be a string, not an integer [1]\nlabels.c: must be a string, not an array [['y']]\n"
         "labels: a name in labels must not be blank and have at most 64 characters [' ']"},
        {"{'name':'n','steps':{}}", "steps: must be an array, not an object [{}]"},
        {"{'name':'n','steps':'x'}", "steps: must be an array, not a string ['x']"},
        {"{'name':'','description':1,'cron':'x','timezone':'y','labels':2,'steps':3}",
         "name: must not be blank ['']\ndescription: must be a string, not an integer [1]\n"
         "cron: column 1: expected five fields (minute, hour, day of month, month, day of week) or six with seconds "
         "first, found 1 ['x']\n"
         "timezone: expected an IANA time zone known here, such as Europe/Paris, or UTC ['y']\n"
         "labels: must be an object, not an integer [2]\nsteps: must be an array, not an integer [3]"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++)
        assert_faults(CASES[i].text, CASES[i].expected);
}

static void faults_of_steps(void **state)
{
    (void)state;
#define PLUGINS "must be a UUID or a built-in plugin (delay, echo, fail, transform)"
#define OK_STEP "'pluginId':'echo','type':'ACTION'"
    static const struct {
        const char *steps, *expected;
    } CASES[] = {
        {"null", "steps[0]: must be an object, not null"},
        {"5,'x',[]", "steps[0]: must be an object, not an integer [5]\n"
                     "steps[1]: must be an object, not a string ['x']\nsteps[2]: must be an object, not an array [[]]"},
        {"{}", "steps[0].type: is required: ACTION or DECISION"},
        {"{'type':'TASK','pluginId':'echo'}", "steps[0].type: must be ACTION or DECISION ['TASK']"},
        {"{'type':' ACTION','pluginId':'echo'}", "steps[0].type: must be ACTION or DECISION [' ACTION']"},
        {"{'type':1}", "steps[0].type: must be a string, not an integer [1]"},
        {"{'type':'ACTION'}", "steps[0].pluginId: is required for an ACTION"},
        {"{'type':'ACTION','pluginId':5}", "steps[0].pluginId: must be a string, not an integer [5]"},
        {"{'type':'ACTION','pluginId':''}", "steps[0].pluginId: " PLUGINS " ['']"},
        {"{'type':'ACTION','pluginId':'ecoh'}", "steps[0].pluginId: " PLUGINS "; did you mean echo? ['ecoh']"},
        {"{'type':'ACTION','pluginId':'Transform'}",
         "steps[0].pluginId: " PLUGINS "; did you mean transform? ['Transform']"},
        {"{'type':'ACTION','pluginId':'tranform'}",
         "steps[0].pluginId: " PLUGINS "; did you mean transform? ['tranform']"},
        {"{'type':'DECISION','pluginId':'zzz'}", "steps[0].pluginId: " PLUGINS " ['zzz']"},
        {"{" OK_STEP ",'stepId':'one'}", "steps[0].stepId: must be a UUID ['one']"},
        {"{" OK_STEP ",'stepId':1}", "steps[0].stepId: must be a string, not an integer [1]"},
        {"{" OK_STEP ",'inputs':{'a':1,'b':{},'c':'ok'}}", "steps[0].inputs.a: must be a string, not an integer [1]\n"
                                                           "steps[0].inputs.b: must be a string, not an object [{}]"},
        {"{" OK_STEP ",'inputs':{'':'x'}}",
         "steps[0].inputs: a name in inputs must not be blank and have at most 256 characters ['']"},
        {"{" OK_STEP ",'outputs':{'o':true}}", "steps[0].outputs.o: must be a string, not a boolean [true]"},
        {"{" OK_STEP ",'condition':5}", "steps[0].condition: must be a string, not an integer [5]"},
        {"{" OK_STEP ",'condition':'1 = 1'}",
         "steps[0].condition: column 3: expected an operator, found `=` (equality is written `==`) ['1 = 1']"},
        {"{" OK_STEP ",'config':[]}", "steps[0].config: must be an object, not an array [[]]"},
        {"{" OK_STEP ",'config':{'timeoutMs':-1,'retryCount':101,'retryDelayMs':86400001}}",
         "steps[0].config.timeoutMs: must be from 0 to 86400000 [-1]\n"
         "steps[0].config.retryCount: must be from 0 to 100 [101]\n"
         "steps[0].config.retryDelayMs: must be from 0 to 86400000 [86400001]"},
        {"{" OK_STEP ",'config':{'timeoutMs':9223372036854775807,'retryCount':'3','retryDelayMs':1.5}}",
         "steps[0].config.timeoutMs: must be from 0 to 86400000 [9223372036854775807]\n"
         "steps[0].config.retryCount: must be an integer, not a string ['3']\n"
         "steps[0].config.retryDelayMs: must be an integer, not a number with a fraction, an exponent or too many digits [1.5]"},
        {"{" OK_STEP ",'branches':[{}]}", "steps[0].branches: only a DECISION has branches"},
        {"{" OK_STEP ",'branches':{}}", "steps[0].branches: must be an array, not an object [{}]"},
        {"{" OK_STEP ",'children':[{'type':'ACTION'}]}", "steps[0].children[0].pluginId: is required for an ACTION"},
        {"{'type':'DECISION','branches':[5,{'branchId':'x'},{'condition':1},{'steps':{}}]}",
         "steps[0].branches[0]: must be an object, not an integer [5]\n"
         "steps[0].branches[1].branchId: must be a UUID ['x']\n"
         "steps[0].branches[2].condition: must be a string, not an integer [1]\n"
         "steps[0].branches[3].steps: must be an array, not an object [{}]"},
        {"{'type':'DECISION','branches':[{},{'steps':[{'type':'ACTION','pluginId':'nope'}]}]}",
         "steps[0].branches[1].steps[0].pluginId: " PLUGINS " ['nope']"},
        {"{" OK_STEP ",'stepId':'" S1 "'},{" OK_STEP ",'children':[{" OK_STEP ",'stepId':'0191AAAA"
         "-0000-7000-8000-000000000001'}]}",
         "steps[1].children[0].stepId: steps[1].children[0] has the same stepId as steps[0] ['" S1 "']"},
        {"{'type':'DECISION','branches':[{'branchId':'" S1 "'},{'branchId':'" S1 "'}]}",
         "steps[0].branches[1].branchId: steps[0].branches[1] has the same branchId as steps[0].branches[0] ['" S1
         "']"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *text = g_strdup_printf("{'name':'n','steps':[%s]}", CASES[i].steps);
        assert_faults(text, CASES[i].expected);
    }
}

static void faults_of_references(void **state)
{
    (void)state;
#define ACTION_OF(id, rest) "{'stepId':'" id "','pluginId':'echo','type':'ACTION'" rest "}"
    static const struct {
        const char *steps, *expected;
    } CASES[] = {
        {ACTION_OF(S1, ",'inputs':{'url':'${" UNKNOWN ".x}'}"),
         "steps[0].inputs.url: step " UNKNOWN " does not exist in this flow ['${" UNKNOWN ".x}']"},
        {ACTION_OF(S1, ",'inputs':{'url':'" UNKNOWN ".x'}") "," ACTION_OF(S1, ""),
         "steps[1].stepId: steps[1] has the same stepId as steps[0] ['" S1 "']"},
        {ACTION_OF(S1, ",'inputs':{'a':'${b}','c':'${'}"),
         "steps[0].inputs.a: column 1: `${b}` is neither `${stepId.outputKey}` nor `${run.inputs.name}` ['${b}']\n"
         "steps[0].inputs.c: column 1: `${` is not closed by `}` (a literal `${` is written `$${`) ['${']"},
        {ACTION_OF(S1, ",'inputs':{'a':'${" S1 ".x}','b':'" S1 ".x'},'condition':'" S1 ".x'"),
         "steps[0].inputs.a: step " S1 " refers to itself ['${" S1 ".x}']\n"
         "steps[0].inputs.b: step " S1 " refers to itself ['" S1 ".x']\n"
         "steps[0].condition: step " S1 " refers to itself ['" S1 ".x']"},
        {ACTION_OF(S1, ",'condition':'1 == ${" UNKNOWN ".x}'"),
         "steps[0].condition: column 6: step " UNKNOWN " does not exist in this flow ['1 == ${" UNKNOWN ".x}']"},
        {"{'stepId':'" S1 "','type':'DECISION','branches':[{'condition':'" S1 ".x'},{'condition':'&'}]}",
         "steps[0].branches[0].condition: step " S1 " has no plugin, so it has no outputs to refer to ['" S1 ".x']\n"
         "steps[0].branches[1].condition: column 1: expected a reference, quoted text, a number, true, false, null or "
         "`(`, found `&` ['&']"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *text = g_strdup_printf("{'name':'n','steps':[%s]}", CASES[i].steps);
        assert_faults(text, CASES[i].expected);
    }
}

static void cycles_are_spelled_out(void **state)
{
    (void)state;
#define NEEDS(id, needed) ACTION_OF(id, ",'inputs':{'a':'${" needed ".x} ${" needed ".y}'}")
#define CYCLE ": dependency cycle, each step waits for the next: "
    static const struct {
        const char *steps, *expected;
    } CASES[] = {
        {NEEDS(S1, S2) "," NEEDS(S2, S1), "steps[0]" CYCLE S1 " -> " S2 " -> " S1},
        /* just the steps on it: 1 leads in, 4 is needed by it */
        {NEEDS(S1, S2) "," NEEDS(S2, S3) "," ACTION_OF(S3, ",'inputs':{'a':'${" S2 ".x}${" S4
                                                           ".x}'}") "," ACTION_OF(S4, ""),
         "steps[1]" CYCLE S2 " -> " S3 " -> " S2},
        /* told from the step that comes first, wherever the walk came in */
        {NEEDS(S4, S3) "," NEEDS(S1, S3) "," NEEDS(S2, S1) "," NEEDS(S3, S2),
         "steps[1]" CYCLE S1 " -> " S3 " -> " S2 " -> " S1},
        /* two at once */
        {NEEDS(S1, S2) "," NEEDS(S2, S1) "," NEEDS(S3, S4) "," NEEDS(S4, S3),
         "steps[0]" CYCLE S1 " -> " S2 " -> " S1 "\nsteps[2]" CYCLE S3 " -> " S4 " -> " S3},
        {ACTION_OF(S1, ",'inputs':{'a':'${" S2 ".x}${" S3 ".x}'}") "," NEEDS(S2, S1) "," NEEDS(S3, S1),
         "steps[0]" CYCLE S1 " -> " S2 " -> " S1 "\nsteps[0]" CYCLE S1 " -> " S3 " -> " S1},
        /* a parent and its child, its grandchild */
        {ACTION_OF(S1, ",'inputs':{'a':'${" S2 ".x}'},'children':[" ACTION_OF(S2, "") "]"),
         "steps[0]" CYCLE S1 " -> " S2 " -> " S1},
        {ACTION_OF(S1, ",'condition':'" S3 ".x','children':[" ACTION_OF(S2, ",'children':[" ACTION_OF(S3, "") "]") "]"),
         "steps[0]" CYCLE S1 " -> " S3 " -> " S2 " -> " S1},
        /* a DECISION whose branch's condition looks into the branch */
        {"{'stepId':'" S1 "','type':'DECISION','branches':[{'condition':'" S2 ".x','steps':[" ACTION_OF(S2, "") "]}]}",
         "steps[0]" CYCLE S1 " -> " S2 " -> " S1},
        /* siblings in different branches */
        {"{'stepId':'" S1
         "','type':'DECISION','branches':[{'steps':[" NEEDS(S2, S3) "]},{'steps':[" NEEDS(S3, S2) "]}]}",
         "steps[0].branches[0].steps[0]" CYCLE S2 " -> " S3 " -> " S2},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *text = g_strdup_printf("{'name':'n','steps':[%s]}", CASES[i].steps);
        assert_faults(text, CASES[i].expected);
    }
}

static void every_kind_of_fault_at_once(void **state)
{
    (void)state;
    assert_faults("{'cron':'* * *','steps':[{'type':'X','stepId':'" S1 "','inputs':{'a':'${" S2 ".x}'}},"
                  "{'type':'ACTION','stepId':'" S2 "','inputs':{'a':'${" S1 ".x}','b':'${" UNKNOWN ".x}'},"
                  "'config':{'retryCount':-1},'condition':')'},{'stepId':'" S1 "','type':'DECISION'}]}",
                  "name: is required\n"
                  "cron: column 1: expected five fields (minute, hour, day of month, month, day of week) or six with "
                  "seconds first, found 3 ['* * *']\n"
                  "steps[0].type: must be ACTION or DECISION ['X']\n"
                  "steps[1].pluginId: is required for an ACTION\n"
                  "steps[1].config.retryCount: must be from 0 to 100 [-1]\n"
                  "steps[2].stepId: steps[2] has the same stepId as steps[0] ['" S1 "']\n"
                  "steps[1].inputs.b: step " UNKNOWN " does not exist in this flow ['${" UNKNOWN ".x}']\n"
                  "steps[1].condition: column 1: expected a reference, quoted text, a number, true, false, null or "
                  "`(`, found `)` [')']\n"
                  "steps[0]" CYCLE S1 " -> " S2 " -> " S1);
}

/* `before`, then `piece` n times joined by commas, then `after`. */
static char *repeat(const char *before, const char *piece, size_t n, const char *after)
{
    GString *text = g_string_new(before);
    for (size_t i = 0; i < n; i++) {
        g_string_append(text, i == 0 ? "" : ",");
        g_string_append(text, piece);
    }
    g_string_append(text, after);
    return g_string_free(text, FALSE);
}

static void names_and_texts_are_limited_in_characters(void **state)
{
    (void)state;
    GString *name = g_string_new(NULL);
    for (int i = 0; i < FLOW_NAME_MAX_CHARS; i++)
        g_string_append(name, "\xc3\xa9");
    g_autofree char *fits = g_strdup_printf("{'name':'%s','description':'%s'}", name->str, name->str);
    g_autoptr(Flow) flow = create_valid(fits);
    assert_int_equal(strlen(flow->name), 2 * FLOW_NAME_MAX_CHARS);

    g_autofree char *long_text = g_strnfill(FLOW_DESCRIPTION_MAX_CHARS + 1, 'd');
    g_autofree char *body = g_strdup_printf("{'name':'%sx','description':'%s','labels':{'%.65s':'v','n':'%.257s'}}",
                                            name->str, long_text, long_text, long_text);
    g_autoptr(Faults) faults = faults_new();
    assert_null(create(body, faults));
    assert_int_equal(faults_count(faults), 4);
    assert_string_equal(faults_at(faults, 0)->message, "must have at most 256 characters");
    assert_string_equal(faults_at(faults, 1)->message, "must have at most 4096 characters");
    assert_string_equal(faults_at(faults, 2)->field, "labels");
    assert_string_equal(faults_at(faults, 3)->field, "labels.n");
    g_string_free(name, TRUE);
}

static void maps_are_limited(void **state)
{
    (void)state;
    g_autoptr(GString) labels = g_string_new("{'name':'n','labels':{");
    for (int i = 0; i <= LABELS_MAX; i++)
        g_string_append_printf(labels, "%s'l%d':'x'", i == 0 ? "" : ",", i);
    g_string_append(labels, "}}");
    assert_faults(labels->str, "labels: 65 labels, at most 64 are allowed");

    g_autofree char *value = g_strnfill(INPUT_VALUE_MAX_BYTES + 1, 'v');
    g_autofree char *body = g_strdup_printf("{'name':'n','steps':[{" OK_STEP ",'inputs':{'a':'%s'}}]}", value);
    g_autoptr(Faults) faults = faults_new();
    assert_null(create(body, faults));
    assert_string_equal(faults_at(faults, 0)->message, "must have at most 65536 bytes");
    assert_true(strlen(faults_at(faults, 0)->rejected) <= FAULT_REJECTED_MAX + 5);
}

static void steps_are_limited(void **state)
{
    (void)state;
    g_autofree char *most = repeat("{'name':'n','steps':[", "{" OK_STEP "}", FLOW_MAX_STEPS, "]}");
    g_autoptr(Flow) flow = create_valid(most);
    assert_int_equal(flow->n_flat, FLOW_MAX_STEPS);
    g_autofree char *more = repeat("{'name':'n','steps':[", "{" OK_STEP "}", FLOW_MAX_STEPS + 1, "]}");
    assert_faults(more, "steps: 1001 steps or more, at most 1000 are allowed");
    g_autofree char *inner =
        repeat("{'name':'n','steps':[{" OK_STEP ",'children':[", "{" OK_STEP "}", FLOW_MAX_STEPS, "]}]}");
    assert_faults(inner, "steps: 1001 steps or more, at most 1000 are allowed");
    g_autofree char *branches =
        repeat("{'name':'n','steps':[{'type':'DECISION','branches':[", "{}", FLOW_MAX_BRANCHES + 1, "]}]}");
    assert_faults(branches, "steps[0].branches: a flow may have at most 1000 branches in all");
}

static char *nest(int levels, const char *open, const char *close)
{
    GString *text = g_string_new("{'name':'n','steps':[");
    for (int i = 0; i < levels; i++)
        g_string_append(text, i == levels - 1 ? "{" OK_STEP "}" : open);
    for (int i = 0; i < levels - 1; i++)
        g_string_append(text, close);
    g_string_append(text, "]}");
    return g_string_free(text, FALSE);
}

static void depth_is_limited(void **state)
{
    (void)state;
    static const char CHILD[] = "{" OK_STEP ",'children':[", CHILD_END[] = "]}";
    static const char BRANCH[] = "{'type':'DECISION','branches':[{'steps':[", BRANCH_END[] = "]}]}";
    g_autofree char *deepest = nest(FLOW_MAX_DEPTH, CHILD, CHILD_END);
    g_autofree char *deepest_branches = nest(FLOW_MAX_DEPTH, BRANCH, BRANCH_END);
    g_autoptr(Flow) children = create_valid(deepest);
    g_autoptr(Flow) branches = create_valid(deepest_branches);
    assert_int_equal(children->n_flat, FLOW_MAX_DEPTH);
    assert_int_equal(branches->n_flat, FLOW_MAX_DEPTH);
    g_autoptr(GString) stored = g_string_new(NULL);
    flow_encode(branches, stored);
    g_autoptr(Flow) again = flow_decode(stored->str, stored->len, NULL);
    assert_non_null(again);

    g_autofree char *too_deep = nest(FLOW_MAX_DEPTH + 1, CHILD, CHILD_END);
    g_autoptr(Faults) faults = faults_new();
    assert_null(create(too_deep, faults));
    assert_int_equal(faults_count(faults), 1);
    assert_string_equal(faults_at(faults, 0)->message, "steps may be nested 32 levels deep at most");
    assert_true(g_str_has_suffix(faults_at(faults, 0)->field, ".children[0].children"));
    g_autofree char *too_deep_branches = nest(FLOW_MAX_DEPTH + 1, BRANCH, BRANCH_END);
    assert_null(create(too_deep_branches, faults));
    assert_int_equal(faults_count(faults), 2);
    assert_true(g_str_has_suffix(faults_at(faults, 1)->field, ".branches[0].steps[0].branches[0].steps"));
}

static void the_definition_is_limited(void **state)
{
    (void)state;
    g_autofree char *value = g_strnfill(60000, 'v');
    g_autofree char *step = g_strdup_printf("{" OK_STEP ",'inputs':{'a':'%s'}}", value);
    g_autofree char *fits = repeat("{'name':'n','steps':[", step, 8, "]}");
    g_autoptr(Flow) flow = create_valid(fits);
    assert_int_equal(flow->n_flat, 8);
    g_autofree char *body = repeat("{'name':'n','steps':[", step, 9, "]}");
    g_autoptr(Faults) faults = faults_new();
    assert_null(create(body, faults));
    assert_int_equal(faults_count(faults), 1);
    assert_string_equal(faults_at(faults, 0)->field, "steps");
    assert_true(g_str_has_prefix(faults_at(faults, 0)->message, "the definition takes 54"));
    assert_true(g_str_has_suffix(faults_at(faults, 0)->message, " bytes, at most 524288 are allowed"));
}

static void patterns_are_limited_together(void **state)
{
    (void)state;
    g_autofree char *pattern = g_strnfill(512, 'p');
    g_autofree char *step = g_strdup_printf("{" OK_STEP ",'condition':'null matches \\u0027%s\\u0027'}", pattern);
    g_autofree char *fits = repeat("{'name':'n','steps':[", step, FLOW_PATTERNS_MAX_BYTES / 512, "]}");
    g_autoptr(Flow) flow = create_valid(fits);
    assert_int_equal(flow->n_flat, FLOW_PATTERNS_MAX_BYTES / 512);
    g_autofree char *body = repeat("{'name':'n','steps':[", step, FLOW_PATTERNS_MAX_BYTES / 512 + 1, "]}");
    g_autoptr(Faults) faults = faults_new();
    assert_null(create(body, faults));
    assert_int_equal(faults_count(faults), 1);
    assert_string_equal(faults_at(faults, 0)->field, "steps[8].condition");
    assert_string_equal(faults_at(faults, 0)->message, "column 14: the patterns of a flow are too long together");
}

static void faults_are_bounded(void **state)
{
    (void)state;
    g_autofree char *body = repeat("{'name':'n','steps':[", "{}", 500, "]}");
    g_autoptr(Faults) faults = faults_new();
    assert_null(create(body, faults));
    assert_int_equal(faults_count(faults), FAULTS_MAX + 1);
    assert_string_equal(faults_at(faults, FAULTS_MAX)->message, "and 400 more faults");
}

static Flow *update(const Flow *current, const char *text, Faults *faults)
{
    unsigned n_ids = 100;
    FlowOrigin origin = origin_of(&n_ids);
    g_strlcpy(origin.flow_id.text, UNKNOWN, ID_TEXT_SIZE); /* the flow keeps its own */
    g_strlcpy(origin.actor.text, ACTOR, ID_TEXT_SIZE);
    origin.now_ms = NOW + 5;
    g_autoptr(JsonValue) body = parse(text);
    return flow_update(current, body, &origin, faults);
}

static void an_update_replaces_all_but_absent_steps(void **state)
{
    (void)state;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) first =
        create_valid("{'name':'n','description':'d','cron':'@daily','timezone':'UTC','labels':{'a':'b'},"
                     "'steps':[" ACTION_OF(S1, "") "]}");
    g_autoptr(Flow) second = update(first, "{'name':'m'}", faults);
    assert_non_null(second);
    assert_string_equal(second->name, "m");
    assert_null(second->description);
    assert_null(second->cron);
    assert_null(second->timezone);
    assert_int_equal(second->labels.n_pairs, 0);
    assert_string_equal(second->steps_json, first->steps_json);
    assert_string_equal(second->id.text, FLOW_ID);
    assert_int_equal(second->version, 2);
    assert_true(second->created_at == NOW && second->updated_at == NOW + 5);
    assert_string_equal(second->created_by.text, OWNER);
    assert_string_equal(second->updated_by.text, ACTOR);
    g_autoptr(Flow) third = update(second, "{'name':'m','steps':null}", faults);
    assert_int_equal(third->n_flat, 1);
    g_autoptr(Flow) fourth = update(third, "{'name':'m','steps':[]}", faults);
    assert_int_equal(fourth->n_flat, 0);
    assert_int_equal(fourth->version, 4);
    assert_null(update(first, "{'steps':5}", faults));
    g_autofree char *listed = list_faults(faults);
    assert_string_equal(listed, "name: is required\nsteps: must be an array, not an integer [5]");
}

#define SCHEDULED(members) "{'name':'n','cron':'@daily','schedule':{" members "}}"

static void a_schedule_is_taken_with_its_defaults(void **state)
{
    (void)state;
    g_autoptr(Flow) none = create_valid("{'name':'n','cron':'@daily','schedule':null}");
    assert_null(none->schedule);
    assert_true(none->scheduled_since == NOW);
    g_autoptr(Flow) least = create_valid("{'name':'n','schedule':{}}");
    assert_int_equal(least->schedule->misfire, MISFIRE_LATEST);
    assert_int_equal(least->schedule->overlap, OVERLAP_ALLOW);
    assert_int_equal(least->schedule->misfire_grace_s, 60);
    assert_int_equal(least->schedule->jitter_s, 0);
    assert_true(least->schedule->start_at == INSTANT_NONE && least->schedule->end_at == INSTANT_NONE);
    assert_false(least->schedule->is_paused);
    assert_true(least->scheduled_since == INSTANT_NONE); /* no cron */
    g_autoptr(Flow) all = create_valid(SCHEDULED(
        "'misfire':'all','misfireGraceSeconds':2678400,'overlap':'Queue','startAt':'2026-01-01T01:00:00.0009+01:00',"
        "'endAt':'2099-12-31T23:59:59.999Z','jitterSeconds':86400,'paused':true,"
        "'inputs':{'a':'${slot}','b':'x${slot.date}$${slot}$','c':''},'unknown':1"));
    assert_int_equal(all->schedule->misfire, MISFIRE_ALL);
    assert_int_equal(all->schedule->overlap, OVERLAP_QUEUE);
    assert_true(all->schedule->start_at == INT64_C(1767225600000) && all->schedule->end_at == SCHEDULE_LAST_MS);
    assert_true(all->schedule->is_paused);
    assert_int_equal(all->schedule->inputs.n_pairs, 3);
    g_autofree char *value = schedule_input_render(all->schedule->inputs.pairs[1].value, 0, -3600, NULL);
    assert_string_equal(value, "x1969-12-31${slot}$");
}

static void faults_of_a_schedule(void **state)
{
    (void)state;
#define INSTANT_FAULT "must be an instant such as 2026-01-31T09:00:00Z, in the years 1970 to 2099"
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"{'name':'n','schedule':[]}", "schedule: must be an object, not an array [[]]"},
        {SCHEDULED("'misfire':'NEVER','overlap':''"),
         "schedule.misfire: must be SKIP, LATEST or ALL ['NEVER']\n"
         "schedule.overlap: must be ALLOW, SKIP, QUEUE or CANCEL_RUNNING ['']"},
        {SCHEDULED("'misfireGraceSeconds':-1,'jitterSeconds':86401"),
         "schedule.misfireGraceSeconds: must be from 0 to 2678400 [-1]\n"
         "schedule.jitterSeconds: must be from 0 to 86400 [86401]"},
        {SCHEDULED("'misfireGraceSeconds':'5','jitterSeconds':0.5,'paused':'no','misfire':1,'inputs':[]"),
         "schedule.misfire: must be a string, not an integer [1]\n"
         "schedule.misfireGraceSeconds: must be an integer, not a string ['5']\n"
         "schedule.jitterSeconds: must be an integer, not a number with a fraction, an exponent or too many digits [0.5]\n"
         "schedule.paused: must be a boolean, not a string ['no']\nschedule.inputs: must be an object, not an array [[]]"},
        {SCHEDULED("'startAt':'2026-02-01T00:00:00Z','endAt':'2026-01-31T00:00:00Z'"),
         "schedule.endAt: must be after startAt ['2026-01-31T00:00:00Z']"},
        {SCHEDULED("'startAt':'2026-02-01T00:00:00Z','endAt':'2026-02-01T01:00:00+01:00'"),
         "schedule.endAt: must be after startAt ['2026-02-01T01:00:00+01:00']"},
        {SCHEDULED("'startAt':'tomorrow','endAt':'2100-01-01T00:00:00Z'"),
         "schedule.startAt: " INSTANT_FAULT " ['tomorrow']\nschedule.endAt: " INSTANT_FAULT
         " ['2100-01-01T00:00:00Z']"},
        {SCHEDULED("'startAt':0,'endAt':'1969-12-31T23:59:59Z'"),
         "schedule.startAt: must be a string, not an integer [0]\nschedule.endAt: " INSTANT_FAULT
         " ['1969-12-31T23:59:59Z']"},
        {SCHEDULED("'inputs':{'a':'x${slot','b':'${slots}','c':'${run.inputs.x}','d':5,' ':''}"),
         "schedule.inputs.d: must be a string, not an integer [5]\n"
         "schedule.inputs: a name in inputs must not be blank and have at most 256 characters [' ']\n"
         "schedule.inputs.a: column 2: `${` is not closed by `}` (a literal `${` is written `$${`) ['x${slot']\n"
         "schedule.inputs.b: column 1: `${slots}` is neither `${slot}` nor `${slot.date}` ['${slots}']\n"
         "schedule.inputs.c: column 1: `${run.inputs.x}` is neither `${slot}` nor `${slot.date}` ['${run.inputs.x}']"},
        {"{'name':'n','cron':'@every 1ms','schedule':{'jitterSeconds':-5}}",
         "cron: column 8: expected an interval from 1s to 366d ['@every 1ms']\n"
         "schedule.jitterSeconds: must be from 0 to 86400 [-5]"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++)
        assert_faults(CASES[i].text, CASES[i].expected);
    g_autofree char *filler = g_strnfill(30000, 'a');
    g_autofree char *large =
        g_strdup_printf(SCHEDULED("'inputs':{'a':'%s','b':'%s','c':'${slot}%.5600s'}"), filler, filler, filler);
    assert_faults(large, "schedule.inputs: take 65627 bytes together, at most 65536 are allowed");
}

static void a_change_of_slots_is_remembered_and_only_that(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_changed;
    } CASES[] = {
        {"{'name':'m','cron':'@daily','timezone':'UTC','schedule':{'startAt':'2026-02-01T00:00:00Z'}}", false},
        {"{'name':'n','cron':'@daily','timezone':'UTC','schedule':{'startAt':'2026-02-01T00:00:00Z','misfire':'ALL',"
         "'overlap':'SKIP','misfireGraceSeconds':1,'jitterSeconds':9,'paused':false,'inputs':{'a':'b'}}}",
         false},
        {"{'name':'n','cron':'@hourly','timezone':'UTC','schedule':{'startAt':'2026-02-01T00:00:00Z'}}", true},
        {"{'name':'n','cron':'@daily','schedule':{'startAt':'2026-02-01T00:00:00Z'}}", true},
        {"{'name':'n','cron':'@daily','timezone':'UTC'}", true},
        {"{'name':'n','cron':'@daily','timezone':'UTC','schedule':{'startAt':'2026-02-01T00:00:00Z','paused':true}}",
         true},
        {"{'name':'n','cron':'@daily','timezone':'UTC','schedule':{'startAt':'2026-02-01T00:00:00Z',"
         "'endAt':'2026-03-01T00:00:00Z'}}",
         true},
    };
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) first = create_valid(CASES[0].text);
    assert_true(first->scheduled_since == NOW);
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(Flow) next = update(first, CASES[i].text, faults);
        assert_non_null(next);
        if (next->scheduled_since != (CASES[i].is_changed ? NOW + 5 : NOW))
            fail_msg("case %zu", i);
    }
    g_autoptr(Flow) ended = update(first, "{'name':'n'}", faults);
    assert_true(ended->scheduled_since == INSTANT_NONE && ended->schedule == NULL);
    unsigned n_ids = 0;
    FlowOrigin origin = origin_of(&n_ids);
    g_autoptr(Flow) deleted = flow_delete(first, false, &origin);
    assert_true(deleted->scheduled_since == NOW && deleted->schedule->start_at == first->schedule->start_at);
}

static void an_unknown_zone_gets_near_matches(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"Europe/Berlin", "Asia/Tokyo", NULL};
    g_autoptr(Faults) faults = faults_new();
    unsigned n_ids = 0;
    FlowOrigin origin = origin_of(&n_ids);
    origin.zone_names = NAMES;
    g_autoptr(JsonValue) body = parse("{'name':'n','timezone':'Europe/Berln'}");
    assert_null(flow_create(body, &origin, faults));
    g_autofree char *listed = list_faults(faults);
    assert_string_equal(listed,
                        "timezone: expected an IANA time zone known here, such as Europe/Paris, or UTC; did you mean "
                        "Europe/Berlin? ['Europe/Berln']");
}

static void a_delete_is_a_version_too(void **state)
{
    (void)state;
    unsigned n_ids = 0;
    FlowOrigin origin = origin_of(&n_ids);
    g_autoptr(Flow) first =
        create_valid("{'name':'n','cron':'@daily','labels':{'a':'b'},'steps':[" ACTION_OF(S1, "") "]}");
    g_autoptr(Flow) last = flow_delete(first, true, &origin);
    assert_true(last->is_deleted && last->stops_runs);
    assert_int_equal(last->version, 2);
    assert_string_equal(last->name, "n");
    assert_string_equal(last->cron, "@daily");
    assert_string_equal(text_map_find(&last->labels, "a"), "b");
    assert_string_equal(last->steps_json, first->steps_json);
}

static int64_t cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Body of 1000 steps, step i made by `format` with its number and the next one's (twice). */
static char *thousand(const char *rest)
{
    GString *text = g_string_new("{'name':'n','steps':[");
    for (int i = 0; i < FLOW_MAX_STEPS; i++) {
        int next = (i + 1) % FLOW_MAX_STEPS;
        g_autofree char *id = g_strdup_printf("0191aaaa-0000-7000-8000-%012d", next);
        g_auto(GStrv) pieces = g_strsplit(rest, "NEXT", -1);
        g_autofree char *filled = g_strjoinv(id, pieces);
        g_string_append_printf(text, "%s{'stepId':'0191aaaa-0000-7000-8000-%012d'," OK_STEP "%s}", i == 0 ? "" : ",", i,
                               filled);
    }
    g_string_append(text, "]}");
    return g_string_free(text, FALSE);
}

static void hostile_bodies_are_cheap(void **state)
{
    (void)state;
    char *filler = g_strnfill(400, '1');
    char *bodies[] = {
        thousand(",'inputs':{'a':'${NEXT.x}'}"), /* one cycle of a thousand steps */
        thousand(",'inputs':{'a':'${NEXT.x}${NEXT.y}${NEXT.z}${NEXT.a}${NEXT.b}${NEXT.c}'}"),
        thousand(",'condition':'!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!NEXT.x || 1 || 2 || 3 || 4 || 5 || 6 || 7'"),
        thousand(",'condition':'1 matches \\u0027(a{0,99}|b{0,99}){0,9}\\u0027'"),
        thousand(
            ",'condition':'1 matches \\u0027(){1,99}+a*(){1,99}+a*(){1,99}+a*(){1,99}+a*(){1,99}+a*(){1,99}\\u0027'"),
        repeat("{'name':'n','steps':[", "{}", 130000, "]}"),
        repeat("{'name':'n','steps':[", "5", 500000, "]}"),
        repeat("{'name':'n','steps':[{'type':'DECISION','branches':[", "{}", 130000, "]}]}"),
        repeat("{'name':'n','labels':{'x':[", "[]", 130000, "]}}"),
        g_strdup_printf("{'name':'n','steps':[{" OK_STEP ",'condition':'%s'}]}", filler),
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
        unsigned n_ids = 0;
        FlowOrigin origin = origin_of(&n_ids);
        g_autoptr(Faults) faults = faults_new();
        g_autoptr(JsonValue) body = parse(bodies[i]);
        int64_t began = cpu_ms();
        g_autoptr(Flow) flow = flow_create(body, &origin, faults);
        int64_t took = cpu_ms() - began;
        assert_true(flow != NULL || faults_count(faults) > 0);
        assert_true(took < 2000); /* generous: sanitizers and busy machines; quadratic work would be far beyond */
        g_free(bodies[i]);
    }
    g_free(filler);
}

static void a_long_cycle_is_told_in_part(void **state)
{
    (void)state;
    g_autofree char *body = thousand(",'inputs':{'a':'${NEXT.x}'}");
    g_autoptr(Faults) faults = faults_new();
    assert_null(create(body, faults));
    assert_int_equal(faults_count(faults), 1);
    assert_non_null(strstr(faults_at(faults, 0)->message, " -> (960 more) -> 0191aaaa-0000-7000-8000-000000000000"));
    assert_true(strlen(faults_at(faults, 0)->message) < 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_flow_is_a_name),
        cmocka_unit_test(null_is_absent_and_the_unknown_is_ignored),
        cmocka_unit_test(a_whole_flow_is_taken_as_it_is),
        cmocka_unit_test(uuids_become_lower_case_in_references_too),
        cmocka_unit_test(references_that_are_fine),
        cmocka_unit_test(faults_of_a_flow),
        cmocka_unit_test(faults_of_steps),
        cmocka_unit_test(faults_of_references),
        cmocka_unit_test(cycles_are_spelled_out),
        cmocka_unit_test(every_kind_of_fault_at_once),
        cmocka_unit_test(names_and_texts_are_limited_in_characters),
        cmocka_unit_test(maps_are_limited),
        cmocka_unit_test(steps_are_limited),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(the_definition_is_limited),
        cmocka_unit_test(patterns_are_limited_together),
        cmocka_unit_test(faults_are_bounded),
        cmocka_unit_test(a_long_cycle_is_told_in_part),
        cmocka_unit_test(an_update_replaces_all_but_absent_steps),
        cmocka_unit_test(a_schedule_is_taken_with_its_defaults),
        cmocka_unit_test(faults_of_a_schedule),
        cmocka_unit_test(a_change_of_slots_is_remembered_and_only_that),
        cmocka_unit_test(an_unknown_zone_gets_near_matches),
        cmocka_unit_test(a_delete_is_a_version_too),
        cmocka_unit_test(hostile_bodies_are_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
