package wallet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/sha3"
)

// ErrAddressForm says that a text is no address of the chain: wrong alphabet, length, network or checksum.
var ErrAddressForm = errors.New("not an address of this chain")

// Address is an address of a chain whose checksum fits.
type Address struct {
	Text string // in the spelling that everybody accepts: EIP-55 for 0x…, small letters for bech32
	Key  string // the same for every spelling of one address: for comparing
}

// maxAddress is longer than any address of the chains here; bech32 ends at 90 (BIP 173).
const maxAddress = 90

// Version bytes of Base58Check and prefixes of bech32, main networks only: a coin sent to a test network's address is lost.
const (
	bitcoinKeyHash     = 0x00 // 1…
	bitcoinScript      = 0x05 // 3…
	litecoinKeyHash    = 0x30 // L…
	litecoinScript     = 0x32 // M…
	litecoinScriptOld  = 0x05 // 3…, the same scripts as M…
	tronAddress        = 0x41 // T…
	bitcoinWitnesses   = "bc"
	litecoinWitnesses  = "ltc"
	hashLength         = 20 // bytes of what an address of Base58Check or Ethereum's kind stands for
	checksumLength     = 4
	bech32Constant     = 1          // BIP 173
	bech32mConstant    = 0x2bc830a3 // BIP 350
	bech32Checksum     = 6          // characters
	newestWitness      = 16
	shortestWitness    = 2
	longestWitness     = 40
	witnessKeyHash     = 20
	witnessScript      = 32
	bitsPerCharacter   = 5
	separatorOfWitness = "1"
)

// Parse checks an address of this form and brings it into its usual spelling. Errors: ErrAddressForm.
func (f AddressForm) Parse(text string) (Address, error) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > maxAddress {
		return Address{}, ErrAddressForm
	}
	switch f {
	case Bitcoin:
		if strings.HasPrefix(strings.ToLower(text), bitcoinWitnesses+separatorOfWitness) {
			return witnessAddress(text, bitcoinWitnesses)
		}
		return base58Address(text, bitcoinKeyHash, bitcoinScript)
	case Litecoin:
		if strings.HasPrefix(strings.ToLower(text), litecoinWitnesses+separatorOfWitness) {
			return witnessAddress(text, litecoinWitnesses)
		}
		return base58Address(text, litecoinKeyHash, litecoinScript, litecoinScriptOld)
	case Tron:
		return base58Address(text, tronAddress)
	case EVM:
		return evmAddress(text)
	}
	return Address{}, ErrAddressForm
}

// nobody is the hash in the address of zeros, which is nobody's: it is where coins are burnt.
var nobody = make([]byte, hashLength)

// evmAddress reads 0x and 40 hex digits. Digits of one case carry no checksum; mixed ones must be that of EIP-55.
func evmAddress(text string) (Address, error) {
	digits, ok := strings.CutPrefix(text, "0x")
	if !ok || len(digits) != 2*hashLength {
		return Address{}, ErrAddressForm
	}
	lower := strings.ToLower(digits)
	raw, err := hex.DecodeString(lower)
	if err != nil || bytes.Equal(raw, nobody) {
		return Address{}, ErrAddressForm
	}
	checked := eip55(lower)
	if digits != lower && digits != strings.ToUpper(digits) && digits != checked {
		return Address{}, ErrAddressForm
	}
	return Address{Text: "0x" + checked, Key: "0x" + lower}, nil
}

// eip55 puts the checksum of EIP-55 into the case of hex digits, given in small letters.
func eip55(lower string) string {
	h := sha3.NewLegacyKeccak256()
	h.Write([]byte(lower))
	sum := hex.EncodeToString(h.Sum(nil))
	mixed := []byte(lower)
	for i, c := range mixed {
		if c >= 'a' && sum[i] >= '8' {
			mixed[i] = c - 'a' + 'A'
		}
	}
	return string(mixed)
}

const base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Address reads a Base58Check address of one of the versions. Of versions that stand for the same thing, the last one is written
// as the one before it in the key.
func base58Address(text string, versions ...byte) (Address, error) {
	raw, ok := decodeBase58(text)
	if !ok || len(raw) != 1+hashLength+checksumLength || !slices.Contains(versions, raw[0]) {
		return Address{}, ErrAddressForm
	}
	body := raw[:1+hashLength]
	if !bytes.Equal(base58Sum(body), raw[1+hashLength:]) || bytes.Equal(body[1:], nobody) {
		return Address{}, ErrAddressForm
	}
	key := text
	if len(versions) == 3 && body[0] == versions[2] { // Litecoin's 3… and M… are one address
		body = append([]byte{versions[1]}, body[1:]...)
		key = encodeBase58(append(body, base58Sum(body)...))
	}
	return Address{Text: text, Key: key}, nil
}

func base58Sum(body []byte) []byte {
	once := sha256.Sum256(body)
	twice := sha256.Sum256(once[:])
	return twice[:checksumLength]
}

func decodeBase58(text string) ([]byte, bool) {
	n, base := new(big.Int), big.NewInt(int64(len(base58Alphabet)))
	for _, c := range []byte(text) {
		digit := strings.IndexByte(base58Alphabet, c)
		if digit < 0 {
			return nil, false
		}
		n.Add(n.Mul(n, base), big.NewInt(int64(digit)))
	}
	// Each leading 1 is a byte of zero.
	zeros := len(text) - len(strings.TrimLeft(text, "1"))
	return append(make([]byte, zeros), n.Bytes()...), true
}

func encodeBase58(raw []byte) string {
	n, base, digit := new(big.Int).SetBytes(raw), big.NewInt(int64(len(base58Alphabet))), new(big.Int)
	var text []byte
	for n.Sign() > 0 {
		n.DivMod(n, base, digit)
		text = append(text, base58Alphabet[digit.Int64()])
	}
	for _, b := range raw {
		if b != 0 {
			break
		}
		text = append(text, base58Alphabet[0])
	}
	slices.Reverse(text)
	return string(text)
}

const bech32Alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// witnessAddress reads a segregated witness address: bech32 for version 0, bech32m for later ones (BIP 173, BIP 350).
func witnessAddress(text, prefix string) (Address, error) {
	lower := strings.ToLower(text)
	if text != lower && text != strings.ToUpper(text) {
		return Address{}, ErrAddressForm
	}
	symbols := make([]byte, 0, len(lower))
	for _, c := range []byte(lower[len(prefix)+len(separatorOfWitness):]) {
		symbol := strings.IndexByte(bech32Alphabet, c)
		if symbol < 0 {
			return Address{}, ErrAddressForm
		}
		symbols = append(symbols, byte(symbol))
	}
	if len(symbols) < 1+bech32Checksum {
		return Address{}, ErrAddressForm
	}
	version, program := symbols[0], symbols[1:len(symbols)-bech32Checksum]
	constant := uint32(bech32mConstant)
	if version == 0 {
		constant = bech32Constant
	}
	length, whole := eightBits(program)
	switch {
	case bech32Polymod(prefix, symbols) != constant, version > newestWitness, !whole, length < shortestWitness, length > longestWitness,
		version == 0 && length != witnessKeyHash && length != witnessScript:
		return Address{}, ErrAddressForm
	}
	return Address{Text: lower, Key: lower}, nil
}

// eightBits tells how many bytes groups of five bits make up, and whether what is left over is padding as it must be: less than a
// group, and zero.
func eightBits(groups []byte) (length int, whole bool) {
	total := len(groups) * bitsPerCharacter
	rest := total % 8
	if rest >= bitsPerCharacter {
		return 0, false
	}
	return total / 8, len(groups) == 0 || groups[len(groups)-1]&(1<<rest-1) == 0
}

// bech32Polymod is the checksum of BIP 173 over prefix and symbols.
func bech32Polymod(prefix string, symbols []byte) uint32 {
	generators := [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	sum := uint32(1)
	add := func(symbol byte) {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(symbol)
		for i, g := range generators {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	for i := range len(prefix) {
		add(prefix[i] >> bitsPerCharacter)
	}
	add(0)
	for i := range len(prefix) {
		add(prefix[i] & (1<<bitsPerCharacter - 1))
	}
	for _, symbol := range symbols {
		add(symbol)
	}
	return sum
}
