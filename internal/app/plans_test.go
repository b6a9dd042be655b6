package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/sandbox"
	"github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// openCases begins the names of indexes that hold nothing but what an operator has to look at. To read these from end to end is fine.
const openCases = "operator_cases_open"

// wholeBook is in the statement that sums up all balances, from time to time, for the metric that shows that nothing is missing.
const wholeBook = "SUM(balance / 1000000000)"

// within serves inside of a span.
type within struct {
	*Sandbox
	span trace.Span
}

func (w within) Serve(ctx context.Context) error {
	return w.Sandbox.Serve(trace.ContextWithSpan(ctx, w.span))
}

// Tables grow for years. A statement that reads one from end to end is fast in every test and slow one day: so whatever the program
// says to its database in the life of a customer, and when it sweeps, is looked at for its plan.
func TestNoStatementReadsAWholeTable(t *testing.T) {
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		t.Run(string(engine), func(t *testing.T) {
			spans := tracetest.NewInMemoryExporter()
			recorder, before := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)), otel.GetTracerProvider()
			otel.SetTracerProvider(recorder)
			defer otel.SetTracerProvider(before)
			// On PostgreSQL only what belongs to a span is recorded.
			ctx, span := recorder.Tracer("test").Start(t.Context(), "test")
			defer span.End()
			address := dbtest.URL(t, engine)
			// The address only makes the database record its statements; what is sent there is lost.
			c, err := LoadSandboxConfig([]string{"CCP_HTTP_ADDR=127.0.0.1:0", "CCP_OPS_ADDR=127.0.0.1:0", "CCP_SANDBOX_ADDR=127.0.0.1:0",
				"CCP_SANDBOX_SMTP_ADDR=127.0.0.1:0", "CCP_DATA_DIR=" + t.TempDir(), "CCP_DATABASE_URL=" + address, "CCP_OTEL_ENDPOINT=http://127.0.0.1:1", "CCP_OTEL_SAMPLE_RATIO=1", "CCP_RATE_PER_CUSTOMER=1000000"})
			if err != nil {
				t.Fatal(err)
			}
			s, err := NewSandbox(t.Context(), c, Extras{}, func(o *sandbox.Options) { o.Unlimited, o.TimeScale = true, 20 })
			if err != nil {
				t.Fatal(err)
			}
			stop := serving(t, within{s, span})
			ready(t, s.App)
			life(ctx, t, s)
			if err := stop(); err != nil {
				t.Error(err)
			}

			d, err := db.Open(t.Context(), address, db.Options{MaxConns: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			seen := map[string]bool{}
			for _, span := range spans.GetSpans() {
				statement := statementOf(span.Attributes)
				if !explicable.MatchString(statement) || strings.Contains(statement, wholeBook) || strings.Contains(statement, "river_") || strings.Contains(statement, "goose_") || seen[statement] {
					continue
				}
				seen[statement] = true
				for _, complaint := range wholeReads(t, d, statement) {
					t.Errorf("%s:\n%s", complaint, statement)
				}
			}
			// What matters most was among them. On PostgreSQL what the ledger writes for many at once belongs to no span of theirs.
			together := []string{"FROM wallet_customers c JOIN users", "UPDATE wallet_customers", "INTO wallet_entries", "INTO ledger_transactions"}
			if engine == db.PostgreSQL {
				together = nil
			}
			for _, part := range append(together, "kyc_records r WHERE r.user_id = $1", "UPDATE operator_cases SET closed_at", "WHERE is_open = 1 AND id > $1 ORDER BY", "is_open = 1 AND id > $1 AND kind IN (", "closed_at = $2, is_open = NULL WHERE id = $1", "r.status IN (",
				"next_poll_at <= $1", "LEFT JOIN wallet_history_pages", "JOIN wallet_entries e ON e.user_id = w.user_id", "SELECT COUNT(*) FROM wallet_entries",
				"LEFT JOIN wallet_addresses", "outcome = 'received' AND received_at > $2", "INTO deposits", "FROM deposits WHERE trade_id = $1", "INTO withdrawals", "FROM withdrawals WHERE business_id = $1",
				"DELETE FROM reconciliations", "DELETE FROM wallet_history_pages", "DELETE FROM sessions", "DELETE FROM inbound_messages", "DELETE FROM guess_counters", "DELETE FROM rate_windows", "DELETE FROM idempotency_keys") {
				found := false
				for statement := range seen {
					found = found || strings.Contains(statement, part)
				}
				if !found {
					t.Errorf("never said: %s", part)
				}
			}
		})
	}
}

var explicable = regexp.MustCompile(`^\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\s(?s:.*)\b(users|registrations|one_time_codes|guess_counters|rate_windows|sessions|known_devices|audit_log|` +
	`idempotency_keys|kyc_\w+|inbound_messages|operator_cases|transaction_passwords|pending_transaction_passwords|contact_changes|ledger_\w+|wallet_\w+|deposits|` +
	`withdrawals|withdrawal_events|reconciliations)\b`)

func statementOf(attributes []attribute.KeyValue) string {
	for _, a := range attributes {
		if a.Key == "db.statement" || a.Key == "db.query.text" {
			return a.Value.AsString()
		}
	}
	return ""
}

// ownRows is how SQLite tells that a subquery gets a name. Such a name must not be that of a table in the same statement.
var ownRows = regexp.MustCompile(`^(?:CO-ROUTINE|MATERIALIZE) (\w+)$`)

var parameter = regexp.MustCompile(`\$(\d+)`)

// wholeReads finds the tables that a statement reads from end to end, whatever its parameters are, because no index fits.
func wholeReads(t *testing.T, d db.DB, statement string) (complaints []string) {
	t.Helper()
	params := 0
	for _, match := range parameter.FindAllStringSubmatch(statement, -1) {
		n, _ := strconv.Atoi(match[1])
		params = max(params, n)
	}
	params = max(params, strings.Count(statement, "?")) // of statements for SQLite alone
	if d.Engine() == db.SQLite {
		rows, err := d.Query(t.Context(), "EXPLAIN QUERY PLAN "+statement, make([]any, params)...)
		steps, err := db.Collect(rows, err, func(row db.Row) (detail string, err error) {
			var id, parent, unused int64
			return detail, row.Scan(&id, &parent, &unused, &detail)
		})
		if err != nil {
			t.Fatalf("%v:\n%s", err, statement)
		}
		made := map[string]bool{"CONSTANT ROW": true} // what the statement makes itself, and then reads
		for _, step := range steps {
			if match := ownRows.FindStringSubmatch(step); match != nil {
				made[match[1]] = true
			}
		}
		for _, step := range steps {
			what, scans := strings.CutPrefix(step, "SCAN ")
			given := strings.HasPrefix(what, "json_each ") // a list among the parameters
			if scans && !given && !made[strings.TrimSuffix(what, " LEFT-JOIN")] && !strings.Contains(step, "INDEX "+openCases) {
				complaints = append(complaints, step)
			}
		}
		return complaints
	}
	var text string
	err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		// Tables of a test are too small for the planner to care for an index, unless reading without one is made dear.
		for _, preparation := range []string{"SET LOCAL enable_seqscan = off", "SET LOCAL plan_cache_mode = force_generic_plan", "PREPARE looked_at AS " + statement} {
			if _, err := tx.Exec(ctx, preparation); err != nil {
				return err
			}
		}
		call := "looked_at"
		if params > 0 {
			call += "(" + strings.Repeat("NULL, ", params-1) + "NULL)"
		}
		if err := tx.QueryRow(ctx, "EXPLAIN (FORMAT JSON) EXECUTE "+call).Scan(&text); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DEALLOCATE looked_at")
		return err
	})
	if err != nil {
		t.Fatalf("%v:\n%s", err, statement)
	}
	var plans []struct{ Plan plan }
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	return plans[0].Plan.wholeReads()
}

// plan is a node of PostgreSQL's description of a plan.
type plan struct {
	Kind      string `json:"Node Type"`
	Table     string `json:"Relation Name"`
	Index     string `json:"Index Name"`
	Condition string `json:"Index Cond"`
	Plans     []plan
}

func (p plan) wholeReads() (complaints []string) {
	whole := p.Kind == "Seq Scan" || p.Index != "" && p.Condition == "" && !strings.HasPrefix(p.Index, openCases)
	if whole {
		complaints = append(complaints, fmt.Sprintf("%s of %s %s", p.Kind, p.Table, p.Index))
	}
	for _, inner := range p.Plans {
		complaints = append(complaints, inner.wholeReads()...)
	}
	return complaints
}

type object = map[string]any

// payments lets the customer who is signed in receive coins, send some and read about it.
func payments(t *testing.T, s *Sandbox, call func(method, path string, body any) object, code func() string) {
	t.Helper()
	const pin = "739154"
	asked := call("POST", "/user/transaction-password/request", object{"transaction_password": pin, "confirm_transaction_password": pin})
	call("POST", "/user/transaction-password/complete", object{"temp_hash": asked["temp_hash"], "otp_code": code()})
	call("GET", "/user/transaction-password/status", nil)
	me := int64(call("GET", "/user/profile", nil)["user"].(object)["id"].(float64))
	for i := range 3 {
		grant := ledger.Move("grant", strconv.Itoa(i), ledger.CustodyOf("USDT-TRC20"), ledger.AvailableOf(me, "USDT-TRC20"), 100_000_000)
		if _, err := s.Ledger.Submit(t.Context(), grant); err != nil {
			t.Fatal(err)
		}
	}
	friend := sign(t, s)
	for range 3 {
		call("POST", "/wallet/transfer-by-uid", object{"amount": 2.5, "currency": "USDT-TRC20", "recipient_uid": friend, "transaction_password": pin, "description": "Internal transfer"})
	}
	for _, path := range []string{"/wallet/", "/wallet/unified-transactions?page_size=2", "/wallet/unified-transactions?page=2&page_size=2",
		"/wallet/unified-transactions?type=transfer&status=completed&start_date=2020-01-01&end_date=2030-01-01&page_size=1",
		"/yudun/coins", "/yudun/addresses", "/yudun/transactions"} {
		call("GET", path, nil)
	}
}

// chain lets coins come in and go out, with all that operators and the gateway's staff can do about them.
func chain(ctx context.Context, t *testing.T, s *Sandbox, call func(method, path string, body any) object, until func(what string, done func() bool)) {
	t.Helper()
	const coin, outside, other = "USDT-TRC20", "TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE", "TWd4WrZ9wn84f5x1hZhL4DHvk738ns5jwb"
	gate, operator := s.Simulators.Udun(), identity.Operator{Name: "tester"}
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	own, err := db.Open(t.Context(), s.Config.Database.URL, db.Options{MaxConns: 1}) // whose statements are not looked at
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	count := func(query string) (n int) {
		t.Helper()
		try(own.QueryRow(t.Context(), query).Scan(&n))
		return n
	}
	address := ""
	until("an address", func() bool {
		for _, b := range call("GET", "/wallet/", nil)["wallet"].(object)["balances"].([]any) {
			if b := b.(object); b["currency"] == coin {
				address = b["address"].(string)
			}
		}
		return address != ""
	})
	for _, d := range []udun.Deposit{
		{Address: address, Amount: "900"}, {Address: address, Amount: "901", Confirmations: 1000}, {Address: address, Amount: "902", Telling: udun.Telling{Duplicates: 2, Statuses: []int{3, 1, 4}}},
		{Address: other, Amount: "5", UnknownAddress: true}, {Address: other, Amount: "6", UnknownAddress: true},
	} {
		d.Coin = coin
		_, err := gate.Deposit(t.Context(), d)
		try(err)
	}
	until("deposits", func() bool {
		return count(`SELECT COUNT(*) FROM deposits WHERE state = 'credited'`) == 2 && count(`SELECT COUNT(*) FROM deposits WHERE state = 'suspense'`) == 2
	})
	me := int64(call("GET", "/user/profile", nil)["user"].(object)["id"].(float64))
	waiting, err := s.Wallet.ListDeposits(ctx, wallet.DepositFilter{Limit: 10})
	try(err)
	_, err = s.Wallet.ListDeposits(ctx, wallet.DepositFilter{Limit: 10, Customer: strconv.FormatInt(me, 10)})
	try(err)
	for i, d := range waiting {
		switch {
		case d.State != wallet.InSuspense:
		case i%2 == 0:
			_, err = s.Wallet.AssignDeposit(ctx, operator, d.ID, wallet.Assignment{Customer: strconv.FormatInt(me, 10)}, "a test")
			try(err)
		default:
			_, err = s.Wallet.DismissDeposit(ctx, operator, d.ID, "a test")
			try(err)
		}
	}

	_, err = s.Identity.UnblockWithdrawals(ctx, operator, strconv.FormatInt(me, 10), "a test")
	try(err)
	for _, amount := range []string{"20", "30", "40", "600", "601"} {
		call("POST", "/wallet/withdrawal", object{"amount": json.Number(amount), "currency": coin, "address": outside, "network": "TRC20"})
	}
	review, err := s.Wallet.ListWithdrawals(ctx, wallet.WithdrawalFilter{States: []wallet.WithdrawalState{wallet.InReview}, Limit: 10})
	try(err)
	for i, w := range review {
		_, err = s.Wallet.ShowWithdrawal(ctx, w.ID)
		try(err)
		if i == 0 {
			_, err = s.Wallet.ApproveWithdrawal(ctx, operator, w.ID, "a test")
		} else {
			_, err = s.Wallet.RefuseWithdrawal(ctx, operator, w.ID, "a test")
		}
		try(err)
	}
	until("orders", func() bool { return count(`SELECT COUNT(*) FROM withdrawals WHERE state = 'sent'`) == 4 })
	ordered, err := s.Wallet.ListWithdrawals(ctx, wallet.WithdrawalFilter{Limit: 10})
	try(err)
	for i, w := range ordered {
		if i == 0 {
			until("a settlement", func() bool { // callbacks may still come in
				file, err := s.Wallet.ShowWithdrawal(ctx, w.ID)
				try(err)
				_, err = s.Wallet.SettleWithdrawal(ctx, operator, w.ID, file.Version, false, "a test")
				return err == nil
			})
		} else {
			_, err = gate.Decide(t.Context(), udun.Key{BusinessID: w.BusinessID}, []string{udun.Succeeded, udun.Refused, udun.Failed}[i%3], udun.Telling{})
		}
		try(err)
	}
	until("ends", func() bool { return count(`SELECT COUNT(*) FROM withdrawals WHERE ended_at IS NULL`) == 0 })
	_, err = s.Wallet.ListWithdrawals(ctx, wallet.WithdrawalFilter{Limit: 10, Customer: strconv.FormatInt(me, 10)})
	try(err)
	for _, path := range []string{"/wallet/withdrawals", "/wallet/withdrawals?status=completed&page=2&limit=1", "/wallet/unified-transactions?page_size=3", "/yudun/transactions"} {
		call("GET", path, nil)
	}
	for range 2 {
		_, err = s.Wallet.Reconcile(ctx)
		try(err)
	}
	// Looked at from time to time.
	until("abandoned calls", func() bool { return count(`SELECT COUNT(*) FROM inbound_messages WHERE outcome = 'received'`) == 0 })
}

// sign signs another customer up and gives their id.
func sign(t *testing.T, s *Sandbox) (id int64) {
	t.Helper()
	const email = "bo@example.com"
	ctx, device := t.Context(), identity.Client{Address: "127.0.0.1"}
	if _, err := s.Identity.SignUp(ctx, device, email, ""); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); id == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no mail with a code")
		}
		list, err := s.Simulators.Inbox().Messages(ctx, email)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			match := regexp.MustCompile(`(?:^|\D)(\d{5})(?:\D|$)`).FindStringSubmatch(m.Text)
			if match == nil {
				continue
			}
			if _, err := s.Identity.Verify(ctx, device, email, match[1], ""); err != nil {
				t.Fatal(err)
			}
			in, err := s.Identity.SetPassword(ctx, device, email, secret.NewText("Aa1!aaaaaa"), "")
			if err != nil {
				t.Fatal(err)
			}
			id = in.Profile.ID
		}
	}
	return id
}

// life makes a customer do everything once, an operator look at it, and the program sweep.
func life(ctx context.Context, t *testing.T, s *Sandbox) {
	t.Helper()
	const email, password = "amina@example.com", "Aa1!aaaaaa"
	token, lastMail := "", int64(0)
	send := func(method, address string, body any) object {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {fmt.Sprintf("key-%d", time.Now().UnixNano())}}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var out object
		if err := json.NewDecoder(answer.Body).Decode(&out); answer.StatusCode != http.StatusOK || err != nil {
			t.Fatalf("%s %s: %d %v %v", method, address, answer.StatusCode, out, err)
		}
		return out
	}
	call := func(method, path string, body any) object {
		t.Helper()
		return send(method, "http://"+s.Addr()+path, body)
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	code := func() (found string) {
		t.Helper()
		until("a mail with a code", func() bool {
			list, err := s.Simulators.Inbox().Messages(t.Context(), email)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				if match := regexp.MustCompile(`(?:^|\D)(\d{5})(?:\D|$)`).FindStringSubmatch(m.Text); m.ID > lastMail && match != nil {
					lastMail, found = m.ID, match[1]
					return true
				}
			}
			return false
		})
		return found
	}
	call("POST", "/auth/signup", object{"email": email})
	call("POST", "/auth/verify", object{"email": email, "otp_code": code()})
	call("POST", "/auth/set-password", object{"email": email, "password": password})
	call("POST", "/auth/login", object{"email": email, "password": password})
	in := call("POST", "/auth/verify-login-otp", object{"email": email, "otp_code": code()})
	token = in["access_token"].(string)
	call("POST", "/auth/refresh", object{"refresh_token": in["refresh_token"]})
	call("PUT", "/user/profile", object{"first_name": "Amina", "last_name": "Haddad"})
	for _, digits := range []string{"482913", "739164"} {
		r := call("POST", "/user/transaction-password/request", object{"transaction_password": digits, "confirm_transaction_password": digits})
		call("POST", "/user/transaction-password/complete", object{"temp_hash": r["temp_hash"], "otp_code": code()})
	}
	call("GET", "/user/transaction-password/status", nil)
	call("POST", "/user/change-phone/request", object{"new_phone": "+85291234567"})
	texted := ""
	until("an SMS", func() bool {
		list, err := s.Simulators.Inbox().Messages(t.Context(), "85291234567")
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			texted = regexp.MustCompile(`\d{5}`).FindString(list[0].Text)
		}
		return texted != ""
	})
	call("POST", "/user/change-phone/verify-new", object{"new_phone": "+85291234567", "otp_code": texted})
	call("POST", "/user/change-phone/complete", object{"new_phone": "+85291234567", "email_otp": code()})
	call("POST", "/user/change-password", object{"old_password": password, "new_password": password, "confirm_password": password})
	for _, path := range []string{"/user/profile", "/user/sessions", "/kyc/eligibility", "/didit/status"} {
		call("GET", path, nil)
	}
	start := func() string {
		t.Helper()
		begun := call("POST", "/didit/initialize-token", object{"first_en_name": "AMINA", "last_en_name": "HADDAD", "email": email, "area_code": "852", "phone": "51234567",
			"bill_country_code": "HK", "state": "Hong Kong", "city": "Hong Kong", "address": "1 Queen's Road", "post_code": "999077"})
		page := send("POST", begun["didit_token"].(object)["data"].(object)["url"].(string), object{"action": "approve"})
		back, err := http.Get(page["redirect"].(string))
		if err != nil {
			t.Fatal(err)
		}
		_ = back.Body.Close()
		return begun["verification_id"].(string)
	}
	verdict := func(id string, word int, status string) {
		t.Helper()
		send("POST", s.Simulators.URL()+"/control/kyc", object{"agent_uid": id, "pokepay_status": word, "reason": "blurred"})
		until(status, func() bool { return call("GET", "/didit/status", nil)["user_kyc_status"] == status })
	}
	first := start()
	verdict(first, 3, "rejected")
	second := start()
	verdict(second, 2, "verified")
	call("GET", "/didit/get-result/"+second, nil)
	call("GET", "/didit/get-user-kyc/"+email, nil)

	payments(t, s, call, code)
	chain(ctx, t, s, call, until)

	operator := identity.Operator{Name: "tester"}
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	for _, f := range []kyc.Filter{{Limit: 10}, {Limit: 10, Statuses: []kyc.Status{kyc.Approved}}, {Limit: 10, Customer: email}} {
		_, err := s.KYC.List(ctx, f)
		try(err)
	}
	_, err := s.KYC.Cases(ctx)
	try(err)
	_, err = s.Cases.List(ctx, cases.Filter{})
	try(err)
	if _, err := s.CloseCase(ctx, operator, 1<<40, "a test"); !errors.Is(err, cases.ErrNoCase) {
		t.Error(err)
	}
	_, err = s.KYC.Show(ctx, operator, second)
	try(err)
	if _, err := s.KYC.Dismiss(ctx, operator, second, "a test"); !errors.Is(err, kyc.ErrNoCase) {
		t.Error(err)
	}
	_, err = s.Identity.FreezeAccount(ctx, operator, email, "a test")
	try(err)
	_, err = s.Identity.ListSessions(ctx, email)
	try(err)
	call("POST", "/auth/logout-all", nil)
	s.SweepOnce(ctx)
}
