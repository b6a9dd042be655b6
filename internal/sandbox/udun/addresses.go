package udun

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/sha3"
)

// addressForm is how a chain writes its addresses.
type addressForm int

const (
	tronForm     addressForm = iota // Base58Check, "T…"
	evmForm                         // hexadecimal with the checksum of EIP-55, "0x…"
	bitcoinForm                     // bech32 "bc1…", and the older Base58Check
	litecoinForm                    // bech32 "ltc1…", and the older Base58Check
)

// tronVersion is the first byte of TRON's addresses.
const tronVersion = 0x41

// newAddress makes a valid address that nobody has the key of.
func (f addressForm) newAddress() string {
	id := make([]byte, 20)
	rand.Read(id)
	switch f {
	case tronForm:
		return base58Check(append([]byte{tronVersion}, id...))
	case evmForm:
		return eip55(id)
	case bitcoinForm:
		return segwitAddress("bc", id)
	default:
		return segwitAddress("ltc", id)
	}
}

// valid checks form and checksum.
func (f addressForm) valid(address string) bool {
	switch f {
	case tronForm:
		return validBase58(address, tronVersion)
	case evmForm:
		return validEVM(address)
	case bitcoinForm: // P2PKH "1…", P2SH "3…"
		return validSegwit("bc", address) || validBase58(address, 0x00, 0x05)
	default: // P2PKH "L…", P2SH "M…" and, formerly, "3…"
		return validSegwit("ltc", address) || validBase58(address, 0x30, 0x32, 0x05)
	}
}

// key is the form in which addresses of a chain are compared: some of them may be written in another case.
func (f addressForm) key(address string) string {
	lower := strings.ToLower(address)
	if f == evmForm || f == bitcoinForm && strings.HasPrefix(lower, "bc1") || f == litecoinForm && strings.HasPrefix(lower, "ltc1") {
		return lower
	}
	return address
}

const base58Digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

func checksum58(payload []byte) []byte {
	first := sha256.Sum256(payload)
	second := sha256.Sum256(first[:])
	return second[:4]
}

// base58Check writes version and hash with their checksum.
func base58Check(payload []byte) string {
	full := append(slices.Clone(payload), checksum58(payload)...)
	n, base, digit := new(big.Int).SetBytes(full), big.NewInt(58), new(big.Int)
	var out []byte
	for n.Sign() > 0 {
		n.DivMod(n, base, digit)
		out = append(out, base58Digits[digit.Int64()])
	}
	for _, b := range full { // each leading zero byte is a 1
		if b != 0 {
			break
		}
		out = append(out, base58Digits[0])
	}
	slices.Reverse(out)
	return string(out)
}

// validBase58 checks an address of 20 bytes with one of the versions.
func validBase58(address string, versions ...byte) bool {
	const size = 1 + 20 + 4
	if len(address) < size || len(address) > 35 {
		return false
	}
	n, base := new(big.Int), big.NewInt(58)
	for _, c := range address {
		digit := strings.IndexRune(base58Digits, c)
		if digit < 0 {
			return false
		}
		n.Add(n.Mul(n, base), big.NewInt(int64(digit)))
	}
	if n.BitLen() > size*8 {
		return false
	}
	full := n.FillBytes(make([]byte, size))
	payload := full[:size-4]
	return slices.Contains(versions, full[0]) && bytes.Equal(checksum58(payload), full[size-4:]) && base58Check(payload) == address
}

// eip55 writes an address with its letters' case as the checksum.
func eip55(id []byte) string {
	text := []byte(hex.EncodeToString(id))
	keccak := sha3.NewLegacyKeccak256()
	keccak.Write(text)
	sum := keccak.Sum(nil)
	for i, c := range text {
		if c >= 'a' && sum[i/2]>>(4*(1-i%2))&0xf >= 8 {
			text[i] = c - 'a' + 'A'
		}
	}
	return "0x" + string(text)
}

// validEVM takes an address in one case, which has no checksum, or with the case that EIP-55 gives it.
func validEVM(address string) bool {
	digits, found := strings.CutPrefix(address, "0x")
	id, err := hex.DecodeString(digits)
	if !found || err != nil || len(id) != 20 {
		return false
	}
	return digits == strings.ToLower(digits) || digits == strings.ToUpper(digits) || eip55(id) == address
}

const bech32Digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// The constants of BIP 173 (version 0) and BIP 350 (later versions).
const (
	bech32Sum  = 1
	bech32mSum = 0x2bc830a3
)

func bech32Polymod(prefix string, values []byte) uint32 {
	sum := uint32(1)
	step := func(v byte) {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	for i := range len(prefix) {
		step(prefix[i] >> 5)
	}
	step(0)
	for i := range len(prefix) {
		step(prefix[i] & 31)
	}
	for _, v := range values {
		step(v)
	}
	return sum
}

// segwitAddress writes a witness program of version 0.
func segwitAddress(prefix string, program []byte) string {
	values := []byte{0}
	var bits, have uint
	for _, b := range program {
		for bits, have = bits<<8|uint(b), have+8; have >= 5; have -= 5 {
			values = append(values, byte(bits>>(have-5)&31))
		}
	}
	if have > 0 {
		values = append(values, byte(bits<<(5-have)&31))
	}
	sum := bech32Polymod(prefix, append(slices.Clone(values), 0, 0, 0, 0, 0, 0)) ^ bech32Sum
	for i := range 6 {
		values = append(values, byte(sum>>(5*(5-i))&31))
	}
	out := []byte(prefix + "1")
	for _, v := range values {
		out = append(out, bech32Digits[v])
	}
	return string(out)
}

// validSegwit checks a bech32 address of any witness version.
func validSegwit(prefix, address string) bool {
	if address != strings.ToLower(address) && address != strings.ToUpper(address) {
		return false
	}
	data, found := strings.CutPrefix(strings.ToLower(address), prefix+"1")
	if !found || len(address) > 90 || len(data) < 8 {
		return false
	}
	var values []byte
	for _, c := range data {
		digit := strings.IndexRune(bech32Digits, c)
		if digit < 0 {
			return false
		}
		values = append(values, byte(digit))
	}
	version, sum := values[0], bech32Polymod(prefix, values)
	if version > 16 || version == 0 && sum != bech32Sum || version > 0 && sum != bech32mSum {
		return false
	}
	program := values[1 : len(values)-6]
	size, rest := len(program)*5/8, len(program)*5%8
	if rest >= 5 || rest > 0 && program[len(program)-1]&(1<<rest-1) != 0 { // padding: less than a digit, and zero
		return false
	}
	if version == 0 {
		return size == 20 || size == 32
	}
	return size >= 2 && size <= 40
}
