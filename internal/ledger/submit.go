package ledger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

const (
	// maxRound is how many transactions are decided together at most: enough to make the common cost small, little enough that nobody
	// waits long.
	maxRound = 512
	// fullRound is how many have to wait for a round that begins while another one runs: larger rounds cost less, and what waits
	// is decided as soon as the other one has ended.
	fullRound = 16
	// longWait is when nobody waits for the other one any longer: it may be held up by an account that is locked.
	longWait = 10 * time.Millisecond
	// maxLooks is how often a round is run again because a reference is taken that was not in the book when it looked.
	maxLooks = 4
	// roundTimeout is how long a round may take with everything that has to be run again. If it fails, its transactions have as long once
	// more to be run alone, each at most aloneTimeout.
	roundTimeout = 30 * time.Second
	aloneTimeout = 5 * time.Second
	// lockWait is how long a row is waited for that somebody else has locked, and twice that if others stand in line for it; leastWait is
	// what becomes of it when many wait in vain.
	lockWait  = 2 * time.Second
	leastWait = 10 * time.Millisecond
)

// workers is how many rounds run at the same time at most: SQLite has one writer; on PostgreSQL the next round is decided while the
// one before is being made durable.
func workers(engine db.Engine) int {
	if engine == db.PostgreSQL {
		return 2
	}
	return 1
}

// submission is a proposal in the queue.
type submission struct {
	Proposal
	state atomic.Int32 // waiting, taken or left
	done  chan error   // what became of it: nil if it is posted
}

const (
	waiting int32 = iota
	taken
	left // by the submitter, whose context has ended
)

// queue collects what is submitted while the workers are busy.
type queue struct {
	mu      sync.Mutex
	list    []*submission
	workers int // that run
	most    int
	overdue *time.Timer // starts another worker for those that have waited long
	late    bool        // they have
	closed  bool
	running sync.WaitGroup
}

// Submit posts a transaction in a database transaction that it shares with others. What one is refused for does not touch the others.
// If ctx ends first it is not known whether the transaction was posted: submitting it again tells. The same is done here when the
// database does not say whether a commit has succeeded, so that a transaction may be Replayed that was submitted only once.
//
// Errors: those of Post, ErrClosed.
func (l *Ledger) Submit(ctx context.Context, t Transaction, subject ...any) (Posted, error) {
	if err := t.validate(); err != nil {
		return Posted{}, err
	}
	if err := ctx.Err(); err != nil {
		return Posted{}, err
	}
	s := &submission{Proposal: *proposal(t, subject), done: make(chan error, 1)}
	if !l.enqueue(s) {
		return Posted{}, ErrClosed
	}
	select {
	case err := <-s.done:
		l.metrics.submitted(s.Posted, err)
		return s.Posted, err
	case <-ctx.Done():
		s.state.CompareAndSwap(waiting, left)
		return Posted{}, ctx.Err()
	}
}

func (l *Ledger) enqueue(s *submission) bool {
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.list = append(q.list, s)
	switch {
	case q.workers == 0 || q.workers < q.most && len(q.list) >= fullRound:
		l.startWorker()
	case q.workers < q.most && len(q.list) == 1:
		q.overdue.Reset(longWait)
	}
	return true
}

// startWorker starts one more worker. The queue must be locked.
func (l *Ledger) startWorker() {
	l.queue.workers++
	l.queue.running.Go(l.work)
}

// helpOut starts a worker for those that have waited long.
func (l *Ledger) helpOut() {
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) > 0 && q.workers < q.most {
		q.late = true
		l.startWorker()
	}
}

// Close lets what was submitted be posted and refuses what comes later. If ctx ends first, its error is returned.
func (l *Ledger) Close(ctx context.Context) error {
	l.queue.mu.Lock()
	l.queue.closed = true
	idle := l.queue.workers == 0
	l.queue.mu.Unlock()
	if idle {
		return nil
	}
	done := make(chan struct{})
	go func() {
		l.queue.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ledger: %w", ctx.Err())
	}
}

// work runs rounds for as long as there is something in the queue.
func (l *Ledger) work() {
	for {
		round := l.queue.take()
		if round == nil {
			return
		}
		l.run(round)
	}
}

// maxYields is how often a worker lets others go first before its next round: some ten microseconds if there is nobody.
const maxYields = 100

// regather lets those who have just been answered submit again, until so many are in the queue: without it the next round would be
// taken at once, and each would have only half of those who could be in it.
func (q *queue) regather(most int) {
	for range maxYields {
		if q.length() >= most {
			return
		}
		runtime.Gosched()
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list)
}

// take is the next round; nil if there is none, or too little for one beside another: the worker is gone then. No two of a round have
// one name: who comes second is in the next one, and finds the first in the book.
func (q *queue) take() []*submission {
	q.mu.Lock()
	defer q.mu.Unlock()
	enough := q.workers == 1 || q.late || len(q.list) >= fullRound
	q.late = false
	if !enough {
		if q.workers--; len(q.list) > 0 {
			q.overdue.Reset(longWait)
		}
		return nil
	}
	var round, rest []*submission
	names := make(map[name]bool, len(q.list))
	for _, s := range q.list {
		n := name{s.Kind, s.Reference}
		switch {
		case len(round) == maxRound || names[n]:
			rest = append(rest, s)
		case s.state.CompareAndSwap(waiting, taken):
			names[n] = true
			round = append(round, s)
		}
	}
	q.list = rest
	if len(rest) > 0 && q.workers < q.most {
		q.overdue.Reset(longWait)
	}
	if round == nil {
		q.workers--
	}
	return round
}

// run posts the submissions of a round. If it fails as a whole, each is run alone: one of them may have been the cause, and should
// not be that of the others' failure. References are looked up then, so that what was posted after all is found.
func (l *Ledger) run(round []*submission) {
	began := time.Now()
	err := l.runTogether(context.Background(), roundTimeout, round, false, lockWait)
	l.metrics.ran(len(round), time.Since(began))
	ctx, cancel := context.WithTimeout(context.Background(), roundTimeout)
	defer cancel()
	patience := lockWait
	defer l.queue.regather(l.queue.length() + len(round))
	for _, s := range round {
		alone := err
		if err != nil {
			alone = l.runTogether(ctx, aloneTimeout, []*submission{s}, true, patience)
			if db.IsLockTimeout(alone) {
				// Many may want the same row: who waits after them is not to wait for all of them.
				patience = max(patience/2, leastWait)
			}
		}
		if alone == nil {
			alone = s.refusal
		}
		if alone != nil {
			s.Posted = Posted{}
		}
		s.done <- alone
	}
}

func (l *Ledger) runTogether(ctx context.Context, most time.Duration, round []*submission, look bool, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	proposals := make([]*Proposal, len(round))
	for i, s := range round {
		proposals[i] = &s.Proposal
	}
	once := func(ctx context.Context, tx db.Tx) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				err = fmt.Errorf("ledger: panic: %v", cause)
				l.log.ErrorContext(ctx, "panic in a round", "cause", cause, "stack", string(debug.Stack()))
			}
		}()
		if err = db.LimitLockWait(ctx, tx, wait); err != nil {
			return err
		}
		if err = l.round(ctx, tx, proposals, look); errors.Is(err, errReferences) {
			look, err = true, db.ErrRunAgain
		}
		return err
	}
	err := l.db.RunTx(ctx, once)
	for tries := 1; db.IsUniqueViolation(err) && tries < maxLooks; tries++ {
		look = true
		err = l.db.RunTx(ctx, once)
	}
	if err != nil {
		l.log.WarnContext(ctx, "round of the ledger failed", "transactions", len(round), "error", err)
	}
	return err
}
