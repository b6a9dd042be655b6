package cli

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

const (
	demoCoin      = "USDT-TRC20"
	demoPassword  = "739154"                             // transaction password
	demoAddress   = "TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE" // on Tron, of nobody here
	demoTypo      = "TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSF" // the same with a slip
	demoDeposited = "1000"
)

// money is the story of coins that come in, go across and leave. Both customers are verified.
func (w *walk) money(sender, recipient *walker, o *office) {
	sender.receives()
	sender.setsTransactionPassword(recipient)
	sender.transfers(recipient)
	sender.withdraws(recipient, o)
	o.closes()
}

// receives waits for deposit addresses and lets money arrive.
func (c *walker) receives() {
	c.do(request{title: "has an address for every coin", method: http.MethodGet, url: c.api + "/api/v1/wallet/", customer: c, want: c.wallet(nil), until: c.hasAddresses})
	c.history("has no history yet")
	arrived := c.gateway("coins are on their way to the address", "/control/deposit", object{"address": c.deposits, "coin": demoCoin, "amount": demoDeposited, "confirmations": 1000}, 0)
	c.history("sees them under way", c.line("deposit", "pending", demoDeposited, object{"address": c.deposits, "tx_hash": someText}))
	c.holds("cannot spend them yet", "0")
	c.gateway("the last block has confirmed them", "/control/deposit", object{"trade_id": text(arrived, "trade_id")}, 3)
	c.holds("has them", demoDeposited)
	c.history("sees that they have arrived", c.credited())
}

func (c *walker) credited() object {
	return c.line("deposit", "completed", demoDeposited, object{"address": c.deposits, "tx_hash": someText, "completed_at": timestamp})
}

func (c *walker) setsTransactionPassword(recipient *walker) {
	const status = "/user/transaction-password/status"
	c.get("has no transaction password", status, object{"status": "success", "message": someText, "is_set": false})
	c.refused("cannot send without one", http.MethodPost, "/wallet/transfer-by-uid", transfer(recipient.uid, "10", demoPassword), http.StatusBadRequest, "TRANSACTION_PASSWORD_NOT_SET")
	chosen := func(digits string) object {
		return object{"transaction_password": digits, "confirm_transaction_password": digits}
	}
	c.refused("chooses one that everybody would try first", http.MethodPost, "/user/transaction-password/request", chosen("123456"), http.StatusBadRequest, "TRANSACTION_PASSWORD_WEAK")
	asked := c.post("chooses another", "/user/transaction-password/request", chosen(demoPassword), object{"status": "success", "email": c.email, "message": someText,
		"next_step": "verify_transaction_password_otp", "temp_hash": someText})
	c.post("confirms it with the code", "/user/transaction-password/complete", object{"otp_code": c.readCode(), "temp_hash": text(asked, "temp_hash")},
		object{"status": "success", "message": someText})
	c.get("has one now", status, object{"status": "success", "message": someText, "is_set": true})
}

// transfer is what the app sends (contract/money 2.5).
func transfer(to int64, amount, password string) object {
	return object{"amount": json.Number(amount), "currency": demoCoin, "description": "Internal transfer", "recipient_uid": to, "transaction_password": password}
}

// transfers sends 40.25 of the 1,000 coins to another customer.
func (c *walker) transfers(recipient *walker) {
	const path, sent = "/wallet/transfer-by-uid", "40.25"
	for _, wrong := range []struct {
		title  string
		body   object
		status int
		code   string
	}{
		{"mistypes the transaction password", transfer(recipient.uid, sent, "739155"), http.StatusBadRequest, "TRANSACTION_PASSWORD_WRONG"},
		{"sends a millionth more than there is", transfer(recipient.uid, "1000.000001", demoPassword), http.StatusBadRequest, "INSUFFICIENT_BALANCE"},
		{"sends less than the smallest unit", transfer(recipient.uid, "0.0000001", demoPassword), http.StatusBadRequest, "AMOUNT_TOO_PRECISE"},
		{"sends to the own UID", transfer(c.uid, sent, demoPassword), http.StatusBadRequest, "TRANSFER_TO_SELF"},
		{"sends to nobody", transfer(1<<53-1, sent, demoPassword), http.StatusNotFound, "RECIPIENT_NOT_FOUND"},
	} {
		c.refused(wrong.title, http.MethodPost, path, wrong.body, wrong.status, wrong.code)
	}
	c.holds("has lost nothing by that", demoDeposited)
	r := request{title: "sends to " + recipient.name, method: http.MethodPost, url: c.api + "/api/v1" + path, customer: c, key: "demo-" + rand.Text(),
		body: transfer(recipient.uid, sent, demoPassword), want: object{"status": "success", "message": someText, "currency": demoCoin, "new_balance": amount("959.75"),
			"recipient_uid": recipient.uid, "recipient_wallet_id": like(`^CCP[A-Z0-9]+$`), "transaction_id": wholeNumber}}
	first := c.do(r)
	r.title = "repeats the call, as if its answer had been lost"
	again := c.do(r)
	c.expect("it was one transfer", text(first, "message") != "" && first["transaction_id"] == again["transaction_id"])
	c.holds("has that much less", "959.75")
	c.history("sees the transfer", c.line("transfer", "completed", "-"+sent, object{"counterparty_user_id": recipient.uid, "completed_at": timestamp}), c.credited())
	recipient.holds("has that much more", sent)
	recipient.history("sees the transfer", recipient.line("transfer", "completed", sent, object{"counterparty_user_id": c.uid, "completed_at": timestamp}))
}

// withdrawals that the demo makes, of the 959.75 coins that are left. Without settings of its own an installation sends up to 500 USDT
// without asking an operator.
const (
	withdrawnAtOnce   = "25"
	withdrawnInVain   = "30"
	withdrawnByPerson = "600"
)

func (c *walker) withdraws(recipient *walker, o *office) {
	const path = "/wallet/withdrawal"
	for _, wrong := range []struct{ title, amount, address, code string }{
		{"mistypes the address", withdrawnAtOnce, demoTypo, "ADDRESS_INVALID"},
		{"withdraws to " + recipient.name + "'s deposit address", withdrawnAtOnce, recipient.address(), "ADDRESS_OF_CUSTOMER"},
		{"withdraws a millionth more than there is", "959.750001", demoAddress, "INSUFFICIENT_BALANCE"},
	} {
		c.refused(wrong.title, http.MethodPost, path, withdrawal(wrong.amount, wrong.address), http.StatusBadRequest, wrong.code)
	}

	paid := c.withdraw("withdraws a little", withdrawnAtOnce)
	again := c.post("taps twice", path, withdrawal(withdrawnAtOnce, demoAddress), nil)
	c.expect("it is one withdrawal", paid.id != "" && inner(again, "withdrawal")["id"] == paid.id)
	c.holds("cannot spend what is reserved", "934.75")
	c.gateway("the gateway approves it", "/control/withdrawal", paid.outcome("approved"), 1)
	c.gateway("the gateway has paid it", "/control/withdrawal", paid.outcome("succeeded"), 3)
	c.sees("sees that it is paid", "completed", paid)

	refused := c.withdraw("withdraws once more", withdrawnInVain)
	c.holds("cannot spend that either", "904.75")
	c.gateway("the gateway refuses it", "/control/withdrawal", refused.outcome("refused"), 2)
	c.holds("has it back", "934.75")
	c.sees("sees that it was refused", "rejected", refused, paid)

	if o.closed() {
		return
	}
	large := c.withdraw("withdraws a lot", withdrawnByPerson)
	o.approves(large)
	c.gateway("the gateway has paid it", "/control/withdrawal", large.outcome("succeeded"), 3)
	c.sees("sees that it is paid", "completed", large, refused, paid)
	c.holds("has the rest", "334.75")
}

// withdrawal is what the app sends (contract/money 2.3).
func withdrawal(amount, address string) object {
	return object{"amount": json.Number(amount), "currency": demoCoin, "address": address, "network": "TRC20"}
}

// withdrawn is a withdrawal that was asked for.
type withdrawn struct {
	c          *walker
	id         json.Number
	businessID string // what the gateway calls it
	amount     string
}

func (d withdrawn) outcome(word string) object {
	return object{"business_id": d.businessID, "outcome": word}
}

// withdraw asks for a withdrawal, and finds in the history what the gateway calls it.
func (c *walker) withdraw(title, much string) withdrawn {
	asked := c.post(title, "/wallet/withdrawal", withdrawal(much, demoAddress), object{"status": "success", "message": someText,
		"withdrawal": withdrawalItem(much, oneOf("pending", "processing"))})
	d := withdrawn{c: c, amount: much}
	d.id, _ = inner(asked, "withdrawal")["id"].(json.Number)
	listed := c.get("sees it in the history", "/wallet/unified-transactions?type=withdraw&page=1&page_size=10", nil)
	for _, item := range items(inner(listed, "data")) {
		if item["source_id"] == d.id {
			d.businessID = text(item, "reference")
		}
	}
	c.expect("the history names it", d.businessID != "")
	return d
}

func withdrawalItem(much string, status any) object {
	return object{"id": wholeNumber, "amount": amount(much), "fee": amount("0"), "currency": demoCoin, "address": demoAddress, "status": status, "tx_hash": anyText,
		"created_at": timestamp, "updated_at": timestamp}
}

// sees waits until the newest withdrawal has a status, and checks the whole list.
func (c *walker) sees(title, status string, list ...withdrawn) {
	var want []any
	for i, d := range list {
		item := withdrawalItem(d.amount, oneOf("completed", "rejected"))
		if i == 0 {
			item["status"] = status
		}
		item["id"] = d.id
		want = append(want, item)
	}
	c.do(request{title: title, method: http.MethodGet, url: c.api + "/api/v1/wallet/withdrawals?page=1&limit=20", customer: c,
		want: object{"status": "success", "page": 1, "limit": 20, "total": len(list), "total_pages": 1, "items": want},
		until: func(r reply) bool {
			body, _ := r.body.(map[string]any)
			all := items(body)
			return len(all) > 0 && text(all[0], "status") == status
		}})
}

// items are the objects of a list.
func items(o object) (list []object) {
	all, _ := o["items"].([]any)
	for _, item := range all {
		entry, _ := item.(map[string]any)
		list = append(list, entry)
	}
	return list
}

// gateway lets something happen at the gateway, where the product's call may only be about to arrive, and checks the status that the
// gateway has afterwards.
func (c *walker) gateway(title, path string, body object, status int) object {
	return c.do(request{title: title, method: http.MethodPost, url: c.sandbox + path, customer: c, body: body,
		want: trade(status), until: func(r reply) bool { return r.status != http.StatusNotFound }})
}

// trade demands of an answer of the gateway's only that it has this status: what else it tells is its own.
func trade(status int) rule {
	return func(v any) string {
		o, _ := v.(map[string]any)
		if o["status"] != json.Number(fmt.Sprint(status)) {
			return fmt.Sprintf("must be a trade of status %d", status)
		}
		return ""
	}
}

// wallet is GET /wallet/ (contract/money 2.1) of somebody who has this much of some coins and nothing of the others.
func (c *walker) wallet(has map[string]string) object {
	balance := object{"id": wholeNumber, "currency": someText, "balance": anyAmount, "main_coin_type": anyAmount, "coin_type": someText, "symbol": someText, "decimals": wholeNumber,
		"token_status": anyAmount, "main_symbol": anyText, "logo": anyText, "coin_name": someText, "address": someText, "created_at": timestamp, "updated_at": timestamp}
	return object{"status": "success", "wallet": object{"id": wholeNumber, "user_id": c.uid, "currency": "USD", "status": "active", "daily_limit": anyAmount, "monthly_limit": 0,
		"total_asset_usdt": amount(cmp.Or(has[demoCoin], "0")), "total_asset_hkd": anyAmount, "balances": each{balance}, "created_at": timestamp, "updated_at": timestamp,
		"balances_by_currency": rule(func(v any) string {
			all, _ := v.(map[string]any)
			for coin, held := range all {
				if wrong := amount(cmp.Or(has[coin], "0"))(held); wrong != "" {
					return "." + coin + " " + wrong
				}
			}
			if len(all) == 0 {
				return "must have coins"
			}
			return ""
		})}}
}

// hasAddresses is whether every coin can be paid in. It remembers where the demo's is.
func (c *walker) hasAddresses(r reply) bool {
	body, _ := r.body.(map[string]any)
	list, _ := inner(body, "wallet")["balances"].([]any)
	for _, item := range list {
		coin, _ := item.(map[string]any)
		if text(coin, "address") == "" {
			return false
		}
		if text(coin, "currency") == demoCoin {
			c.deposits = text(coin, "address")
		}
	}
	return c.deposits != ""
}

// address is where the demo's coin is paid in.
func (c *walker) address() string {
	if c.deposits == "" {
		c.do(request{title: "has addresses as well", method: http.MethodGet, url: c.api + "/api/v1/wallet/", customer: c, until: c.hasAddresses})
	}
	return c.deposits
}

// holds waits until the customer can spend this much of the demo's coin, and checks the whole wallet.
func (c *walker) holds(title, much string) {
	c.do(request{title: title, method: http.MethodGet, url: c.api + "/api/v1/wallet/", customer: c, want: c.wallet(map[string]string{demoCoin: much}),
		until: func(r reply) bool {
			body, _ := r.body.(map[string]any)
			held := inner(inner(body, "wallet"), "balances_by_currency")[demoCoin]
			return c.hasAddresses(r) && amount(much)(held) == ""
		}})
}

// line is one item of the history (contract/money 2.2) with what it has besides.
func (c *walker) line(kind, status, much string, more object) object {
	o := object{"id": wholeNumber, "type": kind, "type_label": someText, "status": status, "status_label": someText, "amount": amount(much), "currency": demoCoin, "fee": 0,
		"description": anyText, "address": "", "tx_hash": "", "reference": anyText, "source_table": someText, "source_id": wholeNumber, "created_at": timestamp}
	for key, value := range more {
		o[key] = value
	}
	return o
}

// history waits until the newest line has its status, and checks the first page.
func (c *walker) history(title string, lines ...object) {
	want, pages := []any{}, 0
	for _, l := range lines {
		want, pages = append(want, l), 1
	}
	query := url.Values{"page": {"1"}, "page_size": {"10"}}
	c.do(request{title: title, method: http.MethodGet, url: c.api + "/api/v1/wallet/unified-transactions?" + query.Encode(), customer: c,
		want: object{"status": "success", "data": object{"items": want, "page": 1, "page_size": 10, "total": len(lines), "total_pages": pages}},
		until: func(r reply) bool {
			body, _ := r.body.(map[string]any)
			all := items(inner(body, "data"))
			return len(all) == len(lines) && (len(all) == 0 || text(all[0], "status") == lines[0]["status"])
		}})
}
