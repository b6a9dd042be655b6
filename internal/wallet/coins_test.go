package wallet

import "testing"

// Withdrawals of a coin that is not listed any more are ordered on the same chain as before.
func TestDelistedCoinsKeepTheirChain(t *testing.T) {
	coins, err := Select(Catalogue("9006"), []string{"USDT-TRC20"})
	if err != nil {
		t.Fatal(err)
	}
	for bsc, want := range map[string]string{"9006": "9006", "": DefaultBSC} {
		s := New(Options{Coins: coins, BSC: bsc})
		for _, coin := range []string{"BNB", "USDT-BEP20"} {
			if got := s.listed[coin].Chain.MainCoin; got != want {
				t.Errorf("%s is on %q, want %q", coin, got, want)
			}
		}
		if got := s.listed["BNB"].CoinType; got != want {
			t.Errorf("BNB is coin %q, want %q", got, want)
		}
	}
}
