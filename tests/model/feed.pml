/* Claim: who finds the count of app changes as it was knows the apps as they were at that moment. So a map
   that is young by such a proof is as good as one that was read anew, for whoever waits until older maps are
   not used any more. Stands for `ringtime_shared.apps.feed`, and for the quiet times of `ringtime_ringctl.resize`
   and `ringtime_shared.apps.deleting`.

   A maker makes one change of an app, and may die before it is counted. A waiter finds the change, and waits
   until no older map is young; then it acts on that (a partition is released, an app deleted). Ingest follows
   the count, reads all apps now and then or one alone, and acknowledges rows by the map it knows. That is safe
   only until the waiter has acted. Somebody else's changes are counted, too.

   The age of a map is the one thing that needs a clock here; see parts.pml.

   fault NO_ANNOUNCEMENT: the waiter does not count the change itself, before it begins to wait
   fault ANNOUNCED_TOO_EARLY: it counts before it has found the change
   fault BASE_AFTER_READ: what a full read proves is the count that was read after it
   fault AGE_FROM_ANSWER: a proof counts from when the count was answered
   fault NAMES_PROVE: once the apps that the log names are read, all are taken to be known
*/
#ifndef OTHERS
#define OTHERS 1
#endif
#define bit(n) (1 << (n))

bool is_changed; /* the app, in the store */
byte count;
bool has_acted;  /* the waiter */

/* The boot times at which ingest's knowledge was proved: what it goes by, and the call that is out. */
#define PROVED 0
#define CALL 1
byte young, waits_for;

inline begin_call() {
    young = young | bit(CALL);
    waits_for = waits_for & ~bit(CALL)
}

inline prove() {
#ifdef AGE_FROM_ANSWER
    begin_call();
#endif
    /* What is known already may have been proved later than by this call: then it stays so. */
    if
    :: young & bit(CALL) ->
        if
        :: !(waits_for & bit(CALL)) -> waits_for = waits_for & ~bit(PROVED) /* it began behind the wait */
        :: (waits_for & bit(CALL)) && !(young & bit(PROVED)) -> waits_for = waits_for | bit(PROVED)
        :: else
        fi;
        young = young | bit(PROVED)
    :: else
    fi
}

active proctype Time() {
    do
    :: atomic { young & bit(PROVED) -> young = young & ~bit(PROVED); waits_for = waits_for & ~bit(PROVED); printf("time: what ingest knows is old\n") }
    :: atomic { young & bit(CALL) -> young = young & ~bit(CALL); waits_for = waits_for & ~bit(CALL); printf("time: ingest's call is long out\n") }
    od
}

active proctype Maker() {
    atomic { is_changed = true; printf("maker: the app is changed\n") }
    atomic { count++; printf("maker: counted\n") } /* or it has died */
}

active [OTHERS] proctype Other() {
    count++
}

active proctype Waiter() {
#ifdef ANNOUNCED_TOO_EARLY
    count++;
    atomic { is_changed; waits_for = young; printf("waiter: finds the change, and waits\n") }
#else
    is_changed;
#ifndef NO_ANNOUNCEMENT
    atomic { count++; printf("waiter: announces the change\n") }
#endif
    atomic { waits_for = young; printf("waiter: waits\n") }
#endif
    atomic { waits_for == 0 -> has_acted = true; printf("waiter: no older map is young\n") }
}

active proctype Ingest() {
    byte base, seen;
    bool is_known, is_read;

    do
    /* All apps are read; the count before that. */
    :: atomic { begin_call(); printf("ingest: asks\n") }
        seen = count;
        is_read = is_changed;
#ifdef BASE_AFTER_READ
        seen = count;
#endif
        atomic { is_known = is_known || is_read; base = seen; prove(); printf("ingest: read all, knows the change: %d, count %d\n", is_known, base); is_read = false; seen = 0 }
    /* A look: the count is as it was. */
    :: atomic { begin_call(); printf("ingest: asks\n") }
        atomic {
            if
            :: count == base -> prove(); printf("ingest: the count is still %d\n", base)
            :: count != base -> printf("ingest: the count has moved to %d\n", count);
#ifdef NAMES_PROVE
                base = count; prove()
#endif
            fi
        }
    /* The app alone. What is known of it rises, whichever answer comes first. */
    :: atomic { begin_call(); printf("ingest: asks\n") }
        atomic { is_known = is_known || is_changed; prove(); printf("ingest: read the app alone, knows the change: %d\n", is_known) }
    /* A row that was durable before this is acknowledged by the map. */
    :: atomic { (young & bit(PROVED)) && !is_known -> printf("ingest: acknowledges by the old map\n"); assert(!has_acted) }
    od
}
