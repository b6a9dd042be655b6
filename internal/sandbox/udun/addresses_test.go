package udun

import (
	"strings"
	"testing"
)

var forms = map[string]addressForm{"TRON": tronForm, "EVM": evmForm, "BTC": bitcoinForm, "LTC": litecoinForm}

// Addresses of the world outside: those of the specifications (EIP-55, BIP 173, BIP 350) and well-known ones.
var realAddresses = map[string][]string{
	"TRON": {usdtContract, somebody, "TLa2f6VPqDgRE67v1736s7bJ8Ray5wYjU7"},
	"EVM": {"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
		"0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb", "0x52908400098527886E0F7030069857D2E4169EE7", "0xdac17f958d2ee523a2206206994597c13d831ec7"},
	"BTC": {"BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
		"bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
		"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"},
	"LTC": {"ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1"},
}

func TestRealAddressesAreValid(t *testing.T) {
	for chain, list := range realAddresses {
		for _, address := range list {
			for name, form := range forms {
				if form.valid(address) != (name == chain) {
					t.Errorf("%s as an address of %s: %t", address, name, form.valid(address))
				}
			}
		}
	}
}

// Litecoin's older script addresses are written like Bitcoin's.
func TestScriptAddressesOfTwoChains(t *testing.T) {
	const address = "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"
	if !bitcoinForm.valid(address) || !litecoinForm.valid(address) || tronForm.valid(address) || evmForm.valid(address) {
		t.Error(address)
	}
}

func TestWrongAddressesAreNot(t *testing.T) {
	for chain, list := range map[string][]string{
		"TRON": {"", "T", usdtContract + "1", "R7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", strings.ToLower(usdtContract), "1" + usdtContract, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj60"},
		"EVM":  {"", "0x", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed00", "0xzaAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"},
		"BTC": {"", "bc1", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "bc1Qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
			"bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", // bech32 where bech32m must be
			"BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",
			"bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", "bc1pw5dgrnzv", "bc1gmk9yu", "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
			"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "11A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"},
		"LTC": {"", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc2"},
	} {
		for _, address := range list {
			if forms[chain].valid(address) {
				t.Errorf("%s takes %q", chain, address)
			}
		}
	}
}

// One changed character is always noticed, but for EIP-55, whose checksum is short.
func TestMadeAddressesAreValid(t *testing.T) {
	prefixes := map[string]string{"TRON": "T", "EVM": "0x", "BTC": "bc1q", "LTC": "ltc1q"}
	for name, form := range forms {
		seen := map[string]bool{}
		for range 200 {
			address := form.newAddress()
			if !form.valid(address) || !strings.HasPrefix(address, prefixes[name]) || seen[address] {
				t.Fatalf("%s: %s", name, address)
			}
			seen[address] = true
			if name == "EVM" {
				continue
			}
			at := len(address) - 3
			for _, c := range "2389" {
				if changed := address[:at] + string(c) + address[at+1:]; changed != address && form.valid(changed) {
					t.Errorf("%s: %s passes for %s", name, changed, address)
				}
			}
		}
	}
}

func TestKeysOfAddresses(t *testing.T) {
	for _, c := range []struct {
		form addressForm
		a, b string
		same bool
	}{
		{evmForm, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", true},
		{bitcoinForm, "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", true},
		{bitcoinForm, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "1a1zp1ep5qgefi2dmptftl5slmv7divfna", false},
		{tronForm, usdtContract, strings.ToLower(usdtContract), false},
	} {
		if (c.form.key(c.a) == c.form.key(c.b)) != c.same {
			t.Errorf("%s and %s", c.a, c.b)
		}
	}
}
