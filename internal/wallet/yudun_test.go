package wallet_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/wallet"
)

type gatewayAddressSeen struct {
	ID           int       `json:"id"`
	Chain        string    `json:"chain"`
	MainCoinType int       `json:"main_coin_type"`
	CoinType     int       `json:"coin_type"`
	Address      string    `json:"address"`
	Alias        string    `json:"alias"`
	CreatedAt    time.Time `json:"created_at"`
}

type gatewayTransactionSeen struct {
	ID           int       `json:"id"`
	TradeID      string    `json:"trade_id"`
	TxID         string    `json:"tx_id"`
	Address      string    `json:"address"`
	Amount       string    `json:"amount"`
	ActualAmount string    `json:"actual_amount"`
	Fee          string    `json:"fee"`
	Decimals     int       `json:"decimals"`
	MainCoinType int       `json:"main_coin_type"`
	CoinType     string    `json:"coin_type"`
	Status       int       `json:"status"`
	TradeType    int       `json:"trade_type"`
	CreatedAt    time.Time `json:"created_at"`
}

// The routes of older integrations (contract/money section 7) show a customer their own and nobody else's.
func TestGatewayRoutes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.CheckCoins(t.Context()); err != nil {
			t.Fatal(err)
		}
		amina, bo := w.customer(), w.customer()
		for _, c := range []*customer{amina, bo} {
			w.eventually("addresses", func() bool { return len(c.addresses()) == 7 })
		}
		amina.grant("ETH", "1.5")

		var coins struct {
			Status string `json:"status"`
			OK     bool   `json:"ok"`
			Coins  []struct {
				Name         string  `json:"name"`
				CoinName     string  `json:"coinName"`
				Symbol       string  `json:"symbol"`
				MainCoinType string  `json:"mainCoinType"`
				CoinType     string  `json:"coinType"`
				Decimals     string  `json:"decimals"`
				TokenStatus  int     `json:"tokenStatus"`
				MainSymbol   string  `json:"mainSymbol"`
				Balance      float64 `json:"balance"`
				Logo         string  `json:"logo"`
			} `json:"coins"`
		}
		for query, balance := range map[string]float64{"": 0, "?show_balance=true": 1.5, "?show_balance=false": 0} {
			coins.Coins = nil
			w.call(http.MethodGet, "/yudun/coins"+query, amina.access, nil).into(t, &coins)
			if eth := coins.Coins[3]; !coins.OK || eth.Name != "ETH" || eth.Decimals != "18" || eth.MainCoinType != "60" || eth.Balance != balance {
				t.Errorf("%q: %+v", query, coins)
			}
		}

		var addresses struct {
			Status    string               `json:"status"`
			OK        bool                 `json:"ok"`
			Addresses []gatewayAddressSeen `json:"addresses"`
			Total     int                  `json:"total"`
		}
		w.call(http.MethodGet, "/yudun/addresses", amina.access, nil).into(t, &addresses)
		if addresses.Total != 5 || len(addresses.Addresses) != 5 {
			t.Errorf("%+v", addresses)
		}
		var one struct {
			Status  string             `json:"status"`
			OK      bool               `json:"ok"`
			Address gatewayAddressSeen `json:"address"`
		}
		w.call(http.MethodGet, "/yudun/addresses/TRX", amina.access, nil).into(t, &one)
		trx := amina.addresses()["TRX"]
		if got := one.Address; got.Chain != "TRX" || got.MainCoinType != 195 || got.CoinType != 195 || got.Address != trx || got.ID == 0 {
			t.Errorf("%+v", got)
		}
		w.call(http.MethodGet, "/yudun/addresses/DOGE", amina.access, nil).refused(t, 400, "CHAIN_UNKNOWN")
		w.exec(`UPDATE wallet_addresses SET address = NULL, address_key = NULL, asked_until = $2 WHERE user_id = $1 AND main_coin_type = '2'`, amina.id, w.clock.Now().Add(time.Hour))
		w.call(http.MethodGet, "/yudun/addresses/LTC", amina.access, nil).refused(t, 404, "ADDRESS_NOT_FOUND")

		var answer struct {
			Status string `json:"status"`
			OK     bool   `json:"ok"`
			Valid  bool   `json:"valid"`
			Exists bool   `json:"exists"`
		}
		for _, c := range []struct {
			address       string
			valid, exists bool
		}{{trx, true, true}, {bo.addresses()["TRX"], true, false}, {trx[:33] + "1", false, false}, {"", false, false}, {amina.addresses()["ETH"], false, false}} {
			body := fields{"main_coin_type": "195", "address": c.address}
			w.call(http.MethodPost, "/yudun/address/check", amina.access, body).into(t, &answer)
			valid := answer.Valid
			answer.Valid = false
			w.call(http.MethodPost, "/yudun/address/exists", amina.access, body).into(t, &answer)
			if valid != c.valid || answer.Exists != c.exists {
				t.Errorf("%q: valid %t, exists %t", c.address, valid, answer.Exists)
			}
			answer.Exists = false
		}
		w.call(http.MethodPost, "/yudun/address/check", amina.access, fields{"main_coin_type": "1", "address": trx}).refused(t, 400, "CHAIN_UNKNOWN")

		amina.happened(3, func(i int, e *wallet.Entry) {
			switch i {
			case 1:
				e.Type, e.Status, e.Coin, e.Amount, e.Fee, e.Address, e.TxHash = wallet.TypeWithdrawal, wallet.StatusPending, "ETH", -150_000_000, 1000, "0xaa", "0xbb"
			case 2:
				e.Type = wallet.TypeTransfer
			}
		})
		var list struct {
			Status       string                   `json:"status"`
			OK           bool                     `json:"ok"`
			Transactions []gatewayTransactionSeen `json:"transactions"`
			Total        int                      `json:"total"`
			Page         int                      `json:"page"`
			PageSize     int                      `json:"page_size"`
		}
		for query, want := range map[string]int{"": 2, "?trade_type=1": 1, "?trade_type=2": 1, "?status=2": 1, "?coin_type=60": 1, "?coin_type=195": 0, "?page=2": 0,
			"?start_date=2026-03-02": 0} {
			list.Transactions = nil
			w.call(http.MethodGet, "/yudun/transactions"+query, amina.access, nil).into(t, &list)
			if len(list.Transactions) != want {
				t.Errorf("%q: %+v", query, list)
			}
		}
		w.call(http.MethodGet, "/yudun/transactions?status=0&page_size=1", amina.access, nil).into(t, &list)
		want := gatewayTransactionSeen{ID: 2, TradeID: "test", TxID: "0xbb", Address: "0xaa", Amount: "1500000000000000000", ActualAmount: "1.5", Fee: "0.00001",
			Decimals: 18, MainCoinType: 60, CoinType: "60", TradeType: 2, CreatedAt: beginning}
		if len(list.Transactions) != 1 || list.Transactions[0] != want || list.Page != 1 || list.PageSize != 1 || list.Total != 1 {
			t.Errorf("%+v", list)
		}
		for _, query := range []string{"?trade_type=3", "?status=1", "?coin_type=nothing"} {
			w.call(http.MethodGet, "/yudun/transactions"+query, amina.access, nil).refused(t, 400, "FILTER_INVALID")
		}
		// What would go round the ledger is not there.
		for _, path := range []string{"/yudun/address/create", "/yudun/withdraw"} {
			w.call(http.MethodPost, path, amina.access, fields{}).refused(t, 404, "ROUTE_NOT_FOUND")
		}
	}, withGateway(nil))
}
