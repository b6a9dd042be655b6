package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/sync/errgroup"

	"github.com/comecomepay/comecomepay/internal/identity"
)

const (
	journeyWorkers = 16 // customers under way at once
	lookAgain      = 20 * time.Millisecond
)

// phase is a part of a journey.
type phase string

const (
	passwordCalls phase = "calls that hash the password (set-password, login)"
	otherCalls    phase = "all other calls of the app"
	simulators    phase = "verification page and issuer's desk"
	mailWait      phase = "waiting for mail"
	verdictWait   phase = "waiting for the verdict"
)

var phases = []phase{passwordCalls, otherCalls, mailWait, simulators, verdictWait}

// journeys is what came of sending customers from sign-up to verified, on one engine.
type journeys struct {
	engine    string
	perSecond float64
	each      time.Duration           // median length of one
	mean      map[phase]time.Duration // of one journey
	// Processor time for one journey, of the product and of the simulators; the hash's share of the former.
	product, simulators time.Duration
	hashShare           float64
	hash                time.Duration // one password hash on the idle machine
}

// traveller is one worker: it sends one customer after the other.
type traveller struct {
	api, sandbox string
	client       *http.Client
	spent        map[phase]time.Duration
	done         []time.Duration
}

// measureJourneys runs the product on an empty database beside the simulators, each in a process of its own.
func measureJourneys(ctx context.Context, engine, postgres string, p program, dir string, o options) (j journeys, err error) {
	j.engine, j.hash = engine, timeOfHash()
	at, err := freePorts()
	if err != nil {
		return j, err
	}
	database, err := createDatabase(ctx, postgres, dir)
	if err != nil {
		return j, err
	}
	defer func() { err = errors.Join(err, database.drop(context.WithoutCancel(ctx))) }()

	data := filepath.Join(dir, "journeys-"+engine)
	providers, err := p.run(ctx, at, data, []string{"sandbox", "--providers-only", "--unlimited"})
	if err != nil {
		return j, err
	}
	defer func() { err = errors.Join(err, providers.stop()) }()
	if err := await(ctx, "http://"+at.sandbox+"/control/clock"); err != nil {
		return j, err
	}
	product, err := p.run(ctx, at, data, []string{"serve"}, "CCP_ENV=development", "CCP_DATABASE_URL="+database.url,
		"CCP_RATE_PER_CUSTOMER=1000")
	if err != nil {
		return j, err
	}
	defer func() { err = errors.Join(err, product.stop()) }()
	if err := await(ctx, "http://"+at.http+"/readyz"); err != nil {
		return j, err
	}

	travel := func(lasting time.Duration) ([]*traveller, error) {
		var all errgroup.Group
		list := make([]*traveller, journeyWorkers)
		end := time.Now().Add(lasting)
		for i := range list {
			t := &traveller{api: "http://" + at.http + "/api/v1", sandbox: "http://" + at.sandbox, spent: map[phase]time.Duration{},
				client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}, Timeout: time.Minute}}
			list[i] = t
			all.Go(func() error {
				defer t.client.CloseIdleConnections()
				for time.Now().Before(end) {
					if err := t.journey(ctx); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return list, all.Wait()
	}
	progress("%s: journeys", engine)
	if _, err := travel(o.warmUp); err != nil {
		return j, err
	}
	productBefore, err := processorTime(product.Process.Pid)
	if err != nil {
		return j, err
	}
	providersBefore, err := processorTime(providers.Process.Pid)
	if err != nil {
		return j, err
	}
	profile := filepath.Join(dir, "journeys.pprof")
	if o.profiles != "" {
		profile = filepath.Join(o.profiles, "journeys-"+strings.ToLower(engine)+".pprof")
	}
	var profiled error
	var profiling sync.WaitGroup
	profiling.Go(func() { profiled = takeProfile(ctx, product.ops, profile, o.journeys) })
	began := time.Now()
	list, err := travel(o.journeys)
	took := time.Since(began)
	profiling.Wait()
	if err = errors.Join(err, profiled); err != nil {
		return j, err
	}
	productAfter, err := processorTime(product.Process.Pid)
	if err != nil {
		return j, err
	}
	providersAfter, err := processorTime(providers.Process.Pid)
	if err != nil {
		return j, err
	}

	var each []time.Duration
	j.mean = map[phase]time.Duration{}
	for _, t := range list {
		each = append(each, t.done...)
		for ph, d := range t.spent {
			j.mean[ph] += d
		}
	}
	if len(each) == 0 {
		return j, errors.New("nobody arrived")
	}
	n := time.Duration(len(each))
	for ph := range j.mean {
		j.mean[ph] /= n
	}
	j.perSecond, j.each = float64(len(each))/took.Seconds(), median(each)
	j.product, j.simulators = (productAfter-productBefore)/n, (providersAfter-providersBefore)/n
	j.hashShare, err = hashShare(ctx, p.path, profile)
	return j, err
}

// timeOfHash is how long one password hash takes with nothing beside it.
func timeOfHash() time.Duration {
	var took []time.Duration
	for range 15 {
		began := time.Now()
		if _, err := argon2id.CreateHash("Harbour-Lights7!", identity.DefaultPasswordCost); err != nil {
			panic(err) // only without randomness
		}
		took = append(took, time.Since(began))
	}
	return median(took)
}

type object map[string]any

// journey is one customer from sign-up to verified, as the app makes them go.
func (t *traveller) journey(ctx context.Context) error {
	began := time.Now()
	email := strings.ToLower(rand.Text()[:16]) + "@example.com"
	const password = "Harbour-Lights-7!"
	w := trip{traveller: t, ctx: ctx, email: email}

	w.post(otherCalls, "/auth/signup", object{"email": email}, nil)
	w.post(otherCalls, "/auth/verify", object{"email": email, "otp_code": w.code()}, nil)
	w.post(passwordCalls, "/auth/set-password", object{"email": email, "password": password}, nil)
	w.post(passwordCalls, "/auth/login", object{"email": email, "password": password}, nil)
	var in struct {
		AccessToken string `json:"access_token"`
	}
	w.post(otherCalls, "/auth/verify-login-otp", object{"email": email, "otp_code": w.code()}, &in)
	w.token = in.AccessToken
	w.standing()

	var started struct {
		DiditToken struct {
			Data struct {
				URL string `json:"url"`
			} `json:"data"`
		} `json:"didit_token"`
		VerificationID string `json:"verification_id"`
	}
	w.post(otherCalls, "/didit/initialize-token", object{"first_en_name": "ADA", "last_en_name": "CHAN", "area_code": "852", "phone": "51234567",
		"bill_country_code": "HK", "state": "Hong Kong", "city": "Hong Kong", "address": "1 Harbour Road", "post_code": "000000"}, &started)
	w.do(simulators, http.MethodPost, started.DiditToken.Data.URL, object{"action": "approve"}, nil)
	w.do(simulators, http.MethodPost, t.sandbox+"/control/kyc", object{"agent_uid": started.VerificationID, "pokepay_status": 2}, nil)
	w.waitFor(verdictWait, func() bool { return w.standing() == "verified" })
	if w.err != nil {
		return w.err
	}
	t.done = append(t.done, time.Since(began))
	return nil
}

// trip is a journey that is under way. After the first failure its steps do nothing.
type trip struct {
	*traveller
	ctx      context.Context
	email    string
	token    string
	lastMail int64
	err      error
}

func (w *trip) post(ph phase, path string, body, into any) {
	w.do(ph, http.MethodPost, w.api+path, body, into)
}

// standing is user_kyc_status.
func (w *trip) standing() string {
	var s struct {
		UserKYCStatus string `json:"user_kyc_status"`
	}
	w.do(otherCalls, http.MethodGet, w.api+"/didit/status", nil, &s)
	return s.UserKYCStatus
}

var codeForm = regexp.MustCompile(`(?:^|\D)(\d{5})(?:\D|$)`)

// code waits for a mail that was not there before, and reads its code.
func (w *trip) code() (code string) {
	w.waitFor(mailWait, func() bool {
		var messages []struct {
			ID   int64  `json:"id"`
			Text string `json:"text"`
		}
		w.do(mailWait, http.MethodGet, w.sandbox+"/control/inbox?to="+url.QueryEscape(w.email), nil, &messages)
		for _, m := range messages {
			if match := codeForm.FindStringSubmatch(m.Text); m.ID > w.lastMail && match != nil {
				w.lastMail, code = m.ID, match[1]
				return true
			}
		}
		return false
	})
	return code
}

// waitFor looks until it sees what it waits for. The time between looks goes to ph, that of a look where the look says.
func (w *trip) waitFor(ph phase, seen func() bool) {
	for deadline := time.Now().Add(time.Minute); !seen() && w.err == nil; {
		if time.Now().After(deadline) {
			w.err = fmt.Errorf("%s: nothing after a minute", ph)
			return
		}
		began := time.Now()
		select {
		case <-time.After(lookAgain):
		case <-w.ctx.Done():
			w.err = w.ctx.Err()
		}
		w.spent[ph] += time.Since(began)
	}
}

func (w *trip) do(ph phase, method, address string, body, into any) {
	if w.err != nil {
		return
	}
	began := time.Now()
	w.err = w.call(method, address, body, into)
	w.spent[ph] += time.Since(began)
}

func (w *trip) call(method, address string, body, into any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(w.ctx, method, address, content)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Language", "en")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if w.token != "" && strings.HasPrefix(address, w.api) {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, address, res.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}
