/* Claim: an entry of the index whose write has returned is found by every read that begins from then on, while
   the part count is changed. Stands for `ringtime_shared.parts`.

   The counts P and Q are 0 and 1. A writer files one entry; a reader reads the index again and again;
   operators change the count from P to Q, give that up or turn it round (`ringtime_ringctl.parts`), each of whom
   may stop or sleep anywhere. So may all others.

   The age of a map is the one thing that needs a clock here: a reading of it is young until it is old, which
   may be at any time. Who waits for others' maps to be old waits for just that.

   That a returned write is what counts: only then does ingest look at `sealed`, so the final read behind a
   `sealed` that it did not see begins later (`ringtime_ingest.service.commit`).

   bounds CHANGES=2 OPERATORS=1
   bounds CHANGES=1 OPERATORS=2

   fault NO_PROOF_OF_WRITE: a write returns, however old the map is
   fault PROOF_BEFORE_WRITE: the writer's map is judged before the entry is durable
   fault READ_IS_ENOUGH: an entry filed by an old map stays where it is as long as its count is still read
   fault NO_PROOF_OF_READ: a read is complete, however old the map is
   fault PROOF_BEFORE_READ: the reader's map is judged before the read begins, not behind it
   fault AGE_FROM_ANSWER: a map's age is counted from when it was answered
   fault NO_WAIT: the next step of a change is made at once
   fault NO_PHASE_READING: the new count is written as soon as it is read
   fault NO_COPY: the old count is left without a copy
   fault COPY_BEFORE_WRITING: entries are copied while some may still write the old count
   fault WAIT_FROM_BEFORE: the wait is counted from before the map was as it is
   fault WAY_BACK_FROM_READING: the way back from `writing` begins at `reading`, and so can be given up
   fault NO_VERSION: a step does not depend on the version of the map it was planned on
*/
#ifndef CHANGES
#define CHANGES 2 /* of the count: to Q and back */
#endif
#ifndef OPERATORS
#define OPERATORS 2
#endif
#define bit(n) (1 << (n))

mtype = { STABLE, READING, WRITING, COPYING };

/* The part map, and the index. */
byte version, written;
mtype phase = STABLE;
byte entries; /* the counts under which there is one */
#define counts_read (phase == STABLE -> bit(written) : 3)

bool has_returned;

/* Which readings of the map are young: the one the writer uses; the one the reader uses, and a later one it
   holds. An operator waits for those that began before the map was as the operator knows it. */
#define WRITERS 0
#define READERS 1
#define LATER 2
byte young, waits_for[2];

inline forget(reading) {
    waits_for[0] = waits_for[0] & ~bit(reading);
    waits_for[1] = waits_for[1] & ~bit(reading)
}

inline begin(reading) {
    young = young | bit(reading);
    forget(reading)
}

active proctype Time() {
    byte reading;

    do
    :: atomic {
            if
            :: young & bit(WRITERS) -> reading = WRITERS
            :: young & bit(READERS) -> reading = READERS
            :: young & bit(LATER) -> reading = LATER
            fi;
            young = young & ~bit(reading);
            forget(reading);
            printf("time: map %d is old (0: the writer's, 1: the reader's, 2: a later one of it)\n", reading);
            reading = 0
        }
    od
}

/* `parts.HeldParts`: write. */
active proctype Writer() {
    byte used, answer;

    atomic { begin(WRITERS) }
    atomic { used = written; printf("writer: the map says %d\n", used) }
#ifdef AGE_FROM_ANSWER
    atomic { begin(WRITERS) }
#endif
again:
#ifdef PROOF_BEFORE_WRITE
    young & bit(WRITERS);
#endif
    atomic { entries = entries | bit(used); printf("writer: an entry is filed under %d\n", used) }
    do
#if defined(NO_PROOF_OF_WRITE) || defined(PROOF_BEFORE_WRITE)
    :: true -> break
#else
    :: young & bit(WRITERS) -> break
#endif
    :: atomic { !(young & bit(WRITERS)) -> begin(WRITERS) }
        atomic {
            answer = written;
            printf("writer: the map says %d now\n", answer);
            if
#ifdef READ_IS_ENOUGH
            :: answer != used && !(counts_read & bit(used)) -> used = answer; goto again
#else
            :: answer != used -> used = answer; goto again
#endif
            :: else
            fi
        }
    od;
    atomic { has_returned = true; used = 0; answer = 0; printf("writer: the write returns\n") }
}

/* `parts.HeldParts`: read. The later map is asked for at any time while the index is read, or behind it. */
active proctype Reader() {
    byte used, used_version, later, later_version, count;
    bool is_due, is_found, has_later;

    atomic { begin(READERS) }
    atomic { used = counts_read; used_version = version; printf("reader: the map says %d, a bit a count\n", used) }
    do
#ifdef PROOF_BEFORE_READ
    :: young & bit(READERS) ->
        atomic { is_due = has_returned; is_found = false; printf("reader: begins to read, the write has returned: %d\n", is_due) }
#else
    :: atomic { is_due = has_returned; is_found = false; printf("reader: begins to read, the write has returned: %d\n", is_due) }
#endif
again:
        if
        :: atomic { begin(LATER) }
            atomic { later = counts_read; later_version = version; has_later = true }
        :: true
        fi;
        do
        :: atomic {
                count < 2 ->
                is_found = is_found || ((used & entries) & bit(count));
                count++
            }
        :: atomic { count == 2 -> count = 0; printf("reader: has read, and found it: %d\n", is_found); break }
        od;
        do
#if defined(NO_PROOF_OF_READ) || defined(PROOF_BEFORE_READ)
        :: true -> break
#else
        :: young & bit(READERS) -> break
#endif
        :: atomic {
                !(young & bit(READERS)) && has_later && (young & bit(LATER)) ->
                young = young & ~bit(LATER); young = young | bit(READERS);
                if
                :: waits_for[0] & bit(LATER) -> waits_for[0] = waits_for[0] | bit(READERS)
                :: else
                fi;
                if
                :: waits_for[1] & bit(LATER) -> waits_for[1] = waits_for[1] | bit(READERS)
                :: else
                fi;
                forget(LATER);
                has_later = false;
                printf("reader: the map says %d now\n", later);
                if
                :: later_version != used_version ->
                    used = later; used_version = later_version; later = 0; later_version = 0;
                    goto again
                :: else -> later = 0; later_version = 0
                fi
            }
        :: atomic { !(young & bit(READERS)) && !(has_later && (young & bit(LATER))) -> begin(LATER) }
            atomic { later = counts_read; later_version = version; has_later = true }
        od;
        atomic {
            assert(!is_due || is_found);
            is_due = false; is_found = false
        }
    od
}

/* `ringtime_ringctl.parts`: one step of a change after the other. */
byte changes;

proctype Operator(byte me) {
    byte known_version, known_written;
    mtype known_phase;

    do
    :: atomic {
#ifdef WAIT_FROM_BEFORE
            waits_for[me] = young
        }
        atomic {
#endif
            known_version = version; known_written = written; known_phase = phase;
#ifndef WAIT_FROM_BEFORE
            waits_for[me] = young
#endif
        }
        if
#ifndef COPY_BEFORE_WRITING
        :: known_phase == COPYING
#else
        :: known_phase == WRITING
#endif
            ->
#ifndef NO_COPY
            if
            :: atomic { entries & bit(1 - known_written) -> printf("operator: the copy finds the entry\n") }
                entries = entries | bit(known_written)
            :: !(entries & bit(1 - known_written))
            fi
#else
            skip
#endif
        :: else
        fi;
#ifdef NO_WAIT
#define has_waited true
#else
#define has_waited (waits_for[me] == 0)
#endif
#ifdef NO_VERSION
#define is_current true
#else
#define is_current (version == known_version)
#endif
        atomic {
            if
            :: is_current && known_phase == STABLE && changes < CHANGES -> changes++; /* begin */
#ifdef NO_PHASE_READING
                phase = WRITING; written = 1 - known_written
#else
                phase = READING; written = known_written
#endif
            :: is_current && known_phase == READING -> phase = STABLE; written = known_written /* give up */
            :: is_current && known_phase == READING && has_waited -> phase = WRITING; written = 1 - known_written
            :: is_current && known_phase == WRITING && has_waited -> phase = COPYING; written = known_written
            :: is_current && known_phase == COPYING -> phase = STABLE; written = known_written /* end */
            :: is_current && (known_phase == WRITING || known_phase == COPYING) && changes < CHANGES -> changes++;
#ifdef WAY_BACK_FROM_READING
                phase = READING; written = known_written
#else
                phase = WRITING; written = 1 - known_written /* turn round: all read both */
#endif
            :: !is_current -> goto looked
            fi;
            version++;
            printf("operator %d: version %d, %e, writes %d\n", me, version, phase, written);
looked:     known_version = 0; known_written = 0; known_phase = 0; waits_for[me] = 0
        }
    od
}

init {
    atomic {
        run Operator(0);
#if OPERATORS == 2
        run Operator(1)
#endif
    }
}
