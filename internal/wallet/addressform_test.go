package wallet

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// Vectors: BIP 173 and BIP 350, EIP-55, the wikis of Bitcoin and Litecoin, contracts that everybody knows.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		form        AddressForm
		given       string
		text, key   string // as they come back; empty: as given
		description string
	}{
		{Bitcoin, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "", "", "key hash"},
		{Bitcoin, " 3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy\n", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "script, with blanks around it"},
		{Bitcoin, "11111111111111111111BZbvjr", "", "", "leading zeros"},
		{Bitcoin, "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "version 0 in capitals"},
		{Bitcoin, "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3", "", "", "version 0, script"},
		{Bitcoin, "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "", "", "taproot"},
		{Bitcoin, "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y", "", "", "version 1, 40 bytes"},
		{Bitcoin, "BC1SW50QGDZ25J", "bc1sw50qgdz25j", "bc1sw50qgdz25j", "version 16, 2 bytes"},
		{Litecoin, "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", "", "", "key hash"},
		{Litecoin, "MQMcJhpWHYVeQArcZR3sBgyPZxxRtnH441", "", "", "script"},
		{EVM, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "EIP-55"},
		{EVM, "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", "", "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359", "EIP-55"},
		{EVM, "0xdbf03b407c01e7cd3cbea99509d93f8dddc8c6fb", "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xdbf03b407c01e7cd3cbea99509d93f8dddc8c6fb", "small letters"},
		{EVM, "0xD1220A0CF47C7B9BE7A2E6BA89F429762E7B9ADB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb", "0xd1220a0cf47c7b9be7a2e6ba89f429762e7b9adb", "capitals"},
		{Tron, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "", "", "contract of USDT"},
		{Tron, "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL", "", "", "account"},
	} {
		got, err := tt.form.Parse(tt.given)
		want := Address{Text: tt.text, Key: tt.key}
		if want.Text == "" {
			want.Text = tt.given
		}
		if want.Key == "" {
			want.Key = want.Text
		}
		if err != nil || got != want {
			t.Errorf("%s (%s): %+v, %v; want %+v", tt.given, tt.description, got, err, want)
		}
	}
}

// Litecoin's scripts have an old spelling, which is that of Bitcoin's: 3… is the same as M….
func TestTheOldSpellingOfLitecoin(t *testing.T) {
	const modern = "MQMcJhpWHYVeQArcZR3sBgyPZxxRtnH441"
	raw, _ := decodeBase58(modern)
	body := append([]byte{litecoinScriptOld}, raw[1:1+hashLength]...)
	old := encodeBase58(append(body, base58Sum(body)...))
	if old[0] != '3' {
		t.Fatalf("the old spelling begins with %q", old[0])
	}
	if got, err := Litecoin.Parse(old); err != nil || got != (Address{Text: old, Key: modern}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNoAddresses(t *testing.T) {
	for _, tt := range []struct {
		form  AddressForm
		given string
		why   string
	}{
		{Bitcoin, "", "empty"},
		{Bitcoin, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "checksum"},
		{Bitcoin, "1A1zP1eP5QGefi2DMPTfTL5SLmv7Divf0a", "0 is not in the alphabet"},
		{Bitcoin, "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "test network"},
		{Bitcoin, "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", "Litecoin's"},
		{Bitcoin, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "TRON's"},
		{Bitcoin, "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "test network"},
		{Bitcoin, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "checksum"},
		{Bitcoin, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3T4", "mixed case"},
		{Bitcoin, "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", "version 1 with the checksum of version 0"},
		{Bitcoin, "bc1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47", "version 0 with the checksum of version 1"},
		{Bitcoin, "bc1rw5uspcuh", "program too short"},
		{Bitcoin, "bc1pw5dgrnzv", "program of one byte"},
		{Bitcoin, "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", "version 0 of 16 bytes"},
		{Bitcoin, "bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du", "more padding than a group"},
		{Bitcoin, "bc1gmk9yu", "empty program"},
		{Bitcoin, "bc1", "nothing after the prefix"},
		{Bitcoin, strings.Repeat("1", 100), "too long"},
		{Litecoin, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "Bitcoin's"},
		{Litecoin, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "Bitcoin's"},
		{EVM, "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "without 0x"},
		{EVM, "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0X"},
		{EVM, "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "checksum"},
		{EVM, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe", "39 digits"},
		{EVM, "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaeg", "g is no digit"},
		{EVM, "0x0000000000000000000000000000000000000000", "nobody's"},
		{Tron, "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb", "nobody's"},
		{Bitcoin, "1111111111111111111114oLvT2", "nobody's"},
		{Tron, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6T", "checksum"},
		{Tron, "tr7nhqjekqxgtci8q8zy4pl8otszgjlj6t", "case matters"},
		{Tron, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "Bitcoin's"},
		{Tron, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "Ethereum's"},
		{AddressForm("doge"), "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "no such form"},
	} {
		if got, err := tt.form.Parse(tt.given); !errors.Is(err, ErrAddressForm) {
			t.Errorf("%s address %q (%s): %+v, %v", tt.form, tt.given, tt.why, got, err)
		}
	}
}

// One wrong character is always found, whichever it is.
func TestOneWrongCharacter(t *testing.T) {
	for form, address := range map[AddressForm]string{
		Bitcoin: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Litecoin: "MQMcJhpWHYVeQArcZR3sBgyPZxxRtnH441",
		Tron: "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
	} {
		alphabet := base58Alphabet
		if form == Bitcoin {
			alphabet = bech32Alphabet
		}
		for i := range address {
			for _, c := range []byte(alphabet) {
				changed := address[:i] + string(c) + address[i+1:]
				if changed == address {
					continue
				}
				if got, err := form.Parse(changed); err == nil {
					t.Errorf("%s passes for an address: %+v", changed, got)
				}
			}
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "bc1",
		"ltc1", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "\x00", "é1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, form := range []AddressForm{Bitcoin, Litecoin, EVM, Tron} {
			a, err := form.Parse(text)
			if err != nil {
				continue
			}
			again, err := form.Parse(a.Text)
			if err != nil || again != a {
				t.Errorf("%q: %+v, and read again %+v, %v", text, a, again, err)
			}
			if byKey, err := form.Parse(a.Key); err != nil || byKey.Key != a.Key {
				t.Errorf("%q: its key %q is no address of the same key: %+v, %v", text, a.Key, byKey, err)
			}
		}
	})
}

func FuzzBase58(f *testing.F) {
	f.Add([]byte{0, 0, 1, 255})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 200 {
			return
		}
		if back, ok := decodeBase58(encodeBase58(raw)); !ok || !bytes.Equal(back, raw) {
			t.Errorf("%x comes back as %x", raw, back)
		}
	})
}
