package udun

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// Result codes (provider/udun section 4).
const (
	codeOK              = 200
	codeServerError     = 500
	codeUnsupportedCoin = 554
	codeDuplicate       = 571
	codeBadAmount       = 581
	codeBadAddress      = 596
	codeNoMerchant      = 4001
	codeBadParameters   = 4005
	codeBadSignature    = 4162
	codeQuota           = 4168
	codeDisabled        = 4169
	codeBadWallet       = 4175
	codeWrongCoin       = 4176
	codeBadDestination  = 4183
)

// answer is what an operation has to say.
type answer struct {
	code    int
	message string
	data    any
}

func succeed(data any) answer                { return answer{codeOK, "SUCCESS", data} }
func refuse(code int, message string) answer { return answer{code: code, message: message} }

func (s *Simulator) failed(ctx context.Context, err error) answer {
	s.Log.ErrorContext(ctx, "simulated udun", "error", err)
	return refuse(codeServerError, "server error")
}

// Handler serves the gateway's paths relative to its prefix, /mch/…, and the desk.
func (s *Simulator) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /mch/address/create", s.operation(opCreateAddress, true, s.createAddress))
	mux.Handle("POST /mch/withdraw", s.operation(opWithdraw, true, func(ctx context.Context, p parameters) answer { return s.withdraw(ctx, p, false) }))
	mux.Handle("POST /mch/withdraw/proxypay", s.operation(opProxyPay, true, func(ctx context.Context, p parameters) answer { return s.withdraw(ctx, p, true) }))
	mux.Handle("POST /mch/support-coins", s.operation(opSupportCoins, false, s.supportCoins))
	mux.Handle("POST /mch/check/address", s.operation(opCheckAddress, true, s.checkAddress))
	mux.Handle("POST /mch/exist/address", s.operation(opExistAddress, true, s.existAddress))
	mux.HandleFunc("GET /desk", s.showDesk)
	// The desk decides about money: another website open in the same browser must not press its buttons.
	mux.Handle("POST /desk", http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.actAtDesk)))
	return mux
}

const (
	bodyLimit  = 1 << 20
	holdAtMost = 60 * time.Second // of act_then_timeout
	badGateway = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)

// operation wraps one call of the protocol with the checks of its envelope and the faults aimed at it. The parameters of most
// calls are an array with one object, those of the others an object.
func (s *Simulator) operation(at *fault.Point, array bool, do func(context.Context, parameters) answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gone := r.Context().Done()
		// A server does not notice that its caller has left: what was asked is done all the same.
		ctx := context.WithoutCancel(r.Context())
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			write(w, http.StatusOK, refuse(codeBadParameters, "illegal parameters"), false)
			return
		}
		if rule, hit := s.Faults.Strike(at, fault.Delay); hit {
			s.pause(rule.Delay(), nil)
		}
		if rule, hit := s.Faults.Strike(at, fault.HTTP500, fault.HTML502); hit {
			if rule.Kind == fault.HTML502 {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(http.StatusBadGateway)
				_, _ = io.WriteString(w, badGateway)
				return
			}
			write(w, http.StatusInternalServerError, refuse(codeServerError, "server error"), false)
			return
		}
		result := s.perform(ctx, at, array, r.Header.Get("Content-Type"), body, do)
		if _, hit := s.Faults.Strike(at, fault.ActThenTimeout); hit {
			s.pause(holdAtMost, gone)
			panic(http.ErrAbortHandler) // the caller sees a broken connection and no answer
		}
		_, odd := s.Faults.Strike(at, fault.OddNumbers)
		write(w, http.StatusOK, result, odd)
	})
}

func (s *Simulator) perform(ctx context.Context, at *fault.Point, array bool, contentType string, body []byte, do func(context.Context, parameters) answer) answer {
	p, problem := s.open(contentType, body, array)
	if problem.code != 0 {
		return problem
	}
	if rule, hit := s.Faults.Strike(at, fault.RefuseInit); hit {
		return ruled(rule.Message)
	}
	return do(ctx, p)
}

// ruled is the refusal that a fault asks for: a message that may begin with its code, such as "4168 address quota reached".
func ruled(message string) answer {
	first, rest, _ := strings.Cut(message, " ")
	if code, err := strconv.Atoi(first); err == nil {
		return refuse(code, rest)
	}
	return refuse(codeServerError, message)
}

// pause waits for d, until the caller has gone or until the simulator stops.
func (s *Simulator) pause(d time.Duration, gone <-chan struct{}) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-gone:
	case <-s.stopped:
	}
}

// write answers in the gateway's envelope; odd gives the code as a text, as the gateway does at times.
func write(w http.ResponseWriter, status int, a answer, odd bool) {
	out := map[string]any{"code": a.code, "message": a.message, "data": a.data}
	if odd {
		out["code"] = strconv.Itoa(a.code)
	}
	raw, err := json.Marshal(out)
	if err != nil {
		panic(err) // only our own types come here
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// parameters are the fields of a call, each as a text or a number.
type parameters map[string]json.RawMessage

// text reads a field that may come as a text or as a number. What is neither is as good as missing.
func (p parameters) text(name string) string {
	text, err := looseText(p[name])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(text)
}

// timestamps are seconds or milliseconds.
var timestampForm = regexp.MustCompile(`^[0-9]{10}([0-9]{3})?$`)

// open checks a request's envelope and returns its parameters; a problem's code is not 0.
func (s *Simulator) open(contentType string, raw []byte, array bool) (parameters, answer) {
	illegal := refuse(codeBadParameters, "illegal parameters")
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/json" {
		return nil, illegal
	}
	var envelope struct {
		Timestamp json.RawMessage `json:"timestamp"`
		Nonce     json.RawMessage `json:"nonce"`
		Sign      string          `json:"sign"`
		Body      string          `json:"body"`
	}
	if err := json.Unmarshal(raw, &envelope); err != nil || envelope.Body == "" {
		return nil, illegal
	}
	timestamp, err := looseText(envelope.Timestamp)
	nonce, err2 := looseText(envelope.Nonce)
	if err != nil || err2 != nil || !timestampForm.MatchString(timestamp) || nonce == "" {
		return nil, illegal
	}
	var list []parameters
	if array {
		err = json.Unmarshal([]byte(envelope.Body), &list)
	} else {
		list = make([]parameters, 1)
		err = json.Unmarshal([]byte(envelope.Body), &list[0])
	}
	switch {
	case err == nil && len(list) > 0 && list[0].text("merchantId") != s.MerchantID:
		return nil, refuse(codeNoMerchant, "merchant does not exist")
	case !same(envelope.Sign, sign(envelope.Body, s.APIKey, nonce, timestamp)):
		return nil, refuse(codeBadSignature, "签名错误")
	case err != nil || len(list) != 1:
		return nil, illegal
	case s.Disabled:
		return nil, refuse(codeDisabled, "merchant disabled")
	}
	return list[0], answer{}
}

func webAddress(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// createAddress makes a new address with every call (provider/udun section 3.1). The older protocol calls its chain coinType.
func (s *Simulator) createAddress(ctx context.Context, p parameters) answer {
	number := p.text("mainCoinType")
	if number == "" {
		number = p.text("coinType")
	} else if older := p.text("coinType"); older != "" && older != number {
		return refuse(codeBadParameters, "mainCoinType and coinType differ")
	}
	c, known := chains[number]
	switch {
	case number == "" || !webAddress(p.text("callUrl")):
		return refuse(codeBadParameters, "illegal parameters")
	case !known:
		return refuse(codeWrongCoin, "wallet does not support the coin")
	case !s.ownWallet(p):
		return refuse(codeBadWallet, "wallet id error")
	}
	a := addressRow{chain: c, address: c.form.newAddress(), callURL: p.text("callUrl"), alias: p.text("alias"), created: s.Clock.Now()}
	full := false
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if s.AddressQuota > 0 {
			var have int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM udun_addresses`).Scan(&have); err != nil {
				return err
			}
			if full = have >= s.AddressQuota; full {
				return nil
			}
		}
		return insertAddress(ctx, tx, a)
	})
	switch {
	case err != nil:
		return s.failed(ctx, err)
	case full:
		return refuse(codeQuota, "address quota reached")
	}
	main, err := strconv.Atoi(c.mainCoinType)
	if err != nil {
		return s.failed(ctx, err)
	}
	return succeed(map[string]any{"coinType": main, "address": a.address})
}

func (s *Simulator) ownWallet(p parameters) bool {
	id := p.text("walletId")
	return id == "" || id == s.WalletID
}

// maxBusinessID bounds a businessId. The gateway's own limit is unknown.
const maxBusinessID = 100

// errDuplicate says that a businessId has been used.
var errDuplicate = errors.New("businessId used")

// withdraw takes a withdrawal in (provider/udun sections 3.2 and 3.3). Only one that is accepted uses its businessId up.
func (s *Simulator) withdraw(ctx context.Context, p parameters, proxyPay bool) answer {
	id, callURL, memo := p.text("businessId"), p.text("callUrl"), p.text("memo")
	if id == "" || len(id) > maxBusinessID || len(memo) > maxText || !webAddress(callURL) || p.text("mainCoinType") == "" || p.text("coinType") == "" {
		return refuse(codeBadParameters, "illegal parameters")
	}
	if _, err := findTrade(ctx, s.DB, Key{BusinessID: id}); !errors.Is(err, ErrUnknownTrade) {
		if err != nil {
			return s.failed(ctx, err)
		}
		return refuse(codeDuplicate, "businessId already exists")
	}
	c, known := findCoin(p.text("mainCoinType"), p.text("coinType"))
	if !known {
		return refuse(codeUnsupportedCoin, "coin not supported")
	}
	amount, err := baseUnits(p.text("amount"), c.decimals)
	switch {
	case !s.ownWallet(p):
		return refuse(codeBadWallet, "wallet id error")
	case p.text("amount") == "", errors.Is(err, errNotAbove0):
		return refuse(codeBadAmount, "amount empty or negative")
	case err != nil:
		return refuse(codeBadParameters, "amount "+err.Error())
	case !c.chain.form.valid(p.text("address")):
		return refuse(codeBadAddress, "invalid address")
	}
	t := trade{kind: withdrawal, status: StatusReview, coin: c, address: p.text("address"), amount: amount, fee: "0", blockHigh: -1,
		businessID: id, memo: memo, callURL: callURL}
	if limit := s.limits[c.name]; proxyPay && limit != nil && amount.Cmp(limit) <= 0 {
		t.proxyPay, t.status = true, StatusSending
	}
	if t.proxyPay || s.AutoApprove {
		t.nextAt = s.due(stepAfter)
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		switch _, err := findTrade(ctx, tx, Key{BusinessID: id}); {
		case err == nil:
			return errDuplicate // another call came first
		case !errors.Is(err, ErrUnknownTrade):
			return err
		}
		if err := s.insertTrade(ctx, tx, &t); err != nil {
			return err
		}
		return s.tell(ctx, tx, &t, t.status)
	})
	switch {
	case errors.Is(err, errDuplicate):
		return refuse(codeDuplicate, "businessId already exists")
	case err != nil:
		return s.failed(ctx, err)
	}
	s.stir()
	return succeed(nil)
}

// supportCoins lists the merchant's coins (provider/udun section 3.4).
func (s *Simulator) supportCoins(ctx context.Context, p parameters) answer {
	var show bool
	if raw, given := p["showBalance"]; given && json.Unmarshal(raw, &show) != nil {
		return refuse(codeBadParameters, "illegal parameters")
	}
	list := []map[string]any{}
	for _, c := range coins {
		row := map[string]any{"name": c.name, "coinName": c.coinName, "symbol": c.symbol, "mainCoinType": c.chain.mainCoinType, "coinType": c.coinType,
			"decimals": strconv.Itoa(c.decimals), "tokenStatus": 0, "mainSymbol": c.main, "logo": ""}
		if c.token() {
			row["tokenStatus"] = 1
		}
		if c.main == "-" {
			delete(row, "mainSymbol")
		}
		if show {
			balance, err := balanceOf(ctx, s.DB, c)
			if err != nil {
				return s.failed(ctx, err)
			}
			row["balance"] = json.RawMessage(ownUnit(balance, c.decimals)) // a number, with all its digits
		}
		list = append(list, row)
	}
	return succeed(list)
}

// checkAddress tells whether an address is well formed (provider/udun section 3.5).
func (s *Simulator) checkAddress(_ context.Context, p parameters) answer {
	c, known := chains[p.text("mainCoinType")]
	switch {
	case p.text("mainCoinType") == "" || p.text("address") == "":
		return refuse(codeBadParameters, "illegal parameters")
	case !known:
		return refuse(codeWrongCoin, "wallet does not support the coin")
	case !c.form.valid(p.text("address")):
		return refuse(codeBadDestination, "bad destination address")
	}
	return succeed(nil)
}

// existAddress tells whether an address was made for the merchant (provider/udun section 3.6).
func (s *Simulator) existAddress(ctx context.Context, p parameters) answer {
	c, known := chains[p.text("mainCoinType")]
	switch {
	case p.text("mainCoinType") == "" || p.text("address") == "":
		return refuse(codeBadParameters, "illegal parameters")
	case !known:
		return refuse(codeWrongCoin, "wallet does not support the coin")
	}
	_, ours, err := findAddress(ctx, s.DB, c, p.text("address"))
	switch {
	case err != nil:
		return s.failed(ctx, err)
	case !ours:
		return refuse(codeBadDestination, "bad destination address")
	}
	return succeed(nil)
}
