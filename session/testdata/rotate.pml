/*
 * One session under an old identifier: processes that rotate it, one that refreshes it, one that logs out with the old cookie, the browser that comes back after an outage, and
 * refreshes afterwards. The steps are those of moved.go and rp/store/lease.go; REFRESH.md argues them. TestTheRotationModelHolds runs this through spin.
 *
 *	ROTATORS, REFRESHERS, LOGOUTS  how many of each
 *	CRASHES  how many processes may die, each at any point
 *	PAUSES   how often a lease may end under a holder that is alive
 *	OUTAGES  how many rotators may not learn whether their swap has taken place
 *	GRACE    1: the provider answers the token before the last as it did before; 0: it takes that for theft and ends the whole grant
 *	BROKEN   1 to 6: a logout that does not look again, a swap that does not compare, a new place that opens before the old one is given up, a rotation that leaves no note, one that
 *	         does not carry the count of tries, a note of a rotation that counts as a try: to see that the model would notice
 */
#ifndef ROTATORS
#define ROTATORS 1
#endif
#ifndef REFRESHERS
#define REFRESHERS 1
#endif
#ifndef LOGOUTS
#define LOGOUTS 0
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef PAUSES
#define PAUSES 0
#endif
#ifndef OUTAGES
#define OUTAGES 0
#endif
#ifndef GRACE
#define GRACE 0
#endif
#ifndef BROKEN
#define BROKEN 0
#endif
#define WORKERS (ROTATORS + REFRESHERS + LOGOUTS)

/* The backend. The old place: nothing, a row, or a mark that the session is at the place of a rotator, 1 or 2. */
#define GONE	9
#define ROW	0
byte old = ROW, version = 1, token = 1;
/* The new places: nothing, on its way, or settled. */
#define NONE	0
#define WAY	1
#define SETTLED	2
byte fresh[3], freshToken[3];
byte lease = 0;
byte noted = 0, tries = 0, noter = 0;	/* the intent of the old place: which version, how often, and a number of its own */
byte notes = 0;
byte counted[3];			/* the intents of the new places */

/* The provider. */
byte current = 1, last = 0, sent = 0;
byte attempts = 0;			/* refreshes that were about to send it */
bool revoked = false;

bool cookie[3];				/* a browser has it */
byte crashes = CRASHES, pauses = PAUSES, outages = OUTAGES, finished = 0;
bool loggedOut = false, ended = false;

#define MAYDIE	if :: atomic { crashes > 0 -> crashes--; goto dead } :: skip fi
#define ATOLD	(old == ROW)
#if BROKEN == 3
#define OPENS(i)	(fresh[i] != NONE)
#else
#define OPENS(i)	(fresh[i] == SETTLED || fresh[i] == WAY && old == i)
#endif
/* One identifier at most opens. A place that nobody has the cookie of yet opens to nobody. */
#define CHECK	assert((ATOLD -> 1 : 0) + ((cookie[1] && OPENS(1)) -> 1 : 0) + ((cookie[2] && OPENS(2)) -> 1 : 0) <= 1)

inline send(t, got)
{
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

/* note: compare-and-swap with what was read. n: what it counts. */
inline put(n, seen, mine)
{
	noted = v; tries = before + n; notes++; noter = notes; mine = notes
}

proctype Rotator(byte me)
{
	byte v = 1, t = 1, before, seen, mine = 0;
	bool moved = false;

	MAYDIE;
	do	/* take */
	:: atomic { !ATOLD || version != v -> goto done }
	:: atomic { lease == 0 || BROKEN == 4 -> lease = me; break }
	od;
	MAYDIE;
	atomic { fresh[me] = WAY; freshToken[me] = t };
	MAYDIE;
#if BROKEN != 4
	atomic { before = (noted == v -> tries : 0); seen = noter };	/* reserve */
	MAYDIE;
	if
	:: atomic { !ATOLD || version != v -> goto undo }
	:: atomic { ATOLD && version == v && before >= 2 -> goto undo }
	:: atomic { ATOLD && version == v && before < 2 -> skip }
	fi;
	MAYDIE;
	atomic {
		if
		:: noter != seen -> goto undo
		:: else -> put((BROKEN == 6 -> 1 : 0), seen, mine)
		fi
	};
	MAYDIE;
	atomic { counted[me] = (BROKEN == 5 -> 0 : before) };
	MAYDIE;
#endif
	atomic {	/* the swap */
		if
		:: (ATOLD && version == v) || BROKEN == 2 -> old = me; moved = true
		:: else
		fi;
		CHECK
	};
	if
	:: atomic { moved && outages > 0 -> outages--; cookie[me] = true; CHECK; goto abandon }
	:: skip
	fi;
	MAYDIE;
	if
	:: !moved -> goto undo
	:: else
	fi;
	if
	:: atomic { fresh[me] == WAY -> fresh[me] = SETTLED; cookie[me] = true; CHECK }
	:: atomic { fresh[me] == NONE -> skip }	/* ended meanwhile */
	fi;
	MAYDIE;
	goto release;
undo:
	MAYDIE;
	fresh[me] = NONE;
	MAYDIE;
release:
	atomic {	/* the note of a rotation stays, for those who wake up late */
		if
		:: mine != 0 && noter == mine && !moved -> tries = before; noter = (before > 0 -> noter : 0); noted = (before > 0 -> noted : 0)
		:: else
		fi
	};
abandon:
dead:
	atomic {
		if
		:: lease == me -> lease = 0
		:: else
		fi
	};
done:
	finished++
}

/* An outage before the swap, whose answer says the same as one after it. */
proctype CutOff(byte me)
{
	byte v = 1;

	if
	:: atomic {
		outages > 0 && lease == 0 && ATOLD && version == v && (noted != v || tries < 2) ->
		outages--; fresh[me] = WAY; freshToken[me] = 1; counted[me] = (noted == v -> tries : 0);
		tries = counted[me]; noted = v; notes++; noter = notes; cookie[me] = true; CHECK
	   }
	:: skip
	fi;
	finished++
}

/* The browser comes back with a cookie whose place is on its way. */
proctype Visitor(byte me)
{
	byte v = 1, before, seen, mine = 0;
	bool moved = false;

	if
	:: atomic { cookie[me] -> skip }
	:: atomic { finished >= WORKERS -> goto over }
	fi;
	if
	:: atomic { fresh[me] != WAY || (!ATOLD && old != me) || (ATOLD && version != v) -> goto over }
	:: atomic { fresh[me] == WAY && old == me -> fresh[me] = SETTLED; goto over }
	:: atomic { fresh[me] == WAY && ATOLD && version == v -> skip }
	fi;
	do
	:: atomic { !ATOLD || version != v -> goto over }
	:: atomic { lease == 0 -> lease = 7; break }
	od;
	atomic { before = (noted == v -> tries : 0); seen = noter };
	if
	:: atomic { !ATOLD || version != v || before >= 2 -> goto back }
	:: atomic { ATOLD && version == v && before < 2 -> skip }
	fi;
	atomic {
		if
		:: noter != seen -> goto back
		:: else -> put(0, seen, mine)
		fi
	};
	atomic { counted[me] = before };
	atomic {
		if
		:: ATOLD && version == v -> old = me; moved = true
		:: else
		fi;
		CHECK
	};
	if
	:: atomic { moved && fresh[me] == WAY -> fresh[me] = SETTLED; CHECK }
	:: atomic { !moved || fresh[me] == NONE -> skip }
	fi;
back:
	atomic {
		if
		:: mine != 0 && noter == mine && !moved -> tries = before; noted = (before > 0 -> noted : 0); noter = (before > 0 -> noter : 0)
		:: else
		fi;
		if
		:: lease == 7 -> lease = 0
		:: else
		fi
	};
over:
	finished++
}

/* A refresh under the old identifier, as in refresh.pml. */
proctype Refresher(byte me)
{
	byte v = 1, t = 1, got, before, seen, mine = 0;
	bool spent = false;

	MAYDIE;
	do
	:: atomic { !ATOLD || version != v -> goto done }
	:: atomic { lease == 0 -> lease = me; break }
	od;
	MAYDIE;
	if
	:: atomic { !ATOLD || version != v -> goto release }
	:: atomic { ATOLD && version == v -> skip }
	fi;
	MAYDIE;
	atomic { before = (noted == v -> tries : 0); seen = noter };
	if	/* the intent is read first, then the session */
	:: atomic { !ATOLD || version != v -> goto release }
	:: atomic { ATOLD && version == v && before >= 2 -> old = GONE; ended = true; goto release }
	:: atomic { ATOLD && version == v && before < 2 -> skip }
	fi;
	MAYDIE;
	atomic {
		if
		:: noter != seen -> goto release
		:: else -> put(1, seen, mine); attempts++
		fi
	};
	MAYDIE;
	atomic { send(t, got) };
	spent = true;
	MAYDIE;
	atomic {
		if
		:: ATOLD && version == v && got != 0 -> version++; token = got
		:: ATOLD && version == v && got == 0 -> old = GONE; ended = true
		:: else	/* rotated away or ended: what came is lost, and not revoked if it was rotated */
		fi
	};
	MAYDIE;
release:
	atomic {
		if
		:: mine != 0 && noter == mine && !spent -> tries = before; noted = (before > 0 -> noted : 0); noter = (before > 0 -> noter : 0)
		:: else
		fi
	};
dead:
	atomic {
		if
		:: lease == me -> lease = 0
		:: else
		fi
	};
done:
	finished++
}

/* A logout with the old cookie: it removes the row at the version it has seen, or follows the mark. */
proctype Logout()
{
	byte seen, v;

	do
	:: atomic { seen = old; v = version };
		if
		:: seen == GONE -> break
		:: seen == ROW ->
			atomic {
				if
				:: (ATOLD && version == v) || BROKEN == 1 -> old = GONE
				:: else
				fi
			};
			if
			:: BROKEN == 1 -> break
			:: else
			fi
		:: else -> fresh[seen] = NONE; break
		fi
	od;
	loggedOut = true;
	finished++
}

proctype Clock()
{
	do
	:: atomic { pauses > 0 && lease != 0 -> pauses--; lease = 0 }
	:: finished >= WORKERS -> break
	od
}

init {
	byte i, t, n, got;

	atomic {
		run Rotator(1);
#if ROTATORS > 1
		run Rotator(2);
#endif
#if REFRESHERS > 0
		run Refresher(3);
#endif
#if REFRESHERS > 1
		run Refresher(4);
#endif
#if LOGOUTS
		run Logout();
#endif
#if OUTAGES
		run CutOff(2);
		run Visitor(1);
		run Visitor(2);
#endif
		run Clock()
	}
	finished == WORKERS + (OUTAGES > 0 -> 3 : 0);
	CHECK;
	assert(!loggedOut || (!ATOLD && !OPENS(1) && !OPENS(2)));	/* a logout ends whatever there is */
	assert(sent <= 2);
	if
	:: loggedOut || ended || revoked -> goto end
	:: else
	fi;
	/* Nothing else ends it. */
	assert(ATOLD || OPENS(1) || OPENS(2));
#if CRASHES == 0 && OUTAGES == 0
	assert(ATOLD || cookie[1] || cookie[2]);			/* and somebody can open it */
#endif
	/* Afterwards its tokens are refreshed, by processes that may die as well. */
	do
	:: atomic {
		if
		:: ATOLD -> i = 0; t = token; n = (noted == version -> tries : 0)
		:: !ATOLD && OPENS(1) -> i = 1; t = freshToken[1]; n = counted[1]
		:: else -> i = 2; t = freshToken[2]; n = counted[2]
		fi;
		if
		:: n >= 2 -> ended = true; goto judged
		:: else
		fi;
		if
		:: i == 0 -> noted = version; tries = n + 1
		:: else -> counted[i] = n + 1
		fi;
		attempts++;
		send(t, got);
		if
		:: crashes > 0 -> crashes--	/* the answer dies with it */
		:: true -> goto judged
		fi
	}
	od;
judged:
#if CRASHES == 0 || PAUSES == 0 /* a pause right before the swap, and a death later, are too much */
	assert(sent <= 2);						/* never a third time */
#endif
#if CRASHES == 0 && PAUSES == 0
	assert(!revoked && !ended && got == current);
#endif
#if CRASHES + PAUSES == 1 && GRACE
	assert(!revoked && !ended && got == current);			/* nothing is lost */
#endif
	assert(!ended || attempts >= 2);				/* who spends nothing uses no try up */
end:	skip
}
