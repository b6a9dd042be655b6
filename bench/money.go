package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// money is what came of moving money on one engine: parts that were not measured are nil.
type money struct {
	engine             string
	accounts, postings int // of the large book; 0: there was none
	moving             *moving
	sending            *sending
	paging             *paging
}

// measureMoney makes the books of an engine, the small one without a past and one with so many accounts, and has the parts use them.
func measureMoney(ctx context.Context, engine, postgres, dir string, parts []string, accounts int, o options) (m money, err error) {
	m.engine = engine
	drop := func(d dataset) { err = errors.Join(err, d.drop(context.WithoutCancel(ctx))) }
	longHere := 0
	if accounts == 0 {
		longHere = longHistory
	}
	small, err := createBook(ctx, postgres, dir, fewAccounts, 0, longHere)
	if err != nil {
		return m, err
	}
	defer drop(small.dataset)
	long := small
	var large *book
	if accounts > 0 {
		progress("%s: making a book of %s accounts", engine, number(accounts))
		if large, err = createBook(ctx, postgres, dir, accounts, postingsPerHead/2-1, longHistory); err != nil {
			return m, err
		}
		defer drop(large.dataset)
		m.accounts, m.postings, long = accounts, large.postings, large
	}
	var bench *pgbench
	if postgres != "" {
		tables, err2 := emptyDatabase(ctx, postgres, dir)
		if err2 != nil {
			return m, err2
		}
		defer drop(tables)
		if bench, err = newPgbench(ctx, tables, dir); err != nil {
			return m, err
		}
		if o.base, err = findPostgres(ctx, postgres); err != nil {
			return m, err
		}
	}
	if slices.Contains(parts, "ledger") {
		if m.moving, err = measureMoving(ctx, engine, small, large, bench, o); err != nil {
			return m, err
		}
	}
	if slices.Contains(parts, "transfers") {
		if m.sending, err = measureSending(ctx, engine, small, large, bench, o); err != nil {
			return m, err
		}
	}
	if slices.Contains(parts, "history") {
		m.paging, err = measurePaging(ctx, engine, long, o)
	}
	return m, err
}

// againstTargets are the rows of what was measured and has a target.
func (m money) againstTargets() (rows [][]string) {
	row := func(what, got, target string, met bool) {
		rows = append(rows, []string{what, m.engine, got, target, verdict(met)})
	}
	atLeast := func(what string, got, least float64) {
		row(what, fmt.Sprintf("%.2f", got), fmt.Sprintf("at least %.2f", least), got >= least)
	}
	rate := func(what string, r *runner, least int) {
		got := newSpread(r.rounds).median
		row(what, whole(got), "at least "+number(least), got >= float64(least))
	}
	below := func(what string, got, limit time.Duration) {
		row(what, millis(got), "under "+limit.String(), got < limit)
	}
	grown := func(what string, large, small *runner) {
		if large != nil {
			atLeast(fmt.Sprintf("%s with %s accounts and %s postings, of that with %s and none", what, number(m.accounts), number(m.postings), number(fewAccounts)),
				pairedRatio(large.rounds, small.rounds), leastGrown)
		}
	}
	if x := m.moving; x != nil {
		if x.bench != nil {
			atLeast("ledger, rate over "+number(fewAccounts)+" accounts, of pgbench's", pairedRatio(x.even.rounds, x.bench.rounds), leastEven)
			atLeast(fmt.Sprintf("ledger, rate over %d hot accounts, of pgbench's", hotAccounts), pairedRatio(x.hot.rounds, x.benchHot.rounds), leastHot)
			below("ledger, p99", newSpread(x.even.rounds).p99, mostSubmit)
			below("ledger, p99 over hot accounts", newSpread(x.hot.rounds).p99, mostSubmit)
		} else {
			rate("ledger, transfers per second", x.even, leastLite)
		}
		grown("ledger, rate", x.large, x.even)
	}
	if x := m.sending; x != nil {
		if x.bench != nil {
			rate("`POST /wallet/transfer-by-uid`, per second", x.small, leastSending)
			single := ratio(float64(newSpread(x.one.rounds).p50), float64(newSpread(x.bench.rounds).p50))
			row("the same over one connection, p50, times that of one client of pgbench", fmt.Sprintf("%.2f", single), fmt.Sprintf("under %.1f", mostOne), single < mostOne)
		}
		grown("`POST /wallet/transfer-by-uid`, rate", x.large, x.small)
	}
	if x := m.paging; x != nil {
		below("history of "+number(longHistory)+" entries, page 1, p99", newSpread(x.first.rounds).p99, mostPage)
		below("history, page "+number(x.pages)+", p99", newSpread(x.last.rounds).p99, mostPage)
	}
	return rows
}

// moneyTables are what was measured of all engines.
func (r results) moneyTables() []table {
	columns := func(what, rate string) []string {
		return []string{"engine", what, rate, "slowest and fastest round", "p50", "p99", "processor time for one", "and PostgreSQL's"}
	}
	ledgers := table{title: "Transfers in the ledger, 64 at a time", columns: columns("who, and over how many accounts", "transfers/s, median")}
	sendings := table{title: "`POST /wallet/transfer-by-uid`", columns: columns("who", "transfers/s, median")}
	histories := table{title: "`GET /wallet/unified-transactions`, 100 entries a page, 200 requests a second", columns: columns("page", "requests/s, median")}
	for _, m := range r.money {
		add := func(t *table, what string, x *runner) {
			if x == nil {
				return
			}
			s, spent, base := newSpread(x.rounds), "", ""
			if x.used > 0 {
				spent = micros(x.cost())
			}
			if x.baseUsed > 0 {
				base = micros(x.baseCost())
			}
			t.rows = append(t.rows, []string{m.engine, what, whole(s.median), whole(s.least) + " – " + whole(s.most), fine(s.p50), fine(s.p99), spent, base})
		}
		grown := fmt.Sprintf("%s accounts, %s postings before", number(m.accounts), number(m.postings))
		if x := m.moving; x != nil {
			add(&ledgers, "pgbench, "+number(fewAccounts), x.bench)
			add(&ledgers, "`ledger.Submit`, "+number(fewAccounts), x.even)
			add(&ledgers, "`ledger.Submit`, "+grown, x.large)
			add(&ledgers, fmt.Sprintf("pgbench, %d", hotAccounts), x.benchHot)
			add(&ledgers, fmt.Sprintf("`ledger.Submit`, %d", hotAccounts), x.hot)
		}
		if x := m.sending; x != nil {
			add(&sendings, number(connections)+" connections", x.small)
			add(&sendings, number(connections)+" connections, "+grown, x.large)
			add(&sendings, "one connection", x.one)
			add(&sendings, "pgbench, one client", x.bench)
			sendings.note += fmt.Sprintf("%s: the load generator took %s of processor time per request. ", m.engine, micros(x.generatorCost))
		}
		if x := m.paging; x != nil {
			add(&histories, "1", x.first)
			add(&histories, number(x.pages), x.last)
		}
	}
	return []table{ledgers, sendings, histories}
}

// fine is a time of which tenths of a millisecond say too little.
func fine(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
