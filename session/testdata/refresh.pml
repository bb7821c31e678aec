/*
 * One session, N replicas that all find its tokens due, one provider that rotates its refresh token.
 * The steps are those of rp/store/lease.go; REFRESH.md argues them. TestTheModelHolds runs this through spin.
 *
 *	CRASHES  how many replicas may die, each at any point
 *	PAUSES   how often a lease may end under a holder that is alive: stopped, or cut off, for longer than it lives
 *	BROKEN   1 to 4: without the lease, the looks at the session before the token is sent, the intent or the compare-and-swap, to see that the model would notice
 *	GRACE    1: the provider answers the token before the last as it did before; 0: it takes that for theft and ends the whole grant
 */
#define N 3
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef PAUSES
#define PAUSES 0
#endif
#ifndef GRACE
#define GRACE 0
#endif
#ifndef BROKEN
#define BROKEN 0
#endif

/* The backend. */
byte version = 1, token = 1;	/* of the record */
bool ended = false;		/* the record is gone: log in again */
byte lease = 0;			/* who holds it */
byte noted = 0, tries = 0, noter = 0;	/* the intent: which version, how often, and who noted it last */

/* The provider. */
byte current = 1;		/* the refresh token that is good */
byte last = 0;			/* the one before */
bool revoked = false;
byte sent = 0;			/* how often token 1 came */

byte crashes = CRASHES, pauses = PAUSES, finished = 0;
bool overwritten = false;

/* A replica may die between any two steps. */
#define MAYDIE	if :: atomic { crashes > 0 -> crashes--; goto dead } :: skip fi

proctype Replica(byte me)
{
	byte v, t, got, before;
	bool spent = false;

	v = 1; t = 1;	/* loaded, and due */
	MAYDIE;
	do	/* take */
	:: atomic { version != v || ended -> goto done }	/* adopt */
	:: atomic { lease == 0 || BROKEN == 1 -> lease = me; break }
	od;
	MAYDIE;
	if	/* reread */
	:: atomic { (version != v || ended) && BROKEN != 2 -> goto release }
	:: atomic { (version == v && !ended) || BROKEN == 2 -> skip }
	fi;
	MAYDIE;
	before = (noted == v -> tries : 0);	/* intend: what was noted before */
	MAYDIE;
	if	/* by one who died, or one who is done while this one was asleep: look at the session again */
	:: before > 0 && BROKEN != 3 && BROKEN != 2 ->
		if
		:: atomic { version != v || ended -> goto release }	/* adopt */
		:: atomic { version == v && !ended && before >= 2 -> ended = true; goto release }
		:: atomic { version == v && !ended && before < 2 -> skip }
		fi
	:: else
	fi;
	MAYDIE;
	atomic {	/* note: compare-and-swap with what was read */
		if
		:: (noted == v -> tries : 0) != before && BROKEN != 3 -> goto release	/* try again later */
		:: else -> noted = v; tries = before + 1; noter = me
		fi
	}
	MAYDIE;
	atomic {	/* the request, as the provider sees it */
		if
		:: t == 1 -> sent++
		:: else
		fi;
		if
		:: revoked -> got = 0
		:: !revoked && t == current -> last = current; current++; got = current
		:: !revoked && t != current && t == last && GRACE -> got = current
		:: else -> revoked = true; got = 0
		fi
	}
	spent = true;
	MAYDIE;
	if
	:: got == 0 ->	/* invalid_grant: look once more, somebody may have won */
		atomic {
			if
			:: version == v && !ended -> ended = true
			:: else
			fi
		}
	:: else ->
		atomic {	/* save: compare-and-swap */
			if
			:: (version == v && !ended) || BROKEN == 4 -> version++; token = got
			:: else		/* adopt what is there */
			fi;
			overwritten = overwritten || version > 2
		}
	fi;
	MAYDIE;
release:
	atomic {	/* the note of a token that was spent stays, for those who wake up late */
		if
		:: noter == me && !spent -> noted = 0; tries = 0; noter = 0
		:: else
		fi;
		if
		:: lease == me -> lease = 0
		:: else
		fi
	};
	goto done;
dead:
	atomic {	/* its lease is not renewed any more */
		if
		:: lease == me -> lease = 0
		:: else
		fi
	};
done:
	finished++
}

/* Time passes for somebody who does not notice. */
proctype Clock()
{
	do
	:: atomic { pauses > 0 && lease != 0 -> pauses--; lease = 0 }
	:: finished == N -> break
	od
}

init {
	atomic { run Replica(1); run Replica(2); run Replica(3); run Clock() }
	finished == N;
	/* Whatever happens. */
	assert(!overwritten);			/* a late save changes nothing */
	assert(sent <= 2);			/* never a third time */
	assert(version == 1 || token == current || revoked);
#if CRASHES == 0 && PAUSES == 0
	assert(sent == 1 && version == 2 && token == current && !revoked && !ended);
#endif
#if CRASHES + PAUSES == 1 && GRACE
	/* Nothing is lost: two replicas live on, and have the token that is good. */
	assert(version == 2 && token == current && !revoked && !ended);
#endif
#if CRASHES == 1 && PAUSES == 0 && !GRACE
	/* Kept, or ended cleanly; ended only if the token was sent, and its answer died with the replica. */
	assert(ended || (version == 2 && token == current && !revoked));
	assert(!ended || sent == 2);
#endif
}
