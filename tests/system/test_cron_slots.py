"""The next 1,000 slots of 300 expressions in 10 zones, against an independent implementation.

python3-croniter gives the wall times that an expression names, Python's own zoneinfo says when a clock shows them, and the rule
for clocks that are changed (docs/schedules.md) is told once more here, in other words: which instants a wall time has. That the
zones are not left to croniter has a reason: see below.
"""

import calendar
import datetime
import heapq
import itertools
import multiprocessing
import os
import random
import re
import subprocess
import zoneinfo
from pathlib import Path

import pytest
from croniter import CroniterBadDateError, croniter

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("FLOWOPS_BINARY", ROOT / "build" / "flowops"))
pytestmark = pytest.mark.sqlite  # it needs no store: once is enough
PROGRAM = BINARY.resolve().parent / "tests" / "unit" / "domain" / "cron_slots"

WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
N_SLOTS = 1000
LAST = datetime.datetime(2099, 12, 31, 23, 59, 59)
EPOCH = datetime.datetime(1970, 1, 1)
SECOND = datetime.timedelta(seconds=1)
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Europe/Dublin",
    "America/Santiago",
    "Antarctica/Troll",
]
# Noon before something happens to a clock in one of the zones, and plain days.
STARTS = [
    (2025, 3, 29), (2025, 10, 25), (2026, 3, 7), (2026, 10, 31), (2026, 4, 4), (2026, 10, 3), (2018, 2, 17), (2018, 11, 3), (2011, 12, 28),
    (2026, 2, 14), (2026, 3, 21), (2024, 4, 6), (2024, 9, 7), (2027, 6, 1), (2028, 2, 28), (2035, 10, 27), (2038, 3, 27), (2050, 10, 1),
]

# Where croniter 1.3.5 is wrong or has no such thing, and what stands in its place:
#   zones                          it moves slots by offsets of its own where a clock is changed and has no rule for it: it is asked
#                                  for wall times only
#   six fields                     it wants the seconds last: they are moved
#   `*/n` beside a restricted day  it takes `*/n` for a restriction (either day will do), Vixie's rule does not, and its day_or=False
#                                  goes wrong as `0 0 1,31 * *` does: those of its answers for the number that are on the weekday
#   `0-6` beside a restricted day  it takes a range of all values for `*`, Vixie's rule does not: DAYS below
#   31 among other days            `0 0 1,31 * *` loses 1 March, and so does `*/5`: its answers for 31 and for the others together
#   `|`                            it has no such thing: its answers together
#   `friL`                         it writes `L5`: rewritten
#   `L-3`, `LW`, `15W`             it has no such days: DAYS below, by Python's calendar
#   `@every`                       it has no such thing: arithmetic

HAND_PICKED = """
* * * * *|*/5 * * * *|*/15 * * * *|0 * * * *|30 * * * *|0 */2 * * *|30 */3 * * *|0 0 * * *|30 0 * * *|0 1 * * *|30 1 * * *|59 1 * * *
0 2 * * *|15 2 * * *|30 2 * * *|45 2 * * *|59 2 * * *|0 3 * * *|30 23 * * *|0,30 2 * * *|0,30 1,2,3 * * *|*/10 2 * * *|10-50/20 2 * * *
30 1-3 * * *|0 1-3 * * *|*/20 1-3 * * *|0 9-17 * * 1-5|*/30 9-17 * * mon-fri|30 2 * * sun|30 2 * 3,4,10,11 0|0 12 * * 7|0 0 1 * *|0 0 15 * *
0 0 31 * *|0 0 30 * *|0 0 29 2 *|30 2 29 2 *|0 12 29 feb *|0 0 1 1 *|0 12 1 1,7 *|0 0 13 * 5|0 0 13 * fri|30 2 1,15 * mon|0 0 */2 * 1|0 0 */5 * mon-wed
0 0 * * 6#1|0 9 * * 1#2|0 9 * * fri#3|30 2 * * sun#5|0 0 * * 5L|30 2 * * sunL|0 0 L * *|30 2 L * *|0 0 L 2 *|0 0 * jan-mar *|5 4 * * sun
0 22 * * 1-5|23 0-20/2 * * *|@hourly|@daily|@weekly|@monthly|@yearly|@annually|@midnight|0 0 1-7 * 1|59 23 31 12 *|0 0 28-31 * *
0 30 2 * * *|*/10 * * * * *|15,45 30 2 * * *|0 0 2 * * *|* 30 2 * * *|30 */20 * * * *|1-3 0 12 * * *|0 0 12 1 * *
"""
UNIONS = ["30 2 * * *^0 */4 * * *", "0 9 * * 1-5^0 11 * * 0,6", "@daily^0 0 * * 1", "15 10 1 * *^@monthly^0 0 15 * *", "*/30 2 * * *^45 2 * * *"]


def random_field(rng, low, high, names=None):
    def value():
        v = rng.randint(low, high)
        return names[v - low] if names and rng.random() < 0.5 else str(v)

    kind = rng.random()
    if kind < 0.3:
        return value()
    if kind < 0.5:
        return ",".join(str(v) for v in sorted(rng.sample(range(low, high + 1), 3)))
    a, b = sorted(rng.sample(range(low, high), 2))
    if kind < 0.7:
        return f"{a}-{b}"
    if kind < 0.8:
        return f"{a}-{b}/{rng.randint(1, max(1, b - a))}"
    return f"*/{rng.randint(2, (high - low + 1) // 2)}"


def random_expression(rng):
    days = ["*", "*", "*"]
    if rng.random() < 0.35:
        days[0] = random_field(rng, 1, 28)
    if rng.random() < 0.25:
        days[1] = random_field(rng, 1, 12, ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
    if rng.random() < 0.4:
        days[2] = random_field(rng, 0, 6, WEEKDAYS)
    hour = rng.choice(["*", "2", "1,2", "0-3", "1", random_field(rng, 0, 23), random_field(rng, 0, 23), random_field(rng, 0, 23)])
    fields = [rng.choice(["0", "*", random_field(rng, 0, 59), random_field(rng, 0, 59)]), hour, *days]
    if rng.random() < 0.1:
        fields.insert(0, random_field(rng, 0, 59))
    return " ".join(fields)


def expressions():
    rng = random.Random(20260331)
    found = [e for line in HAND_PICKED.strip().splitlines() for e in line.split("|")] + [u.replace("^", "|") for u in UNIONS]
    seen = set(found)
    while len(found) < 300:
        expression = random_expression(rng)
        if expression not in seen:
            seen.add(expression)
            found.append(expression)
    return found


# ---- the wall times ----


def is_interval(expression):
    """It follows real time: minute or hour has `*`, or the hours have a range."""
    if expression.startswith("@"):
        return expression == "@hourly"
    minute, hour = expression.split()[-5:-3]
    return "*" in minute or "*" in hour or any(a != b for a, b in re.findall(r"(\d+)-(\d+)", hour))


def days_of(field):
    days = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        low, _, high = span.replace("*", "1-31").partition("-")
        days.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return days


def walls_of_fields(fields, start):
    if len(fields) > 1 and fields[2] != "*" and re.fullmatch(r"[\d*/,-]+", fields[2]) and len(days := days_of(fields[2])) > 1 and 31 in days:
        groups = [",".join(map(str, sorted(days - {31}))), "31"]
        streams = [walls_of_fields([*fields[:2], group, *fields[3:]], start) for group in groups]
        yield from (wall for wall, _ in itertools.groupby(heapq.merge(*streams)))
        return
    it = croniter(" ".join(fields), start, ret_type=datetime.datetime, max_years_between_matches=100)
    try:
        while (wall := it.get_next()).year <= 2100:
            yield wall
    except CroniterBadDateError:
        return


def on_days(named, days):
    """Those wall times that are on one of the days (midnights, ascending)."""
    day = next(days, None)
    for wall in named:
        while day is not None and day.date() < wall.date():
            day = next(days, None)
        if day is not None and day.date() == wall.date():
            yield wall


def walls(expression, start):
    fields = expression.split()
    if len(fields) == 6:
        fields = fields[1:] + fields[:1]
    if len(fields) >= 5:
        fields[4] = re.sub(r"^(\w+)L$", lambda m: f"L{WEEKDAYS.index(m[1]) if m[1] in WEEKDAYS else m[1]}", fields[4])
        if "*" in (fields[2][0], fields[4][0]) and "*" not in (fields[2], fields[4]):
            by_number, by_weekday = [*fields[:4], "*", *fields[5:]], ["0", "0", "*", *fields[3:5]]
            midnight = start.replace(hour=0, minute=0, second=0) - SECOND
            return on_days(walls_of_fields(by_number, start), walls_of_fields(by_weekday, midnight))
    return walls_of_fields(fields, start)


# ---- the instants ----


def seconds(moment):
    return (moment - EPOCH) // SECOND


def is_shown(zone, wall, offset):
    instant = (wall - offset).replace(tzinfo=datetime.timezone.utc)
    return instant.astimezone(zone).replace(tzinfo=None) == wall


def end_of_gap(zone, wall, before, after):
    """The instant at which the clock jumps over a wall time."""
    low, high = seconds(wall - after), seconds(wall - before)  # the offset changes in (low, high]
    while high - low > 1:
        middle = (low + high) // 2
        shown = datetime.datetime.fromtimestamp(middle, zone).utcoffset()
        low, high = (middle, high) if shown == before else (low, middle)
    return high


def instants(zone, wall, second_time, interval):
    first, second = zone.utcoffset(wall), zone.utcoffset(second_time)
    if is_shown(zone, wall, first):
        return [seconds(wall - first), seconds(wall - second)] if interval else [seconds(wall - first)]
    return [] if interval else [end_of_gap(zone, wall, first, second)]


def expected(zone, named, interval, after):
    """named: wall times, themselves, as shown the second time, and in seconds."""
    slots = set()
    complete = None
    for wall, second_time, wall_seconds in named:
        offset = zone.utcoffset(wall)
        if offset == zone.utcoffset(second_time):
            slots.add(wall_seconds - offset // SECOND)
        else:
            slots.update(instants(zone, wall, second_time, interval))
        # A repeated stretch puts later wall times before earlier ones: go on for some hours after enough were found.
        if complete is None and len(slots) >= N_SLOTS + 5:
            complete = wall_seconds + 4 * 3600
        if complete is not None and wall_seconds > complete:
            break
    return sorted(s for s in slots if after < s <= seconds(LAST))[:N_SLOTS]


def ask(questions):
    text = "".join("\t".join(map(str, question)) + "\n" for question in questions)
    done = subprocess.run([PROGRAM], input=text, capture_output=True, text=True, check=True)
    return [[int(word) for word in line.split()] if not line.startswith("error") else line for line in done.stdout.splitlines()]


def show(slots):
    return [str(EPOCH + SECOND * s) for s in slots]


def fault_of(expression, start, parts):
    """parts: (wall times, whether it is an interval) of each expression that `|` joins."""
    zones = [zoneinfo.ZoneInfo(name) for name in ZONES]
    afters = [seconds(start - zone.utcoffset(start)) for zone in zones]
    parts = [([(wall, wall.replace(fold=1), seconds(wall)) for wall in named], interval) for named, interval in parts]
    answers = ask((name, after, N_SLOTS, expression) for name, after in zip(ZONES, afters))
    for zone, after, answer in zip(zones, afters, answers):
        if isinstance(answer, str):
            return f"{expression}: {answer}"
        wanted = sorted({s for named, interval in parts for s in expected(zone, named, interval, after)})[:N_SLOTS]
        if answer != wanted:
            i = next((i for i, (a, b) in enumerate(zip(answer, wanted)) if a != b), min(len(answer), len(wanted)))
            return f"{expression} in {zone} after {start}: slot {i}: {show(answer[i : i + 3])}, expected {show(wanted[i : i + 3])}"
    return None


def fault_beside_croniter(numbered):
    i, expression = numbered
    start = datetime.datetime(*STARTS[i % len(STARTS)], 12, 0, 7)
    # Some more wall times than slots: what falls into a gap becomes one.
    parts = [(list(itertools.islice(walls(one, start), N_SLOTS + 150)), is_interval(one)) for one in expression.split("|")]
    return fault_of(expression, start, parts)


def test_slots_equal_those_of_croniter():
    every = expressions()
    assert len(every) == 300
    with multiprocessing.Pool() as pool:
        faults = [fault for fault in pool.imap_unordered(fault_beside_croniter, enumerate(every), chunksize=5) if fault]
    assert not faults, "\n".join(faults)


# ---- what croniter does not have ----


def all_days(start):
    day = start.date()
    while day.year <= 2100:
        yield day
        day += datetime.timedelta(days=1)


def last_of_month(day):
    return calendar.monthrange(day.year, day.month)[1]


def nearest_workday(day, number):
    """The day of the month that `numberW` is, by trying the neighbours in the order of their distance."""
    if number > last_of_month(day):
        return None
    for distance in (0, -1, 1, -2, 2):
        candidate = number + distance
        if 1 <= candidate <= last_of_month(day) and calendar.weekday(day.year, day.month, candidate) < 5:
            return candidate
    return None


DAYS = {
    "30 2 L-3 * *": lambda d: d.day == last_of_month(d) - 3,
    "30 2 L-1,L * *": lambda d: d.day >= last_of_month(d) - 1,
    "30 2 L-30 * *": lambda d: d.day == last_of_month(d) - 30,
    "30 2 LW * *": lambda d: d.day == nearest_workday(d, last_of_month(d)),
    "30 2 15W * *": lambda d: d.day == nearest_workday(d, 15),
    "30 2 1W * *": lambda d: d.day == nearest_workday(d, 1),
    "30 2 31W * *": lambda d: d.day == nearest_workday(d, 31),
    "30 2 1W,15W,LW * *": lambda d: d.day in [nearest_workday(d, n) for n in (1, 15, last_of_month(d))],
    "30 2 15W * sunL": lambda d: d.day == nearest_workday(d, 15) or (d.weekday() == 6 and d.day > last_of_month(d) - 7),
    "30 2 13 * 0-6": lambda d: True,
    "30 2 * * 5-7": lambda d: d.weekday() >= 4,
    "30 2 13 * */2": lambda d: d.day == 13 and d.isoweekday() % 7 in (0, 2, 4, 6),
    "30 2 29 2 */6": lambda d: (d.month, d.day) == (2, 29) and d.weekday() in (5, 6),
    "30 2 31 1,3 1#5": lambda d: d.month in (1, 3) and (d.day == 31 or (d.weekday() == 0 and d.day > 28)),
}


@pytest.mark.parametrize("expression", DAYS)
def test_days_that_croniter_has_not(expression):
    start = datetime.datetime(2025, 3, 28, 12, 0, 7)
    named = [datetime.datetime.combine(day, datetime.time(2, 30)) for day in all_days(start) if DAYS[expression](day)]
    assert fault_of(expression, start, [([wall for wall in named if wall > start], False)]) is None


@pytest.mark.parametrize(("text", "step"), [("1s", 1), ("90s", 90), ("5m", 300), ("7h", 25200), ("1d", 86400), ("366d", 366 * 86400)])
def test_every_is_counted_from_the_epoch(text, step):
    after = 1_774_659_601
    wanted = list(range((after // step + 1) * step, seconds(LAST) + 1, step))[:N_SLOTS] if step > 1 else list(range(after + 1, after + 1 + N_SLOTS))
    for answer in ask((zone, after, N_SLOTS, f"@every {text}") for zone in ZONES):
        assert answer == wanted


def test_noon_is_noon_in_every_zone_of_the_machine_up_to_2099():
    zones = sorted(name for name in zoneinfo.available_timezones() if name[0].isupper())
    assert len(zones) > 300
    after = datetime.datetime(2026, 1, 2)
    n_slots = (2100 - 2026) * 24 - 1  # and noon of 2100-01-01 where 2099 has not ended in UTC
    for name, answer in zip(zones, ask((name, seconds(after), 10000, "0 12 1,15 * *") for name in zones)):
        zone = zoneinfo.ZoneInfo(name)
        shown = [datetime.datetime.fromtimestamp(slot, zone) for slot in answer]
        assert {(wall.hour, wall.minute) for wall in shown} == {(12, 0)}, (name, [str(wall) for wall in shown if wall.hour != 12][:3])
        assert len(answer) - n_slots in (0, 1), (name, len(answer))


def test_what_never_comes_is_refused_and_what_seldom_comes_ends():
    assert ask([("UTC", 0, 1, "30 2 31 2 *")]) == ["error: column 1: no month of these has such a day, so it would never start"]
    assert ask([("UTC", seconds(datetime.datetime(2096, 2, 29)), 5, "0 0 29 2 *")]) == [[]]
    assert ask([("Asia/Kolkata", seconds(LAST) - 1, 5, "* * * * * *")]) == [[seconds(LAST)]]
