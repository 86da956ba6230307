/* What the models share: one poller instance as the store has it, and one schedule filed in it.

   Slots are 1 to SLOTS; 0 is before all of them. Nobody has a clock: whoever picks a slot, or how far to
   seal, picks any. So what holds here holds whatever the clocks say, and however long anything takes.

   A step is one answer of the store. Between any two steps all others may go on for ever, so a pause, a lost
   lease, a lost answer and a slow write are one and the same; a process that crashes is one that is never
   its turn again, and what it knew is begun anew by the next term. */

#define bit(slot) (1 << (slot))

/* The filings of the schedule: sets of slots. A row is live from when it is filed until it is closed: tried
   and followed by a later filing, or not wanted. Filing a row that is there already changes nothing
   (`ringtime_shared.stores.protocol`: put_rows). */
byte filed, closed;
#define is_live(slot) ((filed & bit(slot)) && !(closed & bit(slot)))

/* What its home row says: where the schedule went. 0: nowhere. The home row is closed by its pointer. */
byte home = 1, moved;
#define is_wanted(slot) ((slot) == home || moved <= (slot)) /* `ringtime_dispatcher.delivery.recording` */

inline point_home_at(slot) {
    moved = slot;
    closed = closed | bit(home)
}

/* The marks, and the term they were last written under. */
byte term, sealed, settled;

/* `ringtime_shared.stores.protocol`: put_marks. An older term's write is ignored, and within a term each mark
   keeps the greater value. One partition's row is written at once, so this is one step. */
inline put_marks(my_term, my_sealed, my_settled) {
    if
    :: my_term > term -> term = my_term; sealed = my_sealed; settled = my_settled
    :: my_term == term ->
        sealed = (my_sealed > sealed -> my_sealed : sealed);
        settled = (my_settled > settled -> my_settled : settled)
    :: else
    fi
}

/* Choose any slot for which a condition holds; blocks while there is none. */
#if SLOTS == 3
#define pick(slot, holds) if :: holds(1) -> slot = 1 :: holds(2) -> slot = 2 :: holds(3) -> slot = 3 fi
#else
#define pick(slot, holds) \
    if :: holds(1) -> slot = 1 :: holds(2) -> slot = 2 :: holds(3) -> slot = 3 :: holds(4) -> slot = 4 fi
#endif

/* The invariant of `ringtime_dispatcher`: what was acknowledged lies above `settled`, or has ended. Whoever
   owns the instance next finds it. */
#define is_ahead(slot) (is_live(slot) && (slot) > settled && is_wanted(slot))
#if SLOTS == 3
#define some_row_is_ahead (is_ahead(1) || is_ahead(2) || is_ahead(3))
#else
#define some_row_is_ahead (is_ahead(1) || is_ahead(2) || is_ahead(3) || is_ahead(4))
#endif
