/* Claim: a schedule that was acknowledged is above `settled` until it has ended, also while its attempts fail
   and later filings take its place, on several nodes at once. Stands for the order of the writes in
   `ringtime_dispatcher.delivery.recording`, and for the proof sketch of `ringtime_dispatcher`.

   Terms begin in any order and none ever ends (see marks.pml). Each node reads and seals, and beside that
   works on one filing of the schedule at a time, as the ledger's lock has it. An attempt that succeeds ends
   the run: nothing can be wrong with a schedule that has ended. FAILURES attempts in all may fail.

   fault POINT_WITHOUT_A_LOOK: what points at a filing is written without a look at `sealed`
   fault LOOK_BEFORE_FILING: the look comes before the filing is durable
   fault CLOSE_FIRST: the filing just tried is closed before the later one is durable
   fault SETTLE_BEFORE_MOVED: the filing just tried counts as ended before the later one is durable
   fault FILE_EARLIER: a later filing may get an earlier slot, as by a clock that went back
   fault POINTER_ALONE: a filing is seen off because the home row went on at all, be it to an earlier slot
*/
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef TERMS
#define TERMS 2
#endif
#ifndef FAILURES
#define FAILURES 2
#endif

#include "store.pml"

byte open[TERMS + 1]; /* by node: rows it has read, without a durable outcome or later filing */
byte failures;
#define say(a, b) printf("term %d publishes sealed %d, settled %d\n", me, a, b)

proctype Owner(byte me) {
    byte begun_sealed, checked, limit, slot;

    /* `ringtime_dispatcher.ownership.recovery`: take_over. */
    atomic { begun_sealed = sealed; checked = settled }
    atomic { put_marks(me, begun_sealed, checked); say(begun_sealed, checked); run Deliverer(me) }

#define is_unread(s) (s > checked && is_live(s) && !(open[me] & bit(s)))
#define may_seal_to(s) (s > checked)
    do
    :: atomic { pick(slot, is_unread); open[me] = open[me] | bit(slot); printf("term %d reads %d\n", me, slot); slot = 0 }
    :: atomic {
            if
            :: pick(limit, may_seal_to)
            :: limit = checked
            fi;
            slot = 0;
            do
            :: slot < checked && !(open[me] & bit(slot + 1)) -> slot++
            :: else -> break
            od;
            if
            :: limit > begun_sealed -> put_marks(me, limit, slot)
            :: else -> put_marks(me, begun_sealed, slot)
            fi;
            say((limit > begun_sealed -> limit : begun_sealed), slot);
            slot = checked + 1
        }
        do
        :: atomic {
                slot <= limit ->
                if
                :: is_live(slot) -> open[me] = open[me] | bit(slot); printf("term %d reads %d finally\n", me, slot)
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

/* `ringtime_dispatcher.delivery.deliverer` and `recording`: numbers are those of the writes of one record. */
proctype Deliverer(byte me) {
    byte slot, next;

#define is_open(s) (open[me] & bit(s))
#ifdef FILE_EARLIER
#define is_later(s) (s != slot)
#else
#define is_later(s) (s > slot)
#endif
#define is_higher(s) (s > sealed && s > slot)
#ifdef POINTER_ALONE
#define is_seen_off(s) (s != home && moved != 0 && moved != s)
#else
#define is_seen_off(s) (!is_wanted(s))
#endif
    do
    :: atomic { /* a look at the home row: whether it is wanted */
            pick(slot, is_open);
            if
            :: is_seen_off(slot) -> printf("node %d: %d is not wanted any more\n", me, slot)
            :: !is_seen_off(slot) && failures < FAILURES -> failures++; printf("node %d: the attempt at %d fails\n", me, slot); goto failed
            fi
        }
        goto close;
failed: atomic {
            pick(next, is_later);
#ifdef LOOK_BEFORE_FILING
            if
            :: sealed < next
            fi
#endif
        }
#ifdef CLOSE_FIRST
        closed = closed | bit(slot);
#endif
#ifdef SETTLE_BEFORE_MOVED
        open[me] = open[me] & ~bit(slot);
#endif
again:  atomic { filed = filed | bit(next); printf("node %d files it at %d\n", me, next) } /* 1. */
#if !defined(POINT_WITHOUT_A_LOOK) && !defined(LOOK_BEFORE_FILING)
        if /* 2. */
        :: sealed < next
        :: atomic { sealed >= next && sealed < SLOTS -> pick(next, is_higher); goto again }
        fi;
#endif
        atomic { point_home_at(next); printf("node %d: the home row points at %d\n", me, next); next = 0 } /* 4. */
close:  atomic { closed = closed | bit(slot); printf("node %d closes %d\n", me, slot) } /* 5. */
        atomic { open[me] = open[me] & ~bit(slot); slot = 0 }
    od
}

proctype Watcher() {
    atomic { !some_row_is_ahead -> assert(false) }
}

init {
    byte me = 1;
    atomic {
        filed = bit(home);
        run Watcher();
        do
        :: me <= TERMS -> run Owner(me); me++
        :: else -> break
        od
    }
}
