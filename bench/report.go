package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table is a part of the report.
type table struct {
	title   string
	columns []string
	rows    [][]string
	note    string
}

// results is all that was measured in one run.
type results struct {
	machine  string
	readings []reading
	money    []money
	journeys []journeys
	startup  startup
	program  program
}

// The targets.
const (
	leastRate  = 0.85 // of the baseline's requests per second
	mostTail   = 1.5  // times the baseline's p99
	leastLarge = 0.9  // of the rate with few customers
	mostStart  = 2 * time.Second
	mostIdle   = 80 << 20 // bytes

	leastEven    = 1.5 // of pgbench's transfers per second
	leastHot     = 3.0 // likewise
	mostSubmit   = 20 * time.Millisecond
	leastLite    = 20_000 // transfers per second of the ledger on SQLite
	leastSending = 7_000  // per second over HTTP, on PostgreSQL
	mostOne      = 2.0    // times the p50 of one client of pgbench
	leastGrown   = 0.85   // of the rate with the small book
	mostPage     = 5 * time.Millisecond
)

func (r results) tables() []table {
	reading := table{title: "`GET /didit/status`",
		columns: []string{"engine", "server", "requests/s, median", "slowest and fastest round", "p50", "p99", "processor time per request"}}
	ratios := table{title: "Against the targets", columns: []string{"what", "engine", "came to", "target", ""}}
	for _, e := range r.readings {
		row := func(server string, s spread, cost time.Duration) {
			spent := ""
			if cost > 0 {
				spent = micros(cost)
			}
			reading.rows = append(reading.rows, []string{e.engine, server, whole(s.median), whole(s.least) + " – " + whole(s.most), millis(s.p50), millis(s.p99), spent})
		}
		row("smallest handler", e.baseline, e.baselineCost)
		row("ComeComePay, "+number(fewCustomers)+" customers", e.service, e.serviceCost)
		ratio := func(what string, got float64, target string, met bool) {
			ratios.rows = append(ratios.rows, []string{what, e.engine, fmt.Sprintf("%.2f", got), target, verdict(met)})
		}
		rate, tail := e.service.rateRatio(e.baseline), e.service.tailRatio(e.baseline)
		ratio("rate, of the smallest handler's", rate, fmt.Sprintf("at least %.2f", leastRate), rate >= leastRate)
		ratio("p99, times the smallest handler's", tail, fmt.Sprintf("at most %.1f", mostTail), tail <= mostTail)
		if e.customers > 0 {
			row("ComeComePay, "+number(e.customers)+" customers", e.large, e.largeCost)
			large := e.large.rateRatio(e.service)
			ratio("rate with "+number(e.customers)+" customers, of that with "+number(fewCustomers), large, fmt.Sprintf("at least %.1f", leastLarge), large >= leastLarge)
		}
		reading.note += fmt.Sprintf("%s: the load generator took %s of processor time per request. ", e.engine, micros(e.generatorCost))
	}
	for _, m := range r.money {
		ratios.rows = append(ratios.rows, m.againstTargets()...)
	}
	type figure struct {
		what, got, target string
		met               bool
	}
	figures := []figure{
		{"binary", mebibytes(r.program.size), "", true},
		{"binary without symbols (`-ldflags \"-s -w\"`)", mebibytes(r.program.stripped), "", true},
	}
	if r.startup.median > 0 {
		figures = append(figures, []figure{
			{"start to ready with SQLite in an empty directory, median of " + fmt.Sprint(starts), millis(r.startup.median), "under 2 s", r.startup.median < mostStart},
			{"the slowest of them", millis(r.startup.slowest), "under 2 s", r.startup.slowest < mostStart},
			{"resident memory of `sandbox` after " + idleFor.String() + " at rest", mebibytes(r.startup.idle), "under 80 MB", r.startup.idle < mostIdle},
		}...)
	}
	for _, x := range figures {
		mark := ""
		if x.target != "" {
			mark = verdict(x.met)
		}
		ratios.rows = append(ratios.rows, []string{x.what, "", x.got, x.target, mark})
	}
	return slices.DeleteFunc(append([]table{ratios, reading, r.journeyTable()}, r.moneyTables()...), func(t table) bool { return len(t.rows) == 0 })
}

func (r results) journeyTable() table {
	t := table{title: "From sign-up to verified", columns: []string{"one journey, on average"}}
	for _, j := range r.journeys {
		t.columns = append(t.columns, j.engine)
	}
	if len(r.journeys) == 0 {
		return t
	}
	line := func(what string, cell func(journeys) string) {
		row := []string{what}
		for _, j := range r.journeys {
			row = append(row, cell(j))
		}
		t.rows = append(t.rows, row)
	}
	line("**journeys per second**", func(j journeys) string { return fmt.Sprintf("%.1f", j.perSecond) })
	line("length, median", func(j journeys) string { return millis(j.each) })
	for _, ph := range phases {
		line("– "+string(ph), func(j journeys) string { return millis(j.mean[ph]) })
	}
	line("processor time of the product", func(j journeys) string { return millis(j.product) })
	line("– of it password hashes", func(j journeys) string { return fmt.Sprintf("%.0f %%", 100*j.hashShare) })
	line("processor time of the simulators", func(j journeys) string { return millis(j.simulators) })
	line("one password hash on the idle machine", func(j journeys) string { return millis(j.hash) })
	return t
}

// text writes tables for a terminal.
func (r results) text(w io.Writer) error {
	fmt.Fprintln(w, r.machine)
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n%s\n", plain(t.title))
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{t.columns}, t.rows...) {
			fmt.Fprintln(tw, "  "+plain(strings.Join(row, "\t")))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		if t.note != "" {
			fmt.Fprintln(w, "  "+t.note)
		}
	}
	return nil
}

// plain is Markdown without its marks.
func plain(s string) string { return strings.NewReplacer("`", "", "**", "").Replace(s) }

func (r results) markdown() string {
	var b strings.Builder
	b.WriteString(r.machine + "\n")
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n### %s\n\n", t.title)
		for i, row := range append([][]string{t.columns}, t.rows...) {
			b.WriteString("| " + strings.Join(row, " | ") + " |\n")
			if i == 0 {
				b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
			}
		}
		if t.note != "" {
			b.WriteString("\n" + strings.TrimSpace(t.note) + "\n")
		}
	}
	return b.String()
}

const (
	figuresBegin = "<!-- Figures: go run ./bench -markdown writes them. -->"
	figuresEnd   = "<!-- End of the figures. -->"
)

// intoPage puts the figures between the marks of a page.
func (r results) intoPage(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), figuresBegin)
	_, after, ok2 := strings.Cut(rest, figuresEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the figures", path)
	}
	return os.WriteFile(path, []byte(before+figuresBegin+"\n\n"+r.markdown()+"\n"+figuresEnd+after), 0o644)
}

// describeMachine says where and when this was measured.
func describeMachine(postgres string) string {
	model := "processor unknown"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores (%s), %s/%s, %s, PostgreSQL %s.", time.Now().Format(time.DateOnly), runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH,
		runtime.Version(), postgres)
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

func whole(v float64) string { return number(int(v + 0.5)) }
func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
func micros(d time.Duration) string {
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}
func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// number is n with a comma between thousands.
func number(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
