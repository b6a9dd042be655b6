package cli_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

// soak is how long the long variant of a test goes on at least; 0: the short one. Tokens do not last for more in the time of the
// sandbox, which runs ahead.
func soak() time.Duration {
	text := os.Getenv("CCP_TEST_SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		panic("CCP_TEST_SOAK: " + err.Error())
	}
	return min(d, 2*time.Hour)
}

// The program is killed again and again while money moves in every way that there is, with calls and callbacks of the gateway under way:
// two hundred times when the test is long. What anybody was told is true afterwards, and there is nothing else.
func TestKillWhileMoneyMoves(t *testing.T) {
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			span, kills := 15*time.Second, 10
			if d := soak(); d > 0 {
				span, kills = d, 200
			}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			b := openBank(t, engine, replicasOf(engine), 6)
			b.fragile = true
			b.misbehave()
			stop := b.open(seed, 3, 50*time.Millisecond)
			done, end := 0, time.Now().Add(span)
			for ; done < kills || time.Now().Before(end); done++ {
				r := b.replicas[done%len(b.replicas)]
				if random.IntN(5) > 0 { // else it dies while it starts
					r.ready()
				}
				time.Sleep(time.Duration(random.Int64N(int64(700 * time.Millisecond)))) // the moment is meant to be any
				r.kill()
				r.start()
			}
			for _, r := range b.replicas {
				r.ready()
			}
			stop()
			t.Logf("%d kills", done)
			b.close()
			if b.cut.Load() < int64(done)/2 {
				t.Errorf("%d calls were cut off", b.cut.Load())
			}
		})
	}
}

// Three customers with eight phones each, two replicas where there can be two: everything wants the same rows. Nobody sees that
// transactions of the database fail and are repeated.
func TestMoneyInParallel(t *testing.T) {
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			b := openBank(t, engine, replicasOf(engine), 3)
			stop := b.open(rand.Uint64(), 8, time.Millisecond)
			time.Sleep(max(5*time.Second, soak()/4))
			stop()
			b.close()
		})
	}
}

// open lets everybody act, and time run ahead, until the function that it returns is called.
func (b *bank) open(seed uint64, phones int, pause time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	var people, others sync.WaitGroup
	for n := range phones {
		for _, c := range b.people {
			people.Go(func() { b.spender(c, seed+uint64(n)).live(ctx, pause) })
		}
	}
	background, end := context.WithCancel(b.t.Context())
	others.Go(func() { b.staff(background, seed) })
	others.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-background.Done():
				return
			case <-tick.C:
				b.advanceAnyhow(hurry)
			}
		}
	})
	return func() {
		cancel()
		people.Wait()
		end()
		others.Wait()
	}
}

// close waits until nothing is under way, judges, and lets the replicas stop.
func (b *bank) close() {
	begun := time.Now()
	b.settle()
	settled := time.Now()
	b.judge()
	b.t.Logf("settled after %s, judged in %s", settled.Sub(begun).Round(time.Second/10), time.Since(settled).Round(time.Second/10))
	if b.t.Failed() {
		for _, r := range b.replicas {
			b.t.Logf("%s wrote in the end:\n%s", r.address, tail(r.log.String()))
		}
	}
	for _, r := range b.replicas {
		r.stop()
		r.checkLog()
	}
}
