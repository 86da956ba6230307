/* Claim: while an app's partitions change, a row that was acknowledged and has no outcome lies in a partition
   that is polled. Stands for the invariant and the proof sketch of `ringtime_ringctl.resize`, and for the age
   of the map in `ringtime_ingest.service.commit`.

   The app has the partitions 0 and 1. Operators shrink it to 0 and release 1, give that up, and grow it again;
   each may sleep anywhere and go on. The schedule's row is filed in partition 1 by an ingest that may know an
   old map. 1's owner tries it, files it for later in 1, closes it and lets `settled` pass it, but nothing that
   is live: that much is the matter of marks.pml and filing.pml. A row that ingest files in 0 is safe here and
   ends the run, as does one that is delivered.

   The age of a map is the one thing that needs a clock here; see parts.pml. How ingest proves that its map is
   as good as one that was just read is the matter of feed.pml.

   Slots 1 and 2 are the first minute, 3 is the next.

   bounds OPERATORS=1 RESIZES=3
   bounds OPERATORS=2 RESIZES=1

   fault NO_QUIET: the release does not wait for creates on older maps
   fault QUIET_FROM_BEFORE: the quiet time is counted from before `writable` was seen to be lowered
   fault LOOK_BEFORE_QUIET: the look at what the partition holds comes before the quiet time is over
   fault AGE_BEFORE_WRITE: ingest judges its map's age before the row is durable, not after
   fault POLLED_IS_ENOUGH: ingest leaves a row where it is polled, though it is not writable any more
   fault NO_LOOK: the release does not look at what the partition holds
   fault SETTLED_READ_LAST: the release reads what the partition holds first, and `settled` after it
   fault LIVE_ROWS_ALONE: the release counts rows that are live, not all
   fault OPEN_BEFORE_POLLED: a grow lets creates in before the partition is polled
   fault NO_VERSION: a change of the map does not depend on the version that was read
   fault CLOSE_FIRST: the owner closes a row before the later one is durable
*/
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef OPERATORS
#define OPERATORS 1
#endif
#ifndef RESIZES
#define RESIZES 1
#endif

#include "store.pml"

/* The app: its map and its note. A shrink or a grow that is begun has a number of its own. */
mtype = { NO_NOTE, SHRINK, GROW };
byte version, writable = 2, polled = 2, begun;
mtype note = NO_NOTE;

/* Ingest's reading of it; an operator waits for it to be old if it began before the operator's own. */
bool young, waits_for[2];

bool acknowledged, over;

inline forget() {
    waits_for[0] = false; waits_for[1] = false
}

active proctype Time() {
    do
    :: atomic { young && !over -> young = false; forget(); printf("time: ingest's map is old\n") }
    od
}

active proctype Ingest() {
    byte known, slot;

#define is_unsettled(s) (s > settled)
    atomic { young = true; forget() }
    atomic { known = writable; printf("ingest: the map says writable %d\n", known) }
    if
    :: known == 2
    :: atomic { known == 1 -> over = true; goto filed_elsewhere }
    fi;
#ifdef AGE_BEFORE_WRITE
    young;
#endif
    atomic {
        pick(slot, is_unsettled);
        home = slot;
        filed = filed | bit(slot);
        printf("ingest: a row is filed in partition 1 at %d\n", slot)
    }
    do
#ifdef AGE_BEFORE_WRITE
    :: true -> break
#else
    :: young -> break
    :: atomic { !young -> young = true; forget() }
        atomic {
            printf("ingest: the map says writable %d, polled %d now\n", writable, polled);
            if
#ifdef POLLED_IS_ENOUGH
            :: polled == 2 -> break
            :: polled == 1 -> over = true; goto filed_elsewhere
#else
            :: writable == 2
            :: writable == 1 -> over = true; goto filed_elsewhere /* it is filed again, in 0 */
#endif
            fi
        }
#endif
    od;
    atomic { acknowledged = true; printf("ingest: acknowledged\n") }
filed_elsewhere:
    atomic { known = 0; slot = 0 }
}

active proctype Owner() {
    byte slot, next;

#define is_due(s) (is_live(s))
#define is_later(s) (s > slot && s > settled)
    do
    :: atomic { !over; pick(slot, is_due); printf("owner: the attempt at %d fails\n", slot) }
        atomic { !over; pick(next, is_later) }
#ifdef CLOSE_FIRST
        atomic { closed = closed | bit(slot); printf("owner: %d is closed\n", slot) }
#endif
        atomic { filed = filed | bit(next); printf("owner: it is filed at %d\n", next) }
        atomic { closed = closed | bit(slot); printf("owner: %d is closed\n", slot); slot = 0; next = 0 }
    od
}

active proctype Sealer() {
    do
    :: atomic {
            !over && settled < SLOTS && !is_live(settled + 1) ->
            settled++; printf("owner: settled is %d\n", settled)
        }
    od
}

/* Somebody configures the app. */
active proctype Other() {
    version++
}

/* `ringtime_ringctl.resize`: what a release rests on, in the order in which it is read. Beside the mark that
   are the buckets with entries above it, the later first, as that is the order in which a retry could slip
   through; and then the highest slot in the bucket that the mark stands in. */
#define first_minute (filed & (bit(1) | bit(2)))
#define second_minute (filed & bit(3))
#define live_in_first (is_live(1) || is_live(2))
#define highest_in_first (filed & bit(2) -> 2 : 1)
#define highest_filed (filed & bit(3) -> 3 : (filed & bit(2) -> 2 : (filed & bit(1) -> 1 : 0)))

inline look() {
#ifdef NO_LOOK
    skip;
#elif defined(SETTLED_READ_LAST)
    mark = highest_filed;
    is_ahead_there = mark > settled;
#elif defined(LIVE_ROWS_ALONE)
    is_ahead_there = is_live(3);
    is_ahead_there = is_ahead_there || live_in_first;
#else
    mark = settled;
    is_ahead_there = second_minute && mark < 3;
    first_has = first_minute && mark < 2;
    is_ahead_there = is_ahead_there || (first_has && highest_in_first > mark);
#endif
    atomic { mark = 0; first_has = false; printf("operator %d: rows ahead: %d\n", me, is_ahead_there) }
}

#ifdef NO_QUIET
#define is_quiet true
#else
#define is_quiet (!waits_for[me])
#endif
#ifdef NO_VERSION
#define is_current true
#else
#define is_current (version == known_version)
#endif

proctype Operator(byte me) {
    byte known_version, known_writable, known_polled, known_begun, waited_for, mark;
    mtype known_note;
    bool has_waited, is_ahead_there, first_has;

    do
    :: atomic {
            !over;
            known_version = version; known_writable = writable; known_polled = polled;
            known_note = note; known_begun = begun;
            /* The quiet time: from when `writable` was seen to be lowered by this very shrink. */
            if
#ifdef QUIET_FROM_BEFORE
            :: known_note == NO_NOTE -> waits_for[me] = young; waited_for = begun + 1
#endif
            :: known_note == SHRINK && waited_for != begun -> waits_for[me] = young; waited_for = begun
            :: else
            fi
        }
#ifdef LOOK_BEFORE_QUIET
        if
        :: known_note == SHRINK -> look()
        :: else
        fi;
        has_waited = is_quiet;
#else
        has_waited = is_quiet;
        if
        :: known_note == SHRINK && has_waited -> look()
        :: else
        fi;
#endif
        atomic {
            if
            :: is_current && known_note == NO_NOTE && known_writable == 2 && begun < RESIZES ->
                note = SHRINK; begun++; writable = 1; polled = known_polled
            :: is_current && known_note == NO_NOTE && known_writable == 1 && begun < RESIZES ->
                note = GROW; begun++; polled = 2;
#ifdef OPEN_BEFORE_POLLED
                writable = 2; polled = known_polled
#else
                writable = known_writable
#endif
            :: is_current && known_note == SHRINK && has_waited && !is_ahead_there ->
                note = NO_NOTE; polled = 1; writable = known_writable /* release */
            :: is_current && known_note == GROW ->
                note = NO_NOTE; writable = 2; polled = known_polled /* open: 1 has an owner */
#ifdef OPEN_BEFORE_POLLED
                ; polled = 2
#endif
            :: is_current && known_note == SHRINK -> note = NO_NOTE; writable = 2; polled = known_polled /* abort */
            :: is_current && known_note == GROW -> note = NO_NOTE; polled = 1; writable = known_writable /* abort */
            :: goto looked
            fi;
            version++;
            printf("operator %d: %e, writable %d, polled %d\n", me, note, writable, polled);
looked:     known_version = 0; known_writable = 0; known_polled = 0; known_note = 0; known_begun = 0;
            has_waited = false; is_ahead_there = false
        }
    od
}

active proctype Watcher() {
    atomic { acknowledged && !over && polled == 1 -> assert(false) }
}

init {
    atomic {
        run Operator(0);
#if OPERATORS == 2
        run Operator(1)
#endif
    }
}
