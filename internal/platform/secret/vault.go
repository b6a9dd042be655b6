package secret

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Place is where a sealed value stands. It is bound into the seal, so that a value copied to another row or
// column does not open.
type Place struct{ Table, Column, Row string }

func (p Place) associatedData() []byte { return []byte(p.Table + "\x00" + p.Column + "\x00" + p.Row) }

// Vault seals personal data and computes keyed hashes. It is safe for concurrent use.
type Vault struct {
	aead    tink.AEAD
	hashKey []byte
}

// MinHashKey is the least length of the hash key in bytes.
const MinHashKey = 32

// NewVault makes a vault of a Tink AEAD keyset in JSON (the primary key seals, every key opens) and a hash
// key in base64, at least MinHashKey bytes. The hash key cannot be rotated: blind indexes depend on it.
func NewVault(keysetJSON, hashKey Text) (*Vault, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader([]byte(keysetJSON.Reveal()))))
	if err != nil {
		// The library's text may repeat the keyset.
		return nil, errors.New("data keyset: not a Tink keyset in JSON")
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("data keyset: not a keyset for AEAD")
	}
	key, err := base64.StdEncoding.DecodeString(hashKey.Reveal())
	if err != nil || len(key) < MinHashKey {
		return nil, fmt.Errorf("hash key: must be base64 of at least %d bytes", MinHashKey)
	}
	return &Vault{aead: primitive, hashKey: key}, nil
}

// Seal encrypts a value for its place.
func (v *Vault) Seal(plain []byte, at Place) ([]byte, error) {
	sealed, err := v.aead.Encrypt(plain, at.associatedData())
	if err != nil {
		return nil, fmt.Errorf("seal %s.%s: %w", at.Table, at.Column, err)
	}
	return sealed, nil
}

// Open decrypts a value of its place.
func (v *Vault) Open(sealed []byte, at Place) ([]byte, error) {
	plain, err := v.aead.Decrypt(sealed, at.associatedData())
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, err)
	}
	return plain, nil
}

// SealText is Seal for text; empty text becomes nil, which the database keeps as NULL.
func (v *Vault) SealText(plain string, at Place) ([]byte, error) {
	if plain == "" {
		return nil, nil
	}
	return v.Seal([]byte(plain), at)
}

// OpenText is Open for text; nil becomes empty text.
func (v *Vault) OpenText(sealed []byte, at Place) (string, error) {
	if sealed == nil {
		return "", nil
	}
	plain, err := v.Open(sealed, at)
	return string(plain), err
}

// Hash is a keyed hash (HMAC-SHA256) of parts for one purpose: a blind index to look a value up by, or the
// stored form of a code that has too few digits for a plain hash. Hashes of different purposes do not compare.
func (v *Vault) Hash(purpose string, parts ...string) []byte {
	m := hmac.New(sha256.New, v.hashKey)
	var n [8]byte
	for _, p := range append([]string{purpose}, parts...) {
		// Length first: ("ab","c") and ("a","bc") must differ.
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		m.Write(n[:])
		m.Write([]byte(p))
	}
	return m.Sum(nil)
}

// Derive gives a key of 32 bytes for another mechanism.
func (v *Vault) Derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, v.hashKey, nil, "comecomepay/"+purpose, 32)
	if err != nil {
		panic(err) // only for impossible lengths
	}
	return key
}

// NewKeyset makes a keyset for NewVault.
func NewKeyset() (Text, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return Text{}, err
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return Text{}, err
	}
	return NewText(b.String()), nil
}

// NewKey makes a random key of 32 bytes in base64.
func NewKey() Text {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return NewText(base64.StdEncoding.EncodeToString(b))
}
