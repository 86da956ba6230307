/* Claim: a row that was acknowledged is above `settled` until it has ended, whatever pauses, dies or loses
   its lease. Stands for the proof sketches of `ringtime_ingest.service.commit` and `ringtime_dispatcher`.

   Ingest files one row and looks at `sealed`. Terms of ownership begin in any order, also the higher before
   the lower, and none ever ends: a node that lost its lease goes on with all it knows.

   No delivery ends here, since nothing can be wrong with a schedule that has ended; what follows a failed
   attempt is the matter of filing.pml.

   fault NO_LOOK: ingest acknowledges without a look at `sealed`
   fault LOOK_BEFORE_WRITE: ingest looks at `sealed` before it writes, not after
   fault NO_FINAL_READ: `settled` follows `sealed` without the final read
   fault READ_BEFORE_SEALED: the final read is made before `sealed` is published
   fault SETTLE_OPEN_ROWS: `settled` passes rows that were read and have no outcome
   fault CHECKED_FROM_SEALED: a new term takes the last one's `sealed` for finally read
   fault NO_FENCE: a write of an older term raises `settled`
*/
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef TERMS
#define TERMS 2
#endif
#define ROUNDS 3

#include "store.pml"

#ifdef NO_FENCE
#define fence(my_term) term
#else
#define fence(my_term) my_term
#endif

bool acknowledged;
#define say(a, b) printf("term %d publishes sealed %d, settled %d\n", me, a, b)

inline acknowledge() {
    acknowledged = true; printf("ingest: acknowledged\n")
}

active proctype Ingest() {
    byte slot = 1, round, looked;

#define is_above(s) (s > looked && s > slot)
    do
    :: atomic {
#ifdef LOOK_BEFORE_WRITE
            looked = sealed;
#endif
            round++
        }
        atomic { filed = filed | bit(slot); printf("ingest: a row is filed at %d\n", slot) };
        if
        :: atomic { slot != home -> point_home_at(slot) } /* the pointer follows the row */
        :: slot == home
        fi;
        atomic {
#ifndef LOOK_BEFORE_WRITE
            looked = sealed;
#endif
            if
#ifdef NO_LOOK
            :: acknowledge(); break
#else
            :: looked < slot -> acknowledge(); break
            :: looked >= slot && (looked >= SLOTS || slot == SLOTS || round == ROUNDS) -> break /* outcome unknown */
            :: looked >= slot && looked < SLOTS && slot < SLOTS && round < ROUNDS -> pick(slot, is_above); looked = 0
#endif
            fi
        }
    od
}

inline publish() {
    slot = 0;
    do
#ifdef SETTLE_OPEN_ROWS
    :: slot < checked -> slot++
#else
    :: slot < checked && !(open & bit(slot + 1)) -> slot++
#endif
    :: else -> break
    od;
    if
    :: limit > begun_sealed -> put_marks(fence(me), limit, slot)
    :: else -> put_marks(fence(me), begun_sealed, slot)
    fi;
    say((limit > begun_sealed -> limit : begun_sealed), slot)
}

proctype Owner(byte me) {
    byte begun_sealed, checked, limit, slot, open;

    /* `ringtime_dispatcher.ownership.recovery`: take_over. */
    atomic { begun_sealed = sealed; checked = settled }
    atomic { put_marks(me, begun_sealed, checked); say(begun_sealed, checked) }
#ifdef CHECKED_FROM_SEALED
    checked = begun_sealed;
#endif

#define is_unread(s) (s > checked && is_live(s) && !(open & bit(s)))
#define is_over(s) ((open & bit(s)) && !is_wanted(s))
#define may_seal_to(s) (s > checked)
    do
    /* A read ahead of the final one returns any row there is, at any time. */
    :: atomic { pick(slot, is_unread); open = open | bit(slot); printf("term %d reads %d\n", me, slot); slot = 0 }
    /* A filing that the schedule went on from is seen off; see `recording.is_wanted`. */
    :: atomic { pick(slot, is_over); closed = closed | bit(slot); open = open & ~bit(slot); slot = 0 }
    /* `ringtime_dispatcher.reading.sealing`: publish, then read finally; `settled` follows with the next publish. */
    :: atomic {
            if
            :: pick(limit, may_seal_to)
            :: limit = checked /* nothing to seal, or a handover: `settled` alone */
            fi;
#ifndef READ_BEFORE_SEALED
            publish();
#endif
            slot = checked + 1
        }
        do
        :: atomic {
                slot <= limit ->
                if
#ifndef NO_FINAL_READ
                :: is_live(slot) -> open = open | bit(slot); printf("term %d reads %d finally\n", me, slot)
#endif
                :: else
                fi;
                slot++
            }
        :: atomic { slot > limit -> printf("term %d has read finally up to %d\n", me, limit); break }
        od;
        atomic {
#ifdef READ_BEFORE_SEALED
            publish();
#endif
            checked = limit; slot = 0; limit = 0;
            if
            :: begun_sealed > checked
            :: else -> begun_sealed = 0 /* what is published from here on is above it */
            fi
        }
    od
}

active proctype Watcher() {
    atomic { acknowledged && !some_row_is_ahead -> assert(false) }
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
