/* run_macros.h - short ways to write step trees in the tests of engine runs (run_harness.h says what `@a` is). */
#ifndef FLOWOPS_TESTS_UNIT_ENGINE_RUN_MACROS_H
#define FLOWOPS_TESTS_UNIT_ENGINE_RUN_MACROS_H

#define ECHO(id) "{\"stepId\":\"@" id "\",\"type\":\"ACTION\",\"pluginId\":\"echo\"}"
#define ECHO_WITH(id, more) "{\"stepId\":\"@" id "\",\"type\":\"ACTION\",\"pluginId\":\"echo\"," more "}"
#define IN(value) "\"inputs\":{\"x\":\"" value "\"}"
#define IF(text) "\"condition\":\"" text "\""
#define CONFIG(members) "\"config\":{" members "}"
#define BRANCH(id, more, steps) "{\"branchId\":\"@" id "\"," more "\"steps\":[" steps "]}"
#define DECISION(id, more, branches) \
    "{\"stepId\":\"@" id "\",\"type\":\"DECISION\"," more "\"branches\":[" branches "]}"

#endif
