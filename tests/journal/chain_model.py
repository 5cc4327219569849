"""Explicit-state model of the record chain in which a search is stored.

PROTOCOL   Record n is a file under an id that was reserved before; it is never changed and never deleted.
  record   {id, pos, kind, owner, nonce, prev: sha of record n-1, more: ids that follow the known ones, starts, ends}
  CREATE   200 -> OK; 409 -> GET: same sha -> OK, else FOREIGN.  No answer -> the SAME bytes again, until 200 or 409.
  READ     from a snapshot (or id0): take ids in order, check pos and prev, ids += more, until the first missing id.
  OPEN     READ; CREATE(first missing id, claim); FOREIGN -> read on, build a new claim; OK -> owner.
  APPEND   owner: one record in flight; OK -> acknowledged; FOREIGN -> LOST: stop, keep what is pending in the spool.
  TRIALS   A trial runs only after an acknowledged record of this session (its claim, or a start) named tid AND parameters.
           Attempts of a trial = records that named it.  max_attempts of them without an end: the owner gives it up.
  WORKERS  A session runs up to `width` trials at once.  With width > 1 a deadly trial kills the workers, not the session: all
           that ran there is lost.  If it ran alone, it is guilty: another start names it before it runs again.  If others ran with
           it, all of them are suspects, none is guilty: each runs again by the start that named it.  A suspect, and a trial that was
           guilty in this session, runs alone until it has ended.
  SPOOL    An end is spooled durably before it is first sent; what the chain lacks is decided after this session's claim.
           A real end is recorded although the trial was given up meanwhile (it supersedes that), but never twice.
  FOLDER   Another folder of the search's name with another id of record 0 lost against ours: its chain is ended by `moved`.
           One with our own id of record 0 is a copy of the folder with its properties: no duplicate.
           An older one without records, whose creator may still begin there: who knows it when it opens ours ends it by `moved` before
           its claim, or goes there if it has begun.

ADVERSARY  Steps of all processes interleave in any order, so any process may be paused for any time.  A process may be
  killed at any step and started again.  A request whose answer was lost, or that is delayed, goes to `net`: from there
  it is delivered at any time, any number of times, or never; the sender keeps sending the same bytes.  The adversary
  chooses the hint: any snapshot ever made, or none (stale, late PATCH, trashed snapshot: all the same).
  Any opener may claim at any time: the lease is advice and is not modelled.  Somebody may copy the search's folder, and
  another one of its name may be listed late.
WHAT IS MERGED  READ is one step: records never vanish, so a walk returns what an instant read at its last GET returns.
  release, reset and moved are ordinary owner records.  The sha of a record is its number in REC (equal iff the contents
  are); the nonce is (sess, pos), since a session freezes at most one record per position.
ACKNOWLEDGED FOR EVER  needs no list of its own: an OK is taken only for a record that is in the chain (taken), and in every
  state a READ from every start returns the whole chain (check).
GIVEN UP TOO EARLY  is allowed: a takeover of a healthy owner, too, leaves a named trial without an end.
NOT MODELLED  which of several new folders wins, writers in a folder that lost, permissions, a user who deletes files by hand, two processes that share one spool,
  tids that begin again after a reset, liveness under endless takeovers.
"""
import argparse, random, sys, time
from collections import deque, namedtuple
from dataclasses import dataclass, replace
from functools import lru_cache

BROKEN = {  # rule broken -> what an implementation would be doing
    "owner-cmp": "409 compares the owner, not the sha", "pipeline": "record n+1 is sent before n is OK",
    "no-more": "no `more` on the last known id", "trust-snap": "a reader takes a snapshot for the whole search",
    "no-reread": "FOREIGN at open: next id, payload not consumed", "delete": "records behind a snapshot deleted, ids reusable",
    "unnamed": "the claim does not name its first trial", "run-ahead": "a trial runs before its start is acknowledged",
    "bare-tids": "claims name tids without parameters", "early-filter": "spool compared with the chain before the claim",
    "give-up-ends": "a given-up trial counts as ended for the spool", "late-spool": "ends are spooled only when LOST",
    "live-snap": "a snapshot holds what is not acknowledged", "per-session": "a trial's starts in one session are one attempt",
    "blame-all": "all that ran beside a deadly trial is guilty", "together": "suspects run beside other trials", "copy-contender": "a copy of the own folder is taken for another search",
    "beside-empty": "a claim does not end an older folder without records"}
FOLDERS = {"copy": "id0", "loser": "r0", "empty": "e0"}    # further folders of the search's name: the ids of their records 0

Rec = namedtuple("Rec", "id pos kind owner sess prev more starts ends")     # starts: (tid, par); ends: (tid, par | None: given up)
Act = namedtuple("Act", "pc sess view ids req run spool snaps left base alone knew")   # one machine; pc: off claim own lost
# run: (tid, par) of the running trials; alone: the trials that must run alone, with whether they are named for their next run
# knew: whether the empty older folder was listed when the session opened
St = namedtuple("St", "log gone net snaps acts late deaths folders moved begun")
# log: records in the order of landing (never forgets); folders: further ones of the name; moved: ids taken by `moved`
# begun: whether the creator of the empty older folder has begun there
Facts = namedtuple("Facts", "namers par real given")            # what a list of records says about the trials

@dataclass(frozen=True)
class Cfg:
    actors: int = 2         # machines that write
    sessions: int = 2       # processes one after the other on each of them
    late: int = 1           # requests that are delayed or lose their answer (those of killed processes come on top)
    trials: int = 2
    snaps: int = 1          # snapshots per session
    block: int = 2          # ids in a `more`
    folders: int = 0        # further folders of the search's name
    max_attempts: int = 2
    width: int = 1          # trials that a session runs at once; more than one: on workers that can die
    poison: int = -1        # the trial that kills its runtime
    bad: str = ""           # the one rule that is broken

class Violation(Exception):
    pass

REC, SHA = [], {}

def freeze(rec):
    """The sha of a record: contents -> number."""
    if rec not in SHA:
        SHA[rec] = len(REC)
        REC.append(rec)
    return SHA[rec]

@lru_cache(None)
def facts(view):
    f = Facts({}, {}, {}, set())
    for r in (REC[n] for n in view if n is not None):  # None: skipped without reading (no-reread)
        for t, p in r.starts:
            f.par[t] = f.par.get(t) or p
            f.namers.setdefault(t, []).append(r.sess)
        for t, p in r.ends:
            f.given.add(t) if p is None else f.real.setdefault(t, p)
    return f

@lru_cache(None)
def stored(log, gone):
    return {REC[n].id: n for i, n in enumerate(log) if i not in gone}

@lru_cache(None)
def history(log):
    """The chain: by position, up to the first gap.  Of two records at a position the one that landed first is the true one."""
    first, chain = {}, ()
    for n in log:
        first.setdefault(REC[n].pos, n)
    while len(chain) in first:
        chain += (first[len(chain)],)
    return chain

def read(files, view, ids):
    """READ from a known prefix up to the first missing id."""
    while ids and ids[0] in files:
        n = files[ids[0]]
        if (REC[n].pos, REC[n].prev) != (len(view), view[-1] if view else None):
            raise Violation(f"a reader meets a record that does not follow record {len(view) - 1}")
        view, ids = view + (n,), ids[1:] + REC[n].more
    if not ids:
        raise Violation(f"there is no id for record {len(view)}")
    return view, ids

class Model:
    def __init__(self, cfg):
        self.cfg, self.bad, self.good_chains, self.doing = cfg, cfg.bad, set(), None

    def initial(self):
        c = self.cfg
        return St((), frozenset(), frozenset(), frozenset(), tuple(
            Act("off", k + 1 - c.actors, (), (), (), (), frozenset(), 0, c.sessions, 0, frozenset(), False) for k in range(c.actors)), c.late, 0, frozenset(), frozenset(), False)

    def starts(self, snaps):
        """Where a READ may begin.  To be fair to `delete`, its hint is always the newest snapshot."""
        every = [((), ("id0",))] + sorted(snaps, key=lambda h: len(h[0]))
        return every[-1:] if self.bad == "delete" else every

    # ---- invariants of a state (those about an answer are checked where the answer is taken)
    def check(self, s):
        self.doing = None
        c = self.cfg
        spared = c.actors * c.sessions if c.width > 1 else 0        # deaths beside other trials, of which none is guilty: one per session
        if s.deaths > c.max_attempts + spared:
            raise Violation(f"the deadly trial ran {s.deaths} times, max_attempts is {c.max_attempts}")
        if c.actors * c.sessions == 1 and set(facts(s.log).given) - {c.poison}:
            raise Violation("a trial is given up although nothing died of it")
        if s.moved and read(stored(s.log, s.gone), (), ("id0",))[1][0] in s.moved:
            raise Violation("the owner ended its own chain by `moved`: the search continues nowhere")
        if s.begun and any(a.pc == "own" and a.knew for a in s.acts):
            raise Violation("the search is begun in two folders, although the owner of the younger one knew the older")
        key = s.log, s.gone, s.snaps
        if key in self.good_chains:
            return
        chain = sorted(s.log, key=lambda n: REC[n].pos)
        owner, ended = None, set()
        for n, r in ((n, REC[n]) for n in chain):
            if sum(REC[m].pos == r.pos for m in chain) > 1:
                raise Violation(f"two records were created at position {r.pos}")
            if r.kind == "claim":
                owner = r.sess
            elif r.sess != owner:
                raise Violation(f"record {r.pos} of session {r.sess} lies behind the claim of {owner}")
            for t, p in r.ends:
                if (t, p is None) in ended:
                    raise Violation(f"trial {t} ended twice")
                ended.add((t, p is None))
        for view, ids in self.starts(s.snaps):
            got = view if self.bad == "trust-snap" and view else read(stored(s.log, s.gone), view, ids)[0]
            if got != history(s.log):
                raise Violation(f"a reader that starts behind record {len(view) - 1} misses or invents records")
        self.good_chains.add(key)

    # ---- what a process does next
    def work(self, a):
        """(ends to append from the spool, trials to give up, next trial to name) as seen from a's prefix."""
        f = facts(a.view)
        ends = tuple((t, p) for t, p in sorted(a.spool) if t not in self.ended(a) and f.par.get(t) in (None, p))
        free = [t for t in range(self.cfg.trials) if not (t in f.real or t in f.given or t in dict(a.spool) or t in dict(a.run))]
        free = [t for t in free if (t, True) not in a.alone]  # suspects run again apart from these
        count = set if self.bad == "per-session" else list
        tired = [t for t in free if len(count(f.namers.get(t, ()))) >= self.cfg.max_attempts]
        nxt = next((t for t in free if t not in tired), None)
        return ends, tuple((t, None) for t in tired), None if nxt is None else (nxt, f.par.get(nxt) or a.sess)

    def ended(self, a):
        """The trials whose ends in a's spool need not be appended any more."""
        view = a.view
        if self.bad == "early-filter":      # blind to what was consumed between the first READ and the own claim
            view = tuple(n for i, n in enumerate(view) if i < a.base or REC[n].sess == a.sess)
        f = facts(view)
        return set(f.real) | (f.given if self.bad == "give-up-ends" else set())

    def record(self, k, a, kind, starts, ends, view=None, ids=None, prev=None):
        """Frozen bytes for the first id that a does not know to be taken."""
        view, ids = view or a.view, ids or a.ids
        more = () if len(ids) > 1 or self.bad == "no-more" else tuple((a.sess, len(view), i) for i in range(self.cfg.block))
        prev = prev if prev is not None else view[-1] if view else None
        return freeze(Rec(ids[0], len(view), kind, k, a.sess, prev, more, starts, ends))

    def claim(self, k, a, prev=None):
        trial = self.work(a)[2]
        starts = () if trial is None or self.bad == "unnamed" else ((trial[0], None),) if self.bad == "bare-tids" else (trial,)
        return a._replace(pc="claim", req=(self.record(k, a, "claim", starts, (), prev=prev),))

    def unspool(self, s, a, spool):
        """Check that ends leave the spool only if the chain holds the same ends."""
        for t, p in a.spool - spool:
            if facts(s.log).real.get(t) != p:
                raise Violation(f"the finished trial {t} (parameters of {p}) is lost")
        return spool

    def taken(self, s, a):
        """The answer to a's request was OK: a's state now includes it."""
        n, r = a.req[0], REC[a.req[0]]
        self.doing = f"{'ABCDEFGH'[r.owner]}{a.sess}: {r.kind} {r.pos} OK"
        a = a._replace(pc="own", view=a.view + (n,), ids=a.ids[1:] + r.more, req=a.req[1:])
        if n not in s.log:
            raise Violation(f"record {r.pos} of session {r.sess} was acknowledged, but is not in the chain")
        if a.view != history(s.log)[:len(a.view)]:
            raise Violation(f"session {a.sess} is owner at {r.pos} with a state that is not the history")
        if max((REC[m] for m in s.log if REC[m].kind == "claim" and REC[m].pos <= r.pos), key=lambda c: c.pos).sess != a.sess:
            raise Violation(f"session {a.sess} lost before record {r.pos}, writes it without an error")
        done, par = self.ended(a), facts(a.view).par
        a = a._replace(spool=self.unspool(s, a, frozenset(e for e in a.spool if e[0] not in done)))
        if r.starts and self.bad != "run-ahead" or r.kind == "claim":
            first = r.starts[0] if r.starts else self.work(a)[2] if self.bad == "unnamed" else None
            a = a._replace(run=a.run + ((first[0], first[1] or par.get(first[0]) or a.sess),) if first else a.run)
        return a

    # ---- all steps from a state
    def succ(self, s):
        c, files, out = self.cfg, stored(s.log, s.gone), []

        def step(label, k, a, **kw):
            s2 = s._replace(**kw)
            out.append((f"{'ABCDEFGH'[k]}{a.sess}: {label}", s2._replace(acts=s2.acts[:k] + (a,) + s2.acts[k + 1:])))

        for k, a in enumerate(s.acts):
            dead = a._replace(pc="off", view=(), ids=(), req=(), run=(), snaps=0, base=0, alone=frozenset(), knew=False)
            if a.pc in ("off", "lost"):
                knew = "empty" in s.folders
                if a.left and knew and not s.begun and "e0" not in s.moved and self.bad != "beside-empty":
                    step("ends the empty older folder by `moved`", k, a, moved=s.moved | {"e0"})
                    continue
                for view, ids in self.starts(s.snaps) if a.left and not (knew and s.begun) else ():
                    new = dead._replace(sess=a.sess + c.actors, left=a.left - 1, snaps=c.snaps, knew=knew)
                    new = new._replace(**dict(zip(("view", "ids"), read(files, view, ids))))
                    new = new._replace(base=len(new.view) if self.bad == "early-filter" else 0)
                    step(f"opens behind {len(view) - 1}, sends claim {len(new.view)}", k, self.claim(k, new))
                continue
            self.doing = f"{'ABCDEFGH'[k]}{a.sess}: KILLED, or does its next step"
            if a.left:      # a kill without a later start is a pause for ever, which needs no step
                gone = dead._replace(spool=self.unspool(s, a, frozenset())) if self.bad == "late-spool" else dead
                step("KILLED", k, gone)
                if a.req:
                    step("KILLED, its request under way", k, gone, net=s.net | set(a.req))
            if a.req and s.late and not s.net.issuperset(a.req):
                step("no answer in time, sends again", k, a, net=s.net | set(a.req), late=s.late - 1)
            for i, n in enumerate(a.req):
                there, kind, log = files.get(REC[n].id), REC[n].kind, s.log
                if there is None:
                    log = log + (n,)
                if i:       # pipeline only: the second record lands before the first
                    if there is None:
                        step(f"record {REC[n].pos} lands", k, a, log=log)
                elif there in (None, n) or self.bad == "owner-cmp" and REC[there].owner == k:
                    step(f"{kind} {REC[n].pos} OK", k, self.taken(s._replace(log=log), a), log=log)
                elif kind == "trials":
                    step(f"{kind} {REC[n].pos} FOREIGN: LOST", k, dead._replace(pc="lost"))
                elif self.bad == "no-reread":
                    ids = a.ids[1:] + REC[there].more
                    step("claim FOREIGN, next id", k, self.claim(k, a._replace(view=a.view + (None,), ids=ids), prev=there))
                else:
                    view, ids = read(files, a.view, a.ids)
                    step(f"claim FOREIGN, reads on, sends claim {len(view)}", k, self.claim(k, a._replace(view=view, ids=ids)))
            if a.pc != "own":
                continue
            ends, tired, trial = self.work(a)
            for one in a.run:
                if one[0] != c.poison:
                    rest = frozenset(x for x in a.alone if x[0] != one[0])
                    step(f"finishes trial {one[0]}", k, a._replace(run=tuple(r for r in a.run if r != one), spool=a.spool | {one}, alone=rest))
                elif c.width == 1:
                    step("runs the deadly trial and dies", k, dead, deaths=s.deaths + 1, net=s.net | set(a.req))
                else:
                    spared = len(a.run) > 1 and self.bad != "blame-all"
                    lost = dict.fromkeys((t for t, _ in a.run), spared)
                    gone = a._replace(run=(), alone=frozenset((dict(a.alone) | lost).items()))
                    step("the workers die of the deadly trial", k, gone, deaths=s.deaths + 1)
            held = a.alone and self.bad != "together"
            for t, named in sorted(a.alone):
                if named and (not a.run or not held) and not a.req:
                    again = (t, facts(a.view).par[t])
                    step(f"runs trial {t} again", k, a._replace(run=a.run + (again,), alone=a.alone - {(t, True)} | {(t, False)}))
            # A trial that must run alone comes first, and no other trial is named with it.
            mine = trial if not held or (trial and (trial[0], False) in a.alone and not any(n for _, n in a.alone)) else None
            room = 1 if held else c.width
            starts = (mine,) if mine and len(a.run) < room else ()
            if not a.req and (ends or tired or starts):
                n = self.record(k, a, "trials", starts, ends + tired)
                step(f"sends trials {len(a.view)}", k, a._replace(req=(n,), run=a.run + starts if self.bad == "run-ahead" else a.run))
            elif not a.req and a.spool:
                raise Violation(f"session {a.sess} owns the chain and never appends its finished trials")
            elif len(a.req) == 1 and self.bad == "pipeline":
                view, ids = a.view + a.req, a.ids[1:] + REC[a.req[0]].more
                step("sends one more", k, a._replace(req=a.req + (self.record(k, a, "trials", (), (), view, ids),)))
            for folder in s.folders - {"empty"}:
                first = FOLDERS[folder]
                head = first if first != "id0" else read(files, (), ("id0",))[1][0]
                if (first != "id0" or self.bad == "copy-contender") and head not in s.moved:
                    step(f"ends the {folder} by `moved`", k, a, moved=s.moved | {head})
            if a.snaps:
                view, ids = a.view, a.ids
                if self.bad == "live-snap" and a.req:
                    view, ids = view + a.req, ids[1:] + REC[a.req[0]].more
                gone = s.gone | {i for i, n in enumerate(s.log) if n in view} if self.bad == "delete" else s.gone
                step(f"snapshot through {len(view) - 1}", k, a._replace(snaps=a.snaps - 1), snaps=s.snaps | {(view, ids)}, gone=gone)
        for folder in FOLDERS if len(s.folders) < c.folders else ():
            if folder not in s.folders:
                out.append((f"the {folder} of the folder shows", s._replace(folders=s.folders | {folder})))
        if "empty" in s.folders and not s.begun and "e0" not in s.moved:
            out.append(("the creator of the empty older folder begins there", s._replace(begun=True)))
        for n in s.net:
            if REC[n].id not in files:
                out.append((f"late {REC[n].kind} {REC[n].pos} of session {REC[n].sess} lands", s._replace(log=s.log + (n,))))
        return out

Result = namedtuple("Result", "mode states longest text trace")

def bfs(cfg, limit, depth):
    """Check every state, breadth first; a violation has the shortest trace."""
    m, longest = Model(cfg), 0
    todo, seen = deque([(m.initial(), None, 0)]), {m.initial()}
    done, cut = 0, False
    while todo:
        s, path, d = todo.popleft()
        done, longest = done + 1, max(longest, len(s.log))
        try:
            m.check(s)
            if d >= depth or len(seen) >= limit:
                cut = True
                continue        # the frontier is still checked, but not extended
            for label, t in m.succ(s):
                if t not in seen:
                    seen.add(t)
                    todo.append((t, (label, path), d + 1))
        except Violation as v:
            trace = []
            while path:
                trace, path = [path[0]] + trace, path[1]
            return Result("bfs", done, longest, str(v), trace + [m.doing] * bool(m.doing))
    return Result("bfs", done, longest, "holds up to the bound" if cut else "holds, exhaustive", None)

def walks(cfg, seed, seconds, steps):
    """Random runs, with kills and takeovers rarer than work so that chains get long."""
    m, rng, longest, done, end = Model(cfg), random.Random(seed), 0, 0, time.time() + seconds
    while time.time() < end:
        s, trace = m.initial(), []
        for _ in range(steps):
            try:
                m.check(s)
                nxt = m.succ(s)
            except Violation as v:
                return Result("walks", done, longest, str(v), trace + [m.doing] * bool(m.doing))
            if not nxt:
                break
            label, s = rng.choices(nxt, [0.08 if "KILLED" in x else 0.3 if "opens" in x else 1 for x, _ in nxt])[0]
            trace.append(label)
            done, longest = done + 1, max(longest, len(s.log))
    return Result("walks", done, longest, "holds", None)

def show(name, run, trace=False):
    t0 = time.time()
    r = run()
    print(f"{name:14s} {r.mode:5s} {r.states:9,d} {r.longest:6d} {time.time() - t0:6.1f}  {r.text}"
          + (f" [{len(r.trace)} steps]" if r.trace is not None else ""), flush=True)
    if trace and r.trace:
        print("    " + "\n    ".join(r.trace))
    return r.trace is None

HEAD = f"{'protocol':14s} {'mode':5s} {'states':>9s} {'chain':>6s} {'sec':>6s}  result"

def selftest(limit, trace, seconds=4, skip=()):
    """The good protocol must hold everywhere, every broken rule (but those in skip) must be caught.  True if so."""
    base, t0, ok = Cfg(), time.time(), True
    print(HEAD + "   (walks: states = steps taken; chain = longest chain seen)")
    for name, kw in {"1 session each": dict(sessions=1, late=2), "3 machines": dict(actors=3, sessions=1, trials=1, snaps=0),
                     "restarts": dict(trials=1, snaps=0), "snapshots": dict(trials=1, late=0),
                     "copied folder": dict(folders=3, trials=1, late=0, snaps=0, sessions=1), "2 trials": dict(late=0, snaps=0), "deadly trial": dict(late=0, snaps=0, poison=1, max_attempts=1),
                     "1 machine": dict(actors=1, sessions=4, snaps=0, poison=1), "everything": dict(max_attempts=1),
                     "workers": dict(actors=1, sessions=1, width=2, trials=3, poison=1, late=0, snaps=0),
                     "both die": dict(actors=1, sessions=3, width=2, poison=0, late=0, snaps=0)}.items():
        ok &= show(name, lambda: bfs(replace(base, **kw), limit, 99))
    for seed, kw in enumerate((dict(actors=3, sessions=5, late=5, trials=6, snaps=2), dict(sessions=8, late=4, trials=4, poison=1),
                               dict(sessions=8, late=4, trials=9, poison=0, max_attempts=1, block=3),
                               dict(sessions=4, late=4, trials=9, poison=3, width=4)), 1):
        ok &= show(f"walks {seed}", lambda: walks(replace(base, **kw), seed, seconds, 300))
    special = {"unnamed": dict(poison=0), "run-ahead": dict(poison=1), "give-up-ends": dict(max_attempts=1), "copy-contender": dict(folders=1), "beside-empty": dict(folders=1),
               "per-session": dict(actors=1, sessions=1, width=2, poison=0, max_attempts=2), "blame-all": dict(actors=1, sessions=1, width=2, poison=1),
               "together": dict(actors=1, sessions=1, width=2, poison=0)}
    for bad, what in BROKEN.items():
        if bad in skip:
            continue
        cfg = replace(base, bad=bad, **special.get(bad, {}))
        if cfg.poison >= 0:
            cfg = replace(cfg, late=0, snaps=0, max_attempts=special[bad].get("max_attempts", 1))
        print(f"-- broken: {what}")
        ok &= not show(bad, lambda: bfs(cfg, 400_000, 99), trace)
    print(f"{'all as expected' if ok else 'FAILED'}, {time.time() - t0:.0f} s")
    return ok

def main():
    rules = "; ".join(f"{k}: {v}" for k, v in BROKEN.items())
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=f"rules for --bad: {rules}")
    for f, v in Cfg.__dataclass_fields__.items():
        p.add_argument("--" + f.replace("_", "-"), type=type(v.default), default=v.default, choices=["", *BROKEN] if f == "bad" else None)
    p.add_argument("--depth", type=int, default=99, help="breadth-first: at most so many steps from the start")
    p.add_argument("--limit", type=int, default=60_000, help="breadth-first: at most so many states")
    p.add_argument("--walks", type=float, default=0, metavar="SECONDS", help="random walks instead")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int, default=300, help="length of a walk")
    p.add_argument("--trace", action="store_true", help="print the steps of a counterexample")
    p.add_argument("--selftest", action="store_true")
    a = p.parse_args()
    if a.selftest:
        return 0 if selftest(a.limit, a.trace) else 1
    cfg = Cfg(**{f: getattr(a, f) for f in Cfg.__dataclass_fields__})
    print(HEAD)
    return 0 if show(a.bad or "good", lambda: walks(cfg, a.seed, a.walks, a.steps) if a.walks else bfs(cfg, a.limit, a.depth), a.trace) else 1

if __name__ == "__main__":
    sys.exit(main())
