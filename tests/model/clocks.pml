/* Claim: a node whose clock is wrong may publish marks that lie in the future; what is acknowledged meanwhile
   is above `settled` again as soon as a term has begun whose clock is right. Stands for
   `ringtime_dispatcher.ownership.recovery`, and for what `ringtime_ingest.service.commit` says of rows far
   ahead and of marks that cannot be true.

   Here there is a time, `now`, which only those know whose clock is right: their rows have later slots, and
   they seal nothing beyond it. Terms begin in any order and none ends (see marks.pml). One of them may have a
   wrong clock, and seal anything.

   Two assumptions, each an experiment to see what happens without it:
   limit NOBODY_LOOKS_IN_TIME: no term begins before the time is there that the false marks say
   limit BELIEVED_TOO_LONG: the wrong clock was believed for longer than `clock.look_back_s`

   fault KEEP_FALSE_MARKS: a term goes on with marks that lie in the future
   fault LOWER_SEALED_ALONE: it lowers `sealed`, not `settled`
   fault READ_FROM_FALSE_MARKS: it lowers both, and goes on reading where they were
   fault FAR_FROM_FALSE_MARKS: ingest does not look at `sealed` for rows that are near, either
*/
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef TERMS
#define TERMS 2
#endif
#define ROUNDS 2
#define NEVER 255
#define say(a, b) printf("term %d, whose clock is wrong: %d, publishes sealed %d, settled %d\n", me, is_wrong, a, b)

#include "store.pml"

byte now;
byte wrong_since = NEVER; /* when marks were first published that lay in the future */
bool somebody_is_wrong;
bool is_true;             /* the marks are those of a term whose clock is right */
bool acknowledged;

active proctype Time() {
    do
#ifdef NOBODY_LOOKS_IN_TIME
    :: atomic { now < SLOTS -> now++ }
#else
    :: atomic { now < SLOTS && (is_true || (sealed != now + 1 && settled != now + 1)) -> now++; printf("it is %d\n", now) }
#endif
    od
}

inline acknowledge() {
    acknowledged = true; printf("ingest: acknowledged\n")
}

active proctype Ingest() {
    byte slot, round;

#define is_later(s) (s > now)
#define is_above(s) (s > now && s > sealed && s > slot)
    atomic { pick(slot, is_later); home = slot }
    do
    :: atomic { filed = filed | bit(slot); printf("ingest: a row is filed at %d\n", slot) };
        if
        :: atomic { slot != home -> point_home_at(slot) };
        :: slot == home
        fi;
        atomic {
            round++;
            if
            :: slot > now + 1 -> acknowledge(); break /* far ahead: not looked at */
#ifdef FAR_FROM_FALSE_MARKS
            :: slot <= now + 1 -> acknowledge(); break
#else
            :: slot <= now + 1 && sealed > now -> break /* the marks cannot be true: outcome unknown */
            :: slot <= now + 1 && sealed <= now && sealed < slot -> acknowledge(); break
            :: slot <= now + 1 && sealed <= now && sealed >= slot ->
                if
                :: now < SLOTS && round < ROUNDS -> pick(slot, is_above)
                :: now == SLOTS || round == ROUNDS -> break
                fi
#endif
            fi
        }
    od
}

inline note() {
    if
    :: term == me -> is_true = !is_wrong
    :: else
    fi;
    if
    :: sealed > now && wrong_since == NEVER -> wrong_since = now
    :: else
    fi
}

proctype Owner(byte me) {
    byte begun_sealed, checked, limit, slot, open;
    bool is_wrong;

    /* `recovery.marks_to_begin_at`: judged by the clock this term has. */
    atomic {
        if
        :: !somebody_is_wrong -> is_wrong = true; somebody_is_wrong = true
        :: is_wrong = false
        fi;
        begun_sealed = sealed; checked = settled;
#ifdef READ_FROM_FALSE_MARKS
        limit = checked;
#endif
        if
#ifndef KEEP_FALSE_MARKS
        :: !is_wrong && (sealed > now || settled > now) ->
#ifdef BELIEVED_TOO_LONG
            begun_sealed = now;
#else
            begun_sealed = (begun_sealed < wrong_since -> begun_sealed : wrong_since);
#endif
#ifndef LOWER_SEALED_ALONE
            checked = (checked < begun_sealed -> checked : begun_sealed)
#endif
#endif
        :: else
        fi
    }
    atomic {
        put_marks(me, begun_sealed, checked);
        say(begun_sealed, checked);
        note();
#ifdef READ_FROM_FALSE_MARKS
        checked = limit; limit = 0
#endif
    }

#define is_unread(s) (s > checked && is_live(s) && !(open & bit(s)))
#define is_over(s) ((open & bit(s)) && !is_wanted(s))
#define may_seal_to(s) (s > checked && (is_wrong || s <= now))
    do
    :: atomic { pick(slot, is_unread); open = open | bit(slot); slot = 0 }
    :: atomic { pick(slot, is_over); closed = closed | bit(slot); open = open & ~bit(slot); slot = 0 }
    :: atomic {
            if
            :: pick(limit, may_seal_to)
            :: limit = checked
            fi;
            slot = 0;
            do
            :: slot < checked && !(open & bit(slot + 1)) -> slot++
            :: else -> break
            od;
            if
            :: limit > begun_sealed -> put_marks(me, limit, slot)
            :: else -> put_marks(me, begun_sealed, slot)
            fi;
            say(limit, slot);
            note();
            slot = checked + 1
        }
        do
        :: atomic {
                slot <= limit ->
                if
                :: is_live(slot) -> open = open | bit(slot)
                :: else
                fi;
                slot++
            }
        :: slot > limit -> break
        od;
        atomic {
            checked = limit; slot = 0; limit = 0;
            if
            :: begun_sealed > checked
            :: else -> begun_sealed = 0
            fi
        }
    od
}

/* `settled` may hide the row as long as it lies in the future: a term whose clock is right is still to come. */
active proctype Watcher() {
    atomic { acknowledged && !some_row_is_ahead && settled <= now -> assert(false) }
}

init {
    byte me = 1;
    atomic {
        do
        :: me <= TERMS -> run Owner(me); me++
        :: else -> break
        od
    }
}
